"""Functions and database are killed, deliveries misbehave: rows are loaded once, events are in order."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import grpc
import httpx
import psutil
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1 import RetryPolicy, SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from sqlalchemy import Connection, Engine, NullPool, create_engine, text

from pubsub_control import clear_faults, wait_until_drained
from sluice.local import parts, postgres
from sluice.local.cloud import Cloud
from sluice.local.pubsub.control import ControlClient
from sluice.local.pubsub.faults import Faults
from sluice.local.state import Ports, State

pytestmark = pytest.mark.xdist_group("kill_cloud")

HEADER = "region,origin_coord,destination_coord,datetime,datasource\n"
GOOD = "{0},POINT (14.4 50.0),POINT (14.5 50.1),2018-05-{1:02} 09:00:{2:02},source {3}\n"
BAD = "{0},POINT (14.4 50.0),somewhere,2018-05-03 09:00:00,source 1\n"
ROWS = 2000
REJECTS = 20
SONGS = 20_000
FINISH_KILLS = 3
WAIT_S = 60
SUBSCRIPTION = "projects/local/subscriptions/witness"
CHUNKS = "projects/local/subscriptions/chunks-load"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A separate local cloud with small chunks and frequent recovery."""
    made = Cloud(
        State(tmp_path_factory.mktemp("kills")),
        Ports.free(),
        loaders=2,
        settings={
            "SLUICE_CHUNK_BYTES": "20000",
            "SLUICE_RECOVERY_IDLE_S": "5",
            "SLUICE_PUBLISH_STEP_ROWS": "20",
        },
        flags=postgres.TEST_FLAGS,
    )
    made.up()
    yield made
    made.down()


@pytest.fixture
def engine(cloud: Cloud) -> Iterator[Engine]:
    made = create_engine(cloud.database.url(), poolclass=NullPool)
    yield made
    made.dispose()


@pytest.fixture
def subscriber(cloud: Cloud) -> Iterator[SubscriberClient]:
    """Google's client with an ordered subscription to the topic `status`."""
    with grpc.insecure_channel(cloud.pubsub_address) as channel:
        client = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        request = {
            "name": SUBSCRIPTION,
            "topic": "projects/local/topics/status",
            "enable_message_ordering": True,
        }
        client.create_subscription(request=request)
        yield client
        client.delete_subscription(subscription=SUBSCRIPTION)


@pytest.fixture
def control(cloud: Cloud) -> Iterator[ControlClient]:
    with ControlClient(cloud.pubsub_address) as client:
        yield client
        clear_faults(client)


@pytest.fixture
def region() -> str:
    return f"Region {uuid.uuid4().hex}"


def trips(region: str) -> bytes:
    good = [GOOD.format(region, 1 + n % 28, n % 60, n % 3) for n in range(ROWS)]
    step = ROWS // REJECTS
    for number in range(REJECTS):
        good.insert(number * (step + 1), BAD.format(region))
    return (HEADER + "".join(good)).encode()


def upload(cloud: Cloud, region: str) -> str:
    name = f"trips/{region}.csv"
    put(cloud, name, trips(region))
    return name


def put(cloud: Cloud, name: str, data: bytes) -> None:
    url = f"{cloud.storage.url}/upload/storage/v1/b/inbox/o"
    parameters = {"uploadType": "media", "name": name}
    httpx.post(url, params=parameters, content=data, timeout=30).raise_for_status()


def wait_for(what: Callable[[], Any], words: str, wait_s: float = WAIT_S) -> Any:
    deadline = time.monotonic() + wait_s
    while not (found := what()):
        assert time.monotonic() < deadline, words
        time.sleep(0.05)
    return found


def select(engine: Engine, sql: str, **values: Any) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(sql), values))


def count_waiting(engine: Engine) -> int:
    sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    return int(select(engine, sql)[0][0])


@contextmanager
def stopped_at(engine: Engine, lock: str) -> Iterator[Connection]:
    """Block the loaders at a statement of their transaction until released or killed."""
    with engine.connect() as connection:
        connection.execute(text(lock))
        yield connection
        connection.rollback()


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # it was killed before and starts again
        os.kill(pid, signal.SIGKILL)


def kill_loaders(cloud: Cloud) -> None:
    kill_all(cloud, "load")


def kill_all(cloud: Cloud, function: str) -> None:
    for each in cloud.status():
        if each.name.startswith(f"{function}-") and each.pid:
            kill(each.pid)


def assert_exact(cloud: Cloud, engine: Engine, subscriber: SubscriberClient, name: str) -> None:
    """Rows, rejects, roll-ups and account have the file once; all its events are published in order."""
    row = assert_exact_rows(cloud, engine, name)
    assert first_arrivals(subscriber, row.id, row.sequence) == list(range(1, row.sequence + 1))


def assert_exact_rows(cloud: Cloud, engine: Engine, name: str) -> Any:
    """Return the row of the ingestion."""
    sql = "SELECT * FROM sluice.ingestions WHERE object = :name"
    (row,) = wait_for(
        lambda: [each for each in select(engine, sql, name=name) if each.state == "done"],
        f"not done: {select(engine, sql, name=name)}",
    )
    assert (row.records_read, row.rows_loaded, row.rows_rejected) == (ROWS + REJECTS, ROWS, REJECTS)
    key = {"id": row.id, "region": name.removeprefix("trips/").removesuffix(".csv")}
    counted = select(
        engine,
        "SELECT (SELECT count(*) FROM store.trips WHERE ingestion = :id),"
        " (SELECT count(*) FROM trips WHERE region = :region),"
        " (SELECT sum(trips) FROM trips_weekly WHERE region = :region),"
        " (SELECT count(*) FROM sluice.rejects WHERE ingestion = :id)",
        **key,
    )
    assert tuple(counted[0]) == (ROWS, ROWS, ROWS, REJECTS)
    assert ask(cloud, region=key["region"])["trips"] == ROWS
    return row


def ask(cloud: Cloud, **parameters: str) -> Any:
    """Query the weekly average; if a connection died with the database, retry as the answer says."""
    url = f"{cloud.url}/v1/datasets/trips/queries/weekly_average"
    for _ in range(5):
        answer = httpx.get(url, params=parameters, timeout=30)
        if answer.status_code != 503:
            break
    assert answer.status_code == 200, answer.text
    return answer.json()


def first_arrivals(subscriber: SubscriberClient, ingestion: int, last: int) -> list[int]:
    """Return the sequence numbers of an ingestion's events in the order of their first arrival."""
    sequences: dict[int, None] = {}
    deadline = time.monotonic() + WAIT_S
    while last not in sequences and time.monotonic() < deadline:
        for each in subscriber.pull(subscription=SUBSCRIPTION, max_messages=500).received_messages:
            body = json.loads(each.message.data)
            if body["data"]["ingestion"] == ingestion:
                sequences[body["sequence"]] = None
            subscriber.acknowledge(subscription=SUBSCRIPTION, ack_ids=[each.ack_id])
    return list(sequences)


@pytest.mark.parametrize(
    "lock",
    [
        pytest.param("LOCK TABLE store.trips__region IN SHARE MODE", id="before-its-first-row"),
        pytest.param("LOCK TABLE sluice.receipts IN SHARE MODE", id="with-rows-not-committed"),
    ],
)
def test_a_loader_killed_inside_its_transaction_is_repeated(
    cloud: Cloud, engine: Engine, subscriber: SubscriberClient, region: str, lock: str
) -> None:
    with stopped_at(engine, lock):
        name = upload(cloud, region)
        wait_for(lambda: count_waiting(engine) >= 2, "no loader came to the lock")
        kill_loaders(cloud)
    assert_exact(cloud, engine, subscriber, name)


def test_a_loader_killed_between_commit_and_acknowledgement_loads_once(
    cloud: Cloud, engine: Engine, subscriber: SubscriberClient, region: str
) -> None:
    """Its rows are committed, its events are not published and its message is not acknowledged."""
    with engine.connect() as connection:
        connection.execute(text("LOCK TABLE sluice.receipts IN SHARE MODE"))
        name = upload(cloud, region)
        wait_for(lambda: count_waiting(engine) >= 2, "no loader came to the lock")
        sql = "SELECT id FROM sluice.ingestions WHERE object = :name AND state = 'loading'"
        (row,) = wait_for(lambda: select(engine, sql, name=name), "split did not complete")
        connection.execute(text("SELECT pg_advisory_lock(2, :id)"), {"id": row.id})
        connection.commit()
        receipts = "SELECT count(*) FROM sluice.receipts WHERE ingestion = :id"
        wait_for(lambda: select(engine, receipts, id=row.id)[0][0] >= 2, "no chunk was loaded")
        kill_loaders(cloud)
        connection.execute(text("SELECT pg_advisory_unlock_all()"))
        connection.commit()
    assert_exact(cloud, engine, subscriber, name)


def test_repeatedly_killed_loaders_load_each_chunk_once(
    cloud: Cloud, engine: Engine, subscriber: SubscriberClient, region: str
) -> None:
    name = upload(cloud, region)
    for _ in range(3):
        time.sleep(0.4)
        kill_loaders(cloud)
    assert_exact(cloud, engine, subscriber, name)


def test_a_publication_continues_after_its_function_is_killed_several_times(
    cloud: Cloud, engine: Engine, subscriber: SubscriberClient
) -> None:
    """Each handler is killed some steps after the one before it; every song of the file is a group."""
    songs = [f"{uuid.uuid4().hex},2026-01-{n % 28 + 1:02},{n}\n" for n in range(SONGS)]
    name = f"plays/{uuid.uuid4().hex}.csv"
    sql = "SELECT id, state FROM sluice.ingestions WHERE object = :name"
    steps = "SELECT count(done_at) AS done, count(*) AS planned FROM sluice.publish_steps"

    def is_published() -> bool:
        found = select(engine, sql, name=name)
        return bool(found) and found[0].state == "done"

    def may_be_killed(before: int) -> bool:
        return is_published() or before < select(engine, steps)[0].done

    kills = done = 0
    with quick_retries(subscriber, "projects/local/subscriptions/status-finish"):
        put(cloud, name, ("Song,Date,Plays\n" + "".join(songs)).encode())
        while kills < FINISH_KILLS:
            wait_for(lambda: may_be_killed(done), "no step was done")  # noqa: B023  # called here
            done = select(engine, steps)[0].done
            if not done:
                break  # the last handler was faster than this loop
            kill_all(cloud, "finish")
            kills += 1
        wait_for(is_published, "not done")
    assert kills
    (row,) = select(engine, sql, name=name)
    totals = "SELECT song, played_on, plays FROM plays_totals WHERE ingestion = :id"
    found = [
        f"{each.song},{each.played_on},{each.plays}\n" for each in select(engine, totals, id=row.id)
    ]
    assert sorted(found) == sorted(songs)
    assert select(engine, steps)[0].planned == 0


def test_a_load_continues_after_every_function_is_killed(
    cloud: Cloud, engine: Engine, subscriber: SubscriberClient, region: str
) -> None:
    with stopped_at(engine, "LOCK TABLE sluice.receipts IN SHARE MODE"):
        name = upload(cloud, region)
        wait_for(lambda: count_waiting(engine) >= 1, "no loader came to the lock")
        for each in cloud.status():
            if each.name.partition("-")[0] in ("split", "load", "finish") and each.pid:
                kill(each.pid)
    assert_exact(cloud, engine, subscriber, name)


def test_a_load_continues_after_the_database_is_killed(
    cloud: Cloud, engine: Engine, subscriber: SubscriberClient, region: str
) -> None:
    with engine.connect() as connection:
        connection.execute(text("LOCK TABLE sluice.receipts IN SHARE MODE"))
        name = upload(cloud, region)
        wait_for(lambda: count_waiting(engine) >= 2, "no loader came to the lock")
        server = parts.recorded(cloud.state, "postgres")
        assert server is not None
        kill(server.pid)
        connection.invalidate()
    cloud.up()
    assert_exact(cloud, engine, subscriber, name)


def test_lost_messages_are_sent_again_by_recovery(
    cloud: Cloud, engine: Engine, subscriber: SubscriberClient, region: str
) -> None:
    with stopped_at(engine, "LOCK TABLE sluice.receipts IN SHARE MODE"):
        name = upload(cloud, region)
        sql = "SELECT id FROM sluice.ingestions WHERE object = :name AND state = 'loading'"
        wait_for(lambda: select(engine, sql, name=name), "split did not complete")
        subscriber.seek(request={"subscription": CHUNKS, "time": datetime.now(UTC)})
        kill_loaders(cloud)
        # While no receipt can be written there is no progress, which would start the count again.
        sql = "SELECT id FROM sluice.ingestions WHERE object = :name AND resends > 0"
        wait_for(lambda: select(engine, sql, name=name), "recovery did not send the chunks again")
    assert_exact(cloud, engine, subscriber, name)


@pytest.mark.parametrize("seed", [1, 2])
def test_duplicated_late_and_reordered_deliveries_load_once(
    cloud: Cloud,
    engine: Engine,
    subscriber: SubscriberClient,
    control: ControlClient,
    region: str,
    seed: int,
) -> None:
    control.inject(Faults(duplicate=0.5, delay_s=0.3, reorder=True, seed=seed))
    name = upload(cloud, region)
    assert_exact(cloud, engine, subscriber, name)


def test_messages_whose_acknowledgements_are_lost_load_once(
    cloud: Cloud,
    engine: Engine,
    subscriber: SubscriberClient,
    control: ControlClient,
    region: str,
) -> None:
    with ack_deadline(subscriber, CHUNKS, 10):
        control.inject(Faults(drop_acks=0.5, seed=3, subscription=CHUNKS))
        name = upload(cloud, region)
        assert_exact(cloud, engine, subscriber, name)
        clear_faults(control)
        wait_until_drained(control, CHUNKS, timeout_s=40)
    assert_exact_rows(cloud, engine, name)


SMALL_FILES = 40
SMALL_ROWS = 20


def test_small_files_are_loaded_once_when_split_is_killed_inside_its_transaction(
    cloud: Cloud, engine: Engine, control: ControlClient, region: str
) -> None:
    control.inject(Faults(duplicate=0.3, delay_s=0.2, reorder=True, seed=5))
    with stopped_at(engine, "LOCK TABLE sluice.receipts IN SHARE MODE"):
        for number in range(SMALL_FILES):
            rows = [GOOD.format(region, 1 + n, n, number) for n in range(SMALL_ROWS)]
            data = (HEADER + "".join(rows) + BAD.format(region)).encode()
            put(cloud, f"trips/{region}/{number}.csv", data)
            if number % 20 == 10:
                kill_all(cloud, "split")
    sql = "SELECT * FROM sluice.ingestions WHERE object LIKE :names"
    rows = wait_for(
        lambda: [
            each
            for each in [select(engine, sql, names=f"trips/{region}/%")]
            if len(each) == SMALL_FILES and all(row.state == "done" for row in each)
        ],
        "not all are done",
    )[0]
    accounts = {(row.records_read, row.rows_loaded, row.rows_rejected) for row in rows}
    assert accounts == {(SMALL_ROWS + 1, SMALL_ROWS, 1)}
    assert ask(cloud, region=region)["trips"] == SMALL_FILES * SMALL_ROWS
    sql = "SELECT count(*) FROM store.trips WHERE ingestion = ANY (:all)"
    stored = select(engine, sql, all=[row.id for row in rows])
    assert stored[0][0] == SMALL_FILES * SMALL_ROWS
    wait_for(
        lambda: not select(engine, "SELECT 1 FROM sluice.events WHERE published_at IS NULL"),
        "some events are not published",
    )


@contextmanager
def ack_deadline(subscriber: SubscriberClient, path: str, seconds: int) -> Iterator[None]:
    mask = FieldMask(paths=["ack_deadline_seconds"])
    found = subscriber.get_subscription(subscription=path)
    usual, found.ack_deadline_seconds = found.ack_deadline_seconds, seconds
    subscriber.update_subscription(subscription=found, update_mask=mask)
    yield
    found.ack_deadline_seconds = usual
    subscriber.update_subscription(subscription=found, update_mask=mask)


def undeclared(name: str) -> bytes:
    return f"id {name},size\n".encode() + b"".join(b"%d,%d.5\n" % (n, n) for n in range(200))


@contextmanager
def quick_retries(subscriber: SubscriberClient, path: str) -> Iterator[None]:
    """Deliver again at once what failed."""
    mask = FieldMask(paths=["retry_policy"])
    found = subscriber.get_subscription(subscription=path)
    usual, pause = found.retry_policy, Duration(nanos=200_000_000)
    found.retry_policy = RetryPolicy(minimum_backoff=pause, maximum_backoff=pause)
    subscriber.update_subscription(subscription=found, update_mask=mask)
    yield
    found.retry_policy = usual
    subscriber.update_subscription(subscription=found, update_mask=mask)


def kill_what_waits(engine: Engine) -> int:
    """Kill each process that waits for a lock; return how many.

    PostgreSQL notices that a client is gone when its statement ends, which this one does not.
    """
    sql = (
        "SELECT pid, client_port FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database() AND client_port > 0"
    )
    waiting = {row.client_port: row.pid for row in select(engine, sql)}
    clients = {
        each.laddr.port: each.pid
        for each in psutil.net_connections("tcp")
        if each.laddr and each.pid
    }
    found = [(clients[port], pid) for port, pid in waiting.items() if port in clients]
    for client, pid in found:
        kill(client)
        select(engine, "SELECT pg_terminate_backend(:pid)", pid=pid)
    return len(found)


KILLED_AT = {
    "load": (
        "chunks-load",
        "LOCK TABLE sluice.observations, sluice.receipts IN SHARE MODE",
        ("undeclared", "declared"),
    ),
    "finish": ("status-finish", "LOCK TABLE sluice.datasets IN SHARE MODE", ("undeclared",)),
}


@pytest.mark.parametrize(("subscription", "lock", "kinds"), KILLED_AT.values(), ids=list(KILLED_AT))
def test_a_function_that_is_killed_at_each_start_fails_the_ingestion_with_the_reason(
    cloud: Cloud,
    engine: Engine,
    subscriber: SubscriberClient,
    region: str,
    subscription: str,
    lock: str,
    kinds: tuple[str, ...],
) -> None:
    suffix = region.partition(" ")[2]
    names = {"undeclared": f"box_{suffix}/a.csv", "declared": f"trips/{region}.csv"}
    data = {
        "undeclared": undeclared(suffix),
        "declared": (HEADER + GOOD.format(region, 1, 1, 1) * 30).encode(),
    }
    sql = "SELECT * FROM sluice.ingestions WHERE object = ANY (:names) AND state = 'failed'"
    killed = 0
    with (
        quick_retries(subscriber, f"projects/local/subscriptions/{subscription}"),
        stopped_at(engine, lock),
    ):
        for kind in kinds:
            put(cloud, names[kind], data[kind])

        def has_ended() -> list[Any]:
            nonlocal killed
            killed += kill_what_waits(engine)
            found = select(engine, sql, names=[names[kind] for kind in kinds])
            return found if len(found) == len(kinds) else []

        failed = wait_for(has_ended, "not all failed", 2 * WAIT_S)
    assert killed > 5 * len(kinds)
    for each in failed:
        assert each.problem["code"] == "CSV121"
        assert "killed" in each.problem["detail"]
        assert each.rows_loaded == 0
    assert not select(
        engine, "SELECT 1 FROM sluice.datasets WHERE name = :name", name=f"box_{suffix}"
    )
