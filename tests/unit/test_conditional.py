"""The response cache: by request, for a time, up to a size; and what a query depends on."""

from __future__ import annotations

import pytest

from sluice.api.conditional import ResponseCache
from sluice.querying.dependencies import is_lasting, names_read


def filled(cache: ResponseCache, *keys: str, size_bytes: int = 1) -> ResponseCache:
    for key in keys:
        cache.store(key, b"x" * size_bytes, {"ETag": key})
    return cache


def test_a_response_is_found_under_its_key_alone() -> None:
    cache = filled(ResponseCache(60, 1000), "a")
    found = cache.find("a")
    assert found is not None
    assert (found.body, found.headers) == (b"x", {"ETag": "a"})
    assert cache.find("b") is None


def test_a_response_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("sluice.api.conditional.time.monotonic", lambda: now[0])
    cache = filled(ResponseCache(5, 1000), "a")
    now[0] += 4.9
    assert cache.find("a") is not None
    now[0] += 0.2
    assert cache.find("a") is None
    assert filled(ResponseCache(0, 1000), "a").find("a") is None


def test_the_least_recently_used_responses_are_evicted() -> None:
    cache = filled(ResponseCache(60, 320), *"abcdefghijklmnop", size_bytes=20)
    assert cache.find("a") is not None
    filled(cache, "q", size_bytes=20)
    assert cache.find("b") is None
    assert cache.find("a") is not None


def test_large_and_interrupted_responses_are_not_cached() -> None:
    cache = ResponseCache(60, 160)
    blocks = [b"x" * 6, b"y" * 6]
    assert list(cache.record("large", blocks, {})) == blocks
    assert cache.find("large") is None
    interrupted = cache.record("interrupted", iter([b"x", b"y"]), {})
    next(interrupted)
    interrupted.close()
    assert cache.find("interrupted") is None
    assert list(cache.record("complete", iter([b"x", b"y"]), {})) == [b"x", b"y"]
    found = cache.find("complete")
    assert found is not None
    assert found.body == b"xy"


def test_a_query_reads_every_dataset_that_a_word_of_it_may_name() -> None:
    names = names_read(
        "SELECT 1 FROM \"Trips_weekly\" JOIN public.plays -- and songs\nWHERE x = 'jobs'"
    )
    assert {"trips", "trips_weekly", "plays", "songs", "jobs"} <= set(names)


@pytest.mark.parametrize(
    ("sql", "lasting"),
    [
        ("SELECT 1", True),
        ("SELECT age_years FROM people", True),
        ("SELECT age FROM people ORDER BY age", True),
        ("SELECT Age (born_on) FROM people", False),
        ("SELECT now()", False),
        ("SELECT CURRENT_DATE", False),
        ("SELECT random()", False),
        ("SELECT CAST('today' AS date)", False),
    ],
)
def test_what_changes_by_itself_does_not_last(sql: str, lasting: bool) -> None:
    assert is_lasting(sql) is lasting
