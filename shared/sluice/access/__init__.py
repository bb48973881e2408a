"""Who may call the API, and who did what."""
