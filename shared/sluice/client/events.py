"""Server-sent events: parsing them, and going on after a lost connection without a gap.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sluice.client.errors import ConnectionLostError, OutageError, UnreachableError
from sluice.client.records import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sluice.client.transport import Body, Transport

FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 5.0
MAX_FAILURES = 10


@dataclass(frozen=True)
class Message:
    """One server-sent event."""

    data: str
    id: str = ""


def parse_messages(lines: Iterable[str]) -> Iterator[Message]:
    """Yield the messages of a stream; comments, which keep it open, are dropped."""
    data: list[str] = []
    last_id = ""
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line and data:
            yield Message("\n".join(data), last_id)
            data = []
        elif name == "data":
            data.append(value)
        elif name == "id":
            last_id = value


@dataclass
class EventStream:
    """The events at one address, live; a lost connection is taken up where it broke.

    One thread iterates; any other may close it, which ends the iteration.

    Attributes:
        on_connect: called each time that the server has begun to answer.
        first_pause_s: pause before the first new attempt; doubles with each further one.
    """

    transport: Transport
    path: str
    last_event_id: str = ""
    on_connect: Callable[[], None] = lambda: None
    first_pause_s: float = FIRST_PAUSE_S
    _body: Body | None = field(default=None, init=False, repr=False)
    _is_closed: bool = field(default=False, init=False, repr=False)

    def close(self) -> None:
        """End the iteration, also where it waits for the next event."""
        self._is_closed = True
        if self._body is not None:
            self._body.interrupt()

    def __iter__(self) -> Iterator[Event]:
        """Yield the events; an event that comes twice is yielded once.

        Raises:
            RefusedError: the API refused the request.
            UnreachableError: nothing answers, at the first attempt or for long.
            OutageError: the same, but something answers that it cannot.
        """
        position, has_connected, failures = self.last_event_id, False, 0
        seen = _Seen()
        while not self._is_closed:
            try:
                for message in self._connection(position):
                    has_connected, failures = True, 0
                    if message is None:
                        continue
                    position = message.id or position
                    event = Event.parse(json.loads(message.data))
                    if seen.is_new(event):
                        yield event
            except (ConnectionLostError, UnreachableError, OutageError):
                if self._is_closed:
                    return
                if not has_connected or failures >= MAX_FAILURES:
                    raise
            time.sleep(min(self.first_pause_s * 2**failures, MAX_PAUSE_S))
            failures += 1

    def _connection(self, position: str) -> Iterator[Message | None]:
        """Yield None once connected, then each message until the server ends the answer."""
        headers = {"Last-Event-ID": position} if position else {}
        with self.transport.stream(self.path, accept="text/event-stream", headers=headers) as body:
            self._body = body
            self.on_connect()
            yield None
            yield from parse_messages(body.lines())


class _Seen:
    """The newest sequence of each ingestion: what is not newer was delivered before."""

    def __init__(self) -> None:
        self._newest: dict[int, int] = {}

    def is_new(self, event: Event) -> bool:
        ingestion = event.ingestion.id
        if event.sequence <= self._newest.get(ingestion, 0):
            return False
        self._newest[ingestion] = event.sequence
        return True
