"""Backpressure: few files of a dataset are in flight, the others wait, and none is lost or loaded twice."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from flow import HEADER, IDLE_S, THINGS, Flow, Killed, assert_events_in_order, die, lines

from sluice.errors import IllegalTransitionError
from sluice.ingestion import split
from sluice.ingestion.chunks import CHUNKS_TOPIC
from sluice.ingestion.notifications import UPLOADS_TOPIC

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluice.ports import StoredObject

AT_ONCE = 2
SIZE = 10
#: A file this large is split.
CHUNK_BYTES = 64
KEYED = {**THINGS, "key": ["id"], "rollups": {}}
QUIET = {**THINGS, "name": "quiet", "rollups": {}}

pytestmark = pytest.mark.flow(chunk_bytes=CHUNK_BYTES)


@pytest.fixture(autouse=True)
def few_at_once(flow: Flow) -> None:
    flow.settings = replace(flow.settings, files_at_once=AT_ONCE)


def put(flow: Flow, count: int, folder: str = "things") -> list[StoredObject]:
    """Upload files with different rows."""
    firsts = range(1, count * SIZE, SIZE)
    return [flow.put(HEADER + lines(n, n + SIZE - 1), f"{folder}/{n}.csv") for n in firsts]


def states(flow: Flow) -> dict[str, int]:
    sql = "SELECT CAST(state AS text) AS state, count(*) AS n FROM sluice.ingestions GROUP BY 1"
    return {row.state: row.n for row in flow.all(sql)}


def in_flight(flow: Flow) -> int:
    found = states(flow)
    return sum(found.get(each, 0) for each in ("splitting", "loading", "publishing"))


def assert_all_loaded_once(flow: Flow, files: int) -> None:
    assert states(flow) == {"done": files}
    assert flow.ids() == list(range(1, files * SIZE + 1))
    for row in flow.all("SELECT id FROM sluice.ingestions"):
        assert_events_in_order(flow, row.id)


@pytest.mark.parametrize("declared", [THINGS, KEYED], ids=["without a key", "with a key"])
def test_files_beyond_those_in_flight_wait_until_others_end(
    flow: Flow, declared: dict[str, object]
) -> None:
    flow.declare(declared)
    for each in put(flow, 9):
        flow.split(each)
    assert states(flow) == {"loading": AT_ONCE, "received": 9 - AT_ONCE}
    assert {each.attributes["ingestion"] for each in flow.topics.of(CHUNKS_TOPIC)} == {"1", "2"}
    most = 0
    flow.topics.after_publish = lambda _topic: record()

    def record() -> None:
        nonlocal most
        most = max(most, in_flight(flow))

    flow.deliver()
    assert most == AT_ONCE
    assert_all_loaded_once(flow, 9)
    if declared is THINGS:
        assert flow.kinds() == {"a": 9 * SIZE}


def test_a_small_file_of_another_dataset_does_not_wait(flow: Flow) -> None:
    flow.declare(QUIET)
    for each in put(flow, 5):
        flow.split(each)
    small = flow.split(flow.put(HEADER + b"1,quiet,a\n", "quiet/a.csv"))
    assert flow.state(small) == "done"
    large = flow.split(flow.put(HEADER + lines(2, 20), "quiet/b.csv"))
    assert flow.state(large) == "loading"


def test_files_that_wait_are_taken_in_the_order_of_their_arrival(flow: Flow) -> None:
    for each in put(flow, 6):
        flow.split(each)
    flow.deliver()
    rows = flow.all("SELECT id FROM sluice.ingestions ORDER BY finished_at")
    assert [row.id for row in rows] == sorted(row.id for row in rows)


def test_a_repeated_notification_of_a_file_that_waits_changes_nothing(flow: Flow) -> None:
    files = put(flow, 4)
    ingestions = [flow.split(each) for each in files]
    assert [flow.split(each, 2) for each in files] == ingestions
    assert states(flow) == {"loading": AT_ONCE, "received": 2}
    flow.deliver()
    assert_all_loaded_once(flow, 4)


def test_a_file_that_waits_can_be_cancelled_and_retried_but_not_undone(flow: Flow) -> None:
    *_, last = [flow.split(each) for each in put(flow, 4)]
    with pytest.raises(IllegalTransitionError):
        flow.undo(last)
    flow.cancel(last)
    flow.deliver()
    assert states(flow) == {"done": 3, "cancelled": 1}
    flow.retry(last)
    flow.deliver()
    assert_all_loaded_once(flow, 4)


def test_files_of_a_dataset_all_of_whose_files_in_flight_are_cancelled_go_on(flow: Flow) -> None:
    ingestions = [flow.split(each) for each in put(flow, 4)]
    for each in ingestions[:AT_ONCE]:
        flow.cancel(each)
    flow.deliver()
    assert states(flow) == {"cancelled": AT_ONCE, "done": 2}


def test_a_file_that_fails_does_not_keep_those_after_it_waiting(flow: Flow) -> None:
    files = put(flow, 6)
    for each in files:
        flow.split(each)
    for each in files[AT_ONCE : AT_ONCE + 2]:
        flow.bucket.lose(each)
    flow.deliver()
    assert states(flow) == {"done": 4, "failed": 2}


def test_files_of_a_folder_that_nobody_declared_wait_too(flow: Flow) -> None:
    for each in put(flow, 6, "boxes"):
        flow.split(each)
    assert in_flight(flow) == AT_ONCE
    flow.deliver()
    assert states(flow) == {"done": 6}
    assert flow.ids("boxes") == list(range(1, 6 * SIZE + 1))


# Small files


def split_all(flow: Flow, files: list[StoredObject]) -> tuple[int, list[int]]:
    """Split files at the same time, while none can be loaded; return how many deliveries ended, and all."""
    with ThreadPoolExecutor(len(files)) as threads:
        with flow.held():
            first = threads.submit(flow.split, files[0])
            flow.wait_until_blocked()
            rest = [threads.submit(flow.split, each) for each in files[1:]]
            wait(rest, timeout=3)
            ended = sum(each.done() for each in rest)
        return ended, [each.result() for each in (first, *rest)]


@pytest.mark.flow(chunk_bytes=1000)
def test_a_burst_of_small_files_occupies_few_handlers(flow: Flow) -> None:
    ended, _ = split_all(flow, put(flow, 24))
    assert ended >= 24 - 9
    flow.deliver()
    assert_all_loaded_once(flow, 24)


@pytest.mark.flow(chunk_bytes=1000)
def test_small_files_that_wait_share_a_transaction(flow: Flow) -> None:
    split_all(flow, put(flow, 24))
    sql = "SELECT count(DISTINCT CAST(xmin AS text)) AS n FROM sluice.receipts"
    assert flow.one(sql).n <= 4


@pytest.mark.flow(chunk_bytes=1000)
def test_a_small_file_is_loaded_by_group_commit_though_its_upload_recorded_it(flow: Flow) -> None:
    stored = flow.put(HEADER + lines(1, SIZE))
    ingestion = flow.receive(stored)
    assert flow.split(stored) == ingestion
    assert flow.topics.of(CHUNKS_TOPIC) == []
    assert_all_loaded_once(flow, 1)


# Killed at any step


def deliver_until_done(flow: Flow, files: list[StoredObject], other: Flow) -> None:
    """Deliver notifications and messages; what its handler was killed at is delivered to another process."""
    flow.deliver()

    def handle(work: Callable[[Flow], object]) -> None:
        try:
            work(flow)
        except Killed:
            handle(lambda _: work(other))

    for each in files:
        handle(lambda process, each=each: process.split(each))  # type: ignore[misc]
    at = 0
    while at < len(flow.topics.sent):
        handle(lambda process, sent=flow.topics.sent[at]: process.handle(sent))  # type: ignore[misc]
        at += 1


STEPS = [
    "receive_ingestion",
    "keep_waiting",
    "files_in_flight",
    "take_waiting",
    "insert_chunk",
    "release_taken",
    "waiting_for",
    "mark_events",
]


@pytest.mark.parametrize("time", [1, 3])
@pytest.mark.parametrize("step", STEPS)
def test_files_that_wait_are_loaded_once_although_a_handler_is_killed(
    flow: Flow, step: str, time: int
) -> None:
    other = flow.twin()
    other.settings = flow.settings
    times = 0

    def die_once() -> None:
        nonlocal times
        times += 1
        if times == time:
            raise Killed

    with flow.before(step, die_once):
        deliver_until_done(flow, put(flow, 6), other)
    assert times >= time
    assert_all_loaded_once(flow, 6)


@pytest.mark.flow(chunk_bytes=1000)
@pytest.mark.parametrize("step", ["take_waiting", "receive_group", "first_events", "release_taken"])
def test_small_files_that_wait_are_loaded_once_although_who_takes_them_is_killed(
    flow: Flow, step: str
) -> None:
    files = put(flow, 12)
    wait_all(flow, files)
    last = flow.put(HEADER + lines(12 * SIZE + 1, 13 * SIZE), "things/last.csv")
    other = flow.twin(chunk_bytes=1000)
    with flow.before(step, die), pytest.raises(Killed):
        flow.split(last)
    other.split(last, 2)
    flow.run_sql("UPDATE sluice.events SET created_at = created_at - interval '2 minutes'")
    other.recover()
    assert_all_loaded_once(flow, 13)


def wait_all(flow: Flow, files: list[StoredObject]) -> None:
    """Record files as waiting, of which whoever would take them was killed."""
    for each in files:
        flow.receive(each)
    flow.run_sql("UPDATE sluice.ingestions SET waiting_since = now()")


# Recovery


def pass_time(flow: Flow) -> None:
    flow.run_sql(
        f"UPDATE sluice.ingestions SET updated_at = updated_at - make_interval(secs => {IDLE_S + 1})"
    )


@pytest.mark.flow(chunk_bytes=1000)
def test_recovery_resumes_files_that_nobody_took_with_one_notification(flow: Flow) -> None:
    wait_all(flow, put(flow, 5))
    assert flow.recover().resumed == 0
    pass_time(flow)
    assert flow.recover().resumed == 1
    assert len(flow.topics.of(UPLOADS_TOPIC)) == 1
    flow.deliver()
    assert_all_loaded_once(flow, 5)


def test_a_file_that_waits_has_not_stalled(flow: Flow) -> None:
    *_, waiting = [flow.split(each) for each in put(flow, AT_ONCE + 1)]
    for _ in range(2 * flow.settings.max_resends):
        flow.run_sql(
            "UPDATE sluice.ingestions SET updated_at = now() - interval '1 day' WHERE state = 'received'"
        )
        flow.recover()
        *_, notification = flow.topics.of(UPLOADS_TOPIC)
        flow.handle(notification)
    row = flow.ingestion(waiting)
    assert (row.state, row.resends) == ("received", 0)
    flow.deliver()
    assert_all_loaded_once(flow, AT_ONCE + 1)


def test_files_without_progress_do_not_keep_others_waiting(flow: Flow) -> None:
    for each in put(flow, AT_ONCE):
        flow.split(each)
    pass_time(flow)
    (next_one,) = put(flow, 1, "things/later")
    assert flow.state(flow.split(next_one)) == "loading"


# Several processes


@pytest.mark.flow(chunk_bytes=1000)
def test_two_processes_share_the_files_that_wait(flow: Flow) -> None:
    files = put(flow, 40)
    wait_all(flow, files)
    others = [flow.twin(chunk_bytes=1000) for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda other: other.split(files[0], 2), others))
    assert_all_loaded_once(flow, 40)


def test_who_has_taken_files_for_a_minute_hands_over_to_another(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = put(flow, 5)
    wait_all(flow, files)
    monkeypatch.setattr(split, "TAKES_FOR_S", -1.0)
    flow.split(files[0])
    (handed_over,) = flow.topics.of(UPLOADS_TOPIC)
    assert states(flow) == {"received": 5}
    monkeypatch.undo()
    flow.handle(handed_over)
    flow.deliver()
    assert_all_loaded_once(flow, 5)


def test_two_threads_never_split_one_file(flow: Flow) -> None:
    files = put(flow, 8)
    barrier = threading.Barrier(8)

    def split_at_once(file: StoredObject) -> None:
        barrier.wait()
        flow.split(file)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(split_at_once, files))
    assert in_flight(flow) <= AT_ONCE + 2
    flow.deliver()
    assert_all_loaded_once(flow, 8)
