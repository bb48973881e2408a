"""Processes of the operating system: started to outlive us, known again safely, ended gently.

A process is known by its pid and its start time, so that a recycled pid is never taken for it.
Each also carries a mark in its environment: a process whose starter was killed before it could
write the record down is found by that mark.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# psutil derives the start time from the boot time, which moves when the clock is set.
START_TIME_TOLERANCE_S = 2.0
KILL_TIMEOUT_S = 5.0
POLL_S = 0.02
MARK = "SLUICE_LOCAL_PART"


@dataclass(frozen=True)
class Process:
    """A process that cannot be mistaken for a later one of the same pid."""

    pid: int
    started_at: float

    def find(self) -> psutil.Process | None:
        """Return the live process, or None when it has ended."""
        try:
            found = psutil.Process(self.pid)
            is_same = abs(found.create_time() - self.started_at) < START_TIME_TOLERANCE_S
            is_dead = found.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return found if is_same and not is_dead else None


def mark(root: Path, part: str) -> str:
    """Return the mark of a part of the local cloud whose state directory is `root`."""
    return f"{root}#{part}"


def start(
    command: Sequence[str], *, log: Path, env: Mapping[str, str], user: str | None = None
) -> Process:
    """Start a process in a session of its own, its output appended to `log`."""
    with log.open("ab") as output:
        child = subprocess.Popen(  # noqa: S603  # the commands are ours
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            **running_as(user),
        )
    child.returncode = 0  # it outlives us; without this, Popen would complain about it
    return Process(child.pid, psutil.Process(child.pid).create_time())


def running_as(user: str | None) -> dict[str, Any]:
    """Return the arguments of `subprocess` that drop root for a user, its groups included."""
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


def is_alive(process: Process) -> bool:
    """Tell whether the process runs."""
    return process.find() is not None


def stop(process: Process, *, timeout_s: float, gently: int = signal.SIGTERM) -> None:
    """End a process and what it started: the signal to it first, after the time the kill to all."""
    if (found := process.find()) is not None:
        _end([found], [found, *found.children(recursive=True)], timeout_s, gently)
    with suppress(ChildProcessError):  # of another starter: no zombie of ours
        os.waitpid(process.pid, os.WNOHANG)


def end(process: psutil.Process, *, timeout_s: float) -> None:
    """End a process that was found rather than started."""
    _end([process], [process], timeout_s, signal.SIGTERM)


def marked(root: Path, part: str) -> list[psutil.Process]:
    """Return the live processes of a part, whoever started them."""
    wanted = mark(root, part)
    return [each for each in psutil.process_iter() if _mark_of(each) == wanted]


def end_marked(root: Path, part: str, *, timeout_s: float = 5) -> None:
    """End the processes of a part, recorded or not."""
    found = marked(root, part)
    _end(found, found, timeout_s, signal.SIGTERM)


def end_below(folder: Path, *, timeout_s: float = 5) -> None:
    """End all parts of all local clouds whose state directory is in a folder."""
    found = [
        each for each in psutil.process_iter() if (_mark_of(each) or "").startswith(f"{folder}/")
    ]
    _end(found, found, timeout_s, signal.SIGTERM)


def _end(
    told: Sequence[psutil.Process],
    all_of_it: Sequence[psutil.Process],
    timeout_s: float,
    gently: int,
) -> None:
    for each in told:
        _signal(each, gently)
    for each in _remaining(all_of_it, timeout_s):
        _signal(each, signal.SIGKILL)
    _remaining(all_of_it, KILL_TIMEOUT_S)


def _remaining(waited_for: Sequence[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Wait for processes to end and return those that did not.

    `psutil.wait_procs` would wait for the zombies too, until an init somewhere collects them.
    """
    deadline = time.monotonic() + timeout_s
    while remaining := [each for each in waited_for if not _has_ended(each)]:
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_S)
    return remaining


def _has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def resident_bytes(process: Process, *, with_children: bool = True) -> int:
    """Return the resident memory of a process and, if wanted, of all that it started."""
    if (found := process.find()) is None:
        return 0
    children = found.children(recursive=True) if with_children else []
    return sum(_resident(each) for each in [found, *children])


def resident_of_pid(pid: int) -> int:
    """Return the resident memory of a live pid and of all that it started."""
    try:
        return resident_bytes(Process(pid, psutil.Process(pid).create_time()))
    except psutil.NoSuchProcess:
        return 0


def _resident(process: psutil.Process) -> int:
    try:
        info = process.memory_full_info()
        # Shared memory counts in shares (PSS) where the system knows them: sums stay true.
        return int(getattr(info, "pss", 0) or info.rss)
    except psutil.Error:
        return 0


def _mark_of(process: psutil.Process) -> str | None:
    if process.pid == os.getpid():
        return None
    try:
        found: str | None = process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None
    return found


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
