"""The instances of one function and the requests that wait for them; knows no HTTP.

As Cloud Run does it: the least busy instance takes the next request, no instance more than its
concurrency, and what comes on top waits in order of arrival.
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
    """No instance became free in time."""

    code = "SYS914"
    title = "Every instance is busy"


@dataclass
class Seat:
    """The place of one instance in the pool: where it listens and how busy it is."""

    port: int
    busy: int = 0


@dataclass
class Pool:
    """Seats of the instances that are ready, and who waits for one."""

    function: str
    concurrency: int
    wait_s: float = 300.0
    seats: list[Seat] = field(default_factory=list)
    _waiting: deque[asyncio.Future[Seat]] = field(default_factory=deque)

    @property
    def busy(self) -> int:
        """Requests that instances work on."""
        return sum(seat.busy for seat in self.seats)

    @property
    def waiting(self) -> int:
        """Requests that wait for an instance."""
        return sum(not each.done() for each in self._waiting)

    def join(self, seat: Seat) -> None:
        """Add an instance that became ready."""
        self.seats.append(seat)
        self._serve()

    def leave(self, seat: Seat) -> None:
        """Take out an instance that ended; its requests fail on their own."""
        if seat in self.seats:
            self.seats.remove(seat)

    @asynccontextmanager
    async def seat(self) -> AsyncIterator[Seat]:
        """Hold a place at the least busy instance, once there is one.

        Raises:
            SaturatedError: none became free within `wait_s`.
        """
        seat = await self._take()
        try:
            yield seat
        finally:
            seat.busy -= 1
            self._serve()

    async def _take(self) -> Seat:
        turn: asyncio.Future[Seat] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._serve()
        try:
            async with asyncio.timeout(self.wait_s):
                return await turn
        except TimeoutError:
            self._give_back(turn)
            raise SaturatedError(
                f"{self.function}: no instance became free in {self.wait_s:.0f} s; try again"
            ) from None
        except asyncio.CancelledError:
            self._give_back(turn)
            raise

    def _give_back(self, turn: asyncio.Future[Seat]) -> None:
        if turn.done() and not turn.cancelled():
            turn.result().busy -= 1
            self._serve()

    def _serve(self) -> None:
        while self._waiting and (seat := self._least_busy()) is not None:
            turn = self._waiting.popleft()
            if not turn.done():
                seat.busy += 1
                turn.set_result(seat)

    def _least_busy(self) -> Seat | None:
        free = [seat for seat in self.seats if seat.busy < self.concurrency]
        return min(free, key=lambda seat: seat.busy, default=None)
