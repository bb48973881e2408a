"""The relay of the outbox: what was written in a transaction goes out to the topic `status`, in order.

Whoever handles a message or a request relays before it acknowledges. So if it dies between commit and
publication, the message comes again and the next handler publishes what is left: an event may go out
twice, with the same id, and is never lost.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sluice.ingestion.events import Event
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Engine, Row

    from sluice.ports import Publisher

STATUS_TOPIC = "status"
_EVENTS_AT_ONCE = 1000


def relay(engine: Engine, publisher: Publisher, ingestion: int) -> int:
    """Publish the events of an ingestion that still have to go out; return how many did.

    One relay works at a time for one ingestion; another waits for it and publishes what is left. It
    may not leave that to the first: a handler that acknowledges must know its own events are out.

    Raises:
        PubsubUnavailableError: events are left; the next relay publishes them.
        DatabaseUnavailableError: as above; some may go out a second time.
    """
    total = 0
    while count := _relay_once(engine, publisher, ingestion):
        total += count
        if count < _EVENTS_AT_ONCE:  # those that were there when it began, and so the caller's own
            break
    return total


def _relay_once(engine: Engine, publisher: Publisher, ingestion: int) -> int:
    with transaction(engine) as connection:
        connection.execute(statement("lock_relay"), {"ingestion": ingestion})
        facts = {"ingestion": ingestion, "limit": _EVENTS_AT_ONCE}
        rows = connection.execute(statement("unpublished_events"), facts).all()
        if not rows:
            return 0
        publish_events(publisher, ingestion, rows)
        connection.execute(
            statement("mark_events"), {"ingestion": ingestion, "sequence": rows[-1].sequence}
        )
        return len(rows)


def publish_events(publisher: Publisher, ingestion: int, rows: Sequence[Row[Any]]) -> None:
    """Publish events of an ingestion as they stand in the outbox; again, if they went out before."""
    events = [
        Event(
            ingestion,
            row.body["data"]["dataset"] or "",
            row.state,
            row.sequence,
            row.severity,
            row.body,
        )
        for row in rows
    ]
    send_events(publisher, [(each, each.attributes) for each in events])


def send_events(publisher: Publisher, events: Sequence[tuple[Event, Mapping[str, str]]]) -> None:
    """Publish events of one ingestion, each with the attributes of its message."""
    publisher.publish(
        STATUS_TOPIC,
        [(json.dumps(event.body).encode(), attributes) for event, attributes in events],
        ordering_key=str(events[0][0].ingestion),
    )
