"""The deliveries, counts and events of a backlog."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sluice.local.pubsub.messages import Message


class Observer(Protocol):
    """Receives the events of a backlog as they happen."""

    def became_ready(self) -> None:
        """A message can be taken now."""

    def timer_set(self, at: float) -> None:
        """`advance` must be called at this time, or before."""

    def leased(self, message_id: str, attempts: int) -> None:
        """A message was leased for the `attempts`-th time."""

    def settled(self, message_id: str) -> None:
        """A message needs no further delivery."""

    def exhausted(self, message: Message, attempts: int) -> bool:
        """The last attempt failed; return whether the message became a dead letter."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A leased message."""

    message: Message
    ack_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class BacklogCounts:
    """How many messages a subscription holds."""

    undelivered: int
    """Waiting for their first or next delivery."""
    outstanding: int
    """Leased, neither acked nor expired."""
    dead_lettered: int
    """Dead letters so far."""
