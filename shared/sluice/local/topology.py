"""Topics and subscriptions as data: what Terraform declares in the cloud and `up` makes here."""

from __future__ import annotations

from dataclasses import dataclass

MAX_ACK_DEADLINE_S = 600


@dataclass(frozen=True)
class Retry:
    """How long a refused message waits for its next delivery."""

    minimum_s: int = 1
    maximum_s: int = 60


@dataclass(frozen=True)
class DeadLetter:
    """Where a message goes that was refused too often."""

    topic: str = "dead-letters"
    after_attempts: int = 10


@dataclass(frozen=True)
class Subscription:
    """A subscription of the engine.

    Attributes:
        name: the subscription.
        topic: the topic that feeds it.
        function: the function that its messages are pushed to; None for a pull subscription.
        filter: attributes that a message must have; immutable once made.
        is_ordered: messages of one ordering key are delivered in order.
    """

    name: str
    topic: str
    function: str | None
    filter: str = ""
    is_ordered: bool = False
    ack_deadline_s: int = MAX_ACK_DEADLINE_S
    retry: Retry = Retry()
    dead_letter: DeadLetter | None = DeadLetter()


FINISH_FILTER = (
    '(attributes.state = "publishing" OR attributes.state = "done") AND NOT attributes:group_commit'
)
TOPICS = ("uploads", "chunks", "status", "dead-letters")

SUBSCRIPTIONS = (
    Subscription("uploads-split", "uploads", "split"),
    Subscription("chunks-load", "chunks", "load"),
    Subscription("status-finish", "status", "finish", filter=FINISH_FILTER),
    Subscription("dead-letters", "dead-letters", None, dead_letter=None),
)
