"""The manifest of a backup: datasets, tables, parts with counts and checksums. Does no I/O.

It is the last object that a backup writes: without it there is no backup.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sluice.backups.type_mapping import TableColumn
from sluice.errors import DamagedBackupError, NotFoundError

FOLDER = "backups/"
_VERSION = 1


class Format(StrEnum):
    """File format of parts."""

    AVRO = "avro"
    PARQUET = "parquet"


@dataclass(frozen=True)
class Part:
    """One object with some rows of one table."""

    object: str
    rows: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Definition:
    """A constraint or an index, as PostgreSQL writes it."""

    name: str
    sql: str


@dataclass(frozen=True)
class Shape:
    """The layout of a stored table.

    Attributes:
        columns: without generated ones, which PostgreSQL computes again.
    """

    columns: tuple[TableColumn, ...]
    constraints: tuple[Definition, ...] = ()
    indexes: tuple[Definition, ...] = ()


@dataclass(frozen=True)
class Table:
    """A stored table of a dataset.

    Attributes:
        rollup: name of the roll-up; empty for the rows.
    """

    rollup: str
    shape: Shape
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """Rows in all parts."""
        return sum(part.rows for part in self.parts)


@dataclass(frozen=True)
class Source:
    """A published ingestion; the object and its generation identify it in another database."""

    ingestion: int
    bucket: str
    object: str
    generation: int


@dataclass(frozen=True)
class SavedDataset:
    """A dataset as it was in the snapshot."""

    name: str
    version: int
    origin: str
    declaration: Mapping[str, Any]
    sources: tuple[Source, ...]
    tables: tuple[Table, ...]

    @property
    def rows(self) -> int:
        """Rows of the dataset itself, roll-ups not counted."""
        return sum(table.rows for table in self.tables if not table.rollup)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of all its tables."""
        return tuple(part for table in self.tables for part in table.parts)


@dataclass(frozen=True)
class Manifest:
    """A complete backup.

    Attributes:
        id: begins with the time, so ids sort by age.
        started_at, finished_at: in UTC, as ISO 8601.
    """

    id: str
    format: Format
    started_at: str
    finished_at: str
    datasets: tuple[SavedDataset, ...]

    def chosen(self, names: Sequence[str] | None) -> tuple[SavedDataset, ...]:
        """Return the datasets with these names, sorted by name; all for None.

        Raises:
            NotFoundError: the backup does not contain one of them.
        """
        held = {each.name: each for each in self.datasets}
        missing = [name for name in names or () if name not in held]
        if missing:
            raise NotFoundError(
                f"backup {self.id} does not contain {', '.join(missing)}; it contains {', '.join(held)}"
            )
        return tuple(held[name] for name in sorted(held if names is None else set(names)))

    def dump(self) -> bytes:
        """Return the manifest as JSON."""
        return json.dumps({"version": _VERSION, **asdict(self)}, indent=1, default=str).encode()


def manifest_name(backup: str) -> str:
    """Return the object name of a backup's manifest."""
    return f"{FOLDER}{backup}/manifest.json"


def read_manifest(data: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        DamagedBackupError: it is not a manifest, or a newer Sluice wrote it.
    """
    try:
        found = json.loads(data)
        if found["version"] != _VERSION:
            raise DamagedBackupError(
                f"the manifest has version {found['version']}; this Sluice reads version {_VERSION}"
            )
        return Manifest(
            found["id"],
            Format(found["format"]),
            found["started_at"],
            found["finished_at"],
            tuple(_dataset(each) for each in found["datasets"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedBackupError(f"the manifest cannot be read: {error!r}") from error


def _dataset(found: Mapping[str, Any]) -> SavedDataset:
    return SavedDataset(
        found["name"],
        found["version"],
        found["origin"],
        found["declaration"],
        tuple(Source(**each) for each in found["sources"]),
        tuple(_table(each) for each in found["tables"]),
    )


def _table(found: Mapping[str, Any]) -> Table:
    shape = found["shape"]
    return Table(
        found["rollup"],
        Shape(
            tuple(TableColumn(**each) for each in shape["columns"]),
            tuple(Definition(**each) for each in shape["constraints"]),
            tuple(Definition(**each) for each in shape["indexes"]),
        ),
        tuple(Part(**each) for each in found["parts"]),
    )
