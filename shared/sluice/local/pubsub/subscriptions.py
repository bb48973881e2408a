"""A live subscription: its filter, its backlog, its timer and its listeners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluice.local.pubsub import wire
from sluice.local.pubsub.backlog import Backlog
from sluice.local.pubsub.filters import compile_filter
from sluice.local.pubsub.policy import policy_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from sluice.local.pubsub.clock import Clock
    from sluice.local.pubsub.deliveries import Delivery
    from sluice.local.pubsub.flow_control import Window
    from sluice.local.pubsub.journal import Journal
    from sluice.local.pubsub.messages import Message


@dataclass(frozen=True, slots=True)
class SharedState:
    """What the subscriptions of a server share."""

    clock: Clock
    journal: Journal
    loop: asyncio.AbstractEventLoop
    forward: Callable[[Subscription, Message, int], bool]
    """Publishes a dead letter; returns whether its topic exists."""


class Subscription:
    """A subscription; must be used on the event loop's thread."""

    def __init__(self, config: wire.Wire, shared: SharedState) -> None:
        self.config = config
        self.name: str = config.name
        self.matches = compile_filter(config.filter)
        self.backlog = Backlog(self.name, policy_of(config), self)
        self.listeners: set[Callable[[], None]] = set()
        self.is_deleted = False
        self._clock = shared.clock
        self._journal = shared.journal
        self._loop = shared.loop
        self._forward = shared.forward
        self._is_waking = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    @property
    def push_endpoint(self) -> str:
        """The URL messages are pushed to; empty for a pull subscription."""
        return str(self.config.push_config.push_endpoint)

    @property
    def has_dead_letter_policy(self) -> bool:
        """Whether deliveries report their attempt."""
        return bool(self.backlog.policy.dead_letter_topic)

    def configure(self, config: wire.Wire) -> None:
        """Apply a changed configuration; filter and ordering are immutable."""
        self.config = config
        self.backlog.policy = policy_of(config)
        self.wake_soon()

    def put(self, message: Message, attempts: int = 0) -> None:
        """Add a message that passes the filter."""
        self.backlog.put(message, self._clock.now(), attempts)

    def take(
        self, limit: int, window: Window, ack_deadline_s: float | None = None
    ) -> list[Delivery]:
        """Lease up to `limit` messages."""
        return self.backlog.take(self._clock.now(), limit, window, ack_deadline_s)

    def ack(self, ack_id: str) -> None:
        """Settle a message."""
        self.backlog.ack(ack_id, self._clock.now())

    def extend(self, ack_id: str, ack_deadline_s: float) -> None:
        """Move the deadline of a lease; 0 is a nack."""
        self.backlog.extend(ack_id, ack_deadline_s, self._clock.now())

    def purge(self, published_before: float) -> None:
        """Settle every message published before a time."""
        self.backlog.purge(published_before, self._clock.now())

    def received(self, delivery: Delivery) -> wire.Wire:
        """Return the `ReceivedMessage` of a delivery."""
        message = delivery.message
        received = wire.ReceivedMessage(ack_id=delivery.ack_id)
        if self.has_dead_letter_policy:
            received.delivery_attempt = delivery.attempt
        copy = received.message
        copy.data = message.data
        copy.attributes.update(message.attributes)
        copy.message_id = message.message_id
        copy.ordering_key = message.ordering_key
        copy.publish_time.FromMilliseconds(round(message.published_at * 1000))
        return received

    def close(self, *, is_deleted: bool = False) -> None:
        """Stop the timer and call the listeners."""
        self.is_deleted = is_deleted
        if self._timer is not None:
            self._timer.cancel()
        self._wake()

    def wake_soon(self) -> None:
        """Call the listeners once, at the end of this turn of the loop."""
        if not self._is_waking:
            self._is_waking = True
            self._loop.call_soon(self._wake)

    def became_ready(self) -> None:
        """Observe the backlog: a message can be taken."""
        self.wake_soon()

    def timer_set(self, at: float) -> None:
        """Observe the backlog: set the timer."""
        if self._timer is not None:
            if at >= self._timer_at:
                return
            self._timer.cancel()
        self._timer_at = at
        wait_s = self._clock.real_s(max(0.0, at - self._clock.now()))
        self._timer = self._loop.call_later(wait_s, self._ring)

    def leased(self, message_id: str, attempts: int) -> None:
        """Observe the backlog: record the attempt."""
        self._journal.count_attempt(self.name, message_id, attempts)

    def settled(self, message_id: str) -> None:
        """Observe the backlog: forget the message."""
        self._journal.settle(self.name, message_id)

    def exhausted(self, message: Message, attempts: int) -> bool:
        """Observe the backlog: publish the dead letter."""
        is_forwarded = self._forward(self, message, attempts)
        if is_forwarded:
            self._journal.count_dead_letter(self.name)
        return is_forwarded

    def _wake(self) -> None:
        self._is_waking = False
        for listener in tuple(self.listeners):
            listener()

    def _ring(self) -> None:
        self._timer = None
        self.backlog.advance(self._clock.now())
        at = self.backlog.next_timer_at()
        if at is not None:
            self.timer_set(at)
