"""The server: broker, pushers and gRPC on one event loop, in the main thread or another."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from typing import TYPE_CHECKING, Self

import grpc

from sluice.local.pubsub.broker import Broker
from sluice.local.pubsub.clock import Clock
from sluice.local.pubsub.control import control_service, health_service
from sluice.local.pubsub.faults import NO_FAULTS, Faults
from sluice.local.pubsub.journal import Journal
from sluice.local.pubsub.push import DEFAULT_PUSH_WINDOW, Pushers
from sluice.local.pubsub.services import publisher_service, subscriber_service

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

STOP_GRACE_S = 0.5
# Far above the limits of the service, so that its own errors report them, not gRPC's.
MAX_GRPC_MESSAGE_BYTES = 64 * 1024 * 1024
_GRPC_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_GRPC_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_GRPC_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
]

_logger = logging.getLogger(__name__)


class PubsubServer:
    """An embedded Pub/Sub that serves while its context is open.

    Args:
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        project: the only project with resources; None accepts any.
        journal: the file that keeps messages across restarts; None keeps them in memory.
        faults: injected from the start.
        clock_speed: how fast deadlines, backoffs and retention pass; a higher one shortens tests.
        push_window: concurrent pushes of a subscription.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 8085,
        project: str | None = None,
        journal: Path | None = None,
        faults: Faults = NO_FAULTS,
        clock_speed: float = 1.0,
        push_window: int = DEFAULT_PUSH_WINDOW,
    ) -> None:
        self._host = host
        self._port = port
        self._project = project
        self._journal = journal
        self._faults = faults
        self._clock = Clock(clock_speed)
        self._push_window = push_window
        self._thread = threading.Thread(target=self._run_thread, name="pubsub", daemon=True)
        self._is_started = threading.Event()
        self._stop_asked = asyncio.Event()
        self._failure: BaseException | None = None

    @property
    def address(self) -> str:
        """`host:port`, the value of `PUBSUB_EMULATOR_HOST`."""
        return f"{self._host}:{self._port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Serve in a separate thread; return when the port is open.

        Raises:
            RuntimeError: the port is in use.
            sqlite3.OperationalError: another server has locked the journal.
        """
        self._thread.start()
        self._is_started.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Stop serving; the journal keeps unacked messages."""
        if self._failure is None:
            self._loop.call_soon_threadsafe(self._stop_asked.set)
        self._thread.join()

    def run(self) -> None:
        """Serve in this thread until SIGTERM or SIGINT."""
        asyncio.run(self._serve_until_signal())

    async def _serve_until_signal(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop_asked.set)
        await self._serve()

    def _run_thread(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised by `start` in the caller's thread
            self._failure = error
        finally:
            self._is_started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        journal = Journal(self._journal, self._loop.call_soon)
        pushers = Pushers(self._clock, self._push_window)
        broker = Broker(journal, self._clock, self._loop, pushers, self._project)
        try:
            broker.inject(self._faults)
            server = self._grpc_server(broker)
            broker.restore()
            await server.start()
            _logger.info("Pub/Sub serves at %s", self.address)
            self._is_started.set()
            await self._stop_asked.wait()
            await server.stop(STOP_GRACE_S)
        finally:
            await pushers.close()
            broker.close()
            journal.close()

    def _grpc_server(self, broker: Broker) -> grpc.aio.Server:
        server = grpc.aio.server(options=_GRPC_OPTIONS)
        server.add_generic_rpc_handlers(
            [
                publisher_service(broker),
                subscriber_service(broker),
                control_service(broker),
                health_service(),
            ]
        )
        self._port = server.add_insecure_port(self.address)
        return server
