"""Load balancing over the instances of one function.

As in Cloud Run, the least busy instance gets the next request, no instance exceeds its concurrency,
and further requests queue in order of arrival.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sluice.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class SaturatedError(TransientError):
    """No instance became available in time."""

    code = "SYS914"
    title = "Every instance is busy"


@dataclass
class Backend:
    """A ready instance: its port and the number of its open requests."""

    port: int
    busy: int = 0


@dataclass
class Pool:
    """The ready instances, and the queue of requests."""

    function: str
    concurrency: int
    wait_s: float = 300.0
    backends: list[Backend] = field(default_factory=list)
    _waiting: deque[asyncio.Future[Backend]] = field(default_factory=deque)

    @property
    def busy(self) -> int:
        """Number of open requests."""
        return sum(each.busy for each in self.backends)

    @property
    def waiting(self) -> int:
        """Number of queued requests."""
        return sum(not each.done() for each in self._waiting)

    def add(self, backend: Backend) -> None:
        """Add an instance that became ready."""
        self.backends.append(backend)
        self._serve()

    def remove(self, backend: Backend) -> None:
        """Remove an instance that ended; its open requests fail by themselves."""
        if backend in self.backends:
            self.backends.remove(backend)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Backend]:
        """Reserve a request at the least busy instance, once one is available.

        Raises:
            SaturatedError: none became available within `wait_s`.
        """
        backend = await self._take()
        try:
            yield backend
        finally:
            backend.busy -= 1
            self._serve()

    async def _take(self) -> Backend:
        turn: asyncio.Future[Backend] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._serve()
        try:
            async with asyncio.timeout(self.wait_s):
                return await turn
        except TimeoutError:
            self._give_back(turn)
            raise SaturatedError(
                f"{self.function}: no instance became available in {self.wait_s:.0f} s; try again"
            ) from None
        except asyncio.CancelledError:
            self._give_back(turn)
            raise

    def _give_back(self, turn: asyncio.Future[Backend]) -> None:
        if turn.done() and not turn.cancelled():
            turn.result().busy -= 1
            self._serve()

    def _serve(self) -> None:
        while self._waiting and (backend := self._least_busy()) is not None:
            turn = self._waiting.popleft()
            if not turn.done():
                backend.busy += 1
                turn.set_result(backend)

    def _least_busy(self) -> Backend | None:
        free = [each for each in self.backends if each.busy < self.concurrency]
        return min(free, key=lambda each: each.busy, default=None)
