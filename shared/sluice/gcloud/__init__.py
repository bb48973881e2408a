"""Cloud Storage and Pub/Sub: the only importers of their client libraries."""
