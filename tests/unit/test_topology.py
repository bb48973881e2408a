"""Topics and subscriptions are consistent, and are created in Pub/Sub as declared."""

from __future__ import annotations

import grpc
from google.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from sluice.local.functions import FUNCTIONS
from sluice.local.provision import create_topology, request_of
from sluice.local.state import PROJECT
from sluice.local.topology import SUBSCRIPTIONS, TOPICS


def test_subscriptions_name_known_topics_and_functions() -> None:
    functions = {each.name for each in FUNCTIONS}
    for each in SUBSCRIPTIONS:
        assert each.topic in TOPICS
        assert each.function in {*functions, None}
        assert each.dead_letter is None or each.dead_letter.topic in TOPICS


def test_every_dead_letter_topic_has_a_subscription() -> None:
    kept = {each.topic for each in SUBSCRIPTIONS if each.function is None}
    assert {each.dead_letter.topic for each in SUBSCRIPTIONS if each.dead_letter} <= kept


def test_a_push_subscription_becomes_a_request_to_pubsub() -> None:
    finish = next(each for each in SUBSCRIPTIONS if each.function == "finish")
    request = request_of(finish, "http://gateway/{}".format)
    assert request.push_config.push_endpoint == "http://gateway/finish"
    states = 'attributes.state = "publishing" OR attributes.state = "done" OR attributes:observed'
    assert request.filter == f"({states}) AND NOT attributes:group_commit"
    assert request.ack_deadline_seconds == 600
    assert request.retry_policy.minimum_backoff.total_seconds() == 1
    assert request.dead_letter_policy.max_delivery_attempts == 100
    assert request.dead_letter_policy.dead_letter_topic == "projects/local/topics/dead-letters"


def test_the_topology_can_be_created_again_and_moved_to_another_endpoint(pubsub) -> None:
    for gateway in ("http://one/{}", "http://one/{}", "http://two/{}"):
        create_topology(pubsub.address, gateway.format)
        assert endpoints(pubsub.address) == {
            each.name: gateway.format(each.function) if each.function else ""
            for each in SUBSCRIPTIONS
        }


def endpoints(address: str) -> dict[str, str]:
    """The push endpoint of each subscription that Pub/Sub has."""
    with grpc.insecure_channel(address) as channel:
        client = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        found = list(client.list_subscriptions(project=f"projects/{PROJECT}"))
    return {each.name.rpartition("/")[2]: each.push_config.push_endpoint for each in found}
