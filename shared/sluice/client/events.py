"""Server-sent events: parsed, resumed without a gap, and searched for the ingestion of an upload.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self

from sluice.client.errors import (
    ConnectionLostError,
    NoIngestionError,
    NoProgressError,
    OutageError,
    UnexpectedAnswerError,
    UnreachableError,
)
from sluice.documents.document import DocumentError, decode
from sluice.documents.ingestions import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sluice.client.transport import Body, Transport
    from sluice.client.uploads import Upload
    from sluice.documents.ingestions import Ingestion, IngestionProgress

#: Time without any event of an ingestion after which `Client.load` and `sluice load` stop waiting.
PROGRESS_TIMEOUT_S = 900.0
FIRST_PAUSE_S = 0.1
_SHORTEST_WAIT_S = 0.1
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
    """The live events at one address; a lost connection is resumed where it broke.

    One thread iterates; any other may close it, which ends the iteration.

    Attributes:
        on_connect: called whenever the server starts to answer.
        first_pause_s: pause before the first retry; doubles with each one after it.
        timeout_s: time without any event after which the iteration fails; None: never.
    """

    transport: Transport
    path: str
    last_event_id: str = ""
    on_connect: Callable[[], None] = lambda: None
    first_pause_s: float = FIRST_PAUSE_S
    timeout_s: float | None = None
    _body: Body | None = field(default=None, init=False, repr=False)
    _is_closed: bool = field(default=False, init=False, repr=False)
    _newest: Event | None = field(default=None, init=False, repr=False)
    _due_at: float = field(default=math.inf, init=False, repr=False)

    def close(self) -> None:
        """End the iteration, even while it waits for the next event."""
        self._is_closed = True
        if self._body is not None:
            self._body.interrupt()

    def __iter__(self) -> Iterator[Event]:
        """Yield the events, each once.

        Raises:
            RefusedError: the API refused the request.
            UnreachableError: nothing answers, at the first attempt or for long.
            OutageError: the API cannot serve it, at the first attempt or for long.
            NoProgressError: no event came within `timeout_s`.
        """
        ended = threading.Event()
        self._expect_event()
        if self.timeout_s is not None:
            threading.Thread(target=self._interrupt, args=(ended,), daemon=True).start()
        try:
            yield from self._events()
        finally:
            ended.set()

    def _expect_event(self) -> None:
        self._due_at = math.inf if self.timeout_s is None else time.monotonic() + self.timeout_s

    def _interrupt(self, ended: threading.Event) -> None:
        """Interrupt a connection on which no event comes, which heartbeats keep open."""
        while not ended.wait(max(_SHORTEST_WAIT_S, self._due_at - time.monotonic())):
            if time.monotonic() >= self._due_at and self._body is not None:
                self._body.interrupt()

    def _check_progress(self) -> None:
        if time.monotonic() >= self._due_at:
            raise NoProgressError(self._newest, self.timeout_s or 0)

    def _events(self) -> Iterator[Event]:
        position, has_connected, failures = self.last_event_id, False, 0
        seen = _Seen()
        while not self._is_closed:
            try:
                for message in self._connection(position):
                    has_connected, failures = True, 0
                    if message is None:
                        continue
                    position = message.id or position
                    event = self._event(message)
                    if seen.is_new(event):
                        self._newest = event
                        yield event
                        self._expect_event()
            except (ConnectionLostError, UnreachableError, OutageError):
                if self._is_closed:
                    return
                self._check_progress()
                if not has_connected or failures >= MAX_FAILURES:
                    raise
            self._check_progress()
            time.sleep(min(self.first_pause_s * 2**failures, MAX_PAUSE_S))
            failures += 1

    def _event(self, message: Message) -> Event:
        try:
            return decode(message.data.encode(), Event)
        except DocumentError as error:
            raise UnexpectedAnswerError(self.path, f"sent an event: {error}") from None

    def _connection(self, position: str) -> Iterator[Message | None]:
        """Yield None once connected, then each message until the server ends the answer."""
        headers = {"Last-Event-ID": position} if position else {}
        with self.transport.stream(self.path, accept="text/event-stream", headers=headers) as body:
            self._body = body
            self.on_connect()
            yield None
            yield from parse_messages(body.lines())


class _Seen:
    """The newest sequence of each ingestion; an event that is not newer is a duplicate."""

    def __init__(self) -> None:
        self._newest: dict[int, int] = {}

    def is_new(self, event: Event) -> bool:
        ingestion = event.data.id
        if event.sequence <= self._newest.get(ingestion, 0):
            return False
        self._newest[ingestion] = event.sequence
        return True


class Source(Protocol):
    """Where arrivals are read from."""

    def events(self, *, on_connect: Callable[[], None]) -> EventStream:
        """Return the live events of all ingestions."""

    def ingestions(self) -> list[Ingestion]:
        """Return the newest ingestions."""


class Arrivals:
    """Finds the ingestion of each upload in the events of all ingestions.

    A context manager that is connected from before the first upload, so that it misses none.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._events = source.events(on_connect=self._connected)
        self._numbers: dict[tuple[str, str, str], int] = {}
        self._connections = 0
        self._error: Exception | None = None
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, name="arrivals", daemon=True).start()
        with self._changed:
            self._changed.wait_for(lambda: self._connections or self._error)
            self._raise_error()
        return self

    def __exit__(self, *_: object) -> None:
        self._events.close()

    def wait(self, upload: Upload, timeout_s: float) -> int:
        """Return the ingestion of an upload.

        Raises:
            NoIngestionError: none began in time.
            SluiceError: the connection is lost permanently.
        """
        with self._changed:
            self._changed.wait_for(lambda: upload.key in self._numbers or self._error, timeout_s)
            if upload.key in self._numbers:
                return self._numbers[upload.key]
            self._raise_error()
        raise NoIngestionError(upload.bucket, upload.object, timeout_s)

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _listen(self) -> None:
        try:
            for event in self._events:
                self._learn([event.data])
        except Exception as error:  # noqa: BLE001  # raised in the thread that waits
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _connected(self) -> None:
        if self._connections:
            # The list has what started while it was not connected.
            self._learn(self._source.ingestions())
        with self._changed:
            self._connections += 1
            self._changed.notify_all()

    def _learn(self, ingestions: Sequence[IngestionProgress]) -> None:
        with self._changed:
            for each in ingestions:
                self._numbers[each.bucket, each.object, each.generation] = each.id
            self._changed.notify_all()
