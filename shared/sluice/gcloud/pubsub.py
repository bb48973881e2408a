"""Pub/Sub: publishes messages and reads pushed ones. The only importer of its publisher client."""

from __future__ import annotations

import base64
import binascii
import functools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sluice.errors import BodyError, PubsubUnavailableError
from sluice.escaping import is_storable_text
from sluice.settings import prefixed
from sluice.tracing import with_span

if TYPE_CHECKING:
    from google.pubsub_v1 import PublisherClient

_TIMEOUT_S = 30.0
_MAX_REQUEST_MESSAGES = 500
_MAX_REQUEST_BYTES = 5 * 1024 * 1024


@dataclass(frozen=True)
class Message:
    """A message as a push subscription delivers it.

    Attributes:
        delivery: how often it was delivered, from 1.
    """

    data: bytes
    attributes: Mapping[str, str]
    id: str
    delivery: int = 1

    def json(self) -> dict[str, Any]:
        """Return the data as a JSON object.

        Raises:
            BodyError: it is not a JSON object.
        """
        try:
            value = json.loads(self.data)
        except (ValueError, RecursionError):
            raise BodyError(f"message {self.id}: the data is not JSON") from None
        if not isinstance(value, dict):
            raise BodyError(f"message {self.id}: the data is not a JSON object")
        return value


def read_push(envelope: object) -> Message:
    """Read the envelope that a push subscription posts.

    Raises:
        BodyError: it is not a push envelope.
    """
    message = envelope.get("message") if isinstance(envelope, dict) else None
    if not isinstance(message, dict):
        raise BodyError("the body is not a Pub/Sub push envelope: it has no `message`")
    try:
        data = base64.b64decode(message.get("data", ""), validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise BodyError("the body is not a Pub/Sub push envelope: `data` is not base64") from None
    attributes = message.get("attributes") or {}
    if not isinstance(attributes, dict) or not all(
        isinstance(each, str) and is_storable_text(each) for each in attributes.values()
    ):
        raise BodyError("the body is not a Pub/Sub push envelope: `attributes` are not texts")
    return Message(
        data=data,
        attributes=attributes,
        id=str(message.get("messageId") or message.get("message_id") or ""),
        delivery=_delivery(envelope),
    )


def _delivery(envelope: object) -> int:
    """Return how often a message was delivered; Pub/Sub counts where there is a dead-letter policy."""
    number = envelope.get("deliveryAttempt") if isinstance(envelope, dict) else None
    return number if isinstance(number, int) and number > 0 else 1


class PubsubPublisher:
    """Publishes to the topics of one deployment; returns when Pub/Sub has acknowledged the messages.

    It calls the method `Publish` itself: the batching client publishes from a background thread, which gets
    no CPU after the function has responded.
    """

    def __init__(self, project: str, name_prefix: str = "") -> None:
        self._project = project
        self._name_prefix = name_prefix

    def publish(
        self,
        topic: str,
        messages: Sequence[tuple[bytes, Mapping[str, str]]],
        *,
        ordering_key: str = "",
    ) -> None:
        """See `sluice.ports.Publisher`."""
        from google.api_core.exceptions import GoogleAPICallError, RetryError  # noqa: PLC0415

        path = f"projects/{self._project}/topics/{prefixed(self._name_prefix, topic)}"
        client = _client(os.environ.get("PUBSUB_EMULATOR_HOST", ""))
        for batch in _batches(messages):
            request = {
                "topic": path,
                "messages": [
                    {
                        "data": data,
                        "attributes": with_span(attributes),
                        "ordering_key": ordering_key,
                    }
                    for data, attributes in batch
                ],
            }
            try:
                client.publish(request=request, timeout=_TIMEOUT_S)
            except (GoogleAPICallError, RetryError) as error:
                raise PubsubUnavailableError(f"topic {topic}: {error}") from error


def _batches(
    messages: Sequence[tuple[bytes, Mapping[str, str]]],
) -> list[list[tuple[bytes, Mapping[str, str]]]]:
    """Divide messages among requests within the limits of one request (10 MB, 1000 messages)."""
    batches: list[list[tuple[bytes, Mapping[str, str]]]] = []
    size = 0
    for data, attributes in messages:
        if (
            not batches
            or size + len(data) > _MAX_REQUEST_BYTES
            or len(batches[-1]) >= _MAX_REQUEST_MESSAGES
        ):
            batches.append([])
            size = 0
        batches[-1].append((data, attributes))
        size += len(data)
    return batches


@functools.cache
def _client(emulator: str) -> PublisherClient:
    from google.pubsub_v1 import PublisherClient  # noqa: PLC0415  # 0.3 s, paid where first used

    if not emulator:
        return PublisherClient()
    import grpc  # noqa: PLC0415
    from google.pubsub_v1.services.publisher.transports import (  # noqa: PLC0415
        PublisherGrpcTransport,
    )

    channel = grpc.insecure_channel(emulator)
    return PublisherClient(transport=PublisherGrpcTransport(channel=channel))
