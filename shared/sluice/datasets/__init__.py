"""What a dataset is, how it is declared, compiled and put into the database."""
