"""HTTP POSTs to one endpoint over persistent connections; the only importer of `h11`.

General clients hide informational answers, but Pub/Sub takes 102 for an ack.
"""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import SplitResult, urlsplit

import h11

from sluice.gcloud.push_endpoints import LOCAL_HOSTS, public_address

READ_BYTES = 65_536
PROCESSING = 102


class EndpointError(Exception):
    """The endpoint cannot be reached, or its answer is not HTTP."""


class Endpoint:
    """A push endpoint, for any number of concurrent posts."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._idle: list[_Connection] = []
        self._is_closed = False

    async def post(self, headers: list[tuple[str, str]], body: bytes) -> int:
        """Send a POST and return the status of the answer.

        Raises:
            EndpointError: there is no answer.
        """
        try:
            return await self._post(headers, body)
        except (OSError, EOFError, ValueError, h11.ProtocolError) as error:
            raise EndpointError(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Close every connection, those in use once they have their answer."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().close()

    async def _post(self, headers: list[tuple[str, str]], body: bytes) -> int:
        while self._idle:
            kept = self._idle.pop()
            try:
                return await self._exchange(kept, headers, body)
            except (OSError, EOFError):
                # The endpoint closed the idle connection before it got the request.
                if kept.has_answered:
                    raise
        return await self._exchange(await _Connection.open(self._url), headers, body)

    async def _exchange(
        self, connection: _Connection, headers: list[tuple[str, str]], body: bytes
    ) -> int:
        is_reusable = False
        try:
            status = await connection.post(headers, body)
            is_reusable = connection.prepare_next()
        finally:
            if is_reusable and not self._is_closed:
                self._idle.append(connection)
            else:
                connection.close()
        return status


class _Connection:
    def __init__(
        self, url: SplitResult, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._target = f"{url.path or '/'}{'?' + url.query if url.query else ''}"
        self._host = url.netloc.rpartition("@")[2]
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)
        self.has_answered = False

    @classmethod
    async def open(cls, url: SplitResult) -> _Connection:
        is_secure = url.scheme == "https"
        host, port = url.hostname or "", url.port or (443 if is_secure else 80)
        address = (
            host if host in LOCAL_HOSTS else await asyncio.to_thread(public_address, host, port)
        )
        reader, writer = await asyncio.open_connection(
            address,
            port,
            ssl=ssl.create_default_context() if is_secure else None,
            server_hostname=host if is_secure else None,
        )
        return cls(url, reader, writer)

    async def post(self, headers: list[tuple[str, str]], body: bytes) -> int:
        self.has_answered = False
        length = ("Content-Length", str(len(body)))
        request = h11.Request(
            method="POST", target=self._target, headers=[("Host", self._host), length, *headers]
        )
        parts = [self._http.send(event) for event in (request, h11.Data(data=body))]
        parts.append(self._http.send(h11.EndOfMessage()))
        self._writer.write(b"".join(part for part in parts if part))
        await self._writer.drain()
        return await self._status()

    def prepare_next(self) -> bool:
        """Prepare for another request; return whether the connection can carry one."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    def close(self) -> None:
        self._writer.close()

    async def _status(self) -> int:
        status = 0
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                await self._receive()
            elif isinstance(event, h11.InformationalResponse):
                if event.status_code == PROCESSING:
                    return PROCESSING
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.EndOfMessage):
                return status

    async def _receive(self) -> None:
        data = await self._reader.read(READ_BYTES)
        if not data and not self.has_answered:
            raise EOFError("the endpoint closed the connection without an answer")
        self.has_answered = True
        self._http.receive_data(data)
