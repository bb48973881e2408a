"""A published message and its conversion from and to the wire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sluice.local.pubsub import wire

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Message:
    """A message with the id and the time that the service assigned."""

    message_id: str
    data: bytes
    attributes: Mapping[str, str]
    ordering_key: str
    published_at: float
    """Seconds since the epoch, whole milliseconds."""

    @property
    def size_bytes(self) -> int:
        """Size for flow control: data and attributes."""
        return len(self.data) + sum(len(k) + len(v) for k, v in self.attributes.items())

    def publish_time(self, zone: str = "Z") -> str:
        """Return the time of publication as the service writes it, `2021-02-26T19:13:55.749Z`."""
        published = datetime.fromtimestamp(self.published_at, UTC)
        return (
            published.strftime("%Y-%m-%dT%H:%M:%S.") + f"{published.microsecond // 1000:03}{zone}"
        )


def from_wire(message: wire.Wire) -> Message:
    """Return the value of a `PubsubMessage` that carries an id and a time."""
    return Message(
        message_id=message.message_id,
        data=message.data,
        attributes=dict(message.attributes),
        ordering_key=message.ordering_key,
        published_at=message.publish_time.seconds + message.publish_time.nanos / 1e9,
    )


def to_wire(message: Message) -> wire.Wire:
    """Return the `PubsubMessage` of a value."""
    copy = wire.PubsubMessage(
        data=message.data,
        attributes=message.attributes,
        message_id=message.message_id,
        ordering_key=message.ordering_key,
    )
    milliseconds = round(message.published_at * 1000)
    copy.publish_time.seconds = milliseconds // 1000
    copy.publish_time.nanos = milliseconds % 1000 * 1_000_000
    return copy
