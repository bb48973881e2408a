"""The use case of a restore: shadow tables built from verified parts and swapped in, in one transaction.

A restore makes copies of the datasets (`trips2`) or replaces them in place. All or nothing: readers see no
change before the transaction commits, and an interrupted restore leaves none, so it can be repeated.

In place, rows keep their ingestion if it is still published; the others get the ingestion of the restore.
What was published after the backup is withdrawn, and files that are loading continue.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sluice.access.audit import SYSTEM, record
from sluice.backups import shadow_tables, snapshots
from sluice.backups.avro import read_avro
from sluice.backups.backup import Progress, ReportProgress, ignore_progress
from sluice.backups.column_buffers import Numbers, Texts, Values, size_of
from sluice.backups.manifest import (
    FOLDER,
    MAX_DECODED_BYTES,
    Format,
    Manifest,
    Part,
    SavedDataset,
    Shape,
    Table,
)
from sluice.backups.parquet import coded, distinct_texts, read_parquet
from sluice.backups.saved_layouts import check_layout
from sluice.datasets.declarations import parse_document
from sluice.datasets.identifiers import NAME, dictionary_table, rollup_table, store_table, view
from sluice.datasets.model import INGESTION_COLUMN, Dataset
from sluice.documents.ingestions import State
from sluice.errors import (
    BackupMismatchError,
    DamagedBackupError,
    DeclarationError,
    ParameterError,
)
from sluice.ingestion.ingestions import move
from sluice.ingestion.merge import relink_replaced, withdraw
from sluice.ingestion.outbox import relay
from sluice.postgres.catalog import declared_datasets
from sluice.postgres.connection import transaction
from sluice.postgres.declare import declare_within
from sluice.postgres.dictionary_codes import add_texts
from sluice.postgres.named_sql import statement
from sluice.postgres.names import check_names
from sluice.postgres.storage_sql import dictionary_sql, view_sql

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from sluice.ports import Archive, Publisher
    from sluice.settings import Settings

#: Parts that are fetched while an earlier one is copied.
_AHEAD = 2
#: Restores of an instance take turns: one holds parts of up to `MAX_DECODED_BYTES`.
_turn = threading.Lock()
#: Keys of a declaration that contain the name of the original.
_NOT_OF_COPIES = ("queries", "aliases", "output", "table")


@dataclass(frozen=True)
class Restored:
    """The result of a restore for one dataset.

    Attributes:
        dataset: the dataset in the backup.
        into: the dataset that has the rows now.
        ingestion: the ingestion of the restore.
    """

    dataset: str
    into: str
    rows: int
    ingestion: int


@dataclass
class _Target:
    """A dataset that is being restored.

    Attributes:
        kept: ingestions that keep their rows.
        withdrawn: published ingestions that the restore withdraws.
        gone: those of `kept` that were withdrawn while the tables were built.
    """

    saved: SavedDataset
    document: Mapping[str, Any]
    dataset: Dataset
    in_place: bool
    ingestion: int
    kept: frozenset[int]
    own_rows: int = 0
    codes: dict[str, dict[str, int]] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    withdrawn: list[int] = field(default_factory=list)
    gone: frozenset[int] = frozenset()

    def table(self, saved: Table) -> str:
        return _stored_table(self.dataset.name, saved.rollup)


class Restore:
    """Restores backups.

    Args:
        settings: `project`, `outbox`, `copy_block_bytes`.
        engine: the database.
        archive: Cloud Storage.
        publisher: Pub/Sub, for the events of the ingestions that change.
        actor: who restores, for the audit log.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        archive: Archive,
        publisher: Publisher,
        actor: str = SYSTEM,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._archive = archive
        self._publisher = publisher
        self._actor = actor

    def __call__(
        self,
        manifest: Manifest,
        datasets: Sequence[str] | None,
        suffix: str,
        report: ReportProgress = ignore_progress,
    ) -> list[Restored]:
        """Restore some datasets of a backup, or all.

        Args:
            manifest: the backup.
            datasets: names; None for all.
            suffix: of the names of the copies; empty restores in place.
            report: called after each part.

        Raises:
            DamagedBackupError: a part is missing or damaged; nothing was changed.
            BackupMismatchError: the backup does not match the declarations; nothing was changed.
            NotFoundError: the backup does not contain a dataset.
        """
        chosen = manifest.chosen(datasets)
        run = _Run(self._settings, self._archive, manifest, chosen, report)
        with (
            _turn,
            shadow_tables.translated_refusals(),
            transaction(self._engine) as connection,
        ):
            targets = [
                _prepare(connection, manifest, each, suffix, self._settings.outbox)
                for each in chosen
            ]
            for target in targets:
                run.build(connection, target)
            connection.execute(statement("lock_tables"))
            for target in targets:
                _swap_tables(connection, target, self._settings.project)
                record(
                    connection,
                    self._actor,
                    "backup.restore",
                    dataset=target.dataset.name,
                    subject=manifest.id,
                    details={"ingestion": target.ingestion},
                )
        for target in targets:
            for each in (target.ingestion, *target.withdrawn):
                relay(self._engine, self._publisher, each)
        return [
            Restored(each.saved.name, each.dataset.name, each.saved.rows, each.ingestion)
            for each in targets
        ]


def _stored_table(dataset: str, rollup: str) -> str:
    return rollup_table(dataset, rollup) if rollup else store_table(dataset)


# The target of each dataset


def _prepare(
    connection: Connection, manifest: Manifest, saved: SavedDataset, suffix: str, bucket: str
) -> _Target:
    name = saved.name + suffix
    if not NAME.fullmatch(name):
        raise ParameterError(
            f'suffix: "{name}" is not a valid name of a dataset', parameter="suffix"
        )
    connection.execute(statement("lock_restore"), {"dataset": name})
    known = connection.execute(statement("list_dataset_versions"), {"dataset": name}).one_or_none()
    if suffix and known is not None and known.origin != "restored":
        raise BackupMismatchError(
            f"{name} is a dataset, not a copy that a restore made; give another suffix",
            dataset=name,
        )
    document = _document(connection, saved, name, is_known=known is not None, is_copy=bool(suffix))
    dataset = parse_document(document)
    if suffix:
        _check_copy(connection, dataset, is_known=known is not None)
    ingestion = shadow_tables.begin_ingestion(
        connection,
        {
            "dataset": name,
            "bucket": bucket,
            "object": f"{FOLDER}{manifest.id}/{saved.name}",
            "generation": time.time_ns(),
            "size_bytes": sum(part.size_bytes for part in saved.parts),
        },
    )
    published = frozenset(snapshots.sources_of(connection, name))
    kept = frozenset(() if suffix else (s.ingestion for s in published & set(saved.sources)))
    target = _Target(saved, document, dataset, not suffix, ingestion, kept)
    if known is None and not suffix:
        declare_within(connection, document, origin=saved.origin, is_last=False)
    shadow_tables.run_all(connection, dictionary_sql(dataset))
    return target


def _check_copy(connection: Connection, dataset: Dataset, *, is_known: bool) -> None:
    """Refuse a copy whose name is reserved, or whose tables would have the names of others."""
    others = [each for each in declared_datasets(connection) if each.name != dataset.name]
    try:
        check_names(connection, dataset, dataset if is_known else None, others)
    except DeclarationError as error:
        raise ParameterError(f"suffix: {error.of_document().detail}", parameter="suffix") from error


def _document(
    connection: Connection, saved: SavedDataset, name: str, *, is_known: bool, is_copy: bool
) -> Mapping[str, Any]:
    """Return the declaration of the target."""
    if is_copy:
        kept = {key: value for key, value in saved.declaration.items() if key not in _NOT_OF_COPIES}
        return {**kept, "name": name}
    if not is_known:
        return saved.declaration
    row = connection.execute(statement("select_declaration"), {"dataset": name}).one()
    document: Mapping[str, Any] = row.declaration
    return document


# Building the shadow tables


class _Run:
    """Builds the shadow tables of one restore."""

    def __init__(
        self,
        settings: Settings,
        archive: Archive,
        manifest: Manifest,
        chosen: Sequence[SavedDataset],
        report: ReportProgress,
    ) -> None:
        self._settings = settings
        self._archive = archive
        self._format = manifest.format
        self._report = report
        parts = sum(len(each.parts) for each in chosen)
        self._progress = Progress(manifest.id, 0, 0, 0, parts)

    def build(self, connection: Connection, target: _Target) -> None:
        """Build the shadow tables of a dataset, with types, constraints and indexes."""
        self._report(self._progress)
        for table in target.saved.tables:
            name = target.table(table)
            shape = _shape(connection, target, table)
            rename = (
                {}
                if target.in_place
                else shadow_tables.names_for_copy(target.saved.name, target.dataset.name, shape)
            )
            if not target.in_place:
                check_layout(connection, target.dataset, table, name, rename)
            target.shapes[name] = shape
            # A copy has the tables that its own declaration defines.
            like = name if target.in_place else ""
            shadow_tables.create_shadow(connection, name, shape, like)
            for part, data in self._parts(table):
                self._restore(connection, target, table, part, data)
            rollups = {each.name: each for each in target.dataset.rollups}
            if table.rollup:
                shadow_tables.merge_rollup_parts(connection, name, rollups[table.rollup])
            shadow_tables.complete_shadow(connection, name, shape, rename)

    def _parts(self, table: Table) -> Iterator[tuple[Part, bytes]]:
        """Yield the parts of a table, verified; fetches ahead."""
        with ThreadPoolExecutor(_AHEAD, "restore") as pool:
            waiting: deque[tuple[Part, Future[bytes]]] = deque()
            for part in table.parts:
                waiting.append((part, pool.submit(self._fetch, part)))
                if len(waiting) > _AHEAD:
                    first, job = waiting.popleft()
                    yield first, job.result()
            while waiting:
                first, job = waiting.popleft()
                yield first, job.result()

    def _fetch(self, part: Part) -> bytes:
        data = self._archive.fetch(self._settings.outbox, part.object, part.size_bytes)
        if data is None:
            raise DamagedBackupError(f"{part.object} is missing; nothing was changed")
        if len(data) != part.size_bytes or hashlib.sha256(data).hexdigest() != part.sha256:
            raise DamagedBackupError(
                f"{part.object} does not match the checksum in the manifest; nothing was changed"
            )
        return data

    def _restore(
        self, connection: Connection, target: _Target, table: Table, part: Part, data: bytes
    ) -> None:
        """Copy the rows of a part; the next batch is decoded while one is copied."""
        rows = 0
        with ThreadPoolExecutor(1, "decode") as pool:
            batches = self._batches(table, part, data)
            waiting = pool.submit(next, batches, None)
            while (values := waiting.result()) is not None:
                rows += len(values[0])
                if rows > part.rows:
                    break
                waiting = pool.submit(next, batches, None)
                self._copy(connection, target, table, part, values)
        if rows != part.rows:
            raise DamagedBackupError(f"{part.object} does not contain {part.rows} rows")
        done = self._progress
        self._progress = replace(
            done,
            rows=done.rows + part.rows,
            size_bytes=done.size_bytes + part.size_bytes,
            parts=done.parts + 1,
        )
        self._report(self._progress)

    def _batches(self, table: Table, part: Part, data: bytes) -> Iterator[list[Values]]:
        """Yield the decoded rows of a part.

        Raises:
            DamagedBackupError: it is damaged, or has more values than a backup writes into a part.
        """
        columns = table.shape.columns
        batches = (
            read_parquet(data, columns)
            if self._format is Format.PARQUET
            else read_avro(data, [each.field for each in columns])
        )
        try:
            yield from _bounded(batches)
        except DamagedBackupError as error:
            raise DamagedBackupError(
                f"{part.object} cannot be restored: {error.detail}; nothing was changed"
            ) from error

    def _copy(
        self,
        connection: Connection,
        target: _Target,
        table: Table,
        part: Part,
        values: list[Values],
    ) -> None:
        stored: list[Values] = []
        for column, each in zip(table.shape.columns, values, strict=True):
            if column.dictionary and isinstance(each, Texts):
                stored.append(coded(each, _codes(connection, target, column.dictionary, each)))
            elif column.name == INGESTION_COLUMN and isinstance(each, Numbers):
                numbers = _ingestions(each, target)
                if not table.rollup:
                    target.own_rows += int((numbers.values == target.ingestion).sum())
                stored.append(numbers)
            else:
                stored.append(each)
        block_bytes = self._settings.copy_block_bytes
        written = shadow_tables.copy_into_shadow(
            connection, target.table(table), table.shape.columns, stored, block_bytes
        )
        if written != len(values[0]):
            raise DamagedBackupError(
                f"{part.object}: PostgreSQL wrote {written} of {len(values[0])} rows"
            )


def _bounded(batches: Iterator[list[Values]]) -> Iterator[list[Values]]:
    """Yield the batches of a part.

    Raises:
        DamagedBackupError: they have more values than a part may have.
    """
    size_bytes = 0
    for values in batches:
        size_bytes += size_of(values)
        if size_bytes > MAX_DECODED_BYTES:
            raise DamagedBackupError(f"it has more than {MAX_DECODED_BYTES:,} bytes of values")
        yield values


def _ingestions(values: Numbers, target: _Target) -> Numbers:
    kept = np.isin(values.values, list(target.kept))
    return Numbers(np.where(kept, values.values, np.int32(target.ingestion)))


def _codes(
    connection: Connection, target: _Target, column: str, values: Texts
) -> Mapping[str, int]:
    known = target.codes.setdefault(column, {})
    missing = [text for text in distinct_texts(values) if text not in known]
    if missing:
        known.update(add_texts(connection, dictionary_table(target.dataset.name, column), missing))
    return known


def _shape(connection: Connection, target: _Target, table: Table) -> Shape:
    """Return the shape to build: that of the backup for a copy, that of the present table in place.

    Raises:
        BackupMismatchError: the present table lacks a column or a roll-up of the backup.
    """
    if not target.in_place:
        return table.shape
    if table.rollup and table.rollup not in {each.name for each in target.dataset.rollups}:
        raise _mismatch(target, f"roll-up {table.rollup} no longer exists")
    shape = snapshots.shape_of(connection, target.dataset, target.table(table))
    held = {each.name: each for each in table.shape.columns}
    for each in shape.columns:
        saved = held.pop(each.name, None)
        if saved is None and not each.nullable:
            raise _mismatch(target, f"column {each.name} is required and not in the backup")
        if saved is not None and (saved.type, saved.dictionary) != (each.type, each.dictionary):
            raise _mismatch(target, f"column {each.name} was {saved.type} and is {each.type}")
    if held:
        raise _mismatch(target, f"column {', '.join(held)} no longer exists")
    return shape


def _mismatch(target: _Target, why: str) -> BackupMismatchError:
    return BackupMismatchError(
        f"{target.saved.name}: {why}; its declaration changed after the backup. Restore a copy"
        " with a suffix, or declare it as it was; nothing was changed",
        dataset=target.saved.name,
    )


# Swapping the tables


def _swap_tables(connection: Connection, target: _Target, project: str) -> None:
    name, dataset = target.dataset.name, target.dataset
    key = {"ingestion": target.ingestion, "dataset": name}
    connection.execute(statement("lock_dataset"), {"dataset": name})
    tables = list(target.shapes)
    known = connection.execute(statement("select_declaration"), {"dataset": name}).one_or_none()
    views = [view(name), *(view(name, each.name) for each in dataset.rollups)]
    if known is not None:
        shadow_tables.lock_tables(connection, tables)
        _include_concurrent_changes(connection, target)
        before = parse_document(known.declaration)
        views += [view(name, each.name) for each in before.rollups]
    for table in tables:
        shadow_tables.swap(connection, table, views)
    if target.in_place:
        shadow_tables.run_all(connection, view_sql(dataset))
    else:
        shadow_tables.drop_companions(connection, name)
        connection.execute(statement("delete_dataset"), {"dataset": name})
        declare_within(connection, target.document, origin="restored", has_table=True)
    # None: their rows are no longer in the tables.
    withdraw(connection, None, target.withdrawn, target.ingestion, project)
    rows = {"ingestion": target.ingestion, "rows": target.own_rows}
    connection.execute(statement("count_restored_rows"), rows)
    connection.execute(statement("publish"), key)
    connection.execute(statement("touch_freshness"), key)
    move(connection, target.ingestion, State.DONE, project)


def _include_concurrent_changes(connection: Connection, target: _Target) -> None:
    """Apply what changed in the dataset while the shadow tables were built."""
    published = {s.ingestion for s in snapshots.sources_of(connection, target.dataset.name)}
    target.withdrawn = sorted(published - target.kept)
    target.gone = target.kept - published
    key = {"dataset": target.dataset.name, "ingestion": target.ingestion}
    loading = connection.scalars(statement("unfinished_of_dataset"), key).all()
    rows = store_table(target.dataset.name)
    for table, shape in target.shapes.items():
        adopted = shadow_tables.adopt_rows(connection, table, target.gone, target.ingestion)
        target.own_rows += adopted if table == rows else 0
        if target.in_place and not target.dataset.is_staged:
            shadow_tables.copy_loading_rows(connection, table, shape.columns, loading)
    if target.in_place:
        connection.execute(statement("repeat_preparations"), {"ingestions": loading})
        ids = {"ingestions": list(target.kept - target.gone)}
        kept = connection.scalars(statement("in_order_of_uploads"), ids)
        relink_replaced(connection, target.dataset, kept, shadow_tables.shadow_of(rows))
