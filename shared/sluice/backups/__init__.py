"""Backups: their files and formats, and the use cases that make, restore and compare them."""
