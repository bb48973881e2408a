"""A part of the local cloud: a process with a name, ports and a readiness check.

Starts, recognises and stops parts, whichever they are.
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sluice.local import processes
from sluice.local.errors import PartFailedError, PortBusyError
from sluice.local.processes import MARK, Process, mark

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sluice.local.state import State

POLL_S = 0.03
HUNG_AFTER_S = 10.0


def _nothing() -> None:
    return


@dataclass(frozen=True)
class Part:
    """How to run a part.

    Attributes:
        name: as `sluice status` shows it.
        command: program and arguments; a change of them restarts the part.
        ports: its ports by the option that sets them, the main one first.
        address: where clients find it.
        is_ready: returns whether it answers; may raise `OSError` (no) or `PartFailedError` (never will).
        prepare: creates what the process needs before it starts.
        env: environment variables in addition to the starter's.
        user: system user that runs it; None for the starter's.
        stop_signal: requests a graceful stop.
        is_supervisor: `sluice status` lists its children separately.
        ready_within_s: time in which it must answer, recovery after a crash included.
    """

    name: str
    command: Sequence[str]
    ports: Mapping[str, int]
    address: str
    is_ready: Callable[[], bool]
    prepare: Callable[[], None] = _nothing
    env: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    is_supervisor: bool = False
    ready_within_s: float = 30.0

    @property
    def identity(self) -> str:
        """A digest of the command and its variables; a part restarts when it changes."""
        text = repr((list(self.command), sorted(self.env.items())))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class PartStatus:
    """One line of `sluice status`."""

    name: str
    state: str
    address: str
    pid: int | None = None
    resident_bytes: int = 0


def recorded(state: State, name: str) -> Process | None:
    """Return the process of a part, as recorded when it started."""
    match state.read(name):
        case {"pid": int(pid), "started_at": float(started_at)}:
            return Process(pid, started_at)
    return None


def is_alive(state: State, name: str) -> bool:
    """Return whether the recorded process of a part exists, whether or not it answers."""
    process = recorded(state, name)
    return process is not None and processes.is_alive(process)


def make_room(state: State, part: Part) -> bool:
    """Return whether a part must be started; if so, end its remaining processes and check its ports.

    Raises:
        PortBusyError: another program listens on one of its ports.
    """
    if _runs(state, part):
        return False
    stop(state, part.name, part.stop_signal)
    _check_ports(part)
    return True


def start(state: State, part: Part) -> None:
    """Start a part and wait until it answers.

    Raises:
        PartFailedError: it ended, or did not answer in time.
    """
    part.prepare()
    process = processes.start(
        part.command,
        log=state.log(part.name),
        env={**os.environ, **part.env, MARK: mark(state.root, part.name)},
        user=part.user,
    )
    record = {"pid": process.pid, "started_at": process.started_at, "identity": part.identity}
    state.write(part.name, record)
    _await_ready(state, part, process)


def stop(state: State, name: str, stop_signal: signal.Signals = signal.SIGTERM) -> bool:
    """Stop a part, recorded or not; return whether it was running."""
    process = recorded(state, name)
    was_alive = process is not None and processes.is_alive(process)
    if process is not None:
        processes.stop(process, timeout_s=20, stop_signal=stop_signal)
    processes.end_marked(state.root, name)
    state.forget(name)
    return was_alive


def status(state: State, part: Part) -> PartStatus:
    """Return the status of a part: `running`, `not answering`, `failing`, `killed` or `stopped`."""
    process = recorded(state, part.name)
    if process is None:
        return PartStatus(part.name, "stopped", part.address)
    if not processes.is_alive(process):
        return PartStatus(part.name, "killed", part.address)
    return PartStatus(
        part.name,
        _word(part),
        part.address,
        process.pid,
        processes.resident_bytes(process, with_children=not part.is_supervisor),
    )


def _word(part: Part) -> str:
    try:
        return "running" if _answers(part) else "not answering"
    except PartFailedError:
        return "failing"


def _runs(state: State, part: Part) -> bool:
    process = recorded(state, part.name)
    if process is None or not processes.is_alive(process):
        return False
    if (state.read(part.name) or {}).get("identity") != part.identity:
        return False
    try:
        _wait(lambda: _answers(part) or not processes.is_alive(process), HUNG_AFTER_S)
        return processes.is_alive(process) and _answers(part)
    except PartFailedError:
        return False


def _await_ready(state: State, part: Part, process: Process) -> None:
    log = state.log(part.name)
    _wait(lambda: _answers(part) or not processes.is_alive(process), part.ready_within_s)
    if not processes.is_alive(process):
        raise PartFailedError(part.name, "ended during its start", log)
    if not _answers(part):
        raise PartFailedError(part.name, f"did not answer within {part.ready_within_s:.0f} s", log)


def _answers(part: Part) -> bool:
    try:
        return part.is_ready()
    except OSError:
        return False


def _wait(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(POLL_S)


def _check_ports(part: Part) -> None:
    for option, port in part.ports.items():
        if not is_free(port):
            raise PortBusyError(part.name, port, option)


def is_free(port: int) -> bool:
    """Return whether a part could listen on a local port."""
    with socket.socket() as probe:
        # Otherwise connections of a process that just ended would block the port for a minute.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def is_listening(port: int) -> bool:
    """Return whether something accepts connections on a local port; raise `OSError` if not."""
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
