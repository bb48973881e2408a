"""Sluice: CSV files from Cloud Storage into Cloud SQL, typed, checked and exactly once."""

__version__ = "0.1.0"
