"""Backups: what travels and how it is written, and the use cases that make, restore and compare them."""
