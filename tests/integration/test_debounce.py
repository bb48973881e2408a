"""Files that arrive one after the other are compacted once, after the last of them."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from flow import HEADER, THINGS, Flow, lines

from sluice.compaction.debounce import DebouncedCompact

NUMBERS = """-- The numbers of the things of a kind, in order.
-- columns: kind, ids
SELECT kind, array_agg(id ORDER BY id) AS ids FROM rows GROUP BY 1
"""

pytestmark = pytest.mark.flow(
    chunk_bytes=1000, pool_size=12, declared={**THINGS, "projections": {"numbers": NUMBERS}}
)


def load(flow: Flow, number: int) -> int:
    """Bring a small file to `done` without compaction."""
    return flow.split(flow.put(HEADER + lines(number, number), f"things/{number}.csv"))


def segments(flow: Flow) -> list[list[int]]:
    """The ingestions of each segment that was ever completed."""
    sql = "SELECT ingestions FROM sluice.segments WHERE compacted_at IS NOT NULL ORDER BY id"
    return [row.ingestions for row in flow.all(sql)]


def uncompacted(flow: Flow) -> list[int]:
    return [row.ingestion for row in flow.all("SELECT ingestion FROM things_uncompacted")]


def test_a_burst_of_files_is_compacted_once(flow: Flow) -> None:
    compact = DebouncedCompact(pause_s=2.0)
    loaded: list[int] = []
    with ThreadPoolExecutor(6) as threads:
        calls = []
        for number in range(1, 7):
            loaded.append(load(flow, number))
            calls.append(threads.submit(compact, flow.engine, "things"))
        for each in calls:
            each.result()
    assert segments(flow) == [loaded]


def test_a_file_published_during_compaction_is_compacted_after_it(flow: Flow) -> None:
    compact = DebouncedCompact(pause_s=0.0)
    with ThreadPoolExecutor(2) as threads:
        first = load(flow, 1)
        with flow.held("store.things__numbers"):
            calls = [threads.submit(compact, flow.engine, "things")]
            wait_for_segment(flow)
            second = load(flow, 2)
            calls.append(threads.submit(compact, flow.engine, "things"))
        for each in calls:
            each.result()
    assert segments(flow) == [[first], [second]]


def wait_for_segment(flow: Flow) -> None:
    until = time.monotonic() + 60
    while not flow.all("SELECT 1 FROM sluice.segments"):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_dataset_without_a_pause_is_compacted_nevertheless(flow: Flow) -> None:
    ingestion = load(flow, 1)
    DebouncedCompact(pause_s=1000.0, max_wait_s=0.0)(flow.engine, "things")
    assert segments(flow) == [[ingestion]]


def test_a_stream_of_files_becomes_few_segments_and_none_is_left(flow: Flow) -> None:
    functions = [DebouncedCompact(pause_s=0.3, max_wait_s=0.6) for _ in range(2)]
    loaded: list[int] = []
    failures: list[Future[None]] = []
    with ThreadPoolExecutor(8) as threads:
        begun = time.monotonic()
        number = 0
        while time.monotonic() < begun + 3:
            number += 1
            loaded.append(load(flow, number))
            call = threads.submit(functions[number % 2], flow.engine, "things")
            call.add_done_callback(lambda each: failures.append(each) if each.exception() else None)
    elapsed_s = time.monotonic() - begun
    assert failures == []
    assert uncompacted(flow) == []
    assert sorted(row.id for row in flow.all("SELECT unnest(ids) AS id FROM things_numbers")) == [
        *range(1, number + 1)
    ]
    assert len(segments(flow)) <= 2 * elapsed_s / 0.6 + 4, f"{number} files"


def test_a_dataset_without_projections_is_not_waited_for(flow: Flow) -> None:
    flow.declare(THINGS)
    load(flow, 1)
    call = threading.Thread(target=DebouncedCompact(pause_s=1000.0), args=(flow.engine, "things"))
    call.start()
    call.join(10)
    assert not call.is_alive()
