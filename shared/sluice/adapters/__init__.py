"""The ways to PostgreSQL, Cloud Storage, Pub/Sub and DuckDB: the only importers of their SDKs."""
