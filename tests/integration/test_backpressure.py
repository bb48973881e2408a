"""A busy Cloud Run refuses messages (429): they come back until they are taken, and none is a dead letter."""

from __future__ import annotations

import http.server
import json
import threading
from collections import Counter
from typing import TYPE_CHECKING

import grpc
import pytest
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

from pubsub_control import wait_until_drained
from sluice.local.provision import create_topology
from sluice.local.pubsub import ControlClient, PubsubServer
from sluice.local.state import PROJECT
from sluice.local.topology import SUBSCRIPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

MESSAGES = 40
#: Refusals of each message: by the backoff of the subscriptions, a quarter of an hour of them.
REFUSALS = 20


class Busy(http.server.ThreadingHTTPServer):
    """A function all of whose instances are busy, as Cloud Run answers for it."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.deliveries: Counter[str] = Counter()

    def take(self, message: str) -> bool:
        """Count a delivery, and return whether an instance is free for it."""
        with self.lock:
            self.deliveries[message] += 1
            return self.deliveries[message] > REFUSALS


class Handler(http.server.BaseHTTPRequestHandler):
    server: Busy
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        is_taken = self.server.take(body["message"]["messageId"])
        self.send_response(204 if is_taken else 429)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def busy() -> Iterator[Busy]:
    with Busy() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("topic", sorted({each.topic for each in SUBSCRIPTIONS if each.function}))
def test_messages_that_a_busy_function_refuses_are_no_dead_letters(topic: str, busy: Busy) -> None:
    with PubsubServer(port=0, clock_speed=300) as pubsub:
        create_topology(pubsub.address, lambda _: f"http://127.0.0.1:{busy.server_port}/")
        with grpc.insecure_channel(pubsub.address) as channel:
            publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
            messages = [{"data": b"{}", "attributes": {"state": "done"}}] * MESSAGES
            publisher.publish(topic=f"projects/{PROJECT}/topics/{topic}", messages=messages)
        with ControlClient(pubsub.address) as control:
            pushes = [f"projects/{PROJECT}/subscriptions/{each.name}" for each in SUBSCRIPTIONS]
            wait_until_drained(control, *pushes[:-1], timeout_s=60)
            letters = control.backlogs()[f"projects/{PROJECT}/subscriptions/dead-letters"]
    assert len(busy.deliveries) == MESSAGES
    assert set(busy.deliveries.values()) == {REFUSALS + 1}
    assert letters.undelivered == 0
