"""The only way to PostgreSQL: connections, named SQL, the catalog, declarations, migrations."""
