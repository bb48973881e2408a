"""Loading files: each is uploaded and followed by a thread of its own; knows no terminal.

The threads tell what happens as steps, in one queue, to one reader. They end with the process, so
that an interrupted command ends at once.
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluice.client import Event
from sluice.client.arrivals import Arrivals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sluice.client import Client, Ingestion, Upload

MAX_FILES_AT_ONCE = 4
ARRIVAL_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Plan:
    """A file and the dataset that it goes to."""

    path: Path
    dataset: str
    size_bytes: int


@dataclass(frozen=True)
class Sent:
    """So many bytes of the file are sent."""

    plan: Plan
    sent_bytes: int


@dataclass(frozen=True)
class Uploaded:
    """The file is an object."""

    plan: Plan
    upload: Upload


@dataclass(frozen=True)
class Told:
    """An event of the file's ingestion came."""

    plan: Plan
    event: Event


@dataclass(frozen=True)
class Ended:
    """The file's ingestion has ended."""

    plan: Plan
    ingestion: Ingestion


@dataclass(frozen=True)
class Broke:
    """The file could not be uploaded or followed."""

    plan: Plan
    error: Exception


Step = Sent | Uploaded | Told | Ended | Broke


def load_all(client: Client, plans: Sequence[Plan]) -> Iterator[Step]:
    """Upload and follow files, and yield what happens until each has `Ended` or `Broke`.

    Raises:
        SluiceError: the events of the API cannot be heard.
    """
    with Arrivals(client) as arrivals:
        yield from _run(_Work(client, arrivals), plans, last=(Ended, Broke))


def upload_all(client: Client, plans: Sequence[Plan]) -> Iterator[Step]:
    """Upload files, and yield what happens until each is `Uploaded` or `Broke`."""
    yield from _run(_Work(client, None), plans, last=(Uploaded, Broke))


def follow(client: Client, number: int) -> Iterator[Event | Ingestion]:
    """Yield the events of an ingestion, and at its end the ingestion itself.

    A state that looked final may have been left since by a retry or an undo: events of before
    tell of it, so the ingestion itself has the last word.
    """
    for event in client.events(number):
        yield event
        if event.is_final:
            found = client.ingestion(number)
            if found.is_final:
                yield found
                return


def _run(work: _Work, plans: Sequence[Plan], last: tuple[type, ...]) -> Iterator[Step]:
    for plan in plans:
        work.plans.put(plan)
    for number in range(min(MAX_FILES_AT_ONCE, len(plans))):
        threading.Thread(target=work.run, name=f"load-{number}", daemon=True).start()
    unfinished = len(plans)
    while unfinished:
        step = work.steps.get()
        yield step
        unfinished -= isinstance(step, last)


class _Work:
    def __init__(self, client: Client, arrivals: Arrivals | None) -> None:
        self.plans: queue.Queue[Plan] = queue.Queue()
        self.steps: queue.Queue[Step] = queue.Queue()
        self._client = client
        self._arrivals = arrivals

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
        except Exception as error:  # noqa: BLE001  # told to the reader, who waits for it
            self.steps.put(Broke(plan, error))

    def _load(self, plan: Plan) -> None:
        upload = self._client.upload(
            plan.path, plan.dataset, lambda sent: self.steps.put(Sent(plan, sent))
        )
        self.steps.put(Uploaded(plan, upload))
        if self._arrivals is None:
            return
        number = self._arrivals.wait(upload, ARRIVAL_TIMEOUT_S)
        for each in follow(self._client, number):
            self.steps.put(Told(plan, each) if isinstance(each, Event) else Ended(plan, each))
