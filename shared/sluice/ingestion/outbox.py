"""The relay of the outbox: publishes the events that transactions wrote, in order, to the topic `status`.

The handler of a message or a request relays before it acknowledges. If it crashes between commit and
publication, the message is delivered again and the next handler publishes the remaining events: an event may
be published twice, with the same id, and is never lost. The same holds for the notification of a file that
has waited for the one that ended.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from sluice.documents.ingestions import State
from sluice.ingestion.events import Event
from sluice.ingestion.waiting_files import notify_of_waiting
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Engine

    from sluice.ports import Publisher

LOGGER = logging.getLogger(__name__)
STATUS_TOPIC = "status"
_EVENTS_AT_ONCE = 1000


def relay(engine: Engine, publisher: Publisher, ingestion: int) -> int:
    """Publish the unpublished events of an ingestion; return how many there were.

    One relay works at a time for one ingestion; another waits for it and publishes the remaining events. It
    may not leave that to the first: a handler that acknowledges must know that its own events are out.

    Raises:
        PubsubUnavailableError: events are left; the next relay publishes them.
        DatabaseUnavailableError: as above; some may be published a second time.
    """
    total = 0
    while count := _relay_once(engine, publisher, ingestion):
        total += count
        if count < _EVENTS_AT_ONCE:  # all that existed at the start, the caller's own among them
            break
    return total


def _relay_once(engine: Engine, publisher: Publisher, ingestion: int) -> int:
    with transaction(engine) as connection:
        key = {"ingestion": ingestion}
        connection.execute(statement("lock_relay"), key)
        rows = connection.execute(
            statement("unpublished_events"), {**key, "limit": _EVENTS_AT_ONCE}
        ).mappings()
        events = [Event.from_row(row) for row in rows]
        if not events:
            return 0
        publish_events(publisher, [(each, each.attributes) for each in events])
        for each in events:
            if each.ends_file:
                notify_of_waiting(connection, publisher, each)
        connection.execute(statement("mark_events"), {**key, "sequence": events[-1].sequence})
        return len(events)


def publish_events(publisher: Publisher, events: Sequence[tuple[Event, Mapping[str, str]]]) -> None:
    """Publish events of one ingestion in their order, each with the attributes of its message."""
    publisher.publish(
        STATUS_TOPIC,
        [(json.dumps(event.body).encode(), attributes) for event, attributes in events],
        ordering_key=str(events[0][0].ingestion),
    )
    for event, attributes in events:
        if attributes["state"] == State.DONE:  # counted by an alert on files that do not come
            LOGGER.info("done", extra={"fields": {"ingestion": event.ingestion}})
