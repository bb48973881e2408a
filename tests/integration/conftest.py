"""Fixtures of the tests of the HTTP functions; see `serving.py`."""

from serving import engine, guests, serve, topics

__all__ = ["engine", "guests", "serve", "topics"]
