"""Hearing of events as they commit: one LISTEN connection a process, shared by all streams.

PostgreSQL notifies on the channel `sluice_events` with `ingestion:sequence` when the transaction of
an event commits. The listener sleeps in `select()` until then; it asks nothing of the database in
between. It lives as long as somebody listens, because a function has no processor between requests.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import select
import socket
import ssl
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sluice.errors import DatabaseUnavailableError

if TYPE_CHECKING:
    from sqlalchemy import Engine

CHANNEL = "sluice_events"
READY_TIMEOUT_S = 10.0
FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 5.0
#: A dead network says nothing; an empty statement after so long a silence finds out.
SILENCE_S = 60.0
#: pg8000 keeps the newest 100 notifications; at so many, some may be lost.
KEPT_NOTIFICATIONS = 100

_log = logging.getLogger("sluice.postgres.listen_notify")


@dataclass(frozen=True)
class News:
    """What a listener heard.

    Attributes:
        ingestion, sequence: of the event; both None when events may have been missed.
    """

    ingestion: int | None = None
    sequence: int | None = None

    @property
    def is_gap(self) -> bool:
        """Whether the listener has to look for itself what it missed."""
        return self.ingestion is None


GAP = News()


@dataclass
class Mailbox:
    """The news for one stream, of one ingestion or of all."""

    ingestion: int | None
    _news: queue.SimpleQueue[News] = field(default_factory=queue.SimpleQueue)

    def put(self, news: News) -> None:
        """Deliver news, if it is for this stream."""
        if news.is_gap or self.ingestion in (None, news.ingestion):
            self._news.put(news)

    def wait(self, timeout_s: float) -> list[News]:
        """Return all news as soon as there is some; none after the timeout."""
        try:
            found = [self._news.get(timeout=timeout_s)]
        except queue.Empty:
            return []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._news.get_nowait())
        return found


class Listener:
    """The one listening connection of an engine, made when the first stream opens."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._mailboxes: list[Mailbox] = []
        self._ready = threading.Event()
        self._bell: socket.socket | None = None

    @contextmanager
    def mailbox(self, ingestion: int | None = None) -> Iterator[Mailbox]:
        """Open a mailbox; whatever commits from now on arrives in it.

        Raises:
            DatabaseUnavailableError: the listener could not reach the database.
        """
        box = Mailbox(ingestion)
        with self._lock:
            self._mailboxes.append(box)
            if self._bell is None:
                self._start()
        try:
            if not self._ready.wait(READY_TIMEOUT_S):
                raise DatabaseUnavailableError("no news from the database; try again")
            yield box
        finally:
            with self._lock:
                self._mailboxes = [each for each in self._mailboxes if each is not box]
                if not self._mailboxes:
                    self._stop()

    def _start(self) -> None:
        self._ready = threading.Event()
        self._bell, bell = socket.socketpair()
        threading.Thread(
            target=self._live, args=(bell, self._ready), name="sluice-listener", daemon=True
        ).start()

    def _stop(self) -> None:
        assert self._bell is not None  # noqa: S101  # the last mailbox had a listener
        self._bell.close()
        self._bell = None

    def _live(self, bell: socket.socket, ready: threading.Event) -> None:
        """Listen until the bell's other end is closed; a lost connection is made again."""
        pause_s = FIRST_PAUSE_S
        with bell:
            while True:
                try:
                    if self._listen(bell, ready):
                        return
                    pause_s = FIRST_PAUSE_S
                except Exception as error:  # noqa: BLE001  # whatever the driver raises, listen again
                    _log.warning("the listening connection broke: %s", error)
                if select.select([bell], [], [], pause_s)[0]:
                    return
                pause_s = min(2 * pause_s, MAX_PAUSE_S)

    def _listen(self, bell: socket.socket, ready: threading.Event) -> bool:
        """Return True when nobody listens any more; raise when the connection is lost."""
        connection = _connect(self._engine)
        try:
            connection.execute_simple(f"LISTEN {CHANNEL}")
            if ready.is_set():
                self._tell([GAP])
            ready.set()
            while True:
                if not _has_input(connection):
                    readable = select.select([connection._usock, bell], [], [], SILENCE_S)[0]  # noqa: SLF001
                    if bell in readable:
                        return True
                self._tell(_heard(connection))
        finally:
            with contextlib.suppress(Exception):
                connection.close()

    def _tell(self, news: list[News]) -> None:
        with self._lock:
            boxes = self._mailboxes
        for each in news:
            for box in boxes:
                box.put(each)


def _connect(engine: Engine) -> Any:  # a pg8000 connection
    """Return a connection of the driver's own, outside the pool."""
    pooled = engine.raw_connection()
    connection = pooled.driver_connection
    pooled.detach()
    assert connection is not None  # noqa: S101  # a fresh one has one
    connection.autocommit = True
    return connection


def _heard(connection: Any) -> list[News]:
    """Read what the connection received: an empty statement makes the driver read it all."""
    connection.execute_simple("")
    payloads = [payload for _, _, payload in connection.notifications]
    connection.notifications.clear()
    news = [News(*map(int, payload.split(":"))) for payload in payloads]
    return [*news, GAP] if len(news) >= KEPT_NOTIFICATIONS else news


def _has_input(connection: Any) -> bool:
    """Tell whether bytes wait in the driver's buffer, which `select()` does not see."""
    connection._usock.setblocking(False)  # noqa: SLF001  # the driver has no way to ask
    try:
        return bool(connection._sock.peek(1))  # noqa: SLF001
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    finally:
        connection._usock.setblocking(True)  # noqa: SLF001


_listeners: weakref.WeakKeyDictionary[Engine, Listener] = weakref.WeakKeyDictionary()
_listeners_lock = threading.Lock()


def listener_of(engine: Engine) -> Listener:
    """Return the listener of an engine: one a process."""
    with _listeners_lock:
        return _listeners.setdefault(engine, Listener(engine))
