"""Files that come one after the other are settled once, when the last of them is there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from flow import HEADER, Flow, lines

from sluice.compaction.debounce import settle_in_quiet


@pytest.fixture
def flow(database: str) -> Iterator[Flow]:
    made = Flow(database, chunk_bytes=1000)
    made.declare()
    yield made
    made.engine.dispose()


def settle_by(monkeypatch: pytest.MonkeyPatch, settle: Callable[[str], object]) -> None:
    """Settle with something that only looks on."""
    monkeypatch.setattr("sluice.compaction.debounce.Settle", lambda _engine: settle)


def test_files_that_keep_coming_are_settled_once_and_all(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.compaction.debounce._QUIET_S", 0.5)
    settled: list[list[int]] = []
    settle_by(monkeypatch, lambda _: settled.append(flow.ids()))
    with ThreadPoolExecutor(6) as threads:
        waiting = []
        for number in range(1, 7):
            flow.split(flow.put(HEADER + lines(number, number), f"things/{number}.csv"))
            waiting.append(threads.submit(settle_in_quiet, flow.engine, "things"))
        for each in waiting:
            each.result()
    assert settled == [[1, 2, 3, 4, 5, 6]]


def test_who_comes_while_it_is_settled_settles_again(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.compaction.debounce._QUIET_S", 0.0)
    is_settling, may_end = threading.Event(), threading.Event()
    settled: list[str] = []

    def settle(dataset: str) -> None:
        settled.append(dataset)
        is_settling.set()
        assert may_end.wait(10)

    settle_by(monkeypatch, settle)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(settle_in_quiet, flow.engine, "things")
        assert is_settling.wait(10)
        second = threads.submit(settle_in_quiet, flow.engine, "things")
        may_end.set()
        first.result()
        second.result()
    assert settled == ["things", "things"]


def test_a_dataset_that_is_never_quiet_is_settled_nevertheless(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.compaction.debounce._QUIET_S", 1000.0)
    monkeypatch.setattr("sluice.compaction.debounce._MAX_WAIT_S", 0.0)
    flow.split(flow.put(HEADER + lines(1, 1)))
    settled: list[str] = []
    settle_by(monkeypatch, settled.append)
    settle_in_quiet(flow.engine, "things")
    assert settled == ["things"]
