"""Deletes what nobody needs: rows of ended ingestions, chunks of compressed files, retired segments.

Rows are deleted page range by page range, each in a short transaction: one pass over a table deletes
the rows of all ended ingestions whatever its size, and blocks no load for long. Rejects and receipts
are kept as a record.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sluice.datasets.identifiers import quote, staging_table
from sluice.datasets.model import INGESTION_COLUMN, SEGMENT_COLUMN
from sluice.documents.ingestions import State
from sluice.ingestion.ingestions import query_ingestions, select_chunks
from sluice.ingestion.model import Ingestion
from sluice.ingestion.preparation import drop_staging_index
from sluice.ingestion.sources import recorded_source
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import composed, statement

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection, Engine

    from sluice.ports import Environment

#: Limits of one run, so that it ends well before its request does; the next run continues.
_MAX_INGESTIONS = 500
_MAX_S = 300.0
_PAGES = 4096  # of 8 KiB


@dataclass
class Collected:
    """How much was deleted.

    Attributes:
        ingestions: ended ingestions that leave nothing to delete now.
        rows: rows of ended ingestions.
    """

    ingestions: int = 0
    rows: int = 0
    _ends_at: float = field(default_factory=lambda: time.monotonic() + _MAX_S)

    @property
    def is_out_of_time(self) -> bool:
        """Whether the run must end."""
        return time.monotonic() > self._ends_at


def collect_garbage(env: Environment) -> Collected:
    """Delete what there is time for.

    Args:
        env: settings `recovery_idle_s`, `outbox`.
    """
    run = Collected()
    values = {"idle_s": env.settings.recovery_idle_s, "limit": _MAX_INGESTIONS}
    with transaction(env.engine) as connection:
        connection.execute(statement("delete_full_buckets"))
        ended = query_ingestions(connection, "uncollected_ingestions", values)
        retired = connection.execute(statement("retired_segments"), values).all()
    for dataset in {each.dataset for each in ended}:
        _collect(env, dataset or "", [each for each in ended if each.dataset == dataset], run)
    for dataset in {each.dataset for each in retired}:
        segments = [each.id for each in retired if each.dataset == dataset]
        _delete_segments(env.engine, dataset, segments, run)
    return run


def _collect(env: Environment, dataset: str, ended: list[Ingestion], run: Collected) -> None:
    with transaction(env.engine) as connection:
        connection.execute(statement("begin_collection"), _versions(ended))
        prepared = _prepared(connection, ended)
    hidden = [each for each in ended if each.account.loaded and each.state != State.DONE]
    copied = [each for each in prepared if each.state == State.DONE]
    if hidden and not _delete_rows(env.engine, dataset, hidden, run):
        return
    if copied and not _delete_rows(env.engine, dataset, copied, run, [staging_table(dataset)]):
        return
    for each in prepared:
        with transaction(env.engine) as connection:
            drop_staging_index(connection, each.id)
    for each in ended:
        _delete_chunks(env, each)
        key = {"ingestion": each.id, "sequence": each.sequence}
        with transaction(env.engine) as connection:
            run.ingestions += connection.execute(statement("mark_collected"), key).rowcount


def _prepared(connection: Connection, ended: Sequence[Ingestion]) -> list[Ingestion]:
    """Return those whose rows were prepared: copied from the staging table, which has them still."""
    values = {"ingestions": [each.id for each in ended]}
    found = set(connection.scalars(statement("prepared_ingestions"), values))
    return [each for each in ended if each.id in found]


def _delete_rows(
    engine: Engine,
    dataset: str,
    ended: Sequence[Ingestion],
    run: Collected,
    tables: Sequence[str] = (),
) -> bool:
    """Delete rows from the tables, or every one of the dataset; False when there was not enough time."""
    for table, page in _pages(engine, dataset, INGESTION_COLUMN):
        if tables and table not in tables:
            continue
        if run.is_out_of_time:
            return False
        with transaction(engine) as connection:
            locked = _lock_unchanged(connection, ended)
            run.rows += _delete_pages(connection, table, page, INGESTION_COLUMN, locked)
    return True


def _delete_chunks(env: Environment, ingestion: Ingestion) -> None:
    """Delete the chunks of a compressed or converted file from the outbox, while no retry needs them."""
    source = recorded_source(env.storage, ingestion, env.settings.outbox)
    if not source.is_copied:
        return
    with transaction(env.engine) as connection:
        if _lock_unchanged(connection, [ingestion]):
            for chunk in select_chunks(connection, ingestion.id):
                location = source.location(chunk.cut)
                env.storage.delete(location.bucket, location.object)


def _delete_segments(engine: Engine, dataset: str, segments: Sequence[int], run: Collected) -> None:
    """Delete retired segments and their rows in projections."""
    for table, page in _pages(engine, dataset, SEGMENT_COLUMN):
        if run.is_out_of_time:
            return
        with transaction(engine) as connection:
            _delete_pages(connection, table, page, SEGMENT_COLUMN, segments)
    with transaction(engine) as connection:
        for number in segments:
            connection.execute(statement("delete_retired_segment"), {"segment": number})


def _pages(engine: Engine, dataset: str, column: str) -> Iterator[tuple[str, int]]:
    """Yield the tables of a dataset that have a column, with the first page of each page range."""
    with transaction(engine) as connection:
        key = {"dataset": dataset, "column": column}
        tables = connection.execute(statement("tables_with_column"), key).all()
    for table in tables:
        for page in range(0, table.pages, _PAGES):
            yield f"store.{quote(table.relname)}", page


def _delete_pages(
    connection: Connection, table: str, page: int, column: str, numbers: Sequence[int]
) -> int:
    """Delete the rows of a page range whose column is one of the numbers; return how many."""
    sql = composed(
        f"DELETE FROM {table} WHERE {column} = ANY (CAST(:numbers AS integer[]))"
        " AND ctid >= CAST(:first AS tid) AND ctid < CAST(:end AS tid)"
    )
    pages = {"first": f"({page},0)", "end": f"({page + _PAGES},0)"}
    return int(connection.execute(sql, {"numbers": list(numbers), **pages}).rowcount)


def _lock_unchanged(connection: Connection, ended: Sequence[Ingestion]) -> Sequence[int]:
    """Lock the ingestions that have not changed since they were read, and return them."""
    return connection.scalars(statement("lock_ended"), _versions(ended)).all()


def _versions(ended: Sequence[Ingestion]) -> dict[str, list[int]]:
    return {
        "ingestions": [each.id for each in ended],
        "sequences": [each.sequence for each in ended],
    }
