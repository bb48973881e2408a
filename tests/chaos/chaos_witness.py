"""A subscriber of all events: remembers the order in which those of each ingestion first arrived."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from typing import Self

import grpc
from google.api_core.exceptions import GoogleAPICallError
from google.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

_PATH = "projects/local/subscriptions/witness"


class Witness:
    """An ordered subscription to the topic `status`, read in a thread."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._client = SubscriberClient(transport=SubscriberGrpcTransport(channel=self._channel))
        self._arrived: dict[int, dict[int, str]] = {}
        self._problems: list[str] = []
        self._lock = threading.Lock()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        request = {
            "name": _PATH,
            "topic": "projects/local/topics/status",
            "enable_message_ordering": True,
        }
        self._client.create_subscription(request=request)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join(timeout=10)
        self._channel.close()

    def arrived(self, ingestion: int) -> list[int]:
        """Return the sequence numbers of an ingestion's events, in the order of their first arrival."""
        with self._lock:
            return list(self._arrived.get(ingestion, ()))

    def take_problems(self) -> list[str]:
        """Return the events that arrived a second time with another content, each once."""
        with self._lock:
            found, self._problems = self._problems, []
            return found

    def _read(self) -> None:
        while not self._ends.is_set():
            with suppress(GoogleAPICallError):
                answer = self._client.pull(
                    subscription=_PATH, max_messages=500, timeout=2, retry=None
                )
                for each in answer.received_messages:
                    self._note(each.message.data)
                if answer.received_messages:
                    ids = [each.ack_id for each in answer.received_messages]
                    self._client.acknowledge(subscription=_PATH, ack_ids=ids)

    def _note(self, data: bytes) -> None:
        body = json.loads(data)
        ingestion, sequence = body["data"]["ingestion"], body["sequence"]
        content = json.dumps(body, sort_keys=True)
        with self._lock:
            known = self._arrived.setdefault(ingestion, {}).setdefault(sequence, content)
            if known != content:
                self._problems.append(f"event {ingestion}/{sequence} arrived with two contents")
