"""The lifecycle of a file: split, load, finish, and its events and accounts."""
