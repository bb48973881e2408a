"""The deployed functions, unchanged: each instance is a process of functions-framework.

As Cloud Run does, starts instances, restarts those that end, and stops them with SIGTERM, then
SIGKILL after ten seconds. The gateway sends them requests.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from sluice.local import processes
from sluice.local.pool import Backend, Pool
from sluice.local.processes import MARK, mark
from sluice.local.state import CHECKOUT, PROJECT, State
from sluice.local.topology import SUBSCRIPTIONS
from sluice.postgres.roles import role_of, user_of
from sluice.settings import NO_AUTHENTICATION, PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PART = "function"
STOP_S = 10.0  # Cloud Run's time between SIGTERM and SIGKILL
START_S = 120.0
BACKOFF_S = (0.0, 1.0, 2.0, 5.0, 15.0)
POLL_S = 0.05


@dataclass(frozen=True)
class Function:
    """How a function is deployed locally.

    Attributes:
        name: of its folder and its entry point.
        concurrency: concurrent requests of an instance; its threads.
        pool_size: database connections of an instance.
        instances: number of processes.
        signature: of the entry point, `http` or `cloudevent`.
        arenas: areas of memory of the C library; 0 for its default, one for each thread.
    """

    name: str
    concurrency: int
    pool_size: int
    instances: int = 1
    signature: str = "http"
    arenas: int = 0


FUNCTIONS = (
    # Small files wait for each other; two large ones are split at a time.
    Function("split", concurrency=16, pool_size=4, arenas=2),
    Function("load", concurrency=1, pool_size=2),  # one instance a core; new texts take a second
    Function("finish", concurrency=4, pool_size=4),
    Function("query", concurrency=16, pool_size=16),  # an answer holds one while it streams
    # Requests with rows wait for each other, and share a transaction.
    Function("intake", concurrency=16, pool_size=4),
    Function("status", concurrency=80, pool_size=4),  # each stream of events holds a thread
    # One connection holds the snapshot; as many read as there are cores.
    Function("backup", concurrency=4, pool_size=6),
)


def deployed(folder: Path, loaders: int) -> list[Function]:
    """Return the functions in a folder, with `loaders` instances of `load`."""
    sized = [
        replace(each, instances=loaders) if each.name == "load" else each for each in FUNCTIONS
    ]
    return [each for each in sized if _source(folder, each).exists()]


@dataclass
class Instance:
    """An instance of a function: a process that is restarted while the local cloud runs."""

    function: Function
    number: int
    folder: Path
    state: State
    pool: Pool
    starts: int = 0
    process: asyncio.subprocess.Process | None = field(default=None, repr=False)
    backend: Backend | None = None
    unhealthy: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def name(self) -> str:
        """Function and number; also the name of its log."""
        return f"{self.function.name}-{self.number}"

    @property
    def is_ready(self) -> bool:
        """Whether it accepts requests."""
        return self.backend is not None

    def mark_unhealthy(self) -> None:
        """Stop sending requests to it until it listens again; a connection to it broke."""
        self.unhealthy.set()

    async def supervise(self) -> None:
        """Keep it running until cancelled."""
        try:
            while True:
                await asyncio.sleep(BACKOFF_S[min(self.starts, len(BACKOFF_S) - 1)])
                await self._run_once()
        finally:
            await self._end()

    async def _run_once(self) -> None:
        backend = Backend(_free_port())
        self.starts += 1
        self.process = await self._start(backend.port)
        ended = asyncio.ensure_future(self.process.wait())
        reset = asyncio.get_running_loop().call_later(START_S, self._reset_backoff)
        try:
            while await _listens(backend.port, ended):
                self.unhealthy.clear()
                self.backend = backend
                self.pool.add(backend)
                await _first_of(ended, asyncio.ensure_future(self.unhealthy.wait()))
        finally:
            reset.cancel()
            ended.cancel()
            self.backend = None
            self.pool.remove(backend)

    def _reset_backoff(self) -> None:
        self.starts = min(self.starts, 1)

    async def _start(self, port: int) -> asyncio.subprocess.Process:
        with self.state.log(self.name).open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *_command(self.folder, self.function, port),
                env=environment(self.function, port, self.state, os.environ),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )

    async def _end(self) -> None:
        if self.process is None or self.process.returncode is not None:
            return
        _signal(self.process.pid, signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), STOP_S)
        _signal(self.process.pid, signal.SIGKILL)
        await self.process.wait()


def environment(
    function: Function, port: int, state: State, base: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables of an instance: those of Cloud Run, and the path of the package.

    The gateway, and no token, says that Pub/Sub is the caller: Google's emulator signs none.
    """
    is_pushed = function.name in {each.function for each in SUBSCRIPTIONS}
    return {
        f"{PREFIX}POOL_SIZE": str(function.pool_size),
        f"{PREFIX}REQUESTS_AT_ONCE": str(max(1, function.concurrency // 2)),
        **base,
        f"{PREFIX}DATABASE_USER": user_of(function.name, PROJECT),
        f"{PREFIX}DATABASE_ROLE": role_of(function.name),
        **({f"{PREFIX}AUTHENTICATION": NO_AUTHENTICATION} if is_pushed else {}),
        "THREADS": str(function.concurrency),
        **({"MALLOC_ARENA_MAX": str(function.arenas)} if function.arenas else {}),
        "PORT": str(port),
        "K_SERVICE": function.name,
        "PYTHONPATH": str(CHECKOUT / "shared"),
        "PYTHONUNBUFFERED": "1",
        MARK: mark(state.root, PART),
    }


def _source(folder: Path, function: Function) -> Path:
    return folder / function.name / "main.py"


def _command(folder: Path, function: Function, port: int) -> Sequence[str]:
    return [
        sys.executable, "-m", "functions_framework",
        "--source", str(_source(folder, function)),
        "--target", function.name,
        "--signature-type", function.signature,
        "--host", "127.0.0.1",
        "--port", str(port),
    ]  # fmt: skip


async def _listens(port: int, ended: asyncio.Future[int]) -> bool:
    """Wait until the port accepts connections; return False if the process ends before."""
    async with asyncio.timeout(START_S):
        while not ended.done():
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return True
            await asyncio.sleep(POLL_S)
    return False


async def _first_of(ended: asyncio.Future[int], unhealthy: asyncio.Future[Literal[True]]) -> None:
    both: list[asyncio.Future[Any]] = [ended, unhealthy]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        unhealthy.cancel()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)


def end_leftovers(state: State) -> None:
    """End instances that a killed gateway left running."""
    processes.end_marked(state.root, PART)
