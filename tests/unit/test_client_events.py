"""Server-sent events: parsing, and resuming without a gap or a repetition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from replay import Stream, event, sse

from sluice.client import EventStream, NoProgressError, RefusedError, UnreachableError
from sluice.client.events import Message, parse_messages
from sluice.client.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replay import Replay

PATH = "/v1/ingestions/7/events"


@pytest.fixture
def stream(api: Replay) -> Iterator[EventStream]:
    transport = Transport(api.url)
    yield EventStream(transport, PATH, first_pause_s=0.001)
    transport.close()


def _sequences_until_final(stream: EventStream) -> list[int]:
    sequences = []
    for each in stream:
        sequences.append(each.sequence)
        if each.is_final:
            break
    return sequences


def test_comments_are_dropped_and_lines_of_data_joined() -> None:
    lines = [
        ": keep-alive",
        "",
        "id: 3",
        "event: x",
        "data: {",
        "data: }",
        "",
        "data:1",
        "",
        "data",
    ]
    assert list(parse_messages(lines)) == [Message("{\n}", "3"), Message("1", "3")]


@pytest.mark.parametrize("end", ["end", "break"])
def test_a_lost_connection_resumes_after_the_last_event(
    api: Replay, stream: EventStream, end: str
) -> None:
    first = Stream((sse(event(1, "received")), sse(event(2, "splitting"))), end=end)
    second = Stream((sse(event(3, "progress")), sse(event(4, "done"))))
    api.stream(f"GET {PATH}", first, second)
    assert _sequences_until_final(stream) == [1, 2, 3, 4]
    asked = [each.headers.get("last-event-id") for each in api.seen("GET", PATH)]
    assert asked == [None, "2"]


def test_a_duplicate_event_is_yielded_once(api: Replay, stream: EventStream) -> None:
    twice = sse(event(1, "received"))
    api.stream(f"GET {PATH}", Stream((twice, twice, sse(event(2, "done")))))
    assert _sequences_until_final(stream) == [1, 2]


def test_sequences_of_other_ingestions_are_independent(api: Replay, stream: EventStream) -> None:
    texts = (sse(event(5, "loading", id=8)), sse(event(1, "received")), sse(event(6, "done", id=8)))
    api.stream(f"GET {PATH}", Stream(texts))
    assert _sequences_until_final(stream) == [5, 1, 6]


def test_a_refused_stream_is_not_retried(api: Replay, stream: EventStream) -> None:
    with pytest.raises(RefusedError, match="API305"):
        next(iter(stream))
    assert len(api.requests) == 1


def test_an_unreachable_api_fails_without_a_retry() -> None:
    transport = Transport("http://127.0.0.1:1")
    with pytest.raises(UnreachableError, match="sluice up"):
        next(iter(EventStream(transport, PATH)))
    transport.close()


def test_each_connection_is_reported(api: Replay, stream: EventStream) -> None:
    connected: list[int] = []
    reported = EventStream(
        stream.transport, PATH, on_connect=lambda: connected.append(1), first_pause_s=0.001
    )
    api.stream(f"GET {PATH}", Stream((), end="end"), Stream((sse(event(1, "done")),)))
    _sequences_until_final(reported)
    assert len(connected) == 2


@pytest.mark.parametrize("end", ["silence", "end"])
def test_an_ingestion_without_progress_is_not_awaited_forever(api: Replay, end: str) -> None:
    transport = Transport(api.url)
    stream = EventStream(transport, PATH, first_pause_s=0.001, timeout_s=0.3)
    loading = event(2, "loading")
    api.stream(f"GET {PATH}", Stream((sse(event(1, "received")), sse(loading)), end=end))
    with pytest.raises(NoProgressError) as raised:
        list(stream)
    transport.close()
    assert "ingestion 7 is loading" in raised.value.detail
    assert "no progress for 0.3 s" in raised.value.detail
    assert "sluice watch 7" in raised.value.detail
