"""The use cases of a person at the valve: cancel an ingestion, undo it, retry it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.datasets import identifiers
from sluice.datasets.model import INGESTION_COLUMN, Dataset
from sluice.errors import IllegalTransitionError
from sluice.ingestion.dispatch import announce
from sluice.ingestion.ingestions import move, select_ingestion
from sluice.ingestion.merge import withdraw
from sluice.ingestion.model import Ingestion, State
from sluice.ingestion.outbox import relay
from sluice.postgres.catalog import find_dataset, read_dataset
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import composed, statement

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from sluice.ports import Publisher
    from sluice.settings import Settings


class Control:
    """Acts on ingestions for a person; each action writes its event and publishes it.

    Args:
        settings: `project`.
        engine: the database.
        publisher: Pub/Sub.
    """

    def __init__(self, settings: Settings, engine: Engine, publisher: Publisher) -> None:
        self._settings = settings
        self._engine = engine
        self._publisher = publisher

    def cancel(self, ingestion: int) -> Ingestion:
        """Stop an ingestion that is not published yet; loaders leave its other chunks alone.

        Raises:
            IllegalTransitionError: it is too late.
            NotFoundError: there is no such ingestion.
        """
        with transaction(self._engine) as connection:
            row = move(connection, ingestion, State.CANCELLED, self._settings.project)
        relay(self._engine, self._publisher, ingestion)
        return row

    def undo(self, ingestion: int) -> Ingestion:
        """Take back the rows of a published ingestion, in one small update.

        Where the dataset has a key, its rows are deleted, and the rows they replaced come back.

        Raises:
            IllegalTransitionError: it is not done.
            NotFoundError: there is no such ingestion.
        """
        with transaction(self._engine) as connection:
            row = select_ingestion(connection, ingestion)
            key = {"ingestion": ingestion, "dataset": row.dataset}
            connection.execute(statement("lock_dataset"), {"dataset": row.dataset or ""})
            dataset = read_dataset(connection, row.dataset or "")
            withdraw(connection, dataset, [ingestion], None, self._settings.project)
            connection.execute(statement("touch_freshness"), key)
            row = select_ingestion(connection, ingestion)
        relay(self._engine, self._publisher, ingestion)
        return row

    def retry(self, ingestion: int) -> Ingestion:
        """Begin a failed or cancelled ingestion anew, from the first byte of its file.

        What is left of the earlier attempt is deleted first, so that a changed declaration or a
        mended cause meets a clean start.

        Raises:
            IllegalTransitionError: it is neither failed nor cancelled, nor only just begun anew.
            NotFoundError: there is no such ingestion.
            PubsubUnavailableError: it was begun anew but not announced; retry again later.
        """
        row = self._find(ingestion)
        if row.source != "file":
            raise IllegalTransitionError(
                f"ingestion {ingestion} came as rows in a request, and there is no file to read "
                "again; send the rows again",
                state=str(row.state),
            )
        if row.state != State.RECEIVED:
            row = self._begin_anew(row)
        relay(self._engine, self._publisher, ingestion)
        announce(self._publisher, row)
        return row

    def _find(self, ingestion: int) -> Ingestion:
        with transaction(self._engine) as connection:
            return select_ingestion(connection, ingestion)

    def _begin_anew(self, row: Ingestion) -> Ingestion:
        """Move it to `received` and clear away the earlier attempt, once nobody works on that."""
        key = {"ingestion": row.id}
        dataset = find_dataset(self._engine, row.dataset or "")
        with transaction(self._engine) as connection:
            connection.execute(statement("lock_attempt"), key)
            connection.execute(statement("reset_ingestion"), key)
            moved = move(connection, row.id, State.RECEIVED, self._settings.project)
            if dataset is not None:
                _delete_rows(connection, dataset, row.id)
            for name in ("delete_rejects", "delete_receipts", "delete_chunks"):
                connection.execute(statement(name), key)
            return moved


def _delete_rows(connection: Connection, dataset: Dataset, ingestion: int) -> None:
    tables = [identifiers.store_table(dataset.name)]
    tables += [identifiers.rollup_table(dataset.name, each.name) for each in dataset.rollups]
    for table in tables:
        sql = composed(f"DELETE FROM {table} WHERE {INGESTION_COLUMN} = :ingestion")
        connection.execute(sql, {"ingestion": ingestion})
