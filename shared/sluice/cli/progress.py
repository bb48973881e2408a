"""Progress of loading files: bars on a terminal, plain lines elsewhere.

It goes to stderr; stdout has only the outcome.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol, Self

import click

from sluice.cli.output import count, size

if TYPE_CHECKING:
    from datetime import datetime

    from rich.progress import Progress, TaskID

    from sluice.client import Event, IngestionProgress

LINE_EVERY_S = 2.0


class View(Protocol):
    """Shows the progress of files between `__enter__` and `__exit__`."""

    def __enter__(self) -> Self:
        """Start the display."""

    def __exit__(self, *_: object) -> None:
        """Restore the terminal."""

    def sent(self, name: str, sent_bytes: int, size_bytes: int) -> None:
        """Show how much of a file is sent."""

    def received(self, name: str, event: Event) -> None:
        """Show an event of the file's ingestion."""

    def ended(self, name: str) -> None:
        """Show that the file is finished."""


def choose_view(*, is_silent: bool) -> View:
    """Return bars on a terminal, lines elsewhere, and no display if `is_silent`."""
    if is_silent:
        return Silence()
    return Bars() if sys.stderr.isatty() else Lines()


class Silence:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def sent(self, name: str, sent_bytes: int, size_bytes: int) -> None:
        """Show nothing."""

    def received(self, name: str, event: Event) -> None:
        """Show nothing."""

    def ended(self, name: str) -> None:
        """Show nothing."""


class Lines(Silence):
    """Prints one line for each state, and one every few seconds in between."""

    def __init__(self) -> None:
        self._shown_at: dict[str, float] = {}

    def sent(self, name: str, sent_bytes: int, size_bytes: int) -> None:
        """Print how much is uploaded."""
        if sent_bytes >= size_bytes or self._is_due(name):
            self._show(name, f"uploaded {size(sent_bytes)} of {size(size_bytes)}")

    def received(self, name: str, event: Event) -> None:
        """Print a state, or how much is loaded."""
        # The last chunk's progress event already has the state of the next event.
        is_repeated = event.name == "progress" and event.data.state == "publishing"
        if not is_repeated and (event.name != "progress" or self._is_due(name)):
            self._show(name, describe(event))

    def _is_due(self, name: str) -> bool:
        now = time.monotonic()
        return now - self._shown_at.setdefault(name, now) >= LINE_EVERY_S

    def _show(self, name: str, text: str) -> None:
        self._shown_at[name] = time.monotonic()
        click.echo(f"{name}: {text}", err=True)


class Bars:
    """Shows one bar for each file: first for the bytes sent, then for the bytes loaded."""

    def __init__(self) -> None:
        self._progress = _bars()
        self._tasks: dict[str, TaskID] = {}
        self._began_at: dict[str, datetime] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def sent(self, name: str, sent_bytes: int, size_bytes: int) -> None:
        """Move the bar of the upload."""
        self._show(name, "uploading", sent_bytes, size_bytes, "")

    def received(self, name: str, event: Event) -> None:
        """Move the bar of the load; it restarts when the upload ends."""
        found = event.data
        if name in self._tasks and name not in self._began_at:
            self._progress.reset(self._tasks[name])
        began_at = self._began_at.setdefault(name, event.time)
        note = _note(found, (event.time - began_at).total_seconds())
        state = "observing" if is_observing(found) else found.state
        self._show(name, state, _done_bytes(found), found.size_bytes, note)

    def ended(self, name: str) -> None:
        """Stop the bar."""
        if name in self._tasks:
            self._progress.stop_task(self._tasks[name])

    def _show(self, name: str, state: str, done: int, total: int, note: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, state=state, note=note)
        self._progress.update(
            self._tasks[name], completed=done, total=max(total, 1), state=state, note=note
        )


def is_observing(found: IngestionProgress) -> bool:
    """Whether the types of a file are observed in its chunks, before the first is loaded."""
    return bool(found.chunks.observed) and not found.chunks.loaded and found.state == "loading"


def _done_bytes(found: IngestionProgress) -> int:
    """Return the bytes that are loaded or, before that, about those whose types are observed."""
    if found.state in ("publishing", "done"):  # no chunk contains the header
        return found.size_bytes
    if is_observing(found) and found.chunks.total:
        return found.size_bytes * found.chunks.observed // found.chunks.total
    return found.bytes_loaded


def describe(event: Event) -> str:
    """Summarise an event: `ingestion 7 loading, 3 of 8 chunks, 12,000 rows`."""
    found = event.data
    words = [f"ingestion {found.id} {found.state}"]
    total = "" if found.chunks.total is None else f" of {found.chunks.total}"
    if is_observing(found):
        words.append(f"types observed in {found.chunks.observed}{total} chunks")
    if found.chunks.loaded:
        words.append(f"{found.chunks.loaded}{total} chunks")
    if found.account.read:
        words.append(count(found.account.loaded, "row"))
    if found.account.rejected:
        words.append(count(found.account.rejected, "reject"))
    if found.problem is not None:
        words.append(found.problem.detail)
    return ", ".join(words)


def _note(found: IngestionProgress, elapsed_s: float) -> str:
    words = []
    if is_observing(found):
        words.append(f"types of {found.chunks.observed}/{found.chunks.total or '?'} chunks")
    elif found.chunks.total:
        words.append(f"{found.chunks.loaded}/{found.chunks.total} chunks")
    if found.account.read and elapsed_s > 0:
        words.append(f"{found.account.read / elapsed_s:,.0f} rows/s")
    if found.account.rejected:
        words.append(f"[yellow]{count(found.account.rejected, 'reject')}[/]")
    return "  ".join(words)


def _bars() -> Progress:
    from rich import progress  # noqa: PLC0415  # for a terminal only
    from rich.console import Console  # noqa: PLC0415

    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.TextColumn("[cyan]{task.fields[state]:<10}"),
        progress.BarColumn(bar_width=30),
        progress.DownloadColumn(),
        progress.TextColumn("{task.fields[note]}"),
        progress.TimeElapsedColumn(),
        console=Console(stderr=True),
    )
