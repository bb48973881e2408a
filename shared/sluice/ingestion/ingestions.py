"""The life of an ingestion: each transition is one guarded statement, its event in the same transaction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sluice.errors import IllegalTransitionError, NotFoundError, SluiceError
from sluice.ingestion.events import PROGRESS, Event, State, make_event
from sluice.ingestion.merge import take_back
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection, Row

    from sluice.datasets.model import Dataset
    from sluice.ports import StoredObject

#: From which states each state may be reached.
TRANSITIONS: dict[State, tuple[State, ...]] = {
    State.RECEIVED: (State.FAILED, State.CANCELLED),
    State.SPLITTING: (State.RECEIVED,),
    State.LOADING: (State.SPLITTING,),
    State.PUBLISHING: (State.LOADING,),
    State.DONE: (State.PUBLISHING,),
    State.FAILED: (State.RECEIVED, State.SPLITTING, State.LOADING, State.PUBLISHING),
    State.CANCELLED: (State.RECEIVED, State.SPLITTING, State.LOADING),
    State.SKIPPED: (State.RECEIVED, State.PUBLISHING),
    State.UNDONE: (State.DONE,),
}


def receive(connection: Connection, announced: StoredObject, project: str) -> int:
    """Make the ingestion of a generation, or find the one that an earlier delivery made."""
    dataset = announced.name.partition("/")[0] if "/" in announced.name else None
    place = {
        "bucket": announced.bucket,
        "object": announced.name,
        "generation": announced.generation,
    }
    facts = {
        "dataset": dataset,
        "size_bytes": announced.size_bytes,
        "crc32c": announced.crc32c,
        "content_encoding": announced.content_encoding,
    }
    made = connection.scalar(statement("receive_ingestion"), {**place, **facts})
    if made is None:
        return int(connection.execute(statement("find_ingestion"), place).one().id)
    row = select_ingestion(connection, made)
    sequence = connection.scalar(statement("next_sequence"), {"ingestion": made})
    write_event(connection, row, State.RECEIVED, sequence, project)
    return int(made)


def write_event(
    connection: Connection, row: Row[Any], name: str, sequence: int, project: str
) -> Event:
    """Write the event of a change into the outbox, in the change's own transaction."""
    event = make_event(row, name, sequence, project)
    connection.execute(
        statement("insert_event"),
        {
            "ingestion": event.ingestion,
            "sequence": event.sequence,
            "state": event.name,
            "severity": event.severity,
            "body": json.dumps(event.body),
        },
    )
    return event


def move(  # noqa: PLR0913
    connection: Connection,
    ingestion: int,
    to: State,
    project: str,
    *,
    problem: SluiceError | None = None,
    chunks_total: int | None = None,
    records_total: int | None = None,
    content_bytes: int | None = None,
    layout: dict[str, Any] | None = None,
    replaced_by: int | None = None,
    output: dict[str, Any] | None = None,
) -> Row[Any]:
    """Move an ingestion to a state and write the event of it.

    Returns:
        The row of `sluice.ingestions` after the move.

    Raises:
        IllegalTransitionError: the ingestion is in a state from which there is no such move.
        NotFoundError: there is no such ingestion.
    """
    row = connection.execute(
        statement("move_ingestion"),
        {
            "ingestion": ingestion,
            "to_state": str(to),
            "from_states": [str(each) for each in TRANSITIONS[to]],
            "problem": None if problem is None else json.dumps(problem.problem()),
            "chunks_total": chunks_total,
            "records_total": records_total,
            "content_bytes": content_bytes,
            "layout": None if layout is None else json.dumps(layout),
            "replaced_by": replaced_by,
            "output": None if output is None else json.dumps(output),
        },
    ).one_or_none()
    if row is None:
        raise _refusal(connection, ingestion, to)
    write_event(connection, row, str(to), row.sequence, project)
    return row


def _refusal(connection: Connection, ingestion: int, to: State) -> SluiceError:
    row = select_ingestion(connection, ingestion)
    allowed = ", ".join(TRANSITIONS[to])
    return IllegalTransitionError(
        f"ingestion {ingestion} is {row.state}; only from {allowed} can it become {to}",
        state=str(row.state),
    )


def select_ingestion(connection: Connection, ingestion: int) -> Row[Any]:
    """Return the row of an ingestion.

    Raises:
        NotFoundError: there is no such ingestion.
    """
    row = connection.execute(statement("select_ingestion"), {"ingestion": ingestion}).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no ingestion {ingestion}")
    return row


def lock_ingestion(connection: Connection, ingestion: int) -> Row[Any] | None:
    """Return the row of an ingestion, held until the transaction ends; None when there is none."""
    return connection.execute(statement("lock_ingestion"), {"ingestion": ingestion}).one_or_none()


def count_chunk(connection: Connection, counts: dict[str, int], project: str) -> Row[Any] | None:
    """Add a loaded chunk to its ingestion's account and write the event of it.

    The event of the last chunk is followed by that of the move to `publishing`.

    Returns:
        The row after the change, or None when the ingestion no longer takes chunks.
    """
    row = connection.execute(statement("count_chunk"), counts).one_or_none()
    if row is None:
        return None
    if row.state == State.PUBLISHING:
        write_event(connection, row, PROGRESS, row.sequence - 1, project)
        write_event(connection, row, State.PUBLISHING, row.sequence, project)
    else:
        write_event(connection, row, PROGRESS, row.sequence, project)
    return row


def withdraw(
    connection: Connection,
    dataset: Dataset | None,
    ingestions: Iterable[int],
    by: int | None,
    project: str,
) -> None:
    """Take back the rows of published ingestions; readers stop seeing them when this commits."""
    for ingestion in ingestions:
        if dataset is not None:
            take_back(connection, dataset, ingestion)
        key = {"ingestion": ingestion}
        connection.execute(statement("withdraw"), key)
        connection.execute(statement("dissolve"), key)
        connection.execute(statement("leave_dissolved"))
        move(connection, ingestion, State.UNDONE, project, replaced_by=by)
