"""Dead letters, which the subscription `dead-letters` holds: read, published again, dropped."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sluice.documents.dead_letters import MAX_LETTERS, DeadLetter, DeadLetterOutcome, DeadLetters
from sluice.errors import IllegalTransitionError, PubsubUnavailableError
from sluice.gcloud.subscriber import subscriber_client
from sluice.settings import prefixed

if TYPE_CHECKING:
    from google.pubsub_v1 import PubsubMessage, ReceivedMessage

    from sluice.ports import Publisher

SUBSCRIPTION = "dead-letters"
#: The topic of each subscription that delivers to a function.
TOPICS = {"uploads-split": "uploads", "chunks-load": "chunks", "status-finish": "status"}
#: Subscriptions of clients begin with this; they are on the topic `status`.
CLIENT_PREFIX = "push-"
#: Pub/Sub adds these attributes to a dead letter.
_ADDED = "CloudPubSubDeadLetterSource"
_PULLED_MESSAGES = 100
#: Of all letters that are held at once.
_MAX_BYTES = 16 * 1024 * 1024
_SHOWN_BYTES = 64 * 1024
#: Pub/Sub waits for messages where there are none.
_PULL_TIMEOUT_S = 3.0
_TIMEOUT_S = 30.0


class DeadLetterBox:
    """The dead letters of a deployment.

    Args:
        project: its project.
        publisher: publishes letters again.
        name_prefix: what the names of its subscriptions begin with.
    """

    def __init__(self, project: str, publisher: Publisher, name_prefix: str = "") -> None:
        self._path = f"projects/{project}/subscriptions/{prefixed(name_prefix, SUBSCRIPTION)}"
        self._publisher = publisher
        self._name_prefix = name_prefix

    def all(self) -> DeadLetters:
        """Return the letters that Pub/Sub has; it keeps them.

        Raises:
            PubsubUnavailableError: it did not answer.
        """
        with self._held() as (held, is_complete):
            letters = sorted((_letter(each.message) for each in held), key=_age)
            return DeadLetters(letters, is_complete)

    def replay(self, ids: Collection[str]) -> DeadLetterOutcome:
        """Publish letters on the topics that they came from, then drop them.

        What a letter asks for is done once, however often it is delivered. The event of a client's
        subscription goes to all subscriptions of the topic, with the id that it had.

        Raises:
            IllegalTransitionError: a letter came from a subscription that is not known; none was published.
            PubsubUnavailableError: some letters may have been published; none of those is lost.
        """
        with self._held() as (held, _):
            found = [each for each in held if each.message.message_id in ids]
            topics = [_topic(each.message, self._name_prefix) for each in found]
            for each, topic in zip(found, topics, strict=True):
                message = each.message
                kept = {
                    name: value
                    for name, value in message.attributes.items()
                    if not name.startswith(_ADDED)
                }
                self._publisher.publish(
                    topic, [(message.data, kept)], ordering_key=message.ordering_key
                )
                self._acknowledge([each])
            return _outcome(ids, found)

    def drop(self, ids: Collection[str]) -> DeadLetterOutcome:
        """Delete letters.

        Raises:
            PubsubUnavailableError: Pub/Sub did not answer.
        """
        with self._held() as (held, _):
            found = [each for each in held if each.message.message_id in ids]
            self._acknowledge(found)
            return _outcome(ids, found)

    @contextmanager
    def _held(self) -> Iterator[tuple[Sequence[ReceivedMessage], bool]]:
        """Hold all letters, which nobody else receives meanwhile; release those that are not acknowledged."""
        held: list[ReceivedMessage] = []
        try:
            yield held, self._pull_all(held)
        finally:
            ack_ids = [each.ack_id for each in held]
            with suppress(PubsubUnavailableError):  # they come back at the ack deadline
                for first in range(0, len(ack_ids), _PULLED_MESSAGES):
                    some = ack_ids[first : first + _PULLED_MESSAGES]
                    self._call("modify_ack_deadline", ack_ids=some, ack_deadline_seconds=0)

    def _pull_all(self, held: list[ReceivedMessage]) -> bool:
        """Add letters until Pub/Sub has none left or there are enough; return whether it has none left."""
        size_bytes = 0
        while len(held) < MAX_LETTERS and size_bytes < _MAX_BYTES:
            found = self._pull()
            if not found:
                return True
            held += found
            size_bytes += sum(len(each.message.data) for each in found)
        return False

    def _pull(self) -> Sequence[ReceivedMessage]:
        from google.api_core.exceptions import DeadlineExceeded  # noqa: PLC0415  # where first used

        try:
            answer = self._call("pull", max_messages=_PULLED_MESSAGES, timeout_s=_PULL_TIMEOUT_S)
        except PubsubUnavailableError as error:
            if isinstance(error.__cause__, DeadlineExceeded):
                return ()
            raise
        return tuple(answer.received_messages)

    def _acknowledge(self, letters: Sequence[ReceivedMessage]) -> None:
        if letters:
            self._call("acknowledge", ack_ids=[each.ack_id for each in letters])

    def _call(self, method: str, *, timeout_s: float = _TIMEOUT_S, **fields: object) -> Any:
        from google.api_core.exceptions import GoogleAPICallError, RetryError  # noqa: PLC0415

        request = {"subscription": self._path, **fields}
        try:
            return getattr(subscriber_client(), method)(
                request=request, timeout=timeout_s, retry=None
            )
        except (GoogleAPICallError, RetryError) as error:
            raise PubsubUnavailableError(f"{SUBSCRIPTION}: {method}: {error}") from error


def _source(message: PubsubMessage) -> str:
    return str(message.attributes.get(f"{_ADDED}Subscription", ""))


def _topic(message: PubsubMessage, name_prefix: str) -> str:
    source = _source(message)
    known = source.removeprefix(prefixed(name_prefix, ""))
    if known.startswith(CLIENT_PREFIX):
        return TOPICS["status-finish"]
    if known not in TOPICS:
        raise IllegalTransitionError(
            f"the dead letter {message.message_id} came from the subscription {source or 'unknown'},"
            f" whose topic is not known; those of {', '.join(TOPICS)} can be replayed"
        )
    return TOPICS[known]


def _letter(message: PubsubMessage) -> DeadLetter:
    attributes = dict(message.attributes)
    deliveries = attributes.get(f"{_ADDED}DeliveryCount", "")
    published_at = None
    with suppress(ValueError):
        published_at = datetime.fromisoformat(attributes.get(f"{_ADDED}TopicPublishTime", ""))
    return DeadLetter(
        id=message.message_id,
        subscription=_source(message),
        subject=_subject(attributes),
        published_at=published_at,
        deliveries=int(deliveries) if deliveries.isdecimal() else None,
        attributes={k: v for k, v in attributes.items() if not k.startswith(_ADDED)},
        data=message.data[:_SHOWN_BYTES].decode(errors="replace"),
    )


def _subject(attributes: dict[str, str]) -> str:
    if "ingestion" in attributes:
        return f"ingestion {attributes['ingestion']}"
    if "objectId" in attributes:
        return f"gs://{attributes.get('bucketId', '')}/{attributes['objectId']}"
    return ""


def _age(letter: DeadLetter) -> tuple[float, str]:
    return (letter.published_at.timestamp() if letter.published_at else 0.0, letter.id)


def _outcome(ids: Collection[str], found: Sequence[ReceivedMessage]) -> DeadLetterOutcome:
    gone = {each.message.message_id for each in found}
    return DeadLetterOutcome(sorted(gone), [each for each in ids if each not in gone])
