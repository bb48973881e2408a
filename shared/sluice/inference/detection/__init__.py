"""How a file is written: its delimiter, quotes and header, from its first and last bytes."""
