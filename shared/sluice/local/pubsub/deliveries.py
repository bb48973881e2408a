"""What a backlog hands out, counts and reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sluice.local.pubsub.messages import Message


class Observer(Protocol):
    """Who is told what happens in a backlog, at the moment it happens."""

    def became_ready(self) -> None:
        """A message can be taken now."""

    def alarm_set(self, at: float) -> None:
        """`advance` must be called at this time, or before."""

    def handed_out(self, message_id: str, attempts: int) -> None:
        """A message was leased for the `attempts`-th time."""

    def settled(self, message_id: str) -> None:
        """A message needs no further delivery."""

    def exhausted(self, message: Message, attempts: int) -> bool:
        """The last attempt failed; tell whether the message has gone to the dead letters."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message in somebody's hands."""

    message: Message
    ack_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class BacklogCounts:
    """How many messages a subscription holds."""

    undelivered: int
    """Waiting to be handed out, or to be handed out again."""
    outstanding: int
    """Handed out, neither acked nor expired."""
    dead_lettered: int
    """Given up so far."""
