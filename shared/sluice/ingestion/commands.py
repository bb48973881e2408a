"""Operator commands: cancel, undo or retry an ingestion; each writes its event and publishes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.datasets import identifiers
from sluice.datasets.model import INGESTION_COLUMN, Dataset
from sluice.documents.ingestions import State
from sluice.errors import IllegalTransitionError
from sluice.ingestion.dispatch import publish_notification
from sluice.ingestion.ingestions import move, select_ingestion
from sluice.ingestion.merge import withdraw
from sluice.ingestion.model import Ingestion
from sluice.ingestion.outbox import relay
from sluice.postgres.catalog import read_dataset
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import composed, statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.ports import Environment


def cancel(env: Environment, ingestion: int) -> None:
    """Cancel an ingestion that is not published yet; loaders ignore its other chunks.

    Raises:
        IllegalTransitionError: it is published, or ended.
        NotFoundError: there is no such ingestion.
    """
    with transaction(env.engine) as connection:
        move(connection, ingestion, State.CANCELLED, env.settings.project)
    relay(env.engine, env.publisher, ingestion)


def undo(env: Environment, ingestion: int) -> None:
    """Withdraw the rows of a published ingestion, in one small update.

    Where the dataset has a key, its rows are deleted and the rows they replaced are restored.

    Raises:
        IllegalTransitionError: it is not done.
        NotFoundError: there is no such ingestion.
    """
    with transaction(env.engine) as connection:
        found = select_ingestion(connection, ingestion)
        if found.fixes is not None:
            raise IllegalTransitionError(
                f"ingestion {ingestion} fixed rejects of ingestion {found.fixes}, which has its rows now;"
                f" undo ingestion {found.fixes}",
                state=str(found.state),
            )
        name = found.dataset
        key = {"ingestion": ingestion, "dataset": name or ""}
        connection.execute(statement("lock_dataset"), {"dataset": name or ""})
        dataset = read_dataset(connection, name or "")
        withdraw(connection, dataset, [ingestion], None, env.settings.project)
        connection.execute(statement("touch_freshness"), key)
    relay(env.engine, env.publisher, ingestion)


def retry(env: Environment, ingestion: int) -> None:
    """Restart a failed, cancelled or skipped ingestion from the first byte of its file.

    The remains of the earlier attempt are deleted first, so that a changed declaration or a fixed
    cause takes effect.

    Raises:
        IllegalTransitionError: it is neither failed, cancelled, skipped nor just restarted.
        NotFoundError: there is no such ingestion.
        PubsubUnavailableError: it was restarted, but split was not notified; retry again later.
    """
    with transaction(env.engine) as connection:
        found = select_ingestion(connection, ingestion)
    if found.source != "file":
        raise IllegalTransitionError(
            f"ingestion {ingestion} came as rows in a request, and there is no file to read "
            "again; send the rows again",
            state=str(found.state),
        )
    if found.state != State.RECEIVED:
        _restart(env, found)
    relay(env.engine, env.publisher, ingestion)
    publish_notification(env.publisher, found)


def _restart(env: Environment, ingestion: Ingestion) -> None:
    """Move it to `received` and delete the earlier attempt, once no handler works on that."""
    key = {"ingestion": ingestion.id}
    with transaction(env.engine) as connection:
        dataset = read_dataset(connection, ingestion.dataset or "")
        connection.execute(statement("lock_attempt"), key)
        connection.execute(statement("reset_ingestion"), key)
        move(connection, ingestion.id, State.RECEIVED, env.settings.project)
        if dataset is not None:
            _delete_rows(connection, dataset, ingestion.id)
        for name in (
            "delete_failed_attempts",
            "delete_rejects",
            "delete_receipts",
            "delete_chunks",
        ):
            connection.execute(statement(name), key)


def _delete_rows(connection: Connection, dataset: Dataset, ingestion: int) -> None:
    tables = [identifiers.store_table(dataset.name)]
    tables += [identifiers.rollup_table(dataset.name, each.name) for each in dataset.rollups]
    for table in tables:
        sql = composed(f"DELETE FROM {table} WHERE {INGESTION_COLUMN} = :ingestion")
        connection.execute(sql, {"ingestion": ingestion})
