"""What the columns of a file may be: observed chunk by chunk, merged, decided once."""
