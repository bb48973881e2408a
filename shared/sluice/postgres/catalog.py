"""The declared datasets as they stand for readers: declaration, freshness, newest ingestion."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sluice.datasets.identifiers import NAME
from sluice.errors import NotFoundError
from sluice.postgres.connection import run_plain
from sluice.postgres.named_sql import statement
from sluice.querying.dependencies import names_read

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from sluice.datasets.model import Dataset, Query


@dataclass(frozen=True)
class Standing:
    """A dataset at the moment of a request.

    Attributes:
        document: the declaration as it was given.
        freshness: grows with every change of what readers see.
        ingestion: the newest published ingestion.
        rows_loaded: rows that the published ingestions loaded, where they were counted.
        etag: what changes whenever an answer may change that is made of it, and of the other datasets
            that were asked for with it.
    """

    dataset: Dataset
    document: dict[str, Any]
    origin: str
    freshness: int
    changed_at: datetime | None
    ingestion: int | None
    rows_loaded: int | None
    etag: str


_PREPARED = "standings_named"


class _Facts(NamedTuple):
    """A row of the statement `standings_named`, in the order of its columns."""

    name: str
    version: int
    origin: str
    declared_at: datetime
    freshness: int
    changed_at: datetime | None
    ingestion: int | None
    rows_loaded: int | None


def standings(connection: Connection) -> list[Standing]:
    """Return every declared dataset."""
    rows = connection.execute(statement("list_standings"), {"dataset": None})
    return [_standing(connection, row, [row]) for row in rows.all()]


def declared_datasets(connection: Connection) -> list[Dataset]:
    """Return every declared dataset, without asking how it stands."""
    rows = connection.execute(statement("list_declarations")).all()
    return [_declarations(connection, r.name, r.version, r.declared_at)[1] for r in rows]


def standing(connection: Connection, name: str, *, has_counts: bool = False) -> Standing:
    """Return a declared dataset; its rows are counted where asked for, else None.

    Raises:
        NotFoundError: there is none of that name.
    """
    rows: Sequence[Any]
    if has_counts:
        rows = connection.execute(statement("list_standings"), {"dataset": name}).all()
    else:
        rows = _named(connection, (name,))
    return _standing(connection, _one(rows, name), rows)


def standing_of_query(
    connection: Connection, name: str, query: str
) -> tuple[Standing, Query | None]:
    """Return a declared dataset and its query of a name, which the etag fits: of all that it reads.

    Which datasets these are, the query tells; one asked before is asked for with all of them at once.

    Raises:
        NotFoundError: there is no dataset of that name.
    """
    names = _names_of().get((name, query), ())
    while True:
        rows = _named(connection, (name, *names))
        found = _standing(connection, _one(rows, name), rows)
        asked_query = found.dataset.query(query)
        if asked_query is None or names_read(asked_query.sql) == names:
            return found, asked_query
        names = _names_of()[name, query] = names_read(asked_query.sql)


def _one(rows: Sequence[Any], name: str) -> Any:
    for row in rows:
        if row.name == name:
            return row
    raise NotFoundError(f"there is no dataset {name}; GET /v1/datasets lists them")


def _named(connection: Connection, names: tuple[str, ...]) -> list[_Facts]:
    """Return a row of `standings_named` for each dataset of these names; asked with every request.

    Prepared once on each connection: to plan it takes longer than to run it.
    """
    if _PREPARED not in connection.info:
        asked = str(statement(_PREPARED)).replace(":names", "$1").rstrip(";")
        run_plain(connection, f"PREPARE {_PREPARED} (text[]) AS {asked}")
        connection.info[_PREPARED] = True
    found = run_plain(connection, f"EXECUTE {_PREPARED} ({names_literal(names)})")
    return [_Facts(*each) for each in found.rows]


@functools.lru_cache(maxsize=1024)
def names_literal(names: tuple[str, ...]) -> str:
    """Return the names as the literal of an array; a text that cannot be a name is no dataset's."""
    return "'{" + ",".join(f'"{name}"' for name in names if NAME.fullmatch(name)) + "}'"


@functools.cache
def _names_of() -> dict[tuple[str, str], tuple[str, ...]]:
    return {}


def _etag(rows: Sequence[Any]) -> str:
    """Return a short text that differs where a declaration, or what readers see, differs."""
    facts = [(r.name, r.version, r.declared_at, r.freshness, r.changed_at) for r in rows]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:20]


def _standing(connection: Connection, row: Any, rows: Sequence[Any]) -> Standing:
    document, dataset = _declarations(connection, row.name, row.version, row.declared_at)
    return Standing(
        dataset=dataset,
        document=document,
        origin=row.origin,
        freshness=row.freshness,
        changed_at=row.changed_at,
        ingestion=row.ingestion,
        rows_loaded=row.rows_loaded,
        etag=_etag(rows),
    )


def _declarations(
    connection: Connection, name: str, version: int, declared_at: datetime
) -> tuple[dict[str, Any], Dataset]:
    """Return a version of a declaration, parsed once in this process."""
    key = (name, version, declared_at)
    if key not in _parsed():
        _parsed()[key] = _read(connection, name, version)
    return _parsed()[key]


@functools.cache
def _parsed() -> dict[tuple[str, int, datetime], tuple[dict[str, Any], Dataset]]:
    return {}


def _read(connection: Connection, name: str, version: int) -> tuple[dict[str, Any], Dataset]:
    from sluice.datasets.declarations import parse_document  # noqa: PLC0415  # paid where first used

    row = connection.execute(statement("select_declaration"), {"dataset": name}).one()
    document: dict[str, Any] = row.declaration
    return document, parse_document({**document, "version": version})
