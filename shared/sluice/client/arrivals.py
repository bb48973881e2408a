"""Which ingestion an uploaded object became, heard from the event stream of all ingestions."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol, Self

from sluice.client.errors import NoIngestionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluice.client.events import EventStream
    from sluice.client.records import Ingestion, Upload


class Source(Protocol):
    """What arrivals are heard from."""

    def events(self, *, on_connect: Callable[[], None]) -> EventStream:
        """Return the live events of all ingestions."""

    def ingestions(self) -> list[Ingestion]:
        """Return the newest ingestions."""


class Arrivals:
    """Listens from before the first upload on, so that no ingestion begins unheard.

    A context manager: entered, it is connected; left, it no longer listens.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._events = source.events(on_connect=self._connected)
        self._numbers: dict[tuple[str, str, int], int] = {}
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
            SluiceError: the events broke off for good.
        """
        with self._changed:
            self._changed.wait_for(lambda: upload.key in self._numbers or self._error, timeout_s)
            if upload.key in self._numbers:
                return self._numbers[upload.key]
            self._raise_error()
        raise NoIngestionError(upload, timeout_s)

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _listen(self) -> None:
        try:
            for event in self._events:
                self._learn([event.ingestion])
        except Exception as error:  # noqa: BLE001  # told to whoever waits
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _connected(self) -> None:
        if self._connections:
            # Whatever began while nobody listened is in the list.
            self._learn(self._source.ingestions())
        with self._changed:
            self._connections += 1
            self._changed.notify_all()

    def _learn(self, ingestions: list[Ingestion]) -> None:
        with self._changed:
            for each in ingestions:
                self._numbers[each.bucket, each.object, each.generation] = each.id
            self._changed.notify_all()
