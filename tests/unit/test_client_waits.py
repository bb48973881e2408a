"""What the client does where a rate limit refuses its request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from replay import Answer, Replay

from sluice.client import Client, RefusedError
from sluice.client import transport as module

if TYPE_CHECKING:
    from replay import Request

PROBLEM = b'{"title": "Too many requests", "status": 429, "code": "API319", "detail": "wait"}'
PATH = "/v1/datasets/trips/rows"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(module.time, "sleep", found.append)
    return found


def refuse(api: Replay, *retry_after: str) -> None:
    """Refuse as many requests, each with the time to wait, and answer the next one."""
    left = list(retry_after)

    def respond(_: Request) -> Answer:
        if not left:
            return Answer(b'{"rows": [{"id": 1}], "next": null}')
        wait = left.pop(0)
        return Answer(PROBLEM, 429, {"Retry-After": wait} if wait else {})

    api._answers[f"GET {PATH}"] = respond  # answers that change


def test_a_refused_request_is_sent_again_after_the_time_to_wait(
    api: Replay, pauses: list[float]
) -> None:
    refuse(api, "2", "", "nonsense", "30")
    with Client(api.url) as client:
        assert list(client.rows("trips", {})) == [{"id": 1}]
    assert pauses == [2, 1, 1, 30]


def test_the_client_does_not_wait_for_ever(api: Replay, pauses: list[float]) -> None:
    refuse(api, *["50"] * 9)
    with Client(api.url) as client, pytest.raises(RefusedError) as raised:
        list(client.rows("trips", {}))
    assert raised.value.answer.code == "API319"
    assert sum(pauses) <= module.MAX_WAIT_S
