"""Fixtures of the tests of the HTTP functions; see `serving.py`."""

from serving import engine, people, serve

__all__ = ["engine", "people", "serve"]
