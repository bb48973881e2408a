"""Receives events as they commit: one LISTEN connection per process, shared by all streams.

PostgreSQL notifies on the channel `sluice_events` with `ingestion:sequence` when the transaction of
an event commits. The listener waits for its socket until then, without polling. It runs while a
stream is open, because a function has no CPU between requests.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import selectors
import socket
import ssl
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sluice.errors import DatabaseUnavailableError
from sluice.postgres.connection import KEEP_IDLE

if TYPE_CHECKING:
    from sqlalchemy import Engine

CHANNEL = "sluice_events"
READY_TIMEOUT_S = 10.0
FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 5.0
#: A dead network is silent; after this time an empty statement detects it.
SILENCE_S = 60.0
#: pg8000 keeps the newest 100 notifications; if there are as many, some may be lost.
KEPT_NOTIFICATIONS = 100

_log = logging.getLogger("sluice.postgres.listen_notify")


@dataclass(frozen=True)
class Notification:
    """A notification about an event.

    Attributes:
        ingestion, sequence: of the event; both None when events may have been missed.
    """

    ingestion: int | None = None
    sequence: int | None = None

    @property
    def is_gap(self) -> bool:
        """Whether events may have been missed, so that the stream must read them from the database."""
        return self.ingestion is None


GAP = Notification()


@dataclass
class Mailbox:
    """The notifications for one stream, of one ingestion or of all."""

    ingestion: int | None
    _queue: queue.SimpleQueue[Notification] = field(default_factory=queue.SimpleQueue)

    def put(self, notification: Notification) -> None:
        """Deliver a notification, if it is for this stream."""
        if notification.is_gap or self.ingestion in (None, notification.ingestion):
            self._queue.put(notification)

    def wait(self, timeout_s: float) -> list[Notification]:
        """Return all notifications as soon as there is one; none after the timeout."""
        try:
            found = [self._queue.get(timeout=timeout_s)]
        except queue.Empty:
            return []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._queue.get_nowait())
        return found


class Listener:
    """The listening connection of an engine, opened with the first stream."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._mailboxes: list[Mailbox] = []
        self._ready = threading.Event()
        self._wakeup: socket.socket | None = None

    @contextmanager
    def mailbox(self, ingestion: int | None = None) -> Iterator[Mailbox]:
        """Open a mailbox; it receives whatever commits from now on.

        Raises:
            DatabaseUnavailableError: the listener could not reach the database.
        """
        box = Mailbox(ingestion)
        with self._lock:
            self._mailboxes.append(box)
            if self._wakeup is None:
                self._start()
        try:
            if not self._ready.wait(READY_TIMEOUT_S):
                raise DatabaseUnavailableError("the database did not confirm LISTEN; try again")
            yield box
        finally:
            with self._lock:
                self._mailboxes = [each for each in self._mailboxes if each is not box]
                if not self._mailboxes:
                    self._stop()

    def _start(self) -> None:
        self._ready = threading.Event()
        self._wakeup, wakeup = socket.socketpair()
        threading.Thread(
            target=self._run, args=(wakeup, self._ready), name="sluice-listener", daemon=True
        ).start()

    def _stop(self) -> None:
        assert self._wakeup is not None  # noqa: S101  # the last mailbox had a listener
        self._wakeup.close()
        self._wakeup = None

    def _run(self, wakeup: socket.socket, ready: threading.Event) -> None:
        """Listen until the other end of `wakeup` is closed; reconnect when the connection is lost."""
        pause_s = FIRST_PAUSE_S
        with wakeup:
            while True:
                try:
                    if self._listen(wakeup, ready):
                        return
                    pause_s = FIRST_PAUSE_S
                except Exception as error:  # noqa: BLE001  # whatever the driver raises, reconnect
                    _log.warning("the listening connection broke: %s", error)
                if _readable([wakeup], pause_s):
                    return
                pause_s = min(2 * pause_s, MAX_PAUSE_S)

    def _listen(self, wakeup: socket.socket, ready: threading.Event) -> bool:
        """Return True when no stream is open any more; raise when the connection is lost."""
        connection = _connect(self._engine)
        try:
            connection.execute_simple(f"LISTEN {CHANNEL}")
            if ready.is_set():
                self._deliver([GAP])
            ready.set()
            while True:
                if not _has_input(connection):
                    sockets = [connection._usock, wakeup]  # noqa: SLF001
                    if wakeup in _readable(sockets, SILENCE_S):
                        return True
                self._deliver(_received(connection))
        finally:
            with contextlib.suppress(Exception):
                connection.close()

    def _deliver(self, notifications: list[Notification]) -> None:
        with self._lock:
            boxes = self._mailboxes
        for each in notifications:
            for box in boxes:
                box.put(each)


def _connect(engine: Engine) -> Any:  # a pg8000 connection
    """Return a connection of the driver, outside the pool."""
    pooled = engine.raw_connection()
    connection = pooled.driver_connection
    pooled.detach()
    assert connection is not None  # noqa: S101  # a new connection has one
    connection.autocommit = True
    connection.execute_simple(KEEP_IDLE)
    return connection


def _received(connection: Any) -> list[Notification]:
    """Return what the connection received: an empty statement makes the driver read it."""
    connection.execute_simple("")
    payloads = [payload for _, _, payload in connection.notifications]
    connection.notifications.clear()
    found = [Notification(*map(int, payload.split(":"))) for payload in payloads]
    return [*found, GAP] if len(found) >= KEPT_NOTIFICATIONS else found


def _readable(sockets: list[socket.socket], wait_s: float) -> list[object]:
    """Return what can be read, as soon as something can; `select()` takes no file above 1,023."""
    with selectors.DefaultSelector() as selector:
        for each in sockets:
            selector.register(each, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(wait_s)]


def _has_input(connection: Any) -> bool:
    """Whether bytes are in the driver's buffer, which `_readable` does not see."""
    connection._usock.setblocking(False)  # noqa: SLF001  # the driver has no method for it
    try:
        return bool(connection._sock.peek(1))  # noqa: SLF001
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    finally:
        connection._usock.setblocking(True)  # noqa: SLF001


_listeners: weakref.WeakKeyDictionary[Engine, Listener] = weakref.WeakKeyDictionary()
_listeners_lock = threading.Lock()


def listener_of(engine: Engine) -> Listener:
    """Return the listener of an engine: one per process."""
    with _listeners_lock:
        return _listeners.setdefault(engine, Listener(engine))
