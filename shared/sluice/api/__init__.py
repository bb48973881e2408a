"""The HTTP API: operations as a table, one app that dispatches, one place for errors."""
