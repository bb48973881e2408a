"""The declared datasets as they stand for readers: declaration, freshness, newest ingestion."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sluice.adapters.statements import statement
from sluice.errors import NotFoundError

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, Row

    from sluice.datasets.model import Dataset


@dataclass(frozen=True)
class Standing:
    """A dataset at the moment of a request.

    Attributes:
        document: the declaration as it was given.
        freshness: grows with every change of what readers see.
        ingestion: the newest published ingestion.
        rows_loaded: rows that the published ingestions loaded.
    """

    dataset: Dataset
    document: dict[str, Any]
    origin: str
    freshness: int
    changed_at: datetime | None
    ingestion: int | None
    rows_loaded: int

    @property
    def etag(self) -> str:
        """What changes whenever an answer about the dataset may change."""
        return f"{self.dataset.name}-{self.dataset.version}-{self.freshness}"


def standings(connection: Connection) -> list[Standing]:
    """Return every declared dataset."""
    rows = connection.execute(statement("list_standings"), {"dataset": None})
    return [_standing(connection, row) for row in rows.all()]


def declared_datasets(connection: Connection) -> list[Dataset]:
    """Return every declared dataset, without asking how it stands."""
    rows = connection.execute(statement("list_declarations")).all()
    return [_declarations(connection, r.name, r.version, r.declared_at)[1] for r in rows]


def standing(connection: Connection, name: str) -> Standing:
    """Return a declared dataset.

    Raises:
        NotFoundError: there is none of that name.
    """
    row = connection.execute(statement("list_standings"), {"dataset": name}).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no dataset {name}; GET /v1/datasets lists them")
    return _standing(connection, row)


def _standing(connection: Connection, row: Row[Any]) -> Standing:
    document, dataset = _declarations(connection, row.name, row.version, row.declared_at)
    return Standing(
        dataset=dataset,
        document=document,
        origin=row.origin,
        freshness=row.freshness,
        changed_at=row.changed_at,
        ingestion=row.ingestion,
        rows_loaded=row.rows_loaded,
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
