"""Topics and subscriptions by name, and the operations on them, without any transport."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from sluice.local.pubsub import limits, masks, wire
from sluice.local.pubsub.errors import (
    AlreadyExistsError,
    NotFoundError,
    resource_id,
)
from sluice.local.pubsub.faults import NO_FAULTS, Faults
from sluice.local.pubsub.filters import compile_filter
from sluice.local.pubsub.messages import Message
from sluice.local.pubsub.subscriptions import SharedState, Subscription

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator, Mapping, Sequence

    from google.protobuf.field_mask_pb2 import FieldMask

    from sluice.local.pubsub.clock import Clock
    from sluice.local.pubsub.journal import Journal

DELETED_TOPIC = "_deleted-topic_"
MAX_PAGE_SIZE = 1000


class SubscriptionWatcher(Protocol):
    """Observes which subscriptions exist."""

    def configured(self, subscription: Subscription) -> None:
        """A subscription was created or changed."""

    def deleted(self, subscription: Subscription) -> None:
        """A subscription was deleted."""


class Broker:
    """The state of the service; must be used on the event loop's thread."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        watcher: SubscriptionWatcher,
        project: str | None = None,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._watcher = watcher
        self._project = project
        self._shared = SharedState(clock, journal, loop, self._forward_dead_letter)
        self._topics: dict[str, wire.Wire] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._by_topic: dict[str, list[Subscription]] = {}
        self._faults = NO_FAULTS
        # Ids grow across restarts while fewer than a million messages a second are published.
        self._last_message_id = time.time_ns() // 1000

    def restore(self) -> None:
        """Restore the state that the journal holds."""
        for topic in self._journal.topics():
            self._topics[topic.name] = topic
        for config, dead_lettered in self._journal.subscriptions():
            subscription = self._attach(config)
            subscription.backlog.dead_lettered = dead_lettered
            for message, attempts in self._journal.deliveries(config.name):
                self._last_message_id = max(self._last_message_id, int(message.message_id))
                subscription.put(message, attempts)
            self._watcher.configured(subscription)

    def create_topic(self, config: wire.Wire) -> wire.Wire:
        """Add a topic."""
        limits.check_name(config.name, "topics")
        self._check_project(config.name)
        if config.name in self._topics:
            raise AlreadyExistsError(config.name)
        return self._save_topic(config)

    def topic(self, name: str) -> wire.Wire:
        """Return the configuration of a topic."""
        if name not in self._topics:
            raise NotFoundError(name)
        return self._topics[name]

    def update_topic(self, config: wire.Wire, mask: FieldMask) -> wire.Wire:
        """Change the fields of a topic that the mask names."""
        changed = masks.merged(self.topic(config.name), config, mask, masks.MUTABLE_TOPIC_FIELDS)
        return self._save_topic(changed)

    def delete_topic(self, name: str) -> None:
        """Remove a topic; its subscriptions keep their messages."""
        self.topic(name)
        del self._topics[name]
        self._journal.delete_topic(name)
        for subscription in self._by_topic.pop(name, []):
            subscription.config.topic = DELETED_TOPIC
            self._journal.save_subscription(subscription.config)

    def topics_of(self, project: str) -> list[str]:
        """Return the names of a project's topics (`projects/p`), sorted."""
        return sorted(name for name in self._topics if name.startswith(f"{project}/"))

    def subscriptions_of(self, project: str) -> list[str]:
        """Return the names of a project's subscriptions (`projects/p`), sorted."""
        return sorted(name for name in self._subscriptions if name.startswith(f"{project}/"))

    def subscriptions_to(self, topic: str) -> list[str]:
        """Return the names of a topic's subscriptions, sorted."""
        self.topic(topic)
        return sorted(subscription.name for subscription in self._by_topic.get(topic, []))

    def publish(self, request: wire.Wire) -> list[str]:
        """Write messages to the journal and add them to the subscriptions; return their ids."""
        self.topic(request.topic)
        limits.check_publish(request)
        message_ids = [
            self._fan_out(request.topic, sent.data, dict(sent.attributes), sent.ordering_key)
            for sent in request.messages
        ]
        self._journal.commit()
        return message_ids

    def create_subscription(self, config: wire.Wire) -> wire.Wire:
        """Add a subscription; it gets messages that are published from now on."""
        limits.check_name(config.name, "subscriptions")
        self._check_project(config.name)
        if config.name in self._subscriptions:
            raise AlreadyExistsError(config.name)
        self.topic(config.topic)
        complete = limits.completed(config)
        compile_filter(complete.filter)
        self._check_dead_letter_topic(complete)
        self._journal.save_subscription(complete)
        self._journal.commit()
        self._watcher.configured(self._attach(complete))
        return complete

    def subscription(self, name: str) -> Subscription:
        """Return a subscription."""
        if name not in self._subscriptions:
            raise NotFoundError(name)
        return self._subscriptions[name]

    def update_subscription(self, config: wire.Wire, mask: FieldMask) -> wire.Wire:
        """Change the fields of a subscription that the mask names."""
        subscription = self.subscription(config.name)
        changed = masks.merged(subscription.config, config, mask, masks.MUTABLE_SUBSCRIPTION_FIELDS)
        return self._reconfigure(subscription, limits.completed(changed))

    def modify_push_config(self, name: str, push_config: wire.Wire) -> None:
        """Change the endpoint of a subscription; without one it becomes a pull subscription."""
        subscription = self.subscription(name)
        changed = limits.completed(subscription.config)
        changed.push_config.CopyFrom(push_config)
        limits.check_push_config(push_config)
        self._reconfigure(subscription, changed)

    def delete_subscription(self, name: str) -> None:
        """Remove a subscription with its messages."""
        subscription = self.subscription(name)
        del self._subscriptions[name]
        siblings = self._by_topic.get(subscription.config.topic, [])
        if subscription in siblings:
            siblings.remove(subscription)
        self._journal.delete_subscription(name)
        self._watcher.deleted(subscription)
        subscription.close(is_deleted=True)

    def all_subscriptions(self) -> Iterator[Subscription]:
        """Yield every subscription of every project."""
        yield from self._subscriptions.values()

    def inject(self, faults: Faults) -> None:
        """Inject faults into all further deliveries."""
        self._faults = faults
        for subscription in self._subscriptions.values():
            subscription.backlog.faults = faults

    def close(self) -> None:
        """Stop every timer."""
        for subscription in self._subscriptions.values():
            subscription.close()

    def _fan_out(
        self, topic: str, data: bytes, attributes: Mapping[str, str], ordering_key: str
    ) -> str:
        self._last_message_id += 1
        published_at = round(self._clock.now(), 3)
        message = Message(str(self._last_message_id), data, attributes, ordering_key, published_at)
        matching = [to for to in self._by_topic.get(topic, []) if to.matches(attributes)]
        if matching:
            self._journal.add_message(message, [each.name for each in matching])
        for each in matching:
            each.put(message)
        return message.message_id

    def _forward_dead_letter(
        self, subscription: Subscription, message: Message, attempts: int
    ) -> bool:
        topic = subscription.backlog.policy.dead_letter_topic
        if topic not in self._topics:
            return False
        attributes = {
            **message.attributes,
            "CloudPubSubDeadLetterSourceDeliveryCount": str(attempts),
            "CloudPubSubDeadLetterSourceSubscription": resource_id(subscription.name),
            "CloudPubSubDeadLetterSourceSubscriptionProject": limits.project_of(subscription.name),
            "CloudPubSubDeadLetterSourceTopicPublishTime": message.publish_time(zone="+00:00"),
        }
        self._fan_out(topic, message.data, attributes, message.ordering_key)
        return True

    def _attach(self, config: wire.Wire) -> Subscription:
        subscription = Subscription(config, self._shared)
        subscription.backlog.faults = self._faults
        self._subscriptions[config.name] = subscription
        if config.topic != DELETED_TOPIC:
            self._by_topic.setdefault(config.topic, []).append(subscription)
        return subscription

    def _reconfigure(self, subscription: Subscription, config: wire.Wire) -> wire.Wire:
        self._check_dead_letter_topic(config)
        self._journal.save_subscription(config)
        subscription.configure(config)
        self._watcher.configured(subscription)
        return config

    def _save_topic(self, config: wire.Wire) -> wire.Wire:
        kept = wire.Topic()
        kept.CopyFrom(config)
        self._topics[config.name] = kept
        self._journal.save_topic(kept)
        self._journal.commit()
        return kept

    def _check_dead_letter_topic(self, config: wire.Wire) -> None:
        dead_letter_topic = config.dead_letter_policy.dead_letter_topic
        if dead_letter_topic:
            self.topic(dead_letter_topic)

    def _check_project(self, name: str) -> None:
        project = limits.project_of(name)
        if self._project is not None and project != self._project:
            raise NotFoundError(f"projects/{project}")


def page(names: Sequence[str], page_size: int, page_token: str) -> tuple[list[str], str]:
    """Return one page of sorted names and the token of the next; the token is the last name."""
    rest = [name for name in names if name > page_token]
    size = min(page_size or MAX_PAGE_SIZE, MAX_PAGE_SIZE)
    return rest[:size], rest[size - 1] if len(rest) > size else ""
