"""Compaction: projections of published rows, built and merged in the background."""
