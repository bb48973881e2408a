"""The gateway: one address for all functions, like the load balancer and Cloud Run.

Public paths are routed by `sluice.routes`; `/functions/<name>` receives the pushes of Pub/Sub.
Bodies are streamed in both directions, so no upload is held in memory.

Run it with `python -m sluice.local.gateway --state DIR --port N --loaders N`; its environment is
the functions' environment.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import (
    ClientError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
    web,
)
from multidict import CIMultiDict
from yarl import URL

from sluice.errors import NotFoundError, RequestError, SluiceError, TransientError
from sluice.ingestion.recovery import RECOVERY_PATH
from sluice.local.functions import Instance, deployed, end_leftovers
from sluice.local.guard import PUSH_PREFIX, PUSH_SECRET, Guard, push_endpoint
from sluice.local.pool import Backend, Pool
from sluice.local.scheduler import FUNCTION as RECOVERING
from sluice.local.scheduler import call_recovery
from sluice.local.state import State
from sluice.routes import function_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from aiohttp import ClientResponse
    from aiohttp.client import _RequestContextManager
    from multidict import CIMultiDictProxy

STATUS_PATH = "/-/status"
BUFFER_BYTES = 256 * 1024
SMALL_BYTES = 64 * 1024
# gunicorn closes idle connections after 2 s; close them before it does.
KEEPALIVE_S = 1.0
# Slow clients do not occupy instances: a request is passed on once the start of its body has arrived, and
# the rest must not be slower than this.
HEADERS_S = 20.0
BODY_START_BYTES = 1024 * 1024
STALL_S = 20.0
BYTES_PER_S = 64 * 1024
# RFC 9110, section 7.6.1: these belong to one connection and are not forwarded.
HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)


class InstanceLostError(TransientError):
    """The instance ended before it answered."""

    code = "SYS915"
    title = "The function did not answer"
    status = 502


class SlowClientError(RequestError):
    """The client sends the body too slowly."""

    code = "API354"
    title = "The body arrives too slowly"
    status = 408


@dataclass(frozen=True)
class Address:
    """Where the gateway listens.

    Attributes:
        hosts: values of the header Host to accept besides those of the loopback interface.
    """

    host: str
    port: int
    hosts: Sequence[str] = ()


@dataclass
class Gateway:
    """Routes each request to an instance of its function."""

    pools: Mapping[str, Pool]
    instances: Sequence[Instance]
    session: ClientSession
    guard: Guard

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        try:
            self.guard.check(request)
            if request.path == STATUS_PATH:
                return web.json_response(self.status())
            function, target = destination(request.method, request.raw_path)
            return await self._forward(request, self._pool(function), target)
        except SluiceError as error:
            return _problem(error)

    def status(self) -> list[dict[str, object]]:
        """Return one entry for each instance."""
        return [
            {
                "name": each.name,
                "pid": each.process.pid if each.process else None,
                "ready": each.is_ready,
                "starts": each.starts,
                "busy": each.backend.busy if each.backend else 0,
                "waiting": each.pool.waiting,
            }
            for each in self.instances
        ]

    def _pool(self, function: str) -> Pool:
        try:
            return self.pools[function]
        except KeyError:
            raise NotFoundError(f"function {function!r} is not deployed here") from None

    async def _forward(
        self, request: web.BaseRequest, pool: Pool, target: str
    ) -> web.StreamResponse:
        await _invite_body(request)
        body = Body(request)
        await body.receive_start()
        async with pool.acquire() as backend:
            try:
                url = f"http://127.0.0.1:{backend.port}{target}"
                async with self._send(request, url, body) as answer:
                    return await _relay(request, answer)
            except ClientError as error:
                if body.is_slow:
                    raise SlowClientError("send the body faster, or in parts") from error
                # It may be ending: send it no request until it listens again.
                pool.remove(backend)
                self._mark_unhealthy(backend)
                raise InstanceLostError(f"{pool.function}: {error}; try again") from error

    def _mark_unhealthy(self, backend: Backend) -> None:
        for each in self.instances:
            if each.backend is backend:
                each.mark_unhealthy()

    def _send(self, request: web.BaseRequest, url: str, body: Body) -> _RequestContextManager:
        return self.session.request(
            request.method,
            URL(url, encoded=True),
            headers=_forwarded(request),
            data=body.blocks() if request.body_exists else None,
            allow_redirects=False,
        )


class Body:
    """The body of a request; it must arrive at a minimum speed."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._content = request.content
        self._start = bytearray()
        self._patience_s = STALL_S  # how long the client may still send nothing
        self.is_slow = False

    async def receive_start(self) -> None:
        """Receive all of a small body, or the start of a large one.

        Raises:
            SlowClientError: it arrives too slowly.
        """
        while len(self._start) < BODY_START_BYTES and (block := await self._receive()):
            self._start += block

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield the body block by block.

        Raises:
            SlowClientError: the rest arrives too slowly.
        """
        if self._start:
            yield bytes(self._start)
        while block := await self._receive():
            yield block

    async def _receive(self) -> bytes:
        clock = asyncio.get_running_loop().time
        since = clock()
        try:
            async with asyncio.timeout(self._patience_s):
                block = await self._content.readany()
        except TimeoutError:
            self.is_slow = True
            raise SlowClientError("send the body faster, or in parts") from None
        left_s = self._patience_s - (clock() - since) + len(block) / BYTES_PER_S
        self._patience_s = min(STALL_S, left_s)
        return block


class PatientServer(web.Server):
    """Closes connections whose request has not arrived in time."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        super().__init__(self._note, handler_cancellation=True)
        self._answer = handler
        self._silent: set[web.RequestHandler] = set()

    def __call__(self) -> web.RequestHandler:
        """Return the handler of a new connection."""
        connection = super().__call__()
        self._silent.add(connection)
        asyncio.get_running_loop().call_later(HEADERS_S, self._close_if_silent, connection)
        return connection

    async def _note(self, request: web.BaseRequest) -> web.StreamResponse:
        self._silent.discard(request.protocol)
        return await self._answer(request)

    def _close_if_silent(self, connection: web.RequestHandler) -> None:
        if connection in self._silent:
            self._silent.remove(connection)
            connection.force_close()


def destination(method: str, target: str) -> tuple[str, str]:
    """Return the function that serves a request, and the request target for it.

    Raises:
        NotFoundError: no function serves the path.
        NotAllowedError: no function serves the path with this method.
    """
    path = target.split("?", 1)[0]
    if not path.startswith(PUSH_PREFIX):
        return function_for(method, path), target
    name, slash, rest = target.removeprefix(PUSH_PREFIX).partition("/")
    name, question, query = name.partition("?")
    return name, f"/{rest}{question}{query}" if slash or question else "/"


async def _invite_body(request: web.BaseRequest) -> None:
    """Answer `Expect: 100-continue`; otherwise curl waits for a second before it sends a large body."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        writer = request.writer
        await writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        writer.output_size = 0  # the interim answer does not start the answer


def _forwarded(request: web.BaseRequest) -> CIMultiDict[str]:
    headers = _end_to_end(request.headers)
    headers.popall("Expect", None)
    headers["X-Forwarded-For"] = request.remote or ""
    headers["X-Forwarded-Proto"] = "http"
    return headers


def _end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    return CIMultiDict(
        (name, value) for name, value in headers.items() if name.lower() not in HOP_BY_HOP
    )


async def _relay(request: web.BaseRequest, answer: ClientResponse) -> web.StreamResponse:
    headers = _end_to_end(answer.headers)
    if answer.content_length is not None and answer.content_length <= SMALL_BYTES:
        body = await answer.read()
        if request.method != "HEAD":
            return web.Response(status=answer.status, headers=headers, body=body)
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
    await response.prepare(request)
    try:
        async for block in answer.content.iter_any():
            async with asyncio.timeout(STALL_S):
                await response.write(block)
    except (ClientError, TimeoutError) as error:
        # The headers are sent: only a broken connection can report that the rest is missing.
        raise ConnectionResetError(str(error)) from error
    return response


def _problem(error: SluiceError) -> web.Response:
    return web.json_response(
        error.problem(), status=error.status, content_type="application/problem+json"
    )


async def serve(state: State, folder: Path, address: Address, loaders: int) -> None:
    """Run functions and gateway until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    secret = state.secret(PUSH_SECRET)
    guard = Guard(address.port, secret, address.hosts)
    recovery = push_endpoint(
        f"http://127.0.0.1:{address.port}", f"{RECOVERING}{RECOVERY_PATH}", secret
    )
    pools, instances = _instances(state, folder, loaders)
    async with _session() as session, asyncio.TaskGroup() as group:
        server = PatientServer(Gateway(pools, instances, session, guard).handle)
        runner = web.ServerRunner(server, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, address.host, address.port, shutdown_timeout=1).start()
        end_leftovers(state)
        lives = [group.create_task(each.supervise()) for each in instances]
        lives.append(group.create_task(call_recovery(session, recovery, pools)))
        await stopped.wait()
        await runner.cleanup()
        for life in lives:
            life.cancel()


def _instances(state: State, folder: Path, loaders: int) -> tuple[dict[str, Pool], list[Instance]]:
    functions = deployed(folder, loaders)
    pools = {each.name: Pool(each.name, each.concurrency) for each in functions}
    instances = [
        Instance(each, number, folder, state, pools[each.name])
        for each in functions
        for number in range(1, each.instances + 1)
    ]
    return pools, instances


def _session() -> ClientSession:
    return ClientSession(
        connector=TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
        timeout=ClientTimeout(total=None, sock_connect=5),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        read_bufsize=BUFFER_BYTES,
    )


def main() -> None:
    """Run the gateway of a state directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--functions", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--loaders", type=int, required=True)
    parser.add_argument("--revision", help="shown by ps: what is deployed")
    given = parser.parse_args()
    address = Address("127.0.0.1", given.port)
    asyncio.run(serve(State(given.state), given.functions, address, given.loaders))


if __name__ == "__main__":
    main()
