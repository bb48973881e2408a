"""From a file that nobody declared to a declaration: dialect, columns, types; pure."""
