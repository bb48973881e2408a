"""What only the embedded Pub/Sub does: survive kills, misbehave on demand, show its backlogs."""

import contextlib
import http.server
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest
from google.api_core import exceptions
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from pubsub_control import clear_faults, is_serving, wait_until_drained
from sluice.local.pubsub import BacklogCounts, ControlClient, Faults, PubsubServer

TOPIC = "projects/local/topics/chunks"
DEAD_LETTERS = "projects/local/topics/dead-letters"
LOAD = "projects/local/subscriptions/load"
SHARED = Path(__file__).parents[2] / "shared"


class Clients:
    """The API and the control client of one server."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.publisher = PublisherClient(transport=PublisherGrpcTransport(channel=self.channel))
        self.subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=self.channel))
        self.control = ControlClient(address)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.channel.close()
        self.control.close()

    def subscribe(self, **config):
        self.publisher.create_topic(name=TOPIC)
        self.publisher.create_topic(name=DEAD_LETTERS)
        request = {"name": LOAD, "topic": TOPIC, **config}
        self.subscriber.create_subscription(request=request)

    def publish(self, *data):
        messages = [{"data": each} for each in data]
        # Without the retries of the client, so that a killed server is an error at once.
        answer = self.publisher.publish(topic=TOPIC, messages=messages, retry=None, timeout=10)
        return answer.message_ids

    def pull(self, count=100):
        request = {"subscription": LOAD, "max_messages": count}
        return list(self.subscriber.pull(request=request, timeout=10).received_messages)

    def ack(self, received):
        ack_ids = [each.ack_id for each in received]
        self.subscriber.acknowledge(subscription=LOAD, ack_ids=ack_ids)

    def nack(self, received):
        ack_ids = [each.ack_id for each in received]
        self.subscriber.modify_ack_deadline(
            subscription=LOAD, ack_ids=ack_ids, ack_deadline_seconds=0
        )

    def counts(self):
        return self.control.backlogs()[LOAD]


@pytest.fixture
def clients():
    with PubsubServer(port=0) as server, Clients(server.address) as made:
        yield made


@pytest.fixture
def endpoint():
    """An endpoint that notes bodies and calls `endpoint.answer(body)` for the status."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.bodies.put(body)
            self.send_response(server.answer(body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

        def handle(self):
            with contextlib.suppress(ConnectionError):
                super().handle()

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        server.bodies = queue.Queue()
        server.answer = lambda body: 200
        server.push = {
            "push_endpoint": f"http://127.0.0.1:{server.server_port}",
            "no_wrapper": {},
        }
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def drain(bodies):
    return [bodies.get_nowait() for _ in range(bodies.qsize())]


class Process:
    """The server as a process, which can be killed and started again on its journal."""

    def __init__(self, journal):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.journal = journal
        self.running = None

    def start(self):
        command = [sys.executable, "-m", "sluice.local.pubsub", "--port", str(self.port)]
        command += ["--journal", str(self.journal), "--project", "local"]
        env = {**os.environ, "PYTHONPATH": str(SHARED)}
        self.running = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
        assert is_serving(self.address, timeout_s=20)

    def end(self, number):
        self.running.send_signal(number)
        return self.running.wait(timeout=10)


@pytest.fixture
def process(tmp_path):
    made = Process(tmp_path / "journal")
    made.start()
    yield made
    made.end(signal.SIGKILL)


class TestDurability:
    def test_a_killed_server_forgets_no_message_and_no_attempt(self, process):
        dead = {"dead_letter_topic": DEAD_LETTERS, "max_delivery_attempts": 5}
        with Clients(process.address) as clients:
            clients.subscribe(dead_letter_policy=dead, filter="NOT attributes:skip")
            ids = list(clients.publish(b"acked", b"nacked", b"held", b"new"))
            received = {each.message.data: each for each in clients.pull(3)}
            clients.ack([received[b"acked"]])
            clients.nack([received[b"nacked"]])
        process.end(signal.SIGKILL)
        process.start()
        with Clients(process.address) as clients:
            assert clients.counts() == BacklogCounts(3, 0, 0)
            received = {each.message.message_id: each for each in clients.pull()}
            assert [received[each].message.data for each in ids[1:]] == [b"nacked", b"held", b"new"]
            assert [received[each].delivery_attempt for each in ids[1:]] == [2, 2, 1]
            config = clients.subscriber.get_subscription(subscription=LOAD)
            assert config.filter == "NOT attributes:skip"
            (new_id,) = clients.publish(b"newer")
            assert int(new_id) > max(map(int, ids))

    def test_a_kill_while_publishing_loses_nothing_that_was_answered(self, process):
        answered = []
        with Clients(process.address) as clients:
            clients.subscribe()

            def publish_until_killed():
                with contextlib.suppress(exceptions.GoogleAPICallError):
                    while True:
                        answered.extend(clients.publish(*[b"x"] * 10))

            publisher = threading.Thread(target=publish_until_killed)
            publisher.start()
            while len(answered) < 300:
                time.sleep(0.005)
            process.end(signal.SIGKILL)
            publisher.join(timeout=20)
        process.start()
        with Clients(process.address) as clients:
            kept = set()
            while received := clients.pull(1000):
                kept.update(each.message.message_id for each in received)
            assert kept >= set(answered)

    def test_after_a_kill_pushes_go_on(self, process, endpoint):
        endpoint.answer = lambda body: 500
        with Clients(process.address) as clients:
            clients.subscribe(push_config=endpoint.push)
            clients.publish(b"a row")
        assert endpoint.bodies.get(timeout=5) == b"a row"
        process.end(signal.SIGKILL)
        drain(endpoint.bodies)
        endpoint.answer = lambda body: 200
        process.start()
        assert endpoint.bodies.get(timeout=5) == b"a row"
        with Clients(process.address) as clients:
            wait_until_drained(clients.control, LOAD)

    def test_a_terminated_server_ends_well(self, process):
        with Clients(process.address) as clients:
            clients.subscribe()
            clients.publish(b"a row")
        assert process.end(signal.SIGTERM) == 0
        process.start()
        with Clients(process.address) as clients:
            assert [each.message.data for each in clients.pull()] == [b"a row"]

    def test_two_servers_cannot_share_a_journal(self, tmp_path):
        with PubsubServer(port=0, journal=tmp_path / "journal"):
            second = PubsubServer(port=0, journal=tmp_path / "journal")
            with pytest.raises(Exception, match="database is locked"):
                second.start()

    def test_another_project_is_not_found(self, process):
        with (
            Clients(process.address) as clients,
            pytest.raises(exceptions.NotFound, match="resource=other"),
        ):
            clients.publisher.create_topic(name="projects/other/topics/chunks")


class TestPush:
    def test_many_pushes_are_under_way_at_once(self, endpoint):
        together = threading.Barrier(20)

        def wait_for_all(_body):
            together.wait(timeout=5)
            return 200

        endpoint.answer = wait_for_all
        with PubsubServer(port=0, push_window=20) as server, Clients(server.address) as clients:
            clients.subscribe(push_config=endpoint.push)
            clients.publish(*[str(n).encode() for n in range(40)])
            wait_until_drained(clients.control, LOAD)
        assert len(set(drain(endpoint.bodies))) == 40

    def test_a_push_without_an_answer_is_repeated_at_its_deadline(self, endpoint):
        is_pushed, is_repeated = threading.Event(), threading.Event()

        def wait_for_repeat(_body):
            if is_pushed.is_set():
                is_repeated.set()
            is_pushed.set()
            return 200 if is_repeated.wait(timeout=60) else 500

        endpoint.answer = wait_for_repeat
        with PubsubServer(port=0, clock_speed=40) as server, Clients(server.address) as clients:
            clients.subscribe(push_config=endpoint.push, ack_deadline_seconds=10)
            clients.publish(b"a row")
            assert [endpoint.bodies.get(timeout=60) for _ in range(2)] == [b"a row"] * 2
            assert is_repeated.wait(timeout=60)
            wait_until_drained(clients.control, LOAD)

    def test_an_absent_endpoint_is_tried_until_it_is_there(self, clients):
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{closed.getsockname()[1]}"
            clients.subscribe(
                push_config={"push_endpoint": url},
                dead_letter_policy={"dead_letter_topic": DEAD_LETTERS, "max_delivery_attempts": 5},
                retry_policy={"minimum_backoff": "0.01s", "maximum_backoff": "0.02s"},
            )
            clients.publish(b"a row")
            wait_until_drained(clients.control, LOAD)
        assert clients.counts() == BacklogCounts(0, 0, 1)

    def test_ten_thousand_messages_drain(self, clients, endpoint):
        clients.subscribe(push_config=endpoint.push)
        for batch in range(10):
            clients.publish(*[f"{batch}-{n}".encode() for n in range(1000)])
        wait_until_drained(clients.control, LOAD, timeout_s=30)
        assert len(set(drain(endpoint.bodies))) == 10_000


class TestMischief:
    def test_duplicates_come_when_asked_for_and_stop_when_told(self, clients, endpoint):
        clients.subscribe(push_config=endpoint.push)
        clients.control.inject(Faults(duplicate=1.0))
        clients.publish(b"0", b"1")
        wait_until_drained(clients.control, LOAD)
        time.sleep(0.1)
        assert sorted(drain(endpoint.bodies)) == [b"0", b"0", b"1", b"1"]
        clear_faults(clients.control)
        clients.publish(b"2")
        wait_until_drained(clients.control, LOAD)
        assert drain(endpoint.bodies) == [b"2"]

    def test_reordering_shuffles_a_backlog(self, clients):
        clients.subscribe()
        clients.control.inject(Faults(reorder=True, seed=7))
        clients.publish(*[str(n).encode() for n in range(50)])
        seen = [int(each.message.data) for each in clients.pull()]
        assert seen != sorted(seen)
        assert sorted(seen) == list(range(50))

    def test_a_delay_holds_messages_back(self, clients):
        clients.subscribe()
        clients.control.inject(Faults(delay_s=0.5))
        clients.publish(*[b"x"] * 20)
        assert clients.counts() == BacklogCounts(20, 0, 0)
        received = []
        while len(received) < 20:
            received += clients.pull()

    def test_dropped_acks_bring_the_message_back_after_its_deadline(self):
        forgetful = Faults(drop_acks=0.5, seed=7)
        with (
            PubsubServer(port=0, clock_speed=100, faults=forgetful) as server,
            Clients(server.address) as clients,
        ):
            clients.subscribe()
            clients.publish(*[str(n).encode() for n in range(20)])
            seen = []
            while clients.counts() != BacklogCounts(0, 0, 0):
                received = clients.pull()
                seen += [each.message.data for each in received]
                if received:
                    clients.ack(received)
        assert len(set(seen)) == 20
        assert len(seen) > 20

    def test_only_the_named_subscription_misbehaves(self, clients, endpoint):
        clients.subscribe(push_config=endpoint.push)
        clients.control.inject(Faults(duplicate=1.0, subscription="split"))
        clients.publish(b"0")
        wait_until_drained(clients.control, LOAD)
        time.sleep(0.05)
        assert drain(endpoint.bodies) == [b"0"]


class TestBacklogs:
    def test_counts_say_where_the_messages_are(self, clients):
        clients.subscribe()
        clients.publish(b"0", b"1", b"2")
        received = clients.pull(2)
        assert clients.counts() == BacklogCounts(undelivered=1, outstanding=2, dead_lettered=0)
        clients.ack(received)
        assert clients.counts() == BacklogCounts(1, 0, 0)

    def test_an_address_without_a_server_is_not_serving(self):
        assert not is_serving("127.0.0.1:1", timeout_s=0.1)


class TestRefusals:
    @pytest.mark.parametrize(
        "config",
        [
            pytest.param({"retain_acked_messages": True}, id="replay of acked messages"),
            pytest.param({"enable_exactly_once_delivery": True}, id="exactly once"),
            pytest.param({"bigquery_config": {"table": "p.d.t"}}, id="BigQuery"),
        ],
    )
    def test_what_is_not_embedded_is_said(self, clients, config):
        with pytest.raises(exceptions.MethodNotImplemented, match="does not support"):
            clients.subscribe(**config)

    def test_a_push_subscription_cannot_be_pulled(self, clients, endpoint):
        clients.subscribe(push_config=endpoint.push)
        with pytest.raises(exceptions.FailedPrecondition, match="not supported"):
            clients.pull()

    def test_a_backoff_has_an_order(self, clients):
        retry = {"minimum_backoff": "20s", "maximum_backoff": "10s"}
        with pytest.raises(exceptions.InvalidArgument, match="maximum_backoff is too small"):
            clients.subscribe(retry_policy=retry)

    def test_a_dead_letter_topic_must_exist(self, clients):
        dead = {"dead_letter_topic": "projects/local/topics/none"}
        with pytest.raises(exceptions.NotFound, match="resource=none"):
            clients.subscribe(dead_letter_policy=dead)
