"""Proxies before the database, the storage and Pub/Sub, which misbehave while a fault of them is set.

Only the functions connect through them: the harness looks at the real servers. Each decides by a `Random` of
its fault; nothing here knows rounds or what is loaded.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc
import grpc.aio
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web
from yarl import URL

HOST = "127.0.0.1"
_BLOCK_BYTES = 64 * 1024
_MAX_GRPC_BYTES = 32 * 1024 * 1024
_COPY_DATA, _QUERY, _PARSE = b"d", b"Q", b"P"
_HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "te", "upgrade", "host")
_PUBLISH = "/google.pubsub.v1.Publisher/Publish"
#: What Cloud Storage answers when it is overloaded or broken; the client repeats all but the last.
_BAD_STATUSES = (429, 500, 502, 503, 403)


@dataclass
class Fault:
    """How a proxy misbehaves.

    Attributes:
        kind: one of the kinds that the proxy knows.
        share: of the messages or requests that are hit, 0 to 1.
        chance: decides which.
        hits: how many were hit.
    """

    kind: str
    share: float
    chance: random.Random
    hits: int = 0

    def strikes(self) -> bool:
        """Return whether the next one is hit, and count it."""
        is_hit = self.chance.random() < self.share
        self.hits += is_hit
        return is_hit


class _CutError(Exception):
    """The connection was cut on purpose."""


@dataclass
class DatabaseProxy:
    """A proxy of PostgreSQL's protocol.

    Kinds: `copy` cuts the connection inside a block of COPY data; `commit` passes a COMMIT on and cuts before
    its answer; `message` cuts before a message; `stall` holds everything back; `refuse` takes no connection.
    """

    target: tuple[str, int]
    fault: Fault | None = None
    port: int = 0
    _pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = field(default_factory=set)

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening, and cut every connection."""
        self._server.close()
        self.cut_all()

    def cut_all(self) -> int:
        """Cut every connection; return how many there were. To be called in the loop of the proxy."""
        pairs = list(self._pairs)
        for each in pairs:
            _abort(*each)
        return len(pairs)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is("refuse") and self.fault and self.fault.strikes():
            _abort(writer)
            return
        try:
            above, below = await asyncio.open_connection(*self.target)
        except OSError:
            _abort(writer)
            return
        pair = (writer, below)
        self._pairs.add(pair)
        loses_answer = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._to_server(reader, below, loses_answer))
                tasks.create_task(self._to_client(above, writer, loses_answer))
        except* (OSError, _CutError, asyncio.IncompleteReadError):
            pass
        finally:
            self._pairs.discard(pair)
            _abort(*pair)

    async def _to_server(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        loses_answer: asyncio.Event,
    ) -> None:
        size = await reader.readexactly(4)  # the startup message has no type
        writer.write(size + await reader.readexactly(int.from_bytes(size) - 4))
        while True:
            head = await reader.readexactly(5)
            body = await reader.readexactly(int.from_bytes(head[1:]) - 4)
            await self._wait_while_stalled()
            self._hit(head[:1], head + body, writer, loses_answer)
            writer.write(head + body)
            await writer.drain()

    def _hit(
        self,
        kind: bytes,
        message: bytes,
        writer: asyncio.StreamWriter,
        loses_answer: asyncio.Event,
    ) -> None:
        fault = self.fault
        if fault is None:
            return
        if fault.kind == "copy" and kind == _COPY_DATA and fault.strikes():
            writer.write(message[: fault.chance.randrange(len(message))])
            raise _CutError
        is_commit = kind in (_QUERY, _PARSE) and b"commit" in message[:32].lower()
        if fault.kind == "commit" and is_commit and fault.strikes():
            loses_answer.set()
        if fault.kind == "message" and fault.strikes():
            raise _CutError

    async def _to_client(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        loses_answer: asyncio.Event,
    ) -> None:
        while data := await reader.read(_BLOCK_BYTES):
            await self._wait_while_stalled()
            if loses_answer.is_set():
                raise _CutError
            writer.write(data)
            await writer.drain()
        raise _CutError  # the server closed

    async def _wait_while_stalled(self) -> None:
        if self._is("stall") and self.fault:
            self.fault.hits += 1
        while self._is("stall"):  # noqa: ASYNC110  # another thread ends the fault
            await asyncio.sleep(0.02)

    def _is(self, kind: str) -> bool:
        return self.fault is not None and self.fault.kind == kind


@dataclass
class StorageProxy:
    """A proxy of Cloud Storage's HTTP.

    Kinds of reads: `fail` answers with an error, `reset` closes, `truncate` ends before the announced length,
    `short` announces and sends less, `stall` pauses within the content, `slow` sends it in small pieces.
    Kinds of writes: `write_fails` refuses them, `write_unanswered` does them and answers with an error.
    """

    target: str
    fault: Fault | None = None
    port: int = 0

    async def start(self) -> None:
        """Listen on a free port."""
        self._session = ClientSession(
            connector=TCPConnector(limit=0, force_close=True),
            timeout=ClientTimeout(total=120),
            auto_decompress=False,
        )
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening, and close the connections to the server."""
        await self._runner.cleanup()
        await self._session.close()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        fault = self._fault_for(request)
        if fault == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if fault in ("fail", "write_fails"):
            return self._error()
        try:
            async with self._session.request(
                request.method,
                URL(f"{self.target}{request.raw_path}", encoded=True),
                headers={k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP},
                data=body or None,
                allow_redirects=False,
            ) as found:
                content = await found.read()
                headers = {k: v for k, v in found.headers.items() if k.lower() not in _HOP_BY_HOP}
                headers.pop("Content-Length", None)
                status = found.status
        except ClientError:
            return self._error()
        if fault == "write_unanswered":
            return self._error()
        if fault is None or status >= 300 or not content:
            return web.Response(status=status, headers=headers, body=content)
        return await self._misbehave(request, fault, status, headers, content)

    def _fault_for(self, request: web.BaseRequest) -> str | None:
        fault = self.fault
        if fault is None:
            return None
        is_read = request.method == "GET" and "alt=media" in request.raw_path
        is_write = request.method in ("POST", "PUT") and request.path.startswith("/upload/")
        if is_read != (not fault.kind.startswith("write_")) or not (is_read or is_write):
            return None
        return fault.kind if fault.strikes() else None

    def _error(self) -> web.Response:
        chance = self.fault.chance if self.fault else random.Random(0)
        status = chance.choice(_BAD_STATUSES)
        return web.json_response({"error": {"code": status, "message": "injected"}}, status=status)

    async def _misbehave(
        self,
        request: web.BaseRequest,
        kind: str,
        status: int,
        headers: dict[str, str],
        content: bytes,
    ) -> web.StreamResponse:
        some = len(content) // 2
        if kind == "short":
            return web.Response(status=status, headers=headers, body=content[:some])
        answer = web.StreamResponse(status=status, headers=headers)
        answer.content_length = len(content)
        await answer.prepare(request)
        await answer.write(content[:some])
        if kind == "truncate":
            assert request.transport is not None
            await asyncio.sleep(0.01)  # what was written has left
            request.transport.abort()
            return answer
        if kind == "stall":
            while self.fault is not None and self.fault.kind == kind:  # noqa: ASYNC110  # as above
                await asyncio.sleep(0.02)
        step = max(1, len(content) // 20)
        for first in range(some, len(content), step):
            if kind == "slow" and self.fault is not None:
                await asyncio.sleep(0.05)
            await answer.write(content[first : first + step])
        return answer


@dataclass
class PubsubProxy(grpc.GenericRpcHandler):
    """A proxy of Pub/Sub's calls with one request and one answer.

    Kinds: `before` refuses what is published; `after` publishes it and answers with an error.
    """

    target: str
    fault: Fault | None = None
    port: int = 0

    async def start(self) -> None:
        """Listen on a free port."""
        options = [
            ("grpc.max_receive_message_length", _MAX_GRPC_BYTES),
            ("grpc.max_send_message_length", _MAX_GRPC_BYTES),
        ]
        self._channel = grpc.aio.insecure_channel(self.target, options=options)
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port(f"{HOST}:0")
        await self._server.start()

    async def stop(self) -> None:
        """Stop listening."""
        await self._server.stop(None)
        await self._channel.close()

    def service(self, handler_call_details: Any) -> Any:
        """Return the handler of any method."""
        return grpc.unary_unary_rpc_method_handler(partial(self._call, handler_call_details.method))

    async def _call(self, method: str, request: bytes, context: Any) -> bytes:
        fault = self.fault if method == _PUBLISH else None
        is_hit = fault is not None and fault.strikes()
        if fault and is_hit and fault.kind == "before":
            await self._refuse(context, fault)
        try:
            answer: bytes = await self._channel.unary_unary(method)(
                request, timeout=context.time_remaining() or 60
            )
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "")
        if fault and is_hit:
            await self._refuse(context, fault)
        return answer

    async def _refuse(self, context: Any, fault: Fault) -> None:
        # The client repeats the first, and raises the others.
        codes = (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.PERMISSION_DENIED,
            grpc.StatusCode.FAILED_PRECONDITION,
        )
        await context.abort(fault.chance.choice(codes), "injected")


class Proxies:
    """The three proxies, in a thread with a loop of their own.

    Args:
        postgres: port of the real server, as the others.
    """

    def __init__(self, postgres: int, storage: int, pubsub: int) -> None:
        self.database = DatabaseProxy((HOST, postgres))
        self.storage = StorageProxy(f"http://{HOST}:{storage}")
        self.pubsub = PubsubProxy(f"{HOST}:{pubsub}")
        self._started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def start(self) -> None:
        """Start all."""
        self._thread.start()
        self._started.result(timeout=30)

    def stop(self) -> None:
        """Stop all."""
        self._started.result().call_soon_threadsafe(self._stop_asked.set)
        self._thread.join(timeout=30)

    def cut_database(self) -> int:
        """Cut every connection to the database; return how many there were."""

        async def cut() -> int:
            return self.database.cut_all()

        loop = self._started.result()
        return asyncio.run_coroutine_threadsafe(cut(), loop).result(timeout=30)

    async def _serve(self) -> None:
        self._stop_asked = asyncio.Event()
        proxies = (self.database, self.storage, self.pubsub)
        for each in proxies:
            await each.start()
        self._started.set_result(asyncio.get_running_loop())
        await self._stop_asked.wait()
        for each in proxies:
            with suppress(Exception):
                await each.stop()


@contextmanager
def misbehaving(proxy: DatabaseProxy | StorageProxy | PubsubProxy, fault: Fault) -> Iterator[Fault]:
    """Let a proxy misbehave for a while."""
    proxy.fault = fault
    try:
        yield fault
    finally:
        proxy.fault = None


def _abort(*writers: asyncio.StreamWriter) -> None:
    for each in writers:
        each.transport.abort()
