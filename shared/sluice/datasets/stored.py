"""How the rows of a dataset lie in the database, for who declares and who settles; knows no database."""

from __future__ import annotations

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


def settled_rows() -> str:
    """Return the condition of the rows of the settlement `:settlement`.

    The range is for the indexes by blocks, which look for a range as quickly as for one value.
    """
    theirs = "FROM sluice.settlements AS theirs WHERE theirs.id = :settlement"
    least, greatest = (
        f"(SELECT {which}(one) FROM unnest((SELECT ingestions {theirs})) AS one)"
        for which in ("min", "max")
    )
    return (
        f"{INGESTION_COLUMN} BETWEEN {least} AND {greatest}"
        f" AND {INGESTION_COLUMN} IN (SELECT unnest(ingestions) {theirs})"
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
