"""Requests for rows and answers: filters, orders, cursors, aggregates, read in snapshots."""
