"""The limits of the service, checked before anything changes.

Sources: https://cloud.google.com/pubsub/quotas and the comments of google/pubsub/v1/pubsub.proto.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sluice.local.pubsub import policy, wire
from sluice.local.pubsub.errors import InvalidArgumentError, OutOfRangeError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_REQUEST_BYTES = 10_000_000
MAX_MESSAGE_BYTES = 10_000_000
MAX_MESSAGES = 1000
MAX_ATTRIBUTES = 100
MAX_KEY_BYTES = 256
MAX_VALUE_BYTES = 1024
MAX_ORDERING_KEY_BYTES = 1024
MAX_BACKOFF_S = 600
MIN_DELIVERY_ATTEMPTS = 5
MAX_DELIVERY_ATTEMPTS = 100
MIN_RETENTION_S = 600
MAX_RETENTION_S = 31 * 24 * 3600

_RESOURCE = re.compile(
    r"projects/(?P<project>[^/]+)/(?P<kind>topics|subscriptions)/(?P<id>[A-Za-z][\w.~+%-]{2,254})"
)
_UNSUPPORTED_FIELDS = (
    "bigquery_config",
    "cloud_storage_config",
    "bigtable_config",
    "retain_acked_messages",
    "enable_exactly_once_delivery",
    "message_transforms",
)


def check_name(name: str, kind: str) -> None:
    """Refuse names other than `projects/{project}/{kind}/{id}`, and ids that the service refuses."""
    match = _RESOURCE.fullmatch(name)
    if match is None or match["kind"] != kind or match["id"].startswith("goog"):
        raise InvalidArgumentError(
            f"Invalid resource name given (name={name}). "
            "Refer to https://cloud.google.com/pubsub/docs/admin#resource_names for more "
            "information."
        )


def project_of(name: str) -> str:
    """Return `p` of `projects/p/...`."""
    return name.split("/")[1] if name.startswith("projects/") else ""


def check_publish(request: wire.Wire) -> None:
    """Refuse a `PublishRequest` beyond the limits."""
    if not request.messages:
        raise InvalidArgumentError("No messages to publish.")
    _check_at_most("message_count", len(request.messages), MAX_MESSAGES)
    for message in request.messages:
        _check_message(message)
    _check_at_most("request_size", request.ByteSize(), MAX_REQUEST_BYTES)


def _check_message(message: wire.Wire) -> None:
    if not message.data and not message.attributes:
        raise InvalidArgumentError(
            "Some messages are empty: each needs data or at least one attribute."
        )
    _check_at_most("message_size", message.ByteSize(), MAX_MESSAGE_BYTES)
    _check_at_most("attribute_count", len(message.attributes), MAX_ATTRIBUTES)
    _check_at_most("ordering_key_size", _size(message.ordering_key), MAX_ORDERING_KEY_BYTES)
    for key, value in message.attributes.items():
        # Google's client libraries carry traces in attributes that begin with "googclient_".
        if not key or (key.startswith("goog") and not key.startswith("googclient_")):
            raise InvalidArgumentError(
                f'Invalid attribute key "{key}": a key is not empty and does not begin with "goog".'
            )
        _check_at_most("attribute_key_size", _size(key), MAX_KEY_BYTES)
        _check_at_most("attribute_value_size", _size(value), MAX_VALUE_BYTES)


def completed(config: wire.Wire) -> wire.Wire:
    """Return a copy of a `Subscription` with the defaults of the service, its limits checked."""
    complete = wire.Subscription()
    complete.CopyFrom(config)
    for name in _UNSUPPORTED_FIELDS:
        if getattr(config, name) and (name[-7:] != "_config" or config.HasField(name)):
            raise UnsupportedError(name)
    _complete_ack_deadline(complete)
    _complete_retention(complete)
    _complete_retry_policy(complete)
    _complete_dead_letter_policy(complete)
    check_push_config(complete.push_config)
    return complete


def check_push_config(push_config: wire.Wire) -> None:
    """Refuse an endpoint that is not an HTTP URL."""
    endpoint = push_config.push_endpoint
    if endpoint and not re.match(r"https?://[^/\s]+", endpoint):
        raise InvalidArgumentError(
            f'Invalid push endpoint given (endpoint={endpoint}). It must be a URL with "http" or '
            '"https".'
        )


def check_ack_deadline(seconds: int) -> None:
    """Refuse a deadline that is out of bounds for ModifyAckDeadline."""
    _check_between("ack_deadline_seconds", seconds, 0, 600)


def check_stream_ack_deadline(seconds: int) -> None:
    """Refuse a deadline that is out of bounds for StreamingPull."""
    _check_between("stream_ack_deadline_seconds", seconds, 10, 600)


def check_max_messages(max_messages: int) -> None:
    """Refuse a Pull of no messages."""
    if max_messages <= 0:
        raise InvalidArgumentError(
            f"The value for max_messages is too small. You passed {max_messages} in the request, "
            "but the minimum value is 1."
        )


def check_ack_ids(ack_ids: Sequence[str]) -> None:
    """Refuse an acknowledgement without ids."""
    if not ack_ids:
        raise InvalidArgumentError("No ack ids specified.")


def _complete_ack_deadline(config: wire.Wire) -> None:
    config.ack_deadline_seconds = config.ack_deadline_seconds or policy.DEFAULT_ACK_DEADLINE_S
    _check_between("ack_deadline_seconds", config.ack_deadline_seconds, 10, 600)


def _complete_retention(config: wire.Wire) -> None:
    if not config.HasField("message_retention_duration"):
        config.message_retention_duration.FromSeconds(policy.DEFAULT_RETENTION_S)
    retention_s = config.message_retention_duration.ToSeconds()
    _check_between("message_retention_duration", retention_s, MIN_RETENTION_S, MAX_RETENTION_S)


def _complete_retry_policy(config: wire.Wire) -> None:
    if not config.HasField("retry_policy"):
        return
    retry = config.retry_policy
    if not retry.HasField("maximum_backoff"):
        retry.maximum_backoff.FromSeconds(int(policy.DEFAULT_MAXIMUM_BACKOFF_S))
    if not retry.HasField("minimum_backoff"):
        retry.minimum_backoff.FromSeconds(int(policy.DEFAULT_MINIMUM_BACKOFF_S))
    minimum_s = retry.minimum_backoff.ToNanoseconds() / 1e9
    maximum_s = retry.maximum_backoff.ToNanoseconds() / 1e9
    _check_between("minimum_backoff", minimum_s, 0, MAX_BACKOFF_S)
    _check_between("maximum_backoff", maximum_s, 0, MAX_BACKOFF_S)
    if minimum_s > maximum_s:
        raise InvalidArgumentError(
            f"The value for maximum_backoff is too small. You passed {maximum_s:g}s in the "
            f"request, but the minimum value is {minimum_s:g}s."
        )


def _complete_dead_letter_policy(config: wire.Wire) -> None:
    if not config.HasField("dead_letter_policy"):
        return
    dead = config.dead_letter_policy
    check_name(dead.dead_letter_topic, "topics")
    dead.max_delivery_attempts = dead.max_delivery_attempts or policy.DEFAULT_MAX_DELIVERY_ATTEMPTS
    _check_delivery_attempts(dead.max_delivery_attempts)


def _check_delivery_attempts(attempts: int) -> None:
    if not MIN_DELIVERY_ATTEMPTS <= attempts <= MAX_DELIVERY_ATTEMPTS:
        size, bound, value = (
            ("small", "minimum", MIN_DELIVERY_ATTEMPTS)
            if attempts < MIN_DELIVERY_ATTEMPTS
            else ("large", "maximum", MAX_DELIVERY_ATTEMPTS)
        )
        raise OutOfRangeError(
            f"The value for max_delivery_attempts is too {size}. You passed {attempts} in the "
            f"request, but the {bound} value is {value}."
        )


def _size(text: str) -> int:
    return len(text.encode())


def _check_at_most(name: str, value: int, maximum: int) -> None:
    if value > maximum:
        raise InvalidArgumentError(
            f"The value for {name} is too large. You passed {value} in the request, "
            f"but the maximum value is {maximum}."
        )


def _check_between(name: str, value: float, minimum: float, maximum: float) -> None:
    if not minimum <= value <= maximum:
        raise InvalidArgumentError(
            f"The value for {name} is out of bounds. You passed {value:g} in the request, "
            f"but the value must be between {minimum:g} and {maximum:g}."
        )
