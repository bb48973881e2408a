"""How the rows of a dataset lie in the database, for who declares and who settles; knows no database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.datasets.identifiers import quote, store_table

if TYPE_CHECKING:
    from sluice.datasets.model import Dataset, Field


def stored_type(each: Field) -> str:
    """Return the PostgreSQL type in which a stored column lies: a dictionary column is a code."""
    return "smallint" if each.dictionary else each.postgres_type


def projection_rows(dataset: Dataset, condition: str) -> str:
    """Return the relation `rows` of a projection: stored rows under a condition."""
    names = ", ".join(quote(each.name) for each in dataset.fields)
    return f"SELECT {names} FROM {store_table(dataset.name)} WHERE {condition}"
