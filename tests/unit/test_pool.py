"""The pool of instances: who gets the next request, and who waits."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from sluice.local.pool import Pool, SaturatedError, Seat


def pool_of(*ports: int, concurrency: int = 1, wait_s: float = 5) -> Pool:
    pool = Pool("load", concurrency, wait_s)
    for port in ports:
        pool.join(Seat(port))
    return pool


def test_the_least_busy_instance_is_next() -> None:
    async def ports() -> list[int]:
        pool = pool_of(1, 2, concurrency=2)
        async with AsyncExitStack() as held:
            return [(await held.enter_async_context(pool.seat())).port for _ in range(4)]

    assert sorted(asyncio.run(ports())[:2]) == [1, 2]
    assert sorted(asyncio.run(ports())) == [1, 1, 2, 2]


def test_requests_wait_in_order_of_arrival() -> None:
    async def order() -> list[int]:
        pool, served = pool_of(1), []

        async def request(number: int) -> None:
            async with pool.seat():
                served.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*(request(number) for number in range(6)))
        return served

    assert asyncio.run(order()) == list(range(6))


def test_a_request_waits_for_the_first_instance() -> None:
    async def port() -> int:
        pool = pool_of()
        asyncio.get_running_loop().call_later(0.01, pool.join, Seat(7))
        async with pool.seat() as seat:
            return seat.port

    assert asyncio.run(port()) == 7


def test_waiting_ends_with_an_error_that_names_the_function() -> None:
    async def wait() -> None:
        async with pool_of(wait_s=0.01).seat():
            pass

    with pytest.raises(SaturatedError, match=r"^load: no instance became free"):
        asyncio.run(wait())


def test_a_request_that_gives_up_keeps_no_instance() -> None:
    async def busy() -> tuple[int, int]:
        pool = pool_of(1)
        async with pool.seat():
            waiting = asyncio.ensure_future(pool.seat().__aenter__())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        return pool.busy, pool.waiting

    assert asyncio.run(busy()) == (0, 0)


def test_an_instance_that_left_gets_nothing_more() -> None:
    async def port() -> int:
        gone, pool = Seat(1), pool_of(2)
        pool.join(gone)
        pool.leave(gone)
        async with pool.seat() as seat:
            return seat.port

    assert asyncio.run(port()) == 2
