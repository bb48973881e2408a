"""Creates topics, subscriptions and tables, as `terraform apply` does in the cloud.

Safe to repeat: it creates what is missing and updates what Pub/Sub allows to change.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import grpc
from google.api_core.exceptions import AlreadyExists
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1 import PublisherClient, SubscriberClient, types
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from sluice.datasets.identifiers import literal, quote
from sluice.local.state import CHECKOUT, PROJECT
from sluice.local.topology import SUBSCRIPTIONS, TOPICS, Subscription
from sluice.postgres.connection import new_engine, transaction
from sluice.postgres.roles import FUNCTIONS, prepare, user_of
from sluice.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: The database user of each function, named as in the cloud.
USERS = {name: user_of(name, PROJECT) for name in FUNCTIONS}
#: The database user of a person: reads everything and changes nothing.
OPERATOR = "operator"
#: The folder with the scripts of the migration job.
MIGRATION = CHECKOUT / "terraform" / "migrate"
_CREATE_USER = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {name}) THEN
        EXECUTE format('CREATE ROLE %I LOGIN', {name});
    END IF;
END $$
"""

CHANGEABLE = ["push_config", "ack_deadline_seconds", "retry_policy", "dead_letter_policy"]


def create_topology(pubsub_address: str, endpoint: Callable[[str], str]) -> None:
    """Create every topic and subscription that is missing.

    Args:
        pubsub_address: host and port of Pub/Sub.
        endpoint: returns the push address of a function.
    """
    with grpc.insecure_channel(pubsub_address) as channel:
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        for topic in TOPICS:
            with suppress(AlreadyExists):
                publisher.create_topic(name=_topic(topic))
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        for subscription in SUBSCRIPTIONS:
            _create_subscription(subscriber, request_of(subscription, endpoint))


def publish(
    pubsub_address: str, topic: str, messages: Sequence[tuple[bytes, dict[str, str]]]
) -> None:
    """Publish messages, each as its data and its attributes."""
    with grpc.insecure_channel(pubsub_address) as channel:
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        for data, attributes in messages:
            message = types.PubsubMessage(data=data, attributes=attributes)
            publisher.publish(topic=_topic(topic), messages=[message])


def prepare_database(url: str) -> list[str]:
    """Create users and roles, migrate the schema, declare the datasets; return the name of each change.

    Args:
        url: of the database, as a superuser.
    """
    engine = new_engine(Settings(database_url=url))
    try:
        with transaction(engine) as connection:
            for user in (*USERS.values(), OPERATOR):
                connection.exec_driver_sql(_CREATE_USER.format(name=literal(user)))
            connection.exec_driver_sql(f"GRANT pg_read_all_data TO {quote(OPERATOR)}")
        return prepare(engine, USERS, MIGRATION)
    finally:
        engine.dispose()


def request_of(subscription: Subscription, endpoint: Callable[[str], str]) -> types.Subscription:
    """Return a subscription in the form of the Pub/Sub API."""
    request = types.Subscription(
        name=f"projects/{PROJECT}/subscriptions/{subscription.name}",
        topic=_topic(subscription.topic),
        ack_deadline_seconds=subscription.ack_deadline_s,
        filter=subscription.filter,
        enable_message_ordering=subscription.is_ordered,
    )
    if subscription.retry is not None:
        request.retry_policy = types.RetryPolicy(
            minimum_backoff=Duration(seconds=subscription.retry.minimum_s),
            maximum_backoff=Duration(seconds=subscription.retry.maximum_s),
        )
    if subscription.function is not None:
        request.push_config = types.PushConfig(push_endpoint=endpoint(subscription.function))
    if subscription.dead_letter is not None:
        request.dead_letter_policy = types.DeadLetterPolicy(
            dead_letter_topic=_topic(subscription.dead_letter.topic),
            max_delivery_attempts=subscription.dead_letter.after_attempts,
        )
    return request


def _create_subscription(subscriber: SubscriberClient, wanted: types.Subscription) -> None:
    try:
        subscriber.create_subscription(request=wanted)
    except AlreadyExists:
        found = subscriber.get_subscription(subscription=wanted.name)
        if found.filter != wanted.filter:  # immutable; recovery sends again what is lost with it
            subscriber.delete_subscription(subscription=wanted.name)
            subscriber.create_subscription(request=wanted)
            return
        differing = [name for name in CHANGEABLE if getattr(found, name) != getattr(wanted, name)]
        if differing:
            subscriber.update_subscription(
                subscription=wanted, update_mask=FieldMask(paths=differing)
            )


def _topic(name: str) -> str:
    return f"projects/{PROJECT}/topics/{name}"
