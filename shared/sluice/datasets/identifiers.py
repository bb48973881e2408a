"""Quotes SQL names and literals for PostgreSQL and DuckDB, and names the tables and views of datasets."""

from __future__ import annotations

import re

#: Valid names of datasets, columns, queries and roll-ups.
NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")


def quote(name: str) -> str:
    """Return the name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return the text as an SQL string literal (standard_conforming_strings on)."""
    return "'" + text.replace("'", "''") + "'"


def store_table(dataset: str) -> str:
    """Return the table that holds the dataset's rows, published or not."""
    return f"store.{quote(dataset)}"


def dictionary_table(dataset: str, column: str) -> str:
    """Return the table that holds the texts of a dictionary column."""
    return f"store.{quote(f'{dataset}__{column}')}"


def rollup_table(dataset: str, rollup: str) -> str:
    """Return the table that holds a roll-up, by ingestion."""
    return f"store.{quote(f'{dataset}__{rollup}')}"


def staging_table(dataset: str) -> str:
    """Return the table of rows that are not merged yet."""
    return f"store.{quote(f'{dataset}__staging')}"


def replaced_table(dataset: str) -> str:
    """Return the table of rows that newer ones replaced."""
    return f"store.{quote(f'{dataset}__replaced')}"


def view(dataset: str, rollup: str = "") -> str:
    """Return the view that readers use: published rows, or a published roll-up."""
    return f"public.{quote(f'{dataset}_{rollup}' if rollup else dataset)}"
