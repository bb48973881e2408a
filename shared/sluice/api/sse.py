"""Server-sent events: replayed from the table, then live by LISTEN/NOTIFY, without polling.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Response

from sluice.documents.ingestions import FINAL
from sluice.errors import ParameterError, TooManyStreamsError
from sluice.ingestion.ingestions import select_ingestion
from sluice.postgres.connection import transaction
from sluice.postgres.listen_notify import Mailbox, Notification, listener_of
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Engine, Row

    from sluice.api.operations import Call

EVENT_STREAM = "text/event-stream"
HEARTBEAT_S = 15.0
#: Streams of an instance: each holds one of its 80 threads, and other requests need some.
MAX_STREAMS = 60
#: A number that `bigint` holds.
_NUMBER = re.compile(r"[0-9]{1,18}")
#: A comment that opens the response, keeps it open, and detects a client that has disconnected.
HEARTBEAT = b": still here\n\n"
#: Longest time from the start to the commit of a transaction that writes an event.
LONGEST_TRANSACTION = timedelta(minutes=10)


def stream_ingestion(call: Call, ingestion: int) -> Response:
    """Stream the events of an ingestion to its end, from the first or after the header Last-Event-ID.

    Raises:
        NotFoundError: there is no such ingestion.
        ParameterError: the header is not a sequence number.
        TooManyStreamsError: others hold all streams of this instance.
    """
    engine, position = call.engine, _sequence(_last_event_id(call))
    resources = ExitStack()
    with resources:
        resources.enter_context(_place())
        box = resources.enter_context(listener_of(engine).mailbox(ingestion))
        with transaction(engine) as connection:
            select_ingestion(connection, ingestion)
        events = _ingestion_events(call, ingestion, position, box)
        return _event_stream(events, resources.pop_all())


def stream_all(call: Call) -> Response:
    """Stream the events of all ingestions without end, from now or after the header Last-Event-ID.

    Raises:
        ParameterError: the header is not `ingestion:sequence`.
        TooManyStreamsError: others hold all streams of this instance.
    """
    position = _position(_last_event_id(call))
    resources = ExitStack()
    with resources:
        resources.enter_context(_place())
        box = resources.enter_context(listener_of(call.engine).mailbox())
        return _event_stream(_all_events(call, position, box), resources.pop_all())


_places = threading.BoundedSemaphore(MAX_STREAMS)


@contextmanager
def _place() -> Iterator[None]:
    if not _places.acquire(blocking=False):
        raise TooManyStreamsError()
    try:
        yield
    finally:
        _places.release()


def _last_event_id(call: Call) -> str:
    return call.request.headers.get("Last-Event-ID", "")


def _event_stream(events: Iterator[bytes], resources: ExitStack) -> Response:
    response = Response(events, content_type=EVENT_STREAM)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # proxies must not buffer
    response.call_on_close(resources.close)
    return response


def _ingestion_events(call: Call, ingestion: int, position: int, box: Mailbox) -> Iterator[bytes]:
    yield HEARTBEAT
    is_due = True
    while call.is_still_allowed():
        if is_due:
            rows, is_over = _after(call.engine, ingestion, position)
            yield b"".join(_message(str(row.sequence), row.body) for row in rows)
            position = rows[-1].sequence if rows else position
            if is_over:
                return
        news = box.wait(HEARTBEAT_S)
        is_due = any(each.is_gap or (each.sequence or 0) > position for each in news)
        if not news:
            yield HEARTBEAT


def _after(engine: Engine, ingestion: int, position: int) -> tuple[Sequence[Row[Any]], bool]:
    """Return the events after a sequence number, and whether the ingestion has ended."""
    with transaction(engine) as connection:
        state = select_ingestion(connection, ingestion)
        values = {"ingestion": ingestion, "sequence": position}
        rows = connection.execute(statement("events_after"), values).all()
    newest = rows[-1].sequence if rows else position
    return rows, state.state in FINAL and newest >= state.sequence


def _all_events(call: Call, position: tuple[int, int] | None, box: Mailbox) -> Iterator[bytes]:
    yield HEARTBEAT
    listened_at = datetime.now(UTC)
    seen: dict[int, int] = {}
    if position is not None:
        seen[position[0]] = position[1]
        yield _fresh(_missed(call, position), seen)
    while True:
        news = box.wait(HEARTBEAT_S)
        if not call.is_still_allowed():
            return
        now = datetime.now(UTC)
        if any(each.is_gap for each in news):
            yield _fresh(_since(call, listened_at - LONGEST_TRANSACTION), seen)
        elif news:
            yield _fresh(_named(call, news), seen)
        else:
            yield HEARTBEAT
        listened_at = now


def _fresh(rows: Sequence[Row[Any]], seen: dict[int, int]) -> bytes:
    """Return the messages of the events that are newer than those already sent."""
    messages = []
    for row in rows:
        if row.sequence > seen.get(row.ingestion, 0):
            seen[row.ingestion] = row.sequence
            messages.append(_message(f"{row.ingestion}:{row.sequence}", row.body))
    return b"".join(messages)


def _named(call: Call, news: Sequence[Notification]) -> Sequence[Row[Any]]:
    values = {
        "ingestions": [each.ingestion for each in news],
        "sequences": [each.sequence for each in news],
        "datasets": call.caller.listed,
    }
    with transaction(call.engine) as connection:
        return connection.execute(statement("events_named"), values).all()


def _since(call: Call, moment: datetime) -> Sequence[Row[Any]]:
    values = {"since": moment, "datasets": call.caller.listed}
    with transaction(call.engine) as connection:
        return connection.execute(statement("events_since"), values).all()


def _missed(call: Call, position: tuple[int, int]) -> Sequence[Row[Any]]:
    values = {
        "ingestion": position[0],
        "sequence": position[1],
        "margin": LONGEST_TRANSACTION,
        "datasets": call.caller.listed,
    }
    with transaction(call.engine) as connection:
        return connection.execute(statement("events_missed"), values).all()


def _message(identifier: str, body: dict[str, Any]) -> bytes:
    data = json.dumps(body, ensure_ascii=False)
    return f"id: {identifier}\nevent: {body['type']}\ndata: {data}\n\n".encode()


def _sequence(text: str) -> int:
    if not text:
        return 0
    if not _NUMBER.fullmatch(text):
        raise ParameterError(f'Last-Event-ID: "{text}" is not the sequence number of an event')
    return int(text)


def _position(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    ingestion, _, sequence = text.partition(":")
    if not (_NUMBER.fullmatch(ingestion) and _NUMBER.fullmatch(sequence)):
        raise ParameterError(f'Last-Event-ID: "{text}" is not ingestion:sequence of an event')
    return int(ingestion), int(sequence)
