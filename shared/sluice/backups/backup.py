"""The use case of a backup: one snapshot of the datasets, read in parallel, written part by part.

The manifest is written last; without it the parts are no backup. A backup that was killed is never listed
as done, and cannot be continued, because its snapshot is gone.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sluice.access.audit import SYSTEM, record
from sluice.backups import snapshots
from sluice.backups.avro import write_avro
from sluice.backups.column_buffers import MAX_ROW_BYTES, Values, concatenate, pieces, size_of
from sluice.backups.column_copy import Dictionary, read_block, select_block
from sluice.backups.manifest import (
    FOLDER,
    Format,
    Manifest,
    Part,
    SavedDataset,
    Shape,
    Table,
    manifest_name,
    restorable,
)
from sluice.backups.parquet import write_parquet
from sluice.datasets.declarations import parse_document
from sluice.datasets.identifiers import rollup_table, store_table
from sluice.errors import NotFoundError, SluiceError, UnrestorableBackupError
from sluice.postgres.connection import transaction

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from sluice.backups.snapshots import DeclaredDataset, Snapshot
    from sluice.datasets.model import Dataset
    from sluice.ports import Archive
    from sluice.settings import Settings

#: Stored bytes of a part, and of a block, the unit that is read from the database.
_PART_BYTES = 32 * 1024 * 1024
_BLOCK_BYTES = 8 * 1024 * 1024
#: Bytes of the values of a part: PostgreSQL may store them in few.
_DECODED_BYTES = 64 * 1024 * 1024
_CONTENT_TYPES = {
    Format.AVRO: "application/avro",
    Format.PARQUET: "application/vnd.apache.parquet",
}


@dataclass(frozen=True)
class Progress:
    """How far a backup or a restore is."""

    backup: str
    rows: int
    size_bytes: int
    parts: int
    parts_total: int


ReportProgress = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class _Stored:
    """A table to read.

    Attributes:
        stem: prefix of the names of its parts.
    """

    dataset: Dataset
    rollup: str
    table: str
    stem: str
    shape: Shape
    dictionaries: dict[str, Dictionary]
    pages: int
    size_bytes: int

    def ranges(self, size_bytes: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of pages with about `size_bytes` stored bytes each."""
        step = max(1, size_bytes * self.pages // max(1, self.size_bytes))
        for first in range(0, self.pages, step):
            yield first, min(first + step, self.pages)

    def blocks(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the blocks of a range of pages."""
        step = max(1, _BLOCK_BYTES * self.pages // max(1, self.size_bytes))
        for at in range(first, end, step):
            yield at, min(at + step, end)


class Backup:
    """Makes backups.

    Args:
        settings: `outbox`, `pool_size`.
        engine: the database; one connection holds the snapshot open, the others read.
        archive: Cloud Storage.
        actor: who backs up, for the audit log.
    """

    def __init__(
        self, settings: Settings, engine: Engine, archive: Archive, actor: str = SYSTEM
    ) -> None:
        self._actor = actor
        self._settings = settings
        self._engine = engine
        self._archive = archive

    def __call__(
        self, datasets: Sequence[str] | None, kind: Format, report: ReportProgress = ignore_progress
    ) -> Manifest:
        """Back up some datasets, or all except copies that restores made.

        Raises:
            NotFoundError: a dataset does not exist.
            UnrestorableBackupError: a restore would refuse the backup; there is none.
            DatabaseUnavailableError, StorageUnavailableError: try again.
        """
        started = datetime.now(UTC)
        # Sorts by time; the last six characters are microseconds and one random digit.
        backup = f"{started:%Y%m%dT%H%M%SZ}-{started.microsecond:05x}{os.urandom(1).hex()[0]}"
        details = {"format": str(kind), "datasets": None if datasets is None else list(datasets)}
        with transaction(self._engine) as connection:
            record(connection, self._actor, "backup.make", subject=backup, details=details)
        with snapshots.exported_snapshot(self._engine, backup) as snapshot:
            chosen = _choose(snapshots.select_datasets(snapshot.connection), datasets)
            self._keep_json(backup, "started", {
                "id": backup, "format": kind, "started_at": started.isoformat(),
                "datasets": [row.name for row in chosen],
            })  # fmt: skip
            try:
                return self._save(backup, started, kind, snapshot, chosen, report)
            except Exception as error:
                self._record_failure(backup, error)
                raise

    def _save(
        self,
        backup: str,
        started: datetime,
        kind: Format,
        snapshot: Snapshot,
        chosen: Sequence[DeclaredDataset],
        report: ReportProgress,
    ) -> Manifest:
        writer = _Writer(
            self._settings, self._engine, self._archive, backup, kind, snapshot.id, report
        )
        stored = [
            each for row in chosen for each in _stored(snapshot, parse_document(row.declaration))
        ]
        saved = tuple(
            SavedDataset(
                row.name,
                row.version,
                row.origin,
                row.declaration,
                snapshots.sources_of(snapshot.connection, row.name),
                tuple(
                    Table(each.rollup, each.shape, ())
                    for each in stored
                    if each.dataset.name == row.name
                ),
            )
            for row in chosen
        )
        manifest = Manifest(backup, kind, started.isoformat(), started.isoformat(), saved)
        restorable(manifest)  # before the parts, which take long
        parts = writer.write(stored, _readers(self._settings))
        stems = iter(stored)
        saved = tuple(
            replace(
                each,
                tables=tuple(
                    replace(table, parts=tuple(parts[next(stems).stem])) for table in each.tables
                ),
            )
            for each in saved
        )
        finished = datetime.now(UTC).isoformat()
        manifest = replace(manifest, finished_at=finished, datasets=saved)
        self._archive.keep(
            self._settings.outbox, manifest_name(backup), restorable(manifest), "application/json"
        )
        return manifest

    def _keep_json(self, backup: str, name: str, document: dict[str, object]) -> None:
        data = json.dumps(document).encode()
        place = f"{FOLDER}{backup}/{name}.json"
        self._archive.keep(self._settings.outbox, place, data, "application/json")

    def _record_failure(self, backup: str, error: Exception) -> None:
        problem = (
            error if isinstance(error, SluiceError) else SluiceError("the backup was interrupted")
        )
        with suppress(SluiceError):  # the first error is the one to report
            self._keep_json(backup, "failed", dict(problem.problem()))


def _readers(settings: Settings) -> int:
    """Return how many sessions read: one of the pool holds the snapshot open."""
    return max(1, min(settings.pool_size - 1, os.cpu_count() or 1))


def _choose(rows: Sequence[DeclaredDataset], names: Sequence[str] | None) -> list[DeclaredDataset]:
    if names is None:
        return [row for row in rows if row.origin != "restored"]
    missing = set(names) - {row.name for row in rows}
    if missing:
        raise NotFoundError(
            f"there is no dataset {', '.join(sorted(missing))}; GET /v1/datasets lists them"
        )
    return [row for row in rows if row.name in names]


def _stored(snapshot: Snapshot, dataset: Dataset) -> Iterator[_Stored]:
    dictionaries = snapshots.dictionaries_of(snapshot.connection, dataset)
    names = ["", *(each.name for each in dataset.rollups)]
    for rollup in names:
        table = rollup_table(dataset.name, rollup) if rollup else store_table(dataset.name)
        yield _Stored(
            dataset,
            rollup,
            table,
            f"{dataset.name}__{rollup}" if rollup else dataset.name,
            snapshots.shape_of(snapshot.connection, dataset, table),
            dictionaries,
            *snapshots.size_of(snapshot.connection, table),
        )


class _Writer:
    """Writes the parts of one backup, several at a time."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        archive: Archive,
        backup: str,
        kind: Format,
        snapshot: str,
        report: ReportProgress,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._archive = archive
        self._backup = backup
        self._kind = kind
        self._snapshot = snapshot
        self._report = report
        self._lock = threading.Lock()
        self._progress = Progress(backup, 0, 0, 0, 0)

    def write(self, tables: Sequence[_Stored], readers: int) -> dict[str, list[Part]]:
        """Write every table; return its parts by the table's stem."""
        work = [(each, span) for each in tables for span in each.ranges(_PART_BYTES)]
        self._progress = replace(self._progress, parts_total=len(work))
        self._report(self._progress)
        found: dict[str, list[Part]] = {each.stem: [] for each in tables}
        with ThreadPoolExecutor(readers, "backup") as pool:
            jobs = [
                pool.submit(self._write, each, number, *span)
                for number, (each, span) in enumerate(work)
            ]
            _finish(jobs)
            for (each, _), job in zip(work, jobs, strict=True):
                found[each.stem] += job.result()
        return found

    def _write(self, stored: _Stored, number: int, first: int, end: int) -> list[Part]:
        """Write the published rows of some pages as parts: one, or several where they decode to more."""
        parts: list[Part] = []
        with snapshots.shared_snapshot(self._engine, self._snapshot) as connection:
            blocks = self._blocks(connection, stored, first, end)
            for place, columns in enumerate(_joined(blocks, stored.dataset.name)):
                data = self._encode(stored, columns)
                suffix = f"-{place}" if place else ""
                name = f"{FOLDER}{self._backup}/{stored.stem}-{number:05}{suffix}.{self._kind}"
                part = Part(name, len(columns[0]), len(data), hashlib.sha256(data).hexdigest())
                self._archive.keep(self._settings.outbox, name, data, _CONTENT_TYPES[self._kind])
                parts.append(part)
        return self._count(parts)

    def _blocks(
        self, connection: Connection, stored: _Stored, first: int, end: int
    ) -> Iterator[list[Values]]:
        """Yield the published rows of some pages."""
        for at, until in stored.blocks(first, end):
            source = snapshots.published_rows(stored.dataset.name, stored.table, at, until)
            query = select_block(stored.shape.columns, source)
            answer = snapshots.fetch_block(connection, query)
            rows, values = read_block(answer, stored.shape.columns, stored.dictionaries)
            if rows:
                yield values

    def _encode(self, stored: _Stored, values: list[Values]) -> bytes:
        columns = stored.shape.columns
        if self._kind is Format.PARQUET:
            return write_parquet(columns, values)
        return write_avro(stored.stem, [each.field for each in columns], values)

    def _count(self, parts: list[Part]) -> list[Part]:
        with self._lock:
            done = self._progress
            self._progress = replace(
                done,
                rows=done.rows + sum(part.rows for part in parts),
                size_bytes=done.size_bytes + sum(part.size_bytes for part in parts),
                parts=done.parts + 1,
            )
            self._report(self._progress)
        return parts


def _joined(blocks: Iterator[list[Values]], dataset: str) -> Iterator[list[Values]]:
    """Join blocks, and divide large ones, so that a restore accepts each part.

    Raises:
        UnrestorableBackupError: a row is too large.
    """
    held: list[list[Values]] = []
    held_bytes = 0
    for block in blocks:
        for piece in pieces(block, _DECODED_BYTES):
            size_bytes = size_of(piece)
            if held and held_bytes + size_bytes > _DECODED_BYTES:
                yield _concatenated(held)
                held, held_bytes = [], 0
            if size_bytes > MAX_ROW_BYTES:
                raise UnrestorableBackupError(
                    f"a row of dataset {dataset} has {size_bytes:,} bytes, more than the {MAX_ROW_BYTES:,}"
                    " that a restore accepts; undo the ingestion with this row, and back up again"
                )
            held.append(piece)
            held_bytes += size_bytes
    if held:
        yield _concatenated(held)


def _concatenated(blocks: list[list[Values]]) -> list[Values]:
    return [concatenate(list(each)) for each in zip(*blocks, strict=True)]


def _finish(jobs: list[Future[list[Part]]]) -> None:
    """Wait for all jobs; when one fails, cancel those that have not begun."""
    wait(jobs, return_when=FIRST_EXCEPTION)
    for job in jobs:
        if job.done() and not job.cancelled() and job.exception():
            for other in jobs:
                other.cancel()
            job.result()
