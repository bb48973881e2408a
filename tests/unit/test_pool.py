"""The pool of instances: which one gets the next request, and which requests wait."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from sluice.local.pool import Backend, Pool, SaturatedError


def pool_of(*ports: int, concurrency: int = 1, wait_s: float = 5) -> Pool:
    pool = Pool("load", concurrency, wait_s)
    for port in ports:
        pool.add(Backend(port))
    return pool


def test_the_least_busy_instance_is_next() -> None:
    async def ports() -> list[int]:
        pool = pool_of(1, 2, concurrency=2)
        async with AsyncExitStack() as held:
            return [(await held.enter_async_context(pool.acquire())).port for _ in range(4)]

    assert sorted(asyncio.run(ports())[:2]) == [1, 2]
    assert sorted(asyncio.run(ports())) == [1, 1, 2, 2]


def test_requests_wait_in_order_of_arrival() -> None:
    async def order() -> list[int]:
        pool, served = pool_of(1), []

        async def request(number: int) -> None:
            async with pool.acquire():
                served.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*(request(number) for number in range(6)))
        return served

    assert asyncio.run(order()) == list(range(6))


def test_a_request_waits_for_the_first_instance() -> None:
    async def port() -> int:
        pool = pool_of()
        asyncio.get_running_loop().call_later(0.01, pool.add, Backend(7))
        async with pool.acquire() as backend:
            return backend.port

    assert asyncio.run(port()) == 7


def test_waiting_too_long_ends_with_an_error_that_names_the_function() -> None:
    async def wait() -> None:
        async with pool_of(wait_s=0.01).acquire():
            pass

    with pytest.raises(SaturatedError, match=r"^load: no instance became available"):
        asyncio.run(wait())


def test_a_request_that_gives_up_keeps_no_instance() -> None:
    async def busy() -> tuple[int, int]:
        pool = pool_of(1)
        async with pool.acquire():
            waiting = asyncio.ensure_future(pool.acquire().__aenter__())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        return pool.busy, pool.waiting

    assert asyncio.run(busy()) == (0, 0)


def test_a_removed_instance_gets_no_more_requests() -> None:
    async def port() -> int:
        gone, pool = Backend(1), pool_of(2)
        pool.add(gone)
        pool.remove(gone)
        async with pool.acquire() as backend:
            return backend.port

    assert asyncio.run(port()) == 2
