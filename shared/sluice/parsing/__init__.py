"""A chunk becomes columns: planned, typed, checked, encoded."""
