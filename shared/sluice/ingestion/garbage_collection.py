"""Clears away what nobody will see: rows of ended ingestions, chunks of compressed files, old projections.

Rows go in batches of pages, each its own short transaction: one pass over a table deletes the rows of
all ended ingestions, whatever its size, and holds up no load for long. Rejects and receipts stay: they
tell what happened.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluice.csv.decompression import compression_of
from sluice.datasets.identifiers import quote
from sluice.datasets.model import INGESTION_COLUMN, SEGMENT_COLUMN
from sluice.ingestion.ingestions import query_ingestions, select_chunks
from sluice.ingestion.model import Ingestion, State
from sluice.ingestion.sources import open_source
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import composed, statement

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Engine

    from sluice.ports import Objects
    from sluice.settings import Settings

#: What one sweep takes on, so that it ends well before its request does; the next one goes on.
_MAX_INGESTIONS = 500
_MAX_S = 300.0
_PAGES = 4096  # of 8 KiB


@dataclass
class Cleared:
    """How much was cleared away."""

    ingestions: int = 0
    rows: int = 0


class Clearing:
    """Clears away after ingestions that ended a while ago.

    Args:
        settings: `sweep_idle_s`, `outbox`.
        engine: the database.
        objects: Cloud Storage.
    """

    def __init__(self, settings: Settings, engine: Engine, objects: Objects) -> None:
        self._settings = settings
        self._engine = engine
        self._objects = objects
        self._give_up_at = time.monotonic() + _MAX_S

    def __call__(self) -> Cleared:
        """Clear away what there is time for."""
        cleared = Cleared()
        wanted = {"idle_s": self._settings.sweep_idle_s, "limit": _MAX_INGESTIONS}
        with transaction(self._engine) as connection:
            ended = query_ingestions(connection, "uncollected_ingestions", wanted)
        by_dataset: dict[str, list[Ingestion]] = {}
        for each in ended:
            by_dataset.setdefault(each.dataset or "", []).append(each)
        for dataset, ingestions in by_dataset.items():
            self._clear(dataset, ingestions, cleared)
        self._clear_segments(wanted)
        return cleared

    def _clear_segments(self, wanted: Mapping[str, object]) -> None:
        """Delete retired segments and their rows."""
        with transaction(self._engine) as connection:
            retired = connection.execute(statement("retired_segments"), wanted).all()
        by_dataset: dict[str, list[int]] = {}
        for each in retired:
            by_dataset.setdefault(each.dataset, []).append(each.id)
        for dataset, segments in by_dataset.items():
            for table, page in self._pages(dataset, SEGMENT_COLUMN):
                if time.monotonic() > self._give_up_at:
                    return
                with transaction(self._engine) as connection:
                    _delete_pages(connection, table, page, SEGMENT_COLUMN, segments)
            with transaction(self._engine) as connection:
                for number in segments:
                    connection.execute(statement("delete_retired_segment"), {"segment": number})

    def _clear(self, dataset: str, ended: list[Ingestion], cleared: Cleared) -> None:
        hidden = [each for each in ended if each.account.loaded and each.state != State.DONE]
        if hidden and not self._delete_rows(dataset, hidden, cleared):
            return
        for each in ended:
            self._delete_chunks(each)
            with transaction(self._engine) as connection:
                key = {"ingestion": each.id, "sequence": each.sequence}
                cleared.ingestions += connection.execute(statement("mark_collected"), key).rowcount

    def _delete_chunks(self, row: Ingestion) -> None:
        """Delete the content of a compressed file from the outbox, while no retry needs it."""
        if not compression_of(row.file.name, row.file.content_encoding):
            return
        source = open_source(self._objects, row.file, row.id, self._settings.outbox)
        with transaction(self._engine) as connection:
            if _hold(connection, [row]):
                for chunk in select_chunks(connection, row.id):
                    place = source.place(chunk.cut)
                    self._objects.delete(place.bucket, place.object)

    def _delete_rows(self, dataset: str, ended: Sequence[Ingestion], cleared: Cleared) -> bool:
        """Delete rows from every table of the dataset; False when the time did not suffice."""
        for table, page in self._pages(dataset, INGESTION_COLUMN):
            if time.monotonic() > self._give_up_at:
                return False
            with transaction(self._engine) as connection:
                held = _hold(connection, ended)
                cleared.rows += _delete_pages(connection, table, page, INGESTION_COLUMN, held)
        return True

    def _pages(self, dataset: str, column: str) -> Iterator[tuple[str, int]]:
        """Yield the tables of a dataset that have a column, each with the first page of every batch."""
        with transaction(self._engine) as connection:
            key = {"dataset": dataset, "column": column}
            tables = connection.execute(statement("tables_with_column"), key).all()
        for table in tables:
            for page in range(0, table.pages, _PAGES):
                yield f"store.{quote(table.relname)}", page


def _delete_pages(
    connection: Connection, table: str, page: int, column: str, numbers: Sequence[int]
) -> int:
    """Delete the rows of a batch of pages whose column is one of the numbers; return how many."""
    sql = composed(
        f"DELETE FROM {table} WHERE {column} = ANY (CAST(:numbers AS integer[]))"
        " AND ctid >= CAST(:first AS tid) AND ctid < CAST(:end AS tid)"
    )
    pages = {"first": f"({page},0)", "end": f"({page + _PAGES},0)"}
    return int(connection.execute(sql, {"numbers": list(numbers), **pages}).rowcount)


def _hold(connection: Connection, ended: Sequence[Ingestion]) -> Sequence[int]:
    """Return those that are still as they were found, and keep them so in this transaction."""
    found = {
        "ingestions": [each.id for each in ended],
        "sequences": [each.sequence for each in ended],
    }
    return connection.scalars(statement("lock_ended"), found).all()
