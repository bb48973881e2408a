"""Messages arrive twice, late, in any order and concurrently; rows are loaded once, events are in order."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from flow import HEADER, Flow, Killed, assert_events_in_order, die, lines
from sqlalchemy import text

from sluice.csv.contents import HEAD_BYTES
from sluice.errors import ChunkInProgressError, PubsubUnavailableError, SplitInProgressError
from sluice.ingestion.chunks import CHUNKS_TOPIC
from sluice.ingestion.outbox import STATUS_TOPIC, relay
from sluice.ingestion.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluice.ports import StoredObject

ROWS = list(range(1, 31))
FILE = HEADER + lines(1, 30)


@pytest.fixture
def other(flow: Flow) -> Flow:
    """A second process."""
    return flow.twin()


def assert_loaded_once(flow: Flow, ingestion: int, rows: list[int] = ROWS) -> None:
    flow.deliver()
    assert flow.state(ingestion) == "done"
    assert flow.ids() == rows
    assert flow.kinds() == {"a": len(rows)}
    assert flow.account(ingestion) == (len(rows), len(rows), 0)
    assert_events_in_order(flow, ingestion)


def test_a_file_is_split_loaded_and_published(flow: Flow) -> None:
    ingestion = flow.run(FILE)
    chunks = flow.chunks(ingestion)
    assert len(chunks) > 5
    assert chunks[0].first_byte == len(HEADER)
    assert chunks[-1].end_byte == len(FILE)
    assert all(one.end_byte == next_.first_byte for one, next_ in pairwise(chunks))
    assert_loaded_once(flow, ingestion)
    progress = ["progress"] * len(chunks)
    assert flow.event_names(ingestion) == [
        "received",
        "splitting",
        "loading",
        *progress,
        "publishing",
        "done",
    ]


# Twice


def test_a_duplicate_notification_makes_no_second_ingestion(flow: Flow) -> None:
    stored = flow.put(FILE)
    assert flow.split(stored) == flow.split(stored)
    assert_loaded_once(flow, 1)
    assert len(flow.chunks(1)) == len({each.number for each in flow.chunks(1)})


def test_a_duplicate_chunk_is_loaded_once(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    for chunk in flow.chunks(ingestion):
        flow.load(chunk)
        flow.load(chunk)
    assert_loaded_once(flow, ingestion)


def test_a_duplicate_publishing_event_publishes_once(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    for sent in flow.topics.of(CHUNKS_TOPIC):
        flow.handle(sent)
    flow.finish(ingestion)
    flow.finish(ingestion)
    assert_loaded_once(flow, ingestion)


def test_a_file_is_loaded_once_if_every_message_is_delivered_twice(flow: Flow) -> None:
    stored = flow.put(FILE)
    ingestion = flow.split(stored)
    flow.split(stored)
    done = 0
    while done < len(flow.topics.sent):
        flow.handle(flow.topics.sent[done])
        flow.handle(flow.topics.sent[done])
        done += 1
    assert_loaded_once(flow, ingestion)


# Late


def late(flow: Flow, stored: Any, ingestion: int) -> None:
    """Deliver everything again."""
    flow.split(stored)
    for sent in list(flow.topics.sent):
        flow.handle(sent)


def test_messages_after_done_change_nothing(flow: Flow) -> None:
    stored = flow.put(FILE)
    ingestion = flow.split(stored)
    flow.deliver()
    sequence = flow.ingestion(ingestion).sequence
    late(flow, stored, ingestion)
    assert flow.ingestion(ingestion).sequence == sequence
    assert_loaded_once(flow, ingestion)


def fail(flow: Flow, ingestion: int) -> None:
    flow.run_sql("UPDATE sluice.receipts SET rows_loaded = 0, rows_rejected = records_read")


def cancel(flow: Flow, ingestion: int) -> None:
    flow.cancel(ingestion)


@pytest.mark.parametrize(
    ("end", "state"),
    [pytest.param(fail, "failed", id="failed"), pytest.param(cancel, "cancelled", id="cancelled")],
)
def test_messages_after_the_end_change_nothing(
    flow: Flow, end: Callable[[Flow, int], None], state: str
) -> None:
    stored = flow.put(FILE)
    ingestion = flow.split(stored)
    flow.load(flow.chunks(ingestion)[0])
    end(flow, ingestion)
    flow.deliver()
    assert flow.state(ingestion) == state
    sequence, kept = flow.ingestion(ingestion).sequence, flow.stored()
    late(flow, stored, ingestion)
    assert (flow.state(ingestion), flow.ingestion(ingestion).sequence) == (state, sequence)
    assert flow.stored() == kept
    assert flow.ids() == []
    assert_events_in_order(flow, ingestion)


def test_messages_after_an_undo_change_nothing(flow: Flow) -> None:
    stored = flow.put(FILE)
    ingestion = flow.split(stored)
    flow.deliver()
    flow.undo(ingestion)
    late(flow, stored, ingestion)
    assert flow.state(ingestion) == "undone"
    assert flow.ids() == []
    assert flow.kinds() == {}
    assert_events_in_order(flow, ingestion)


def test_a_chunk_of_an_earlier_attempt_with_other_cuts_is_ignored(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    old = flow.chunks(ingestion)
    flow.cancel(ingestion)
    coarse = flow.twin(chunk_bytes=200)
    coarse.retry(ingestion)
    coarse.handle(flow.topics.sent[-1])
    for chunk in old:
        coarse.load(chunk)
    coarse.deliver()
    assert_loaded_once(flow, ingestion)


# Out of order


def test_chunks_are_loaded_in_reverse_order(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    for chunk in reversed(flow.chunks(ingestion)):
        flow.load(chunk)
    assert_loaded_once(flow, ingestion)


def test_a_publishing_event_before_the_last_chunk_publishes_nothing(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    *others, last = flow.chunks(ingestion)
    for chunk in others:
        flow.load(chunk)
        flow.finish(ingestion)
        assert flow.ids() == []
    flow.load(last)
    assert_loaded_once(flow, ingestion)


def test_chunks_are_loaded_before_split_completes(
    flow: Flow, other: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.ingestion.sources._BLOCK_BYTES", 100)
    states: list[str] = []

    def load_at_once(topic: str) -> None:
        if topic == CHUNKS_TOPIC:
            other.load(flow.chunks(1)[-1])
            states.append(flow.state(1))

    flow.topics.after_publish = load_at_once
    ingestion = flow.split(flow.put(FILE))
    assert len(states) > 3
    assert set(states) == {"splitting"}
    assert_loaded_once(flow, ingestion)


def test_a_file_whose_chunks_are_all_loaded_before_split_completes_is_published(
    flow: Flow, other: Flow
) -> None:
    """Split itself moves on to publishing, as no loader is left to do it."""
    stored = flow.put(FILE)

    def load_all() -> None:
        for chunk in flow.chunks(1):
            other.load(chunk)
        assert flow.ingestion(1).chunks_loaded == len(flow.chunks(1))
        assert flow.state(1) == "splitting"

    with flow.before("lock_ingestion", load_all):
        ingestion = flow.split(stored)
    assert_loaded_once(flow, ingestion)


# Concurrently


def test_one_of_two_concurrent_loaders_loads_a_chunk(flow: Flow, other: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    chunk = flow.chunks(ingestion)[0]
    with ThreadPoolExecutor(1) as thread:
        with flow.held():
            first = thread.submit(other.load, chunk)
            flow.wait_until_blocked()
            with pytest.raises(ChunkInProgressError):
                flow.load(chunk)
        first.result()
    flow.load(chunk)
    assert flow.stored() == chunk.records
    assert_loaded_once(flow, ingestion)


def test_two_processes_handle_all_messages_concurrently(flow: Flow, other: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    barrier = threading.Barrier(2)

    def load_all(each: Flow) -> None:
        for chunk in flow.chunks(ingestion):
            barrier.wait()
            with suppress(ChunkInProgressError):
                each.load(chunk)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(load_all, (flow, other)))
        list(threads.map(lambda each: each.finish(ingestion), (flow, other)))
    assert_loaded_once(flow, ingestion)


def test_one_of_two_concurrent_splits_reads_the_object(flow: Flow, other: Flow) -> None:
    stored = flow.put(FILE)
    is_reading, may_read = threading.Event(), threading.Event()

    def wait(_first_byte: int) -> None:
        is_reading.set()
        assert may_read.wait(10)

    flow.bucket.before_read = wait
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(other.split, stored)
        assert is_reading.wait(10)
        with pytest.raises(SplitInProgressError):
            flow.split(stored)
        may_read.set()
        ingestion = first.result()
    assert flow.split(stored) == ingestion
    assert_loaded_once(flow, ingestion)


def test_more_concurrent_splits_than_connections_in_the_pool(database: str, flow: Flow) -> None:
    narrow = flow.twin(pool_size=2)
    stored = [
        narrow.put(HEADER + lines(n * 10, n * 10 + 9), f"things/{n}.csv") for n in range(1, 7)
    ]
    with ThreadPoolExecutor(6) as threads:
        ingestions = list(threads.map(narrow.split, stored))
    flow.deliver()
    assert {flow.state(each) for each in ingestions} == {"done"}
    assert flow.ids() == list(range(10, 70))


# Killed between steps


def kill_at(flow: Flow, topic: str, times: int = 1, error: type[BaseException] = Killed) -> None:
    """End the process instead of publishing the next messages to a topic."""
    left = [times]

    def die(published: str) -> None:
        if published == topic and left[0]:
            left[0] -= 1
            raise error("here")

    flow.topics.before_publish = die


def test_events_of_a_split_killed_after_its_commit_are_published_by_the_next(flow: Flow) -> None:
    stored = flow.put(FILE)
    for _ in range(2):
        kill_at(flow, STATUS_TOPIC)
        with pytest.raises(Killed):
            flow.split(stored)
    assert flow.events(1) == []
    assert_loaded_once(flow, flow.split(stored))


@pytest.mark.parametrize("error", [Killed, PubsubUnavailableError])
def test_events_of_a_loader_that_ends_after_its_commit_are_published_by_the_next(
    flow: Flow, error: type[BaseException]
) -> None:
    ingestion = flow.split(flow.put(FILE))
    for chunk in flow.chunks(ingestion):
        kill_at(flow, STATUS_TOPIC, error=error)
        with pytest.raises(error):
            flow.load(chunk)
        flow.load(chunk)
    assert_loaded_once(flow, ingestion)


def test_the_last_delivery_publishes_the_events_that_all_others_left(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    kill_at(flow, STATUS_TOPIC, times=1000)
    for chunk in flow.chunks(ingestion):
        with pytest.raises(Killed):
            flow.load(chunk)
    flow.topics.before_publish = lambda _topic: None
    flow.load(flow.chunks(ingestion)[0])
    assert_loaded_once(flow, ingestion)


def test_events_of_a_finish_killed_after_its_commit_are_published_by_the_next(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    for chunk in flow.chunks(ingestion):
        flow.load(chunk)
    kill_at(flow, STATUS_TOPIC)
    with pytest.raises(Killed):
        flow.finish(ingestion)
    assert flow.event_names(ingestion)[-1] == "publishing"
    flow.finish(ingestion)
    assert_loaded_once(flow, ingestion)


def test_the_event_of_a_replaced_ingestion_is_published_even_if_finish_is_killed(
    flow: Flow,
) -> None:
    flow.declare(reupload="replace")
    old = flow.run(FILE)
    new = flow.split(flow.put(HEADER + lines(31, 40)))
    for chunk in flow.chunks(new):
        flow.load(chunk)
    kill_at(flow, STATUS_TOPIC)
    with pytest.raises(Killed):
        flow.finish(new)
    flow.finish(new)
    assert flow.event_names(old)[-1] == "undone"
    assert_events_in_order(flow, old)
    assert flow.ids() == list(range(31, 41))


def test_a_relay_waits_for_another_and_leaves_no_event(flow: Flow, other: Flow) -> None:
    """An event written while another relay is running is published before its writer ends."""
    ingestion = flow.split(flow.put(FILE))
    with flow.engine.connect() as connection, ThreadPoolExecutor(1) as thread:
        connection.execute(text("SELECT pg_advisory_xact_lock(2, 1)"))
        loading = thread.submit(other.load, flow.chunks(ingestion)[0])
        flow.wait_until_blocked()
        assert not loading.done()
        connection.rollback()
        loading.result()
    assert flow.event_names(ingestion)[-1] == "progress"
    assert relay(flow.engine, flow.topics, ingestion) == 0


@pytest.mark.parametrize("blocks", [0, 1, 2, 3])
def test_a_split_killed_midway_is_resumed(
    flow: Flow, monkeypatch: pytest.MonkeyPatch, blocks: int
) -> None:
    monkeypatch.setattr("sluice.ingestion.sources._BLOCK_BYTES", 100)
    stored = flow.put(FILE)
    reads: list[int] = []

    def die(first_byte: int) -> None:
        reads.append(first_byte)
        if len(reads) > blocks:
            raise Killed

    flow.bucket.before_read = die
    with pytest.raises(Killed):
        flow.split(stored)
    flow.bucket.before_read = reads.append
    known = flow.one("SELECT coalesce(max(end_byte), 0) AS byte FROM sluice.chunks").byte
    reads.clear()
    ingestion = split_once_free(flow, stored)
    assert reads[0] == known
    flow.bucket.before_read = lambda _first_byte: None
    assert_loaded_once(flow, ingestion)


@pytest.mark.flow(chunk_bytes=1000)
def test_a_split_resumed_far_into_a_file_reads_only_the_rest(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.ingestion.sources._BLOCK_BYTES", 1000)
    monkeypatch.setattr("sluice.ingestion.sources.MAX_REREAD_BYTES", 6000)
    stored = flow.put(HEADER + lines(1, 900))
    reads: list[int] = []

    def die(first_byte: int) -> None:
        reads.append(first_byte)
        if first_byte > 10_000:
            raise Killed

    flow.bucket.before_read = die
    with pytest.raises(Killed):
        flow.split(stored)
    known = flow.one("SELECT max(end_byte) AS byte FROM sluice.chunks").byte
    assert known > 8000
    reads.clear()
    flow.bucket.before_read = reads.append
    ingestion = split_once_free(flow, stored)
    assert known in reads
    # The first bytes say what kind of file it is.
    assert [each for each in reads if HEAD_BYTES <= each < known] == []
    flow.bucket.before_read = lambda _first_byte: None
    assert_loaded_once(flow, ingestion, list(range(1, 901)))
    assert flow.ingestion(ingestion).content_sha256 is None
    figures = {each.name: each.ok for each in verify(flow.env("intake"), ingestion).figures}
    assert figures["sha256"] is None
    assert figures["content"]


def split_once_free(flow: Flow, stored: StoredObject) -> int:
    """Deliver again until PostgreSQL has noticed that the connection of the killed process is lost."""
    for _ in range(100):
        try:
            return flow.split(stored)
        except SplitInProgressError:
            time.sleep(0.02)
    raise AssertionError("the lock of the killed split stays")


def test_a_split_killed_before_its_chunks_are_sent_sends_them(flow: Flow) -> None:
    stored = flow.put(FILE)
    kill_at(flow, CHUNKS_TOPIC)
    with pytest.raises(Killed):
        flow.split(stored)
    assert flow.chunks(1) == []
    assert_loaded_once(flow, flow.split(stored))


def test_a_split_killed_before_it_completes_is_continued(flow: Flow) -> None:
    stored = flow.put(FILE)
    with flow.before("lock_ingestion", die), pytest.raises(Killed):
        flow.split(stored)
    assert_loaded_once(flow, flow.split(stored))


def test_a_loader_killed_inside_its_transaction_leaves_nothing(flow: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    chunk = flow.chunks(ingestion)[0]
    with flow.before("count_chunk", die), pytest.raises(Killed):
        flow.load(chunk)
    assert flow.stored() == 0
    assert flow.one("SELECT count(*) AS n FROM sluice.receipts").n == 0
    assert_loaded_once(flow, ingestion)


# Cancelled and retried while running


def test_a_chunk_that_is_loading_when_its_ingestion_is_cancelled_leaves_nothing(
    flow: Flow, other: Flow
) -> None:
    ingestion = flow.split(flow.put(FILE))
    with ThreadPoolExecutor(1) as thread:
        with flow.held():
            loading = thread.submit(other.load, flow.chunks(ingestion)[0])
            flow.wait_until_blocked()
            flow.cancel(ingestion)
        loading.result()
    assert flow.stored() == 0
    assert flow.state(ingestion) == "cancelled"
    assert_events_in_order(flow, ingestion)


def test_a_split_stops_when_its_ingestion_is_cancelled(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.ingestion.sources._BLOCK_BYTES", 4096)
    reads: list[int] = []

    def cancel_at_third(first_byte: int) -> None:
        reads.append(first_byte)
        if len(reads) == 3:
            flow.cancel(1)

    flow.bucket.before_read = cancel_at_third
    ingestion = flow.split(flow.put(HEADER + lines(1, 1200)))
    assert len(reads) == 3
    assert flow.state(ingestion) == "cancelled"


def test_a_retry_waits_for_the_loaders_of_the_earlier_attempt(flow: Flow, other: Flow) -> None:
    ingestion = flow.split(flow.put(FILE))
    with ThreadPoolExecutor(2) as threads:
        with flow.held():
            loading = threads.submit(other.load, flow.chunks(ingestion)[0])
            flow.wait_until_blocked()
            flow.cancel(ingestion)
            retrying = threads.submit(flow.retry, ingestion)
            threading.Event().wait(0.2)
            assert not retrying.done()
        loading.result()
        retrying.result()
    assert flow.state(ingestion) == "received"
    assert flow.stored() == 0
    assert_loaded_once(flow, ingestion)
