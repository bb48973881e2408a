"""`sluice watch`: live events of one ingestion or of all."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from click.testing import CliRunner, Result
from replay import Stream, event, ingestion, sse

from sluice.cli.main import sluice

if TYPE_CHECKING:
    import pytest
    from replay import Replay

EVENTS = "GET /v1/ingestions/7/events"


def run(api: Replay, *arguments: object) -> Result:
    return CliRunner().invoke(sluice, ["--url", api.url, *map(str, arguments)])


def test_an_ingestion_is_watched_until_it_ends(api: Replay) -> None:
    api.stream(EVENTS, Stream((sse(event(1, "received")), sse(event(2, "done")))))
    api.answer("GET /v1/ingestions/7", ingestion("done"))
    result = run(api, "watch", 7)
    assert result.exit_code == 0
    at = datetime(2026, 11, 21, 12, tzinfo=UTC).astimezone()
    assert result.stdout.splitlines()[0] == (
        f"{at:%H:%M:%S}  trips/trips.csv  ingestion 7 received, 1 of 1 chunks, 100 rows"
    )


def test_json_is_one_cloud_event_for_each_line(api: Replay) -> None:
    api.stream(EVENTS, Stream((sse(event(1, "received")), sse(event(2, "failed")))))
    api.answer("GET /v1/ingestions/7", ingestion("failed"))
    result = run(api, "watch", 7, "--json")
    assert result.exit_code == 4
    assert [json.loads(line)["sequence"] for line in result.stdout.splitlines()] == [1, 2]


def test_watching_continues_after_a_failure_that_was_retried(api: Replay) -> None:
    texts = [sse(event(n, kind)) for n, kind in enumerate(["failed", "splitting", "done"], 1)]
    api.stream(EVENTS, Stream(tuple(texts)))
    api.answer("GET /v1/ingestions/7", ingestion("done"))
    result = run(api, "watch", 7, "--json")
    assert result.exit_code == 0


def test_all_are_watched_until_an_interruption(
    api: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    api.stream("GET /v1/ingestions", Stream((sse(event(1, "received")),)))
    monkeypatch.setattr("sluice.cli.ingestions.print_json_line", interrupt)
    assert run(api, "watch", "--json").exit_code == 130
