"""Topics and subscriptions as data: Terraform declares the same in the cloud, `up` creates them here."""

from __future__ import annotations

from dataclasses import dataclass

MAX_ACK_DEADLINE_S = 600


@dataclass(frozen=True)
class Retry:
    """The backoff after a failed delivery."""

    minimum_s: int = 1
    maximum_s: int = 60


@dataclass(frozen=True)
class DeadLetter:
    """The topic for messages whose delivery failed too often.

    Attributes:
        after_attempts: the most that Pub/Sub allows, since a refusal by Cloud Run, which starts no further
            instance (429), counts as one. Attempts of a step that fail are counted in the database.
    """

    topic: str = "dead-letters"
    after_attempts: int = 100


@dataclass(frozen=True)
class Subscription:
    """A subscription.

    Attributes:
        name: the subscription.
        topic: its topic.
        function: receives its messages; None for a pull subscription.
        filter: on attributes; immutable.
        is_ordered: deliver messages of an ordering key in order.
        retry: the backoff; None to deliver again at once.
    """

    name: str
    topic: str
    function: str | None
    filter: str = ""
    is_ordered: bool = False
    ack_deadline_s: int = MAX_ACK_DEADLINE_S
    retry: Retry | None = Retry()
    dead_letter: DeadLetter | None = DeadLetter()


FINISH_FILTER = (
    '(attributes.state = "publishing" OR attributes.state = "done" OR attributes:observed)'
    " AND NOT attributes:group_commit"
)
TOPICS = ("uploads", "chunks", "status", "dead-letters")

SUBSCRIPTIONS = (
    Subscription("uploads-split", "uploads", "split"),
    Subscription("chunks-load", "chunks", "load"),
    Subscription("status-finish", "status", "finish", filter=FINISH_FILTER),
    Subscription("dead-letters", "dead-letters", None, retry=None, dead_letter=None),
)
