"""Fixtures of the fuzz targets: those of the integration tests that serve functions."""

from __future__ import annotations

from serving import engine, guests, serve, superuser, topics

__all__ = ["engine", "guests", "serve", "superuser", "topics"]
