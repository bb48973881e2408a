"""A CSV file: how it is written, where its records are, where it may be cut; no dataset, no database."""
