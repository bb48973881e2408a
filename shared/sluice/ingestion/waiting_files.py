"""Backpressure: which files of a dataset wait in `received`, and who takes them.

A dataset has few files in flight, however many are uploaded at once. The handler of any other records it,
durably, and acknowledges its notification; the file waits. Whoever ends a file of the dataset takes what
waits, or notifies split of it, before its own message is acknowledged: if it is killed, the message is
delivered again, and the next handler takes it. So a file waits only while another of its dataset is handled;
recovery resumes what nobody took.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sluice.ingestion.dispatch import publish_notification
from sluice.ingestion.ingestions import query_ingestion, query_ingestions
from sluice.postgres.connection import own_connection, transaction
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from sluice.ingestion.events import Event
    from sluice.ingestion.model import Ingestion
    from sluice.ports import Environment, Publisher


#: Waiting files that are taken at the same time, as many as one group commit loads.
_MAX_FILES = 64


def keep_waiting(connection: Connection, ingestion: Ingestion) -> None:
    """Record that a file waits for others of its dataset, in case recovery resumes it.

    The event of its arrival is published by who takes it, or by recovery.
    """
    connection.execute(statement("keep_waiting"), {"ingestion": ingestion.id})


def has_room(connection: Connection, ingestion: Ingestion, limit: int) -> bool:
    """Whether the dataset of an ingestion has fewer files in flight than a limit."""
    values = {"dataset": ingestion.dataset, "limit": limit}
    return bool(connection.scalar(statement("files_in_flight"), values) < limit)


def next_waiting(engine: Engine, dataset: str) -> Ingestion | None:
    """Return the file of a dataset that has waited longest; None where none waits."""
    with transaction(engine) as connection:
        return _next(connection, dataset)


@contextmanager
def taken(engine: Engine, dataset: str, passed: Sequence[int]) -> Iterator[list[Ingestion]]:
    """Take files that have waited longest: nobody else splits them until the end, or that of this process.

    Args:
        engine: the database.
        dataset: their dataset.
        passed: ingestions to leave.
    """
    values = {"dataset": dataset, "limit": _MAX_FILES, "passed": list(passed)}
    with own_connection(engine) as connection:
        found = query_ingestions(connection, "take_waiting", values)
        connection.commit()
        yield found
        connection.execute(statement("release_taken"))
        if (following := _next(connection, dataset)) is not None:
            keep_waiting(connection, following)
        connection.commit()


def notify_of_waiting(connection: Connection, publisher: Publisher, ended: Event) -> None:
    """Notify split of a file that has waited for one that has ended, if that may begin.

    Args:
        connection: a transaction.
        publisher: publishes the notification.
        ended: the last event of a file.
    """
    values = {"dataset": ended.dataset, "ended": ended.ingestion}
    if (following := query_ingestion(connection, "waiting_for", values)) is not None:
        publish_notification(publisher, following)


def hand_over(env: Environment, dataset: str) -> None:
    """Let another handler of split take the files of a dataset that wait."""
    if (following := next_waiting(env.engine, dataset)) is not None:
        publish_notification(env.publisher, following)


def _next(connection: Connection, dataset: str) -> Ingestion | None:
    return query_ingestion(connection, "next_waiting", {"dataset": dataset})
