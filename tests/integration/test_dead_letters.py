"""Dead letters are listed, published again and dropped; Pub/Sub keeps what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from problems import assert_problem

from sluice.gcloud import dead_letters
from sluice.gcloud.dead_letters import TOPICS
from sluice.gcloud.pubsub import PubsubPublisher
from sluice.gcloud.subscriber import subscriber_client
from sluice.local.provision import create_topology
from sluice.local.topology import SUBSCRIPTIONS
from sluice.tracing import ATTRIBUTE

if TYPE_CHECKING:
    from google.pubsub_v1 import SubscriberClient
    from serving import Serve
    from werkzeug.test import Client

    from sluice.local.pubsub import PubsubServer

CHUNK = b'{"ingestion": 7}'
SOURCE = "CloudPubSubDeadLetterSource"


@pytest.fixture
def topics(pubsub: PubsubServer, monkeypatch: pytest.MonkeyPatch) -> PubsubServer:
    """Pub/Sub as in the cloud, but nothing is pushed."""
    monkeypatch.setattr(
        "sluice.local.provision.SUBSCRIPTIONS",
        [each for each in SUBSCRIPTIONS if each.function is None],
    )
    create_topology(pubsub.address, str)
    return pubsub


@pytest.fixture
def intake(serve: Serve, topics: PubsubServer) -> Client:
    assert topics
    return serve("intake")


def bury(source: str = "chunks-load", data: bytes = CHUNK, **attributes: str) -> None:
    """Publish what Pub/Sub publishes of a message that it could not deliver."""
    added = {
        f"{SOURCE}Subscription": source,
        f"{SOURCE}DeliveryCount": "10",
        f"{SOURCE}TopicPublishTime": "2026-11-28T12:00:00.5+00:00",
    }
    PubsubPublisher("local").publish("dead-letters", [(data, {**added, **attributes})])


def create_topics(pubsub: PubsubServer, *topics: str) -> None:
    with grpc.insecure_channel(pubsub.address) as channel:
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        for topic in topics:
            publisher.create_topic(name=f"projects/local/topics/{topic}")


def receiver(topic: str) -> str:
    """Return a new subscription to a topic."""
    client: SubscriberClient = subscriber_client()
    name = f"projects/local/subscriptions/reads-{topic}"
    client.create_subscription(name=name, topic=f"projects/local/topics/{topic}")
    return name


def received(subscription: str) -> list[tuple[bytes, dict[str, str]]]:
    answer = subscriber_client().pull(subscription=subscription, max_messages=10)
    return [(each.message.data, dict(each.message.attributes)) for each in answer.received_messages]


def letters(client: Client) -> list[dict[str, Any]]:
    found = client.get("/v1/dead-letters").json
    assert found["is_complete"]
    return list(found["letters"])


def act(client: Client, action: str, *ids: str) -> dict[str, Any]:
    answer = client.post(f"/v1/dead-letters/{action}", json={"ids": ids})
    assert answer.status_code == 200, answer.text
    return dict(answer.json)


def test_the_topic_of_each_subscription_of_a_function_is_known() -> None:
    assert {each.name: each.topic for each in SUBSCRIPTIONS if each.function} == TOPICS


def test_a_letter_says_what_it_is_about_and_stays_when_it_is_listed(intake: Client) -> None:
    bury(ingestion="7", dataset="trips")
    bury("uploads-split", b"{}", bucketId="inbox", objectId="trips/a.csv")
    for _ in range(2):
        first, second = sorted(letters(intake), key=lambda each: each["subscription"])
        assert first == {
            "id": first["id"],
            "subscription": "chunks-load",
            "subject": "ingestion 7",
            "published_at": "2026-11-28T12:00:00.500000Z",
            "deliveries": 10,
            "attributes": {"ingestion": "7", "dataset": "trips"},
            "data": CHUNK.decode(),
        }
        assert second["subject"] == "gs://inbox/trips/a.csv"


@pytest.mark.parametrize(
    ("source", "topic"), [*TOPICS.items(), ("push-0123456789abcdef", "status")]
)
def test_a_letter_is_published_again_as_it_was(intake: Client, source: str, topic: str) -> None:
    subscription = receiver(topic)
    attributes = {
        "ingestion": "7",
        ATTRIBUTE: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }
    bury(source, **attributes)
    (letter,) = letters(intake)
    assert act(intake, "replay", letter["id"]) == {"ids": [letter["id"]], "missing": []}
    assert received(subscription) == [(CHUNK, attributes)]
    assert letters(intake) == []


def test_a_deployment_with_a_prefix_uses_topics_and_subscriptions_of_its_own(
    serve: Serve, pubsub: PubsubServer
) -> None:
    create_topics(pubsub, "eu-chunks", "eu-dead-letters")
    subscriber_client().create_subscription(
        name="projects/local/subscriptions/eu-dead-letters",
        topic="projects/local/topics/eu-dead-letters",
    )
    subscription = receiver("eu-chunks")
    added = {f"{SOURCE}Subscription": "eu-chunks-load"}
    PubsubPublisher("local", "eu").publish("dead-letters", [(CHUNK, added)])
    intake = serve("intake", name_prefix="eu")
    (letter,) = letters(intake)
    assert act(intake, "replay", letter["id"])["ids"] == [letter["id"]]
    assert [data for data, _ in received(subscription)] == [CHUNK]


def test_the_subscription_of_a_client_has_the_prefix_of_the_deployment(
    serve: Serve, pubsub: PubsubServer
) -> None:
    create_topics(pubsub, "eu-status", "eu-dead-letters")
    status = serve("status", name_prefix="eu")
    made = status.post("/v1/subscriptions", json={"endpoint": "http://localhost:9/hook"})
    assert made.status_code == 201, made.text
    name = f"projects/local/subscriptions/{made.json['id']}"
    found = subscriber_client().get_subscription(subscription=name)
    assert made.json["id"].startswith("eu-push-")
    assert found.topic == "projects/local/topics/eu-status"
    assert found.dead_letter_policy.dead_letter_topic == "projects/local/topics/eu-dead-letters"


def test_only_the_letters_that_are_named_are_dropped(intake: Client) -> None:
    bury(ingestion="1")
    bury(ingestion="2")
    first, second = letters(intake)
    assert act(intake, "drop", first["id"], "0") == {"ids": [first["id"]], "missing": ["0"]}
    assert letters(intake) == [second]


def test_a_letter_of_an_unknown_subscription_is_kept(intake: Client) -> None:
    bury("theirs")
    bury("chunks-load")
    ids = [each["id"] for each in letters(intake)]
    answer = intake.post("/v1/dead-letters/replay", json={"ids": ids})
    assert "theirs" in assert_problem(answer, "API308", 409)["detail"]
    assert len(letters(intake)) == 2


def test_a_letter_that_cannot_be_published_is_kept(
    intake: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    bury()
    (letter,) = letters(intake)
    with monkeypatch.context() as fault:
        fault.setitem(dead_letters.TOPICS, "chunks-load", "no-such-topic")
        answer = intake.post("/v1/dead-letters/replay", json={"ids": [letter["id"]]})
    assert_problem(answer, "SYS905", 503)
    assert letters(intake) == [letter]


def test_letters_are_listed_as_far_as_they_fit_into_memory(
    intake: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.gcloud.dead_letters._MAX_BYTES", 1_000)
    for _ in range(2):
        bury(data=b"x" * 200_000)
    found = intake.get("/v1/dead-letters").json
    assert not found["is_complete"]
    assert {len(each["data"]) for each in found["letters"]} == {64 * 1024}


@pytest.mark.parametrize("body", [{}, {"ids": []}, {"ids": "7"}, {"ids": [7]}, {"all": True}])
def test_a_request_names_letters(intake: Client, body: dict[str, Any]) -> None:
    for action in ("replay", "drop"):
        answer = intake.post(f"/v1/dead-letters/{action}", json=body)
        assert_problem(answer, "API303", 400)


def test_what_was_done_is_in_the_audit_log(intake: Client) -> None:
    bury()
    (letter,) = letters(intake)
    act(intake, "drop", letter["id"])
    entry = intake.get("/v1/audit?action=dead-letters.drop").json["entries"][0]
    assert entry["details"] == {"ids": [letter["id"]]}


def test_without_pubsub_the_answer_says_so(intake: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:9")
    assert_problem(intake.get("/v1/dead-letters"), "SYS905", 503)
