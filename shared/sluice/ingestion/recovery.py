"""The use case of recovery: resumes stalled ingestions, publishes overdue events, collects garbage.

Messages are delivered at least once, but not forever: after too many failures Pub/Sub moves a message
to the dead letters, and an operator may delete it. Recovery sends again what an ingestion waits for,
a bounded number of times; every message may be delivered twice. Safe to repeat, to interrupt and to run
concurrently.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluice.compaction.compact import Compact
from sluice.documents.ingestions import State
from sluice.errors import TransientError
from sluice.ingestion.dispatch import publish_chunks, publish_notification
from sluice.ingestion.events import Event
from sluice.ingestion.failures import fail_stalled, record_failure
from sluice.ingestion.garbage_collection import collect_garbage
from sluice.ingestion.ingestions import query_ingestion, select_chunks
from sluice.ingestion.model import Ingestion
from sluice.ingestion.outbox import publish_events, relay
from sluice.ingestion.reject_objects import write_reject_files
from sluice.ingestion.sources import recorded_source
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.ports import Environment

LOGGER = logging.getLogger(__name__)

#: Where the scheduler calls the function finish; its other path takes messages.
RECOVERY_PATH = "/recover"


@dataclass(frozen=True)
class Recovered:
    """What a run of recovery did.

    Attributes:
        resumed: ingestions whose messages were sent again.
        published: overdue events that were published.
        collected: ended ingestions that leave nothing to delete now.
        rows_deleted: rows deleted because no reader will see them.
    """

    resumed: int
    published: int
    collected: int
    rows_deleted: int


def recover(env: Environment) -> Recovered:
    """Run recovery once.

    Args:
        env: settings `project`, `recovery_idle_s`, `max_resends`, `outbox`, and those of
            `attempt`.

    Raises:
        TransientError: part of it is done; run it again later.
    """
    published = _publish_overdue(env)
    resumed = _resume_stalled(env)
    _compact(env)
    collected = collect_garbage(env)
    return Recovered(resumed, published, collected.ingestions, collected.rows)


def _publish_overdue(env: Environment) -> int:
    with transaction(env.engine) as connection:
        overdue = connection.scalars(statement("unpublished_ingestions")).all()
    return sum(_relay(env, each) for each in overdue)


def _relay(env: Environment, ingestion: int) -> int:
    """Publish the overdue events of an ingestion, unless they raise an error that another run would too."""
    try:
        write_reject_files(env, ingestion)
        return relay(env.engine, env.publisher, ingestion)
    except TransientError:
        raise
    except Exception:
        LOGGER.exception("not published", extra={"fields": {"ingestion": ingestion}})
        return 0


def _compact(env: Environment) -> None:
    """Compact what has waited too long, even in datasets that never stop loading."""
    values = {"idle_s": env.settings.recovery_idle_s}
    with transaction(env.engine) as connection:
        names = connection.scalars(statement("uncompacted_datasets"), values).all()
    for name in names:
        Compact(env.engine)(name, while_loading=True)


def _resume_stalled(env: Environment) -> int:
    passed: list[int] = []
    while (resumed := _resume_one(env, passed)) is not None:
        passed.append(resumed)
    return len(passed)


def _resume_one(env: Environment, passed: list[int]) -> int | None:
    """Resume one ingestion, or fail one that was resumed too often; return its number.

    If its messages cannot be sent for now, it is not counted as resumed.
    """
    values = {"idle_s": env.settings.recovery_idle_s, "passed": passed}
    stalled: Ingestion | None = None
    try:
        with transaction(env.engine) as connection:
            stalled = query_ingestion(connection, "claim_stalled", values)
            if stalled is None:
                return None
            if stalled.resends > env.settings.max_resends:
                fail_stalled(connection, stalled, env.settings.project)
            else:
                _send_again(env, connection, stalled)
    except TransientError:
        raise
    except Exception as error:
        if stalled is None:
            raise
        LOGGER.exception("not resumed", extra={"fields": {"ingestion": stalled.id}})
        record_failure(env, stalled.id, "recovery", error)
    write_reject_files(env, stalled.id)
    relay(env.engine, env.publisher, stalled.id)
    fields = {
        "ingestion": stalled.id,
        "state": str(stalled.state),
        "resends": stalled.resends,
    }
    LOGGER.warning("stalled", extra={"fields": fields})
    return stalled.id


def _send_again(env: Environment, connection: Connection, ingestion: Ingestion) -> None:
    """Send the messages that an ingestion waits for in its state."""
    if ingestion.state == State.PUBLISHING or ingestion.is_observed:
        name = "observed_event" if ingestion.is_observed else "publishing_event"
        key = {"ingestion": ingestion.id}
        found = connection.execute(statement(name), key).mappings().one()
        if found["published_at"] is not None:  # else the relay publishes it, after those before it
            event = Event.from_row(found)
            publish_events(env.publisher, [(event, event.attributes)])
    elif ingestion.state == State.LOADING:
        chunks = select_chunks(connection, ingestion.id)
        source = recorded_source(env.storage, ingestion, env.settings.outbox)
        missing = [each.cut for each in chunks if not each.is_loaded]
        publish_chunks(env.publisher, ingestion, source, missing)
    else:  # split continues where it ended, and sends the chunks that are recorded and not loaded
        publish_notification(env.publisher, ingestion)
