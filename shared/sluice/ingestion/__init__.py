"""The life of a file: split, load, finish, and the events and accounts of it."""
