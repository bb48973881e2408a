"""Answers kept in memory: by question, for a time, up to a size."""

from __future__ import annotations

import pytest

from sluice.api.cache import AnswerCache
from sluice.querying.dependencies import is_lasting, names_read

TEXT = "text/plain"


def filled(cache: AnswerCache, *keys: str, size_bytes: int = 1) -> AnswerCache:
    for key in keys:
        cache.keep(key, b"x" * size_bytes, TEXT, {"ETag": key})
    return cache


def test_an_answer_is_found_under_its_key_alone() -> None:
    cache = filled(AnswerCache(60, 1000), "a")
    found = cache.find("a")
    assert found is not None
    assert (found.body, found.content_type, found.headers) == (b"x", TEXT, (("ETag", "a"),))
    assert cache.find("b") is None


def test_an_answer_is_kept_for_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("sluice.api.cache.time.monotonic", lambda: now[0])
    cache = filled(AnswerCache(5, 1000), "a")
    now[0] += 4.9
    assert cache.find("a") is not None
    now[0] += 0.2
    assert cache.find("a") is None
    assert filled(AnswerCache(0, 1000), "a").find("a") is None


def test_the_answers_not_asked_for_longest_make_room() -> None:
    cache = filled(AnswerCache(60, 320), *"abcdefghijklmnop", size_bytes=20)
    assert cache.find("a") is not None
    filled(cache, "q", size_bytes=20)
    assert cache.find("b") is None
    assert cache.find("a") is not None


def test_large_and_broken_answers_are_not_kept() -> None:
    cache = AnswerCache(60, 160)
    assert list(cache.keeping("large", [b"x" * 6, b"y" * 6], TEXT, {})) == [b"x" * 6, b"y" * 6]
    assert cache.find("large") is None
    broken = cache.keeping("broken", iter([b"x", b"y"]), TEXT, {})
    next(broken)
    broken.close()
    assert cache.find("broken") is None
    assert list(cache.keeping("whole", iter([b"x", b"y"]), TEXT, {})) == [b"x", b"y"]
    found = cache.find("whole")
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
