"""SQL of how the rows of a dataset are stored, for declaring and compaction; imports no database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sluice.datasets.identifiers import quote, store_table
from sluice.datasets.model import INGESTION_COLUMN, SLICE_COLUMN

if TYPE_CHECKING:
    from sluice.datasets.model import Dataset, Field, Projection


def stored_type(each: Field) -> str:
    """Return the PostgreSQL type in which a stored column lies: a dictionary column is a code."""
    return "smallint" if each.dictionary else each.postgres_type


def projection_rows(dataset: Dataset, condition: str, part: str = "0") -> str:
    """Return the relation `rows` of a projection: stored rows under a condition.

    Args:
        dataset: whose rows.
        condition: which of them, in SQL.
        part: number of their slice.
    """
    names = ", ".join(quote(each.name) for each in dataset.fields)
    return (
        f"SELECT {names}, CAST({part} AS bigint) AS {SLICE_COLUMN}"
        f" FROM {store_table(dataset.name)} WHERE {condition}"
    )


def rows_of(ingestions: Sequence[int]) -> str:
    """Return the condition of the rows of ingestions.

    The range is for the indexes by blocks, which look for a range at once and for values one by one.
    Both are spelled out, for the planner to know how much they hold.
    """
    listed = ", ".join(str(number) for number in ingestions)
    return (
        f"{INGESTION_COLUMN} BETWEEN {min(ingestions)} AND {max(ingestions)}"
        f" AND ({INGESTION_COLUMN} = ANY (ARRAY[{listed}])) IS TRUE"
    )


def slice_of(dataset: Dataset, projection: Projection, first: object, last: object) -> str:
    """Return what to add to a condition for a slice: from `:first` to before `:last`; None is no bound."""
    if first is None and last is None:
        return ""
    field = next(each for each in dataset.fields if each.name == projection.slice)
    column, kind = quote(field.name), stored_type(field)
    begins = "" if first is None else f" AND {column} >= CAST(:first AS {kind})"
    ends = "" if last is None else f" AND {column} < CAST(:last AS {kind})"
    return begins + ends
