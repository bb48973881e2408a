"""Uploads files and follows their ingestions, several in parallel; does not print.

Each worker thread reports its progress as steps in one queue, which one reader consumes. The threads
are daemons: an interrupted command does not wait for them.
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sluice.client import Event
from sluice.client.events import Arrivals

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from sluice.client import Client, Ingestion, Upload

MAX_PARALLEL_FILES = 4
ARRIVAL_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Plan:
    """A file, the dataset to load it into, and the ingestion whose rejects it fixes, if it does."""

    path: Path
    dataset: str
    size_bytes: int
    fixes: int | None = None
    dialect: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class BytesSent:
    """Part of the file has been sent."""

    plan: Plan
    sent_bytes: int


@dataclass(frozen=True)
class Uploaded:
    """The file is an object in the inbox."""

    plan: Plan
    upload: Upload


@dataclass(frozen=True)
class EventReceived:
    """The file's ingestion published an event."""

    plan: Plan
    event: Event


@dataclass(frozen=True)
class Ended:
    """The file's ingestion reached a final state."""

    plan: Plan
    ingestion: Ingestion


@dataclass(frozen=True)
class Failed:
    """The file could not be uploaded or followed."""

    plan: Plan
    error: Exception


Step = BytesSent | Uploaded | EventReceived | Ended | Failed


def load_all(client: Client, plans: Sequence[Plan], timeout_s: float) -> Iterator[Step]:
    """Upload and follow files; yield steps until each has `Ended` or `Failed`.

    Args:
        client: the API.
        plans: the files.
        timeout_s: longest wait without any progress of an ingestion.

    Raises:
        SluiceError: the event stream of the API is not available.
    """
    with Arrivals(client) as arrivals:
        work = _Work(client, arrivals, timeout_s)
        yield from _run(work, plans, last=(Ended, Failed))


def upload_all(client: Client, plans: Sequence[Plan]) -> Iterator[Step]:
    """Upload files; yield steps until each is `Uploaded` or `Failed`."""
    yield from _run(_Work(client, None), plans, last=(Uploaded, Failed))


def follow(
    client: Client, number: int, timeout_s: float | None = None
) -> Iterator[Event | Ingestion]:
    """Yield the events of an ingestion, and then the ingestion in its final state.

    A replayed event may show a final state that a retry or an undo has left since, so the current
    state of the ingestion decides.
    """
    for event in client.events(number, timeout_s=timeout_s):
        yield event
        if event.is_final:
            found = client.ingestion(number)
            if found.is_final:
                yield found
                return


def _run(work: _Work, plans: Sequence[Plan], last: tuple[type, ...]) -> Iterator[Step]:
    for plan in plans:
        work.plans.put(plan)
    for number in range(min(MAX_PARALLEL_FILES, len(plans))):
        threading.Thread(target=work.run, name=f"load-{number}", daemon=True).start()
    unfinished = len(plans)
    while unfinished:
        step = work.steps.get()
        yield step
        unfinished -= isinstance(step, last)


class _Work:
    def __init__(
        self, client: Client, arrivals: Arrivals | None, timeout_s: float | None = None
    ) -> None:
        self.plans: queue.Queue[Plan] = queue.Queue()
        self.steps: queue.Queue[Step] = queue.Queue()
        self._client = client
        self._arrivals = arrivals
        self._timeout_s = timeout_s

    def run(self) -> None:
        while True:
            try:
                plan = self.plans.get_nowait()
            except queue.Empty:
                return
            self._attempt(plan)

    def _attempt(self, plan: Plan) -> None:
        try:
            self._load(plan)
        except Exception as error:  # noqa: BLE001  # the reader raises or reports it
            self.steps.put(Failed(plan, error))

    def _load(self, plan: Plan) -> None:
        upload = self._client.upload(
            plan.path,
            plan.dataset,
            lambda sent: self.steps.put(BytesSent(plan, sent)),
            fixes=plan.fixes,
            dialect=plan.dialect,
        )
        self.steps.put(Uploaded(plan, upload))
        if self._arrivals is None:
            return
        number = self._arrivals.wait(upload, ARRIVAL_TIMEOUT_S)
        for each in follow(self._client, number, self._timeout_s):
            self.steps.put(
                EventReceived(plan, each) if isinstance(each, Event) else Ended(plan, each)
            )
