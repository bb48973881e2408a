"""Operator commands: cancel, undo or retry an ingestion; each writes its event and publishes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.access.audit import record
from sluice.datasets import identifiers
from sluice.datasets.model import INGESTION_COLUMN, Dataset
from sluice.documents.ingestions import State
from sluice.errors import AccountImbalanceError, IllegalTransitionError
from sluice.ingestion.dispatch import publish_notification
from sluice.ingestion.ingestions import lock_ingestion, move, select_ingestion
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
        found = move(connection, ingestion, State.CANCELLED, env.settings.project)
        record_command(connection, env, "ingestion.cancel", found)
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
        record_command(connection, env, "ingestion.undo", found)
    relay(env.engine, env.publisher, ingestion)


def record_command(
    connection: Connection, env: Environment, action: str, ingestion: Ingestion
) -> None:
    """Record in the audit log who gave a command to an ingestion."""
    record(connection, env.actor, action, dataset=ingestion.dataset, subject=ingestion.id)


def retry(env: Environment, ingestion: int) -> None:
    """Start a failed, cancelled or skipped ingestion again.

    A failed one resumes from the chunks without a receipt, if its declaration is the same and its rows are
    still stored. In any other case the remains of the earlier attempt are deleted, and it starts from the
    first byte of its file.

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
    """Move it to `received`, once no handler works on the earlier attempt, of which it keeps what it can."""
    key = {"ingestion": ingestion.id}
    with transaction(env.engine) as connection:
        dataset = read_dataset(connection, ingestion.dataset or "")
        connection.execute(statement("lock_attempt"), key)
        # Before the ingestion is locked: who does a step locks the ingestion after it.
        connection.execute(statement("delete_publish_steps"), key)
        is_resumed = _can_resume(connection, ingestion.id, dataset)
        connection.execute(statement("resume_ingestion" if is_resumed else "reset_ingestion"), key)
        move(connection, ingestion.id, State.RECEIVED, env.settings.project)
        record_command(connection, env, "ingestion.retry", ingestion)
        connection.execute(statement("delete_failed_attempts"), key)
        if is_resumed:
            connection.execute(statement("delete_rejects_without_receipt"), key)
        else:
            _delete_attempt(connection, dataset, ingestion.id)
            connection.execute(statement("delete_prepared"), key)


def _can_resume(connection: Connection, ingestion: int, dataset: Dataset | None) -> bool:
    """Whether the chunks that are loaded can be kept.

    Staged rows are discarded when an ingestion fails. An account that does not balance is made again.
    """
    found = lock_ingestion(connection, ingestion)
    if found is None or found.state != State.FAILED or found.is_observing:
        return False
    if dataset is None or dataset.is_staged:
        return False
    is_same = found.layout is not None and found.declaration_version == dataset.version
    is_balanced = (found.problem or {}).get("code") != AccountImbalanceError.code
    key = {"ingestion": ingestion}
    return is_same and is_balanced and bool(connection.scalar(statement("has_all_rows"), key))


def _delete_attempt(connection: Connection, dataset: Dataset | None, ingestion: int) -> None:
    if dataset is not None:
        _delete_rows(connection, dataset, ingestion)
    for name in ("delete_rejects", "delete_receipts", "delete_observations", "delete_chunks"):
        connection.execute(statement(name), {"ingestion": ingestion})


def _delete_rows(connection: Connection, dataset: Dataset, ingestion: int) -> None:
    tables = [identifiers.store_table(dataset.name)]
    tables += [identifiers.rollup_table(dataset.name, each.name) for each in dataset.rollups]
    for table in tables:
        sql = composed(f"DELETE FROM {table} WHERE {INGESTION_COLUMN} = :ingestion")
        connection.execute(sql, {"ingestion": ingestion})
