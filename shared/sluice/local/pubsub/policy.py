"""The delivery policy of a subscription, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluice.local.pubsub import wire

DEFAULT_ACK_DEADLINE_S = 10
DEFAULT_RETENTION_S = 7 * 24 * 3600
DEFAULT_MINIMUM_BACKOFF_S = 10.0
DEFAULT_MAXIMUM_BACKOFF_S = 600.0
DEFAULT_MAX_DELIVERY_ATTEMPTS = 5

# Without a retry policy the service backs off from a failing push endpoint:
# https://cloud.google.com/pubsub/docs/push#push_backoff
PUSH_MINIMUM_BACKOFF_S = 0.1
PUSH_MAXIMUM_BACKOFF_S = 60.0


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """When and how often messages are delivered."""

    ack_deadline_s: float = DEFAULT_ACK_DEADLINE_S
    retention_s: float = DEFAULT_RETENTION_S
    is_ordered: bool = False
    minimum_backoff_s: float = 0.0
    maximum_backoff_s: float = 0.0
    immediate_retries: int = 0
    """Failures before the first backoff."""
    dead_letter_topic: str = ""
    max_delivery_attempts: int = DEFAULT_MAX_DELIVERY_ATTEMPTS

    def backoff_s(self, attempts: int) -> float:
        """Return the pause after the `attempts`-th failure: it doubles up to the maximum."""
        doublings = attempts - 1 - self.immediate_retries
        if doublings < 0:
            return 0.0
        backoff_s: float = self.minimum_backoff_s * 2 ** min(doublings, 32)
        return min(backoff_s, self.maximum_backoff_s)

    def is_last_attempt(self, attempts: int) -> bool:
        """Return whether a message that failed this often becomes a dead letter."""
        return bool(self.dead_letter_topic) and attempts >= self.max_delivery_attempts


def policy_of(config: wire.Wire) -> DeliveryPolicy:
    """Return the policy of a `Subscription` whose limits have been checked."""
    minimum_s, maximum_s, immediate_retries = _backoff_of(config)
    return DeliveryPolicy(
        ack_deadline_s=config.ack_deadline_seconds,
        retention_s=config.message_retention_duration.ToNanoseconds() / 1e9,
        is_ordered=config.enable_message_ordering,
        minimum_backoff_s=minimum_s,
        maximum_backoff_s=maximum_s,
        immediate_retries=immediate_retries,
        dead_letter_topic=config.dead_letter_policy.dead_letter_topic,
        max_delivery_attempts=config.dead_letter_policy.max_delivery_attempts,
    )


def _backoff_of(config: wire.Wire) -> tuple[float, float, int]:
    if config.HasField("retry_policy"):
        retry = config.retry_policy
        return (
            retry.minimum_backoff.ToNanoseconds() / 1e9,
            retry.maximum_backoff.ToNanoseconds() / 1e9,
            0,
        )
    if config.push_config.push_endpoint:
        return PUSH_MINIMUM_BACKOFF_S, PUSH_MAXIMUM_BACKOFF_S, 1
    return 0.0, 0.0, 0
