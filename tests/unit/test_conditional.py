"""The response cache: by request, for a time, up to a size; and what a query depends on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.api.conditional import ResponseCache

if TYPE_CHECKING:
    import pytest


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
