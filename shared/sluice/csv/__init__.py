"""CSV as bytes: dialects, encodings, records, splitting, compression; no dataset, no database."""
