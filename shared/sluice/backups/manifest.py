"""The manifest of a backup: datasets, tables, parts with counts and checksums. Does no I/O.

It is the last object that a backup writes: without it there is no backup. Whoever may write to the bucket can
write one, so what is read here is checked; `saved_layouts` checks what becomes SQL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeVar

from sluice.backups.type_mapping import TableColumn
from sluice.datasets.identifiers import NAME
from sluice.documents.document import MAX_DEPTH, DocumentError, is_deeper, parse
from sluice.errors import DamagedBackupError, NotFoundError, UnrestorableBackupError

FOLDER = "backups/"
#: What the id of a backup looks like.
ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")
#: Of a part; a backup writes parts of at most 64 MiB of values.
MAX_PART_BYTES = 256 * 1024 * 1024
#: Of the values of a part: rows of other versions may have been stored with more compression.
MAX_DECODED_BYTES = 1024 * 1024 * 1024
#: Of a manifest, which has an entry for each file of a dataset.
MAX_MANIFEST_BYTES = 128 * 1024 * 1024
_VERSION = 1
_ORIGINS = ("folder", "api", "inferred", "restored")
_T = TypeVar("_T")


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
        return json.dumps({"version": _VERSION, **asdict(self)}, default=str).encode()


def manifest_name(backup: str) -> str:
    """Return the object name of a backup's manifest."""
    return f"{FOLDER}{backup}/manifest.json"


@dataclass(frozen=True)
class Started:
    """A backup that began, as it was written before its parts."""

    id: str
    format: Format
    started_at: str
    datasets: tuple[str, ...]


def read_started(data: bytes) -> Started:
    """Read what a backup wrote when it began.

    Raises:
        DamagedBackupError: it is something else.
    """
    return _parse(_load(data), Started)


def read_problem(data: bytes | None) -> dict[str, Any] | None:
    """Read the problem that a failed backup wrote, if it did.

    Raises:
        DamagedBackupError: it is something else.
    """
    return None if data is None else _parse(_load(data), dict[str, Any])


def read_manifest(data: bytes, backup: str) -> Manifest:
    """Read the manifest of a backup.

    Raises:
        DamagedBackupError: it is not a manifest of this backup, too large, or a newer Sluice wrote it.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise DamagedBackupError(f"the manifest has more than {MAX_MANIFEST_BYTES:,} bytes")
    found = _load(data)
    version = found.get("version") if isinstance(found, dict) else None
    if isinstance(version, int) and version > _VERSION:
        raise DamagedBackupError(
            f"the manifest has version {version}; this Sluice reads version {_VERSION}"
        )
    manifest = _parse(found, Manifest)
    for where, why in _faults(manifest, backup):
        raise damaged(where, why)
    return manifest


def restorable(manifest: Manifest) -> bytes:
    """Return the manifest as JSON, once it is checked as a restore does.

    Raises:
        UnrestorableBackupError: a restore would refuse it.
    """
    data = manifest.dump()
    try:
        read_manifest(data, manifest.id)
    except DamagedBackupError as error:
        raise UnrestorableBackupError(
            f"a restore would refuse this backup, which was not made: {error.detail}; back up fewer"
            " datasets at a time"
        ) from error
    return data


def damaged(where: str, why: str) -> DamagedBackupError:
    """Return the error of a field of a manifest."""
    return DamagedBackupError(f"the manifest cannot be used: {where}: {why}", field=where)


def _load(data: bytes) -> Any:  # a JSON value
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedBackupError("the manifest cannot be read: it is not JSON") from error
    if is_deeper(found, MAX_DEPTH):
        raise DamagedBackupError("the manifest cannot be read: it is nested too deep")
    return found


def _parse(found: object, kind: type[_T]) -> _T:
    try:
        return parse(found, kind)
    except DocumentError as error:
        raise DamagedBackupError(f"the manifest cannot be read: {error}") from error


def _faults(manifest: Manifest, backup: str) -> Iterator[tuple[str, str]]:
    """Yield the fields that cannot be of this backup, and why."""
    if manifest.id != backup:
        yield "id", f"is not {backup}, the name of the folder"
    names = [each.name for each in manifest.datasets]
    for number, each in enumerate(manifest.datasets):
        where = f"datasets[{number}]"
        if not NAME.fullmatch(each.name) or names.count(each.name) > 1:
            yield f"{where}.name", "is not a valid name of a dataset, or is there twice"
        if each.declaration.get("name") != each.name:
            yield f"{where}.declaration.name", f"is not {each.name}"
        if each.origin not in _ORIGINS:
            yield f"{where}.origin", f"is none of {', '.join(_ORIGINS)}"
        rollups = [table.rollup for table in each.tables]
        for place, table in enumerate(each.tables):
            yield from _table_faults(table, f"{where}.tables[{place}]", rollups, backup)


def _table_faults(
    table: Table, where: str, rollups: Sequence[str], backup: str
) -> Iterator[tuple[str, str]]:
    if (table.rollup and not NAME.fullmatch(table.rollup)) or rollups.count(table.rollup) > 1:
        yield f"{where}.rollup", "is not a valid name of a roll-up, or is there twice"
    columns = [column.name for column in table.shape.columns]
    for number, column in enumerate(table.shape.columns):
        if columns.count(column.name) > 1 or column.dictionary not in ("", column.name):
            yield f"{where}.shape.columns[{number}]", "is there twice, or of another dictionary"
    for number, part in enumerate(table.parts):
        at = f"{where}.parts[{number}]"
        if not part.object.startswith(f"{FOLDER}{backup}/"):
            yield f"{at}.object", f"is not in the folder {FOLDER}{backup}/"
        if part.rows < 0 or part.size_bytes < 0:
            yield at, "has a negative size"
        if part.size_bytes > MAX_PART_BYTES:
            yield f"{at}.size_bytes", f"is more than {MAX_PART_BYTES:,} bytes"
