"""`sluice load --via http`: rows of files in idempotent requests, reported as one account."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from replay import Answer

from sluice.cli.main import sluice
from sluice.client import Client
from sluice.client import rows as sending

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from replay import Replay, Request

ROUTE = "/v1/datasets/trips/rows"


def accepted(request: Request) -> Answer:
    """Answer as the API does; a row with the region `x` is rejected."""
    rows: Any = request.json
    regions = [each["region"] if isinstance(each, dict) else each[0] for each in rows]
    outcomes = [_outcome(number, region) for number, region in enumerate(regions, 1)]
    rejected = regions.count("x")
    account = {"read": len(rows), "loaded": len(rows) - rejected}
    body = {
        "dataset": "trips",
        "ingestion": 7,
        "state": "done",
        "account": {**account, "rejected": rejected, "duplicates": 0},
        "problem": None,
        "rows": outcomes,
    }
    return Answer(json.dumps(body).encode(), 200, {"Content-Type": "application/json"})


def _outcome(row: int, region: str) -> Mapping[str, object]:
    if region != "x":
        return {"row": row, "outcome": "loaded"}
    found = {"column": "region", "rule": "one_of", "value": "x", "reason": "is no region"}
    return {"row": row, "outcome": "rejected", **found}


@pytest.fixture
def trips(api: Replay, monkeypatch: pytest.MonkeyPatch) -> Replay:
    monkeypatch.setattr(sending, "FIRST_PAUSE_S", 0.001)
    api.answer("GET /v1/datasets/trips", {"name": "trips", "declaration": {"delimiter": ";"}})
    api._answers[f"POST {ROUTE}"] = accepted
    return api


def load(api: Replay, *arguments: object) -> Result:
    given = ["--url", api.url, "load", "--via", "http", "--dataset", "trips"]
    return CliRunner().invoke(sluice, [*given, *map(str, arguments)])


def bodies(api: Replay) -> list[Any]:
    return [each.json for each in api.seen("POST", ROUTE)]


def test_the_rows_of_a_file_are_sent_a_thousand_at_a_time(trips: Replay, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("\ufeffregion;note\n" + 'a;"b\nc"\n' * 2500, "utf-8")
    result = load(trips, file)
    assert result.exit_code == 0, result.output
    assert [len(each) for each in bodies(trips)] == [1000, 1000, 500]
    assert bodies(trips)[0][0] == {"region": "a", "note": "b\nc"}
    assert result.stdout.split()[-4:] == ["2500", "2500", "0", "0"]


def test_rejects_have_the_line_of_the_file(trips: Replay, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text('region;note\na;"b\nc"\nx;d\nx\n')
    result = load(trips, file, "--json")
    assert result.exit_code == 3
    document = json.loads(result.stdout)
    assert [each["line"] for each in document["rejects"]] == [4, 5]
    assert document["account"] == {"read": 3, "loaded": 1, "rejected": 2, "duplicates": 0}
    assert bodies(trips)[0][2] == ["x"]


def test_rows_of_json_are_sent_as_they_are(trips: Replay, tmp_path: Path) -> None:
    file = tmp_path / "t.ndjson"
    file.write_text('{"region": "a", "size": 1.5}\n\n["b", null]\n')
    assert load(trips, file).exit_code == 0
    assert bodies(trips) == [[{"region": "a", "size": 1.5}, ["b", None]]]


def test_a_failed_request_is_retried_with_its_idempotency_key(trips: Replay) -> None:
    answers = [Answer(b"{}", 503), Answer(b"{}", 502)]
    route = f"POST {ROUTE}"
    trips._answers[route] = lambda request: answers.pop() if answers else accepted(request)
    with Client(trips.url, "secret") as client:
        found = list(client.send_rows(({"region": "a"} for _ in range(1001)), "trips"))
    assert [each.account.loaded for each in found] == [1000, 1]
    requests = trips.seen("POST", ROUTE)
    keys = [each.headers["idempotency-key"] for each in requests]
    assert (keys[0] == keys[1] == keys[2], keys[3] != keys[2], len(keys)) == (True, True, 4)
    assert {each.headers["authorization"] for each in requests} == {"Bearer secret"}


@pytest.mark.parametrize("content", [b"region\n\xff\n", b'region\n"a" b;c\n'])
def test_a_file_that_cannot_be_read_fails(trips: Replay, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(content)
    result = load(trips, file)
    assert result.exit_code == 4
    assert f"{file}: " in result.stderr


def test_a_refused_request_fails_with_the_reason(trips: Replay, tmp_path: Path) -> None:
    trips.refuse(f"POST {ROUTE}", 422, "CSV113", "no row is loaded")
    file = tmp_path / "t.csv"
    file.write_text("region\na\n")
    result = load(trips, file)
    assert (result.exit_code, "no row is loaded" in result.stderr) == (4, True)
