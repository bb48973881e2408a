"""The use case of load: one chunk, one transaction.

Rows, rejects, parts of roll-ups, the chunk's receipt and the event commit together or not at all. A
second delivery finds the receipt; a concurrent one finds the lock.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from sluice.datasets import identifiers
from sluice.datasets.identifiers import quote
from sluice.errors import (
    AccountImbalanceError,
    ChunkInProgressError,
    NotFoundError,
    PermanentError,
    UnknownDatasetError,
)
from sluice.ingestion.constraint_errors import refused_rows
from sluice.ingestion.ingestions import count_chunk, fail, insert_receipt, lock_ingestion
from sluice.ingestion.model import UNFINISHED, Account, State
from sluice.ingestion.outbox import relay
from sluice.parsing.chunk import ParsedChunk, copied_columns, copied_rollup_columns
from sluice.parsing.copy_stream import CopyStream, stream_rejects
from sluice.parsing.layout import Layout
from sluice.parsing.parser import parse_chunk
from sluice.postgres.catalog import find_dataset
from sluice.postgres.connection import copy_in, transaction
from sluice.postgres.named_sql import composed, statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine

    from sluice.csv.rejects import Reject
    from sluice.datasets.model import Dataset
    from sluice.ingestion.chunks import Chunk
    from sluice.ports import Objects, Publisher
    from sluice.settings import Settings

_LOADABLE = (State.SPLITTING, State.LOADING)


class Load:
    """Loads chunks.

    Args:
        settings: `project`, `copy_block_bytes`.
        engine: the database.
        objects: Cloud Storage.
        publisher: Pub/Sub.
    """

    def __init__(
        self, settings: Settings, engine: Engine, objects: Objects, publisher: Publisher
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._objects = objects
        self._publisher = publisher

    def __call__(self, chunk: Chunk) -> None:
        """Load a chunk exactly once, however often it is delivered.

        Raises:
            TransientError: deliver the message again.
        """
        try:
            self._load(chunk)
        except PermanentError as error:
            self._fail(chunk.ingestion, error)
        relay(self._engine, self._publisher, chunk.ingestion)

    def _load(self, chunk: Chunk) -> None:
        dataset = find_dataset(self._engine, chunk.dataset)
        if dataset is None:
            raise UnknownDatasetError(f"dataset {chunk.dataset} is not declared any more")
        with transaction(self._engine) as connection:
            layout = self._find_work(connection, chunk)
            if layout is None:
                return
            data = self._objects.read(
                chunk.bucket,
                chunk.object,
                chunk.generation,
                chunk.first_byte - chunk.offset,
                chunk.end_byte - chunk.offset,
            )
            with parse_chunk(
                data,
                dataset,
                layout,
                first_line=chunk.first_line,
                first_record=chunk.first_record,
            ) as parsed:
                del data
                with refused_rows(f"lines from {chunk.first_line}"):
                    parsed.encode(codes_of_texts(self._engine, dataset, parsed))
                    self._write(connection, chunk, dataset, parsed)

    def _find_work(self, connection: Connection, chunk: Chunk) -> Layout | None:
        """Return how the file lays out its columns, or None when nothing is left to do.

        Raises:
            ChunkInProgressError: another loader is loading the chunk.
            NotFoundError: the message names an ingestion that does not exist.
        """
        key = {"ingestion": chunk.ingestion, "chunk": chunk.number}
        if not connection.scalar(statement("lock_chunk"), key):
            raise ChunkInProgressError(f"chunk {chunk.number} of ingestion {chunk.ingestion}")
        place = {
            "first_byte": chunk.first_byte,
            "end_byte": chunk.end_byte,
            "first_line": chunk.first_line,
            "first_record": chunk.first_record,
        }
        work = connection.execute(statement("select_chunk_state"), {**key, **place}).one_or_none()
        if work is None:
            raise NotFoundError(f"there is no ingestion {chunk.ingestion}")
        is_due = State(work.state) in _LOADABLE and work.is_current and not work.has_receipt
        return Layout.from_json(work.layout) if is_due else None

    def _write(
        self, connection: Connection, chunk: Chunk, dataset: Dataset, parsed: ParsedChunk
    ) -> None:
        ingestion, project = chunk.ingestion, self._settings.project
        account = store_rows(connection, ingestion, dataset, parsed, self._settings)
        insert_receipt(connection, ingestion, chunk.number, account, parsed.recovered)
        if count_chunk(connection, ingestion, chunk.size_bytes, account, project) is None:
            connection.rollback()  # cancelled or failed meanwhile: nothing of the chunk stays

    def _fail(self, ingestion: int, error: PermanentError) -> None:
        with transaction(self._engine) as connection:
            row = lock_ingestion(connection, ingestion)
            if row is None:
                raise error
            if row.state in UNFINISHED:
                fail(connection, ingestion, error, self._settings.project)


def codes_of_texts(
    engine: Engine, dataset: Dataset, parsed: ParsedChunk
) -> dict[str, dict[str, int]]:
    """Return the codes of each dictionary column's texts; new texts are given theirs here."""
    return {
        each.name: _codes.codes_of(engine, dataset.name, each.name, parsed.texts(each.name))
        for each in dataset.dictionaries
    }


def store_rows(
    connection: Connection,
    ingestion: int,
    dataset: Dataset,
    parsed: ParsedChunk,
    settings: Settings,
) -> Account:
    """Write rows, parts of roll-ups and rejects of a parsed chunk; return its account.

    Raises:
        AccountImbalanceError: PostgreSQL wrote another number of rows.
    """
    block_bytes = settings.copy_block_bytes
    place = identifiers.staging_table if dataset.is_staged else identifiers.store_table
    table = place(dataset.name)
    rows = parsed.copy_rows(ingestion, block_bytes)
    written = copy_stream(connection, table, copied_columns(dataset), rows)
    if written != len(parsed.rows):
        raise AccountImbalanceError(
            f"ingestion {ingestion}: PostgreSQL wrote {written} of {len(parsed.rows)} rows of a chunk"
        )
    for rollup in dataset.rollups:
        table = identifiers.rollup_table(dataset.name, rollup.name)
        part = parsed.copy_rollup(rollup, ingestion, block_bytes)
        copy_stream(connection, table, copied_rollup_columns(rollup), part)
    keep_rejects(connection, [(ingestion, each) for each in parsed.rejects])
    return Account(parsed.records_read, written, len(parsed.rejects))


def copy_stream(
    connection: Connection, table: str, columns: tuple[str, ...], stream: CopyStream
) -> int:
    """Write a stream of rows; return how many they were."""
    options, blocks = stream
    names = ", ".join(quote(name) for name in columns)
    return copy_in(connection, f"COPY {table} ({names}) FROM STDIN {options}", blocks)


def keep_rejects(connection: Connection, rejects: Sequence[tuple[int, Reject]]) -> None:
    """Keep refused rows, each with its ingestion, whole."""
    if not rejects:
        return
    columns = ("ingestion", "record", "line", "column_name", "rule", "value", "reason", "original")
    copy_stream(connection, "sluice.rejects", columns, stream_rejects(rejects))


class _Codes:
    """The codes of dictionary columns, kept in this process: they never change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: weakref.WeakKeyDictionary[Engine, dict[str, dict[str, int]]] = (
            weakref.WeakKeyDictionary()
        )

    def codes_of(
        self, engine: Engine, dataset: str, column: str, texts: list[str]
    ) -> dict[str, int]:
        """Return the code of each text; new texts get theirs in a transaction of its own.

        So loaders do not wait for each other's rows; the code of a chunk that is rolled back stays,
        unused.
        """
        table = identifiers.dictionary_table(dataset, column)
        with self._lock:
            known = self._known.setdefault(engine, {}).setdefault(table, {})
            found = {text: known[text] for text in texts if text in known}
        missing = [text for text in texts if text not in found]
        if not missing:
            return found
        # Not under the lock: who waits for a connection may not hold up those that have one.
        made = _make_codes(engine, table, missing)
        with self._lock:
            known.update(made)
        return {**found, **made}


def _make_codes(engine: Engine, table: str, texts: list[str]) -> dict[str, int]:
    with transaction(engine) as connection:
        connection.execute(
            composed(
                f"INSERT INTO {table} (text) SELECT each FROM unnest(CAST(:texts AS text[])) AS each "
                f"WHERE each NOT IN (SELECT text FROM {table}) ORDER BY each ON CONFLICT DO NOTHING"
            ),
            {"texts": texts},
        )
    with transaction(engine) as connection:
        rows = connection.execute(
            composed(f"SELECT text, code FROM {table} WHERE text = ANY (CAST(:texts AS text[]))"),
            {"texts": texts},
        )
        return {row.text: row.code for row in rows}


_codes = _Codes()
