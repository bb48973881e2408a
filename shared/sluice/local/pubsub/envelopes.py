"""The HTTP form of a pushed message: the service's JSON envelope, or the bare data.

Sources: https://cloud.google.com/pubsub/docs/push#receive_push and
https://cloud.google.com/pubsub/docs/payload-unwrapping
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sluice.local.pubsub.deliveries import Delivery
    from sluice.local.pubsub.messages import Message
    from sluice.local.pubsub.subscriptions import Subscription

_USER_AGENT = ("User-Agent", "CloudPubSub-Google")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)?")
_TRANSPORT_HEADERS = frozenset(
    {"authorization", "connection", "content-length", "expect", "host", "trailer"}
    | {"transfer-encoding", "upgrade", "user-agent"}
)


@dataclass(frozen=True, slots=True)
class PushRequest:
    """Headers and body of one POST."""

    headers: list[tuple[str, str]]
    body: bytes


def push_request(subscription: Subscription, delivery: Delivery) -> PushRequest:
    """Return the request that delivers a message, in the form that the subscription asks for."""
    push_config = subscription.config.push_config
    if not push_config.HasField("no_wrapper"):
        return _wrapped(subscription, delivery)
    headers = [_USER_AGENT]
    if push_config.no_wrapper.write_metadata:
        headers += _metadata(subscription.name, delivery.message)
    return PushRequest(headers, delivery.message.data)


def _wrapped(subscription: Subscription, delivery: Delivery) -> PushRequest:
    envelope: dict[str, Any] = {
        "message": _message(delivery.message),
        "subscription": subscription.name,
    }
    if subscription.has_dead_letter_policy:
        envelope["deliveryAttempt"] = delivery.attempt
    body = json.dumps(envelope, separators=(",", ":")).encode()
    return PushRequest([_USER_AGENT, ("Content-Type", "application/json")], body)


def _message(message: Message) -> dict[str, Any]:
    publish_time = message.publish_time()
    document: dict[str, Any] = {
        "messageId": message.message_id,
        "message_id": message.message_id,
        "publishTime": publish_time,
        "publish_time": publish_time,
    }
    if message.attributes:
        document["attributes"] = dict(message.attributes)
    if message.data:
        document["data"] = base64.b64encode(message.data).decode()
    if message.ordering_key:
        document["orderingKey"] = message.ordering_key
    return document


def _metadata(subscription_name: str, message: Message) -> list[tuple[str, str]]:
    metadata = {
        "x-goog-pubsub-subscription-name": subscription_name,
        "x-goog-pubsub-message-id": message.message_id,
        "x-goog-pubsub-publish-time": message.publish_time(),
    }
    if message.ordering_key:
        metadata["x-goog-pubsub-ordering-key"] = message.ordering_key
    candidates = {**message.attributes, **metadata}
    return [header for header in candidates.items() if _is_header(*header)]


def _is_header(name: str, value: str) -> bool:
    if name.lower() in _TRANSPORT_HEADERS:
        return False
    return bool(_HEADER_NAME.fullmatch(name)) and bool(_HEADER_VALUE.fullmatch(value))
