"""Rate limits: the bound over threads and instances, what a refusal costs, addresses, headers, the client."""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from keyring import BOOTSTRAP, Keyring
from problems import assert_problem
from serving import receive
from sqlalchemy import event, text
from test_api_status import Stream
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from sluice.access.rate_limits import LEASE_S, Buckets
from sluice.api.limits import address_of
from sluice.documents.access import Role
from sluice.ingestion.garbage_collection import collect_garbage
from sluice.postgres.connection import transaction

if TYPE_CHECKING:
    from flow import Flow
    from serving import Serve
    from sqlalchemy import Engine
    from werkzeug.test import TestResponse

PATH = "/v1/datasets"


class Clock:
    """A time that stands still until it is set forward."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Statements:
    """Counts the statements of an engine."""

    def __init__(self, engine: Engine) -> None:
        self.count = 0
        event.listen(engine, "before_cursor_execute", self._see)

    def _see(self, *_: object) -> None:
        self.count += 1


def age_buckets(engine: Engine, seconds: float) -> None:
    """Let the buckets refill for some time."""
    with transaction(engine) as connection:
        connection.execute(
            text("UPDATE sluice.rate_buckets SET at = at - make_interval(secs => :seconds)"),
            {"seconds": seconds},
        )


@pytest.mark.parametrize("per_minute", [1, 7, 60, 600])
def test_instances_together_allow_no_more_than_the_limit(engine: Engine, per_minute: int) -> None:
    instances = [Buckets(lambda: engine) for _ in range(4)]
    began = time.monotonic()

    def send(number: int) -> int:
        bucket = instances[number % len(instances)]
        return sum(not bucket.take("key:a", per_minute).wait_s for _ in range(per_minute))

    with ThreadPoolExecutor(8) as threads:
        allowed = sum(threads.map(send, range(8)))
    elapsed_s = time.monotonic() - began
    # No more than a bucket and what it refills; no less than the leases that three others may hold.
    assert allowed <= per_minute * (1 + elapsed_s / 60) + 1
    assert allowed >= per_minute - 3 * max(1, per_minute / 30)


def test_a_bucket_refills_at_its_rate_and_holds_a_minute(engine: Engine) -> None:
    clock = Clock()
    bucket = Buckets(lambda: engine, clock)

    def allowed() -> int:
        count = 0
        while not bucket.take("key:a", 60).wait_s:
            count += 1
        return count

    assert allowed() == 60
    for seconds, expected in ((10, 10), (3600, 60)):
        clock.now += seconds
        age_buckets(engine, seconds)
        assert expected <= allowed() <= expected + 2  # and what refills while this test runs


def test_tokens_that_are_not_spent_are_returned_and_not_kept(engine: Engine) -> None:
    clock = Clock()
    bucket = Buckets(lambda: engine, clock)
    bucket.take("key:a", 600)
    clock.now += LEASE_S + 1
    standing = bucket.take("key:a", 600)
    assert standing.remaining >= 598
    with transaction(engine) as connection:
        tokens = connection.scalar(text("SELECT tokens FROM sluice.rate_buckets"))
    assert tokens + 20 >= 598


def test_few_requests_ask_the_database_and_refusals_never_do(engine: Engine) -> None:
    bucket = Buckets(lambda: engine)
    statements = Statements(engine)
    for _ in range(1200):
        assert not bucket.take("key:a", 1200).wait_s
    assert statements.count <= 31
    while not bucket.take("key:a", 1200).wait_s:
        pass
    asked = statements.count
    began = time.monotonic()
    for _ in range(2000):
        assert bucket.take("key:a", 1200).wait_s
        if time.monotonic() - began > 0.5:
            break
    assert statements.count == asked


def test_one_subject_does_not_wait_for_another(engine: Engine) -> None:
    blocked, release = threading.Event(), threading.Event()

    def slow() -> Engine:
        if threading.current_thread().name == "slow":
            blocked.set()
            assert release.wait(10)
        return engine

    bucket = Buckets(slow)
    other = threading.Thread(target=bucket.take, args=("key:a", 60), name="slow")
    other.start()
    assert blocked.wait(10)
    assert not bucket.take("key:b", 60).wait_s
    release.set()
    other.join()


def test_a_caller_is_refused_with_the_time_to_wait(callers: Keyring) -> None:
    key, other = callers.key(Role.READER, requests_per_minute=30), callers.key(Role.READER)
    answers = [callers.send("query", key, "GET", PATH) for _ in range(32)]
    allowed = [each for each in answers if each.status_code == 200]
    assert 30 <= len(allowed) <= 31
    assert allowed[0].headers["RateLimit-Policy"] == '"requests";q=30;w=60'
    assert allowed[0].headers["RateLimit"] == '"requests";r=29;t=2'
    left = [int(re.findall(r"r=(\d+)", each.headers["RateLimit"])[0]) for each in allowed]
    assert left == sorted(left, reverse=True)
    refused = answers[-1]
    assert_problem(refused, "API319", 429)
    assert 1 <= int(refused.headers["Retry-After"]) <= 2
    assert refused.json["retry_after_s"] == int(refused.headers["Retry-After"])
    assert refused.headers["RateLimit"].startswith('"requests";r=0;t=')
    # The limit is of the key over all functions, and of no other.
    assert callers.send("status", key, "GET", "/v1/ingestions").status_code == 429
    assert callers.send("query", other, "GET", PATH).status_code == 200
    time.sleep(int(refused.headers["Retry-After"]) + 0.1)
    assert callers.send("query", key, "GET", PATH).status_code == 200


def test_the_limit_of_a_key_is_in_the_list_and_must_be_positive(callers: Keyring) -> None:
    body = {"name": "a", "requests_per_minute": 5}
    made = callers.send("intake", BOOTSTRAP, "POST", "/v1/keys", json=body)
    assert made.json["requests_per_minute"] == 5
    (listed,) = callers.send("intake", BOOTSTRAP, "GET", "/v1/keys").json["keys"]
    assert listed["requests_per_minute"] == 5
    for wrong in (0, -1, "many"):
        answer = callers.send(
            "intake", BOOTSTRAP, "POST", "/v1/keys", json={**body, "requests_per_minute": wrong}
        )
        assert_problem(answer, "API303", 400)


def test_a_caller_has_some_requests_of_an_instance_at_a_time(
    serve: Serve, callers: Keyring, engine: Engine
) -> None:
    status = serve("status", token=BOOTSTRAP, requests_at_once="3")
    key, other = callers.key(Role.READER), callers.key(Role.READER)

    def listed(key: str) -> TestResponse:
        headers = {"Authorization": f"Bearer {key}"}
        return status.get("/v1/ingestions", headers=headers, buffered=True)

    receive(engine, "trips")
    opened = [Stream(status, "/v1/ingestions", Authorization=f"Bearer {key}") for _ in range(3)]
    for _ in range(5):
        refused = listed(key)
        assert_problem(refused, "API319", 429)
        assert refused.headers["Retry-After"] == "1"
        assert "3 requests that are not finished" in refused.json["detail"]
    assert listed(other).status_code == 200
    opened.pop().close()
    assert [listed(key).status_code for _ in range(5)] == [200] * 5, "a finished one counts no more"
    for each in opened:
        each.close()
        each.close()
    opened = [Stream(status, "/v1/ingestions", Authorization=f"Bearer {key}") for _ in range(3)]
    assert listed(key).status_code == 429
    for each in opened:
        each.close()


def test_requests_that_fail_do_not_count_on(serve: Serve, callers: Keyring) -> None:
    query = serve("query", token=BOOTSTRAP, requests_at_once="1")
    headers = {"Authorization": f"Bearer {callers.key(Role.READER)}"}
    for path, status in (("/v1/nowhere", 404), ("/v1/datasets/x/rows", 404), (PATH, 200)) * 2:
        assert query.get(path, headers=headers, buffered=True).status_code == status
        assert query.head(path, headers=headers, buffered=True).status_code == status


def test_without_authentication_there_is_no_limit(serve: Serve) -> None:
    open_to_all = serve("query", requests_per_minute="1", failures_per_minute="1")
    for _ in range(5):
        answer = open_to_all.get(PATH)
        assert answer.status_code == 200
        assert "RateLimit" not in answer.headers


def test_an_address_that_guesses_is_refused_without_a_look_up(
    serve: Serve, callers: Keyring, engine: Engine
) -> None:
    key, unseen = callers.key(Role.READER), callers.key(Role.READER)
    query = serve("query", token=BOOTSTRAP, failures_per_minute="6")

    def send(key: str, address: str) -> int:
        headers = {"Authorization": f"Bearer {key}", "X-Forwarded-For": f"8.8.8.8, {address}"}
        return query.get(PATH, headers=headers).status_code

    assert send(key, "192.0.2.1") == 200
    guesses = [f"sluice_{number:010}_{'0' * 43}" for number in range(12)]
    statuses = [send(each, "192.0.2.1") for each in guesses]
    assert statuses[:6] == [401] * 6
    assert statuses[-1] == 429
    with transaction(engine) as connection:
        subjects = (
            connection.execute(text("SELECT subject FROM sluice.rate_buckets")).scalars().all()
        )
    assert "address:192.0.2.1" in subjects
    # Keys that were seen before, the first administrator, and other addresses are not refused.
    assert send(key, "192.0.2.1") == 200
    assert send(BOOTSTRAP, "192.0.2.1") == 200
    assert send(unseen, "192.0.2.1") == 429
    assert send(unseen, "192.0.2.2") == 200
    assert send("nonsense", "192.0.2.2") == 401


@pytest.mark.parametrize(
    ("forwarded", "hops", "expected"),
    [
        ("192.0.2.1", 1, "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1", 1, "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1, 203.0.113.9", 2, "192.0.2.1"),
        ("192.0.2.1", 2, "192.0.2.1"),
        ("", 1, "127.0.0.1"),
        ("6.6.6.6", 0, "127.0.0.1"),
        ("nonsense", 1, "127.0.0.1"),
        ("2001:db8:1:2:3::4", 1, "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", 1, "192.0.2.1"),
    ],
)
def test_the_address_is_the_one_that_the_platform_wrote(
    forwarded: str, hops: int, expected: str
) -> None:
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    builder = EnvironBuilder(headers=headers, environ_base={"REMOTE_ADDR": "127.0.0.1"})
    assert address_of(Request(builder.get_environ()), hops) == expected


def test_recovery_deletes_buckets_that_are_full_again(flow: Flow) -> None:
    bucket = Buckets(lambda: flow.engine)
    for subject in ("key:old", "key:new"):
        bucket.take(subject, 60)
    flow.run_sql(
        "UPDATE sluice.rate_buckets SET at = at - interval '2 hours' WHERE subject = 'key:old'"
    )
    collect_garbage(flow.env("finish"))
    assert flow.all("SELECT subject FROM sluice.rate_buckets") == [("key:new",)]


def test_rights_are_limited_to_the_function(engine: Engine) -> None:
    with transaction(engine) as connection:
        allowed = connection.execute(
            text(
                "SELECT role, privilege FROM"
                " unnest(ARRAY['split', 'load', 'finish', 'query', 'status']) AS role,"
                " unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege"
                " WHERE has_table_privilege('sluice_' || role, 'sluice.rate_buckets', privilege)"
            )
        ).all()
    assert {tuple(each) for each in allowed} == {("finish", "SELECT"), ("finish", "DELETE")}
