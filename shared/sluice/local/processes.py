"""Processes of the operating system that outlive their starter.

A process is identified by its pid and its start time, because pids are reused. Each also carries a
mark in its environment, which finds processes whose starter was killed before it recorded them.
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

# psutil derives the start time from the boot time, which changes when the clock is set.
START_TIME_TOLERANCE_S = 2.0
KILL_TIMEOUT_S = 5.0
POLL_S = 0.02
MARK = "SLUICE_LOCAL_PART"


@dataclass(frozen=True)
class Process:
    """A process, distinct from a later one with the same pid."""

    pid: int
    started_at: float

    def find(self) -> psutil.Process | None:
        """Return the live process, or None if it has ended."""
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
    """Start a process in a new session; append its output to `log`."""
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
    child.returncode = 0  # it outlives us: otherwise Popen warns about it
    return Process(child.pid, psutil.Process(child.pid).create_time())


def running_as(user: str | None) -> dict[str, Any]:
    """Return the arguments of `subprocess` that switch to a user and its groups."""
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


def is_alive(process: Process) -> bool:
    """Return whether the process is running."""
    return process.find() is not None


def stop(process: Process, *, timeout_s: float, stop_signal: int = signal.SIGTERM) -> None:
    """Signal a process to stop; after the timeout kill it and all that it started."""
    if (found := process.find()) is not None:
        _end([found], [found, *found.children(recursive=True)], timeout_s, stop_signal)
    with suppress(ChildProcessError):  # another process started it and collects its status
        os.waitpid(process.pid, os.WNOHANG)


def end(process: psutil.Process, *, timeout_s: float) -> None:
    """End a process that this module did not start."""
    _end([process], [process], timeout_s, signal.SIGTERM)


def marked(root: Path, part: str) -> list[psutil.Process]:
    """Return the live processes of a part, by their mark."""
    wanted = mark(root, part)
    return [each for each in psutil.process_iter() if _mark_of(each) == wanted]


def end_marked(root: Path, part: str, *, timeout_s: float = 5) -> None:
    """End the processes of a part, recorded or not."""
    found = marked(root, part)
    _end(found, found, timeout_s, signal.SIGTERM)


def _end(
    signalled: Sequence[psutil.Process],
    awaited: Sequence[psutil.Process],
    timeout_s: float,
    stop_signal: int,
) -> None:
    for each in signalled:
        _signal(each, stop_signal)
    for each in _remaining(awaited, timeout_s):
        _signal(each, signal.SIGKILL)
    _remaining(awaited, KILL_TIMEOUT_S)


def _remaining(awaited: Sequence[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Wait for processes to end and return those that did not.

    `psutil.wait_procs` would wait for zombies too.
    """
    deadline = time.monotonic() + timeout_s
    while remaining := [each for each in awaited if not _has_ended(each)]:
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
    """Return the resident memory of a process and, optionally, of its descendants."""
    if (found := process.find()) is None:
        return 0
    children = found.children(recursive=True) if with_children else []
    return sum(_resident(each) for each in [found, *children])


def resident_of_pid(pid: int) -> int:
    """Return the resident memory of a live pid and of its descendants."""
    try:
        return resident_bytes(Process(pid, psutil.Process(pid).create_time()))
    except psutil.NoSuchProcess:
        return 0


def _resident(process: psutil.Process) -> int:
    try:
        info = process.memory_full_info()
        # PSS, where the system reports it, divides shared memory among processes: sums are correct.
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
