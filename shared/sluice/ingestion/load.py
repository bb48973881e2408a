"""The use case of load: one chunk in one transaction.

Rows, rejects, parts of roll-ups, the chunk's receipt and the event commit together or not at all. A
second delivery finds the receipt, a concurrent one the lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.datasets import identifiers
from sluice.datasets.identifiers import quote
from sluice.documents.ingestions import Account, State
from sluice.errors import (
    AccountImbalanceError,
    ChunkInProgressError,
    NotFoundError,
    UnknownDatasetError,
)
from sluice.ingestion.constraint_errors import constraint_errors
from sluice.ingestion.failures import Step, attempt
from sluice.ingestion.ingestions import count_chunk, fail, insert_receipt, lock_ingestion
from sluice.ingestion.observe import observe_chunk
from sluice.ingestion.outbox import relay
from sluice.ingestion.reconciliation import beyond_limit, surely_too_many_rejects
from sluice.ingestion.reject_objects import write_reject_files
from sluice.parsing.chunk import ParsedChunk, copied_columns, copied_rollup_columns
from sluice.parsing.copy_stream import REJECT_COLUMNS, CopyStream, stream_rejects
from sluice.parsing.layout import Layout
from sluice.parsing.parser import ChunkRejectedError, parse_chunk
from sluice.postgres.catalog import dataset_of_version
from sluice.postgres.connection import copy_in, transaction
from sluice.postgres.dictionary_codes import find_codes
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from sqlalchemy import Connection, Engine, Row

    from sluice.csv.rejects import Reject
    from sluice.datasets.model import Dataset
    from sluice.ingestion.chunks import Chunk
    from sluice.ports import Environment

_LOADABLE = (State.SPLITTING, State.LOADING)


def load_chunk(env: Environment, chunk: Chunk, delivery: int = 1) -> None:
    """Load a chunk exactly once, however often its message is delivered.

    Args:
        env: settings `project`, `outbox`, `copy_block_bytes`, `max_rejects`, and those of `attempt`.
        chunk: the message.
        delivery: how often it was delivered.

    Raises:
        TransientError: deliver the message again.
    """
    step = Step(chunk.ingestion, f"load of chunk {chunk.number}", delivery)
    attempt(env, step, lambda: _load(env, chunk))
    write_reject_files(env, chunk.ingestion)
    relay(env.engine, env.publisher, chunk.ingestion)


def _load(env: Environment, chunk: Chunk) -> None:
    with transaction(env.engine) as connection:
        claimed = _claim(connection, chunk)
        if claimed is None:
            return
        if claimed.layout.get("is_observing"):
            data = _read(env, chunk)
            observe_chunk(connection, chunk, data, claimed.layout, env.settings.project)
            return
        try:
            _parse(env, connection, chunk, claimed)
        except ChunkRejectedError as error:
            _refuse(connection, chunk.ingestion, error, env.settings.project)


def _read(env: Environment, chunk: Chunk) -> bytes:
    first_byte, end_byte = chunk.first_byte - chunk.offset, chunk.end_byte - chunk.offset
    return env.storage.read(chunk.bucket, chunk.object, chunk.generation, first_byte, end_byte)


def _parse(env: Environment, connection: Connection, chunk: Chunk, claimed: Row[Any]) -> None:
    """Parse a chunk and write its rows.

    Raises:
        UnknownDatasetError: the dataset was deleted.
        ChunkRejectedError: too many rows are rejects.
    """
    dataset = dataset_of_version(connection, chunk.dataset, claimed.declaration_version)
    if dataset is None:
        raise UnknownDatasetError(
            f"dataset {chunk.dataset} is not declared any more; declare it and retry"
        )
    with (
        parse_chunk(
            _read(env, chunk),
            dataset,
            Layout.from_json(claimed.layout),
            first_line=chunk.first_line,
            first_record=chunk.first_record,
            max_rejects=env.settings.max_rejects,
        ) as parsed,
        constraint_errors(f"lines from {chunk.first_line}", is_masked=dataset.has_pii),
    ):
        parsed.encode(codes_of_texts(env.engine, dataset, parsed))
        if parsed.recovered and dataset.is_staged:
            parsed.number_apart(chunk.number, chunk.first_record)
        _write(env, connection, chunk, dataset, parsed)


def _refuse(
    connection: Connection, ingestion: int, error: ChunkRejectedError, project: str
) -> None:
    """Fail the ingestion of a chunk with too many rejects, and keep the first of them."""
    found = lock_ingestion(connection, ingestion)
    if found is not None and found.state in _LOADABLE:
        write_rejects(connection, [(ingestion, each) for each in error.rejects])
        fail(connection, ingestion, error, project)


def _claim(connection: Connection, chunk: Chunk) -> Row[Any] | None:
    """Lock a chunk, and the types of its dataset; return what `select_chunk_state` found.

    None when nothing is left to do.

    Raises:
        ChunkInProgressError: another loader is loading the chunk.
        NotFoundError: there is no such ingestion.
    """
    key = {"ingestion": chunk.ingestion, "chunk": chunk.number}
    if not connection.scalar(statement("lock_chunk"), key):
        raise ChunkInProgressError(chunk.ingestion, chunk.number)
    connection.execute(statement("share_columns"), {"dataset": chunk.dataset})
    place = {
        "first_byte": chunk.first_byte,
        "end_byte": chunk.end_byte,
        "first_line": chunk.first_line,
        "first_record": chunk.first_record,
    }
    found = connection.execute(statement("select_chunk_state"), {**key, **place}).one_or_none()
    if found is None:
        raise NotFoundError(f"there is no ingestion {chunk.ingestion}")
    is_observing = (found.layout or {}).get("is_observing")
    is_done = found.is_observed if is_observing else found.has_receipt
    is_due = found.state in _LOADABLE and found.is_current and not is_done
    return found if is_due else None


def _write(
    env: Environment, connection: Connection, chunk: Chunk, dataset: Dataset, parsed: ParsedChunk
) -> None:
    ingestion, project = chunk.ingestion, env.settings.project
    account = store_rows(connection, ingestion, dataset, parsed, env.settings.copy_block_bytes)
    insert_receipt(connection, ingestion, chunk.number, account, parsed.recovered)
    counted = count_chunk(connection, ingestion, chunk.size_bytes, account, project)
    if counted is None:
        connection.rollback()  # cancelled or failed meanwhile: nothing of the chunk is kept
        return
    refusal = beyond_limit(counted.account, env.settings.max_rejects)
    if counted.state in _LOADABLE:
        refusal = refusal or surely_too_many_rejects(connection, counted, dataset)
    if refusal:
        fail(connection, ingestion, refusal, project)


def codes_of_texts(
    engine: Engine, dataset: Dataset, parsed: ParsedChunk
) -> dict[str, dict[str, int]]:
    """Return the codes of each dictionary column's texts; new texts get theirs."""
    tables = {
        each.name: identifiers.dictionary_table(dataset.name, each.name)
        for each in dataset.dictionaries
    }
    return {
        column: find_codes(engine, table, parsed.texts(column)) for column, table in tables.items()
    }


def store_rows(
    connection: Connection,
    ingestion: int,
    dataset: Dataset,
    parsed: ParsedChunk,
    block_bytes: int,
) -> Account:
    """Write rows, parts of roll-ups and rejects of a parsed chunk; return its account.

    Raises:
        AccountImbalanceError: PostgreSQL wrote another number of rows.
    """
    place = identifiers.staging_table if dataset.is_staged else identifiers.store_table
    table = place(dataset.name)
    rows = parsed.copy_rows(ingestion, block_bytes)
    written = copy_stream(connection, table, copied_columns(dataset), rows)
    if written != len(parsed.rows):
        raise AccountImbalanceError(
            f"ingestion {ingestion}: PostgreSQL wrote {written} of {len(parsed.rows)} rows of a chunk."
            " Nothing of it is published; retry it"
        )
    for rollup in dataset.rollups:
        table = identifiers.rollup_table(dataset.name, rollup.name)
        part = parsed.copy_rollup(rollup, ingestion, block_bytes)
        copy_stream(connection, table, copied_rollup_columns(rollup), part)
    write_rejects(connection, [(ingestion, each) for each in parsed.rejects])
    return Account(parsed.records_read, written, len(parsed.rejects))


def copy_stream(
    connection: Connection, table: str, columns: tuple[str, ...], stream: CopyStream
) -> int:
    """Write a stream of rows; return how many."""
    options, blocks = stream
    names = ", ".join(quote(name) for name in columns)
    return copy_in(connection, f"COPY {table} ({names}) FROM STDIN {options}", blocks)


def write_rejects(connection: Connection, rejects: Sequence[tuple[int, Reject]]) -> None:
    """Write rejects, each with its ingestion."""
    if not rejects:
        return
    copy_stream(connection, "sluice.rejects", REJECT_COLUMNS, stream_rejects(rejects))
