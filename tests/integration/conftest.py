"""Fixtures of the tests of the HTTP functions; see `serving.py`."""

from serving import engine, people, serve, topics

__all__ = ["engine", "people", "serve", "topics"]
