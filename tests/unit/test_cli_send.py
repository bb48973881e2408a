"""`sluice load --via http`: rows of files in idempotent requests, reported as one account."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from backports import zstd
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


def accepted_by_width(request: Request, width: int) -> Answer:
    """Answer as the API does; a row with another number of cells is rejected."""
    rows: Any = request.json
    marks = ["a" if len(each) == width else "x" for each in rows]
    return accepted(replace(request, body=json.dumps([[mark] for mark in marks]).encode()))


def _outcome(row: int, region: str) -> Mapping[str, object]:
    if region != "x":
        return {"row": row, "outcome": "loaded"}
    found = {"column": "region", "rule": "one_of", "value": "x", "reason": "is no region"}
    return {"row": row, "outcome": "rejected", **found}


@pytest.fixture
def trips(api: Replay, monkeypatch: pytest.MonkeyPatch) -> Replay:
    monkeypatch.setattr(sending, "FIRST_PAUSE_S", 0.001)
    columns = [
        {"name": "region", "type": "text", "header": ["region", "area"]},
        {"name": "note", "type": "text"},
    ]
    declared = {"name": "trips", "delimiter": ";", "columns": columns, "queries": {}}
    api.answer("GET /v1/datasets/trips", {"name": "trips", "declaration": declared})
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
    assert bodies(trips)[0][0] == ["a", "b\nc"]
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


def test_numbers_of_json_keep_all_their_digits(trips: Replay, tmp_path: Path) -> None:
    file = tmp_path / "t.ndjson"
    number = "12345678901234567890.1234567890"
    file.write_text(f'{{"region": "a", "size": {number}}}\n')
    assert load(trips, file).exit_code == 0
    assert number.encode() in trips.seen("POST", ROUTE)[0].body


@pytest.mark.parametrize(
    ("lon", "lat", "point"),
    [
        ("14.5", " 50", "POINT (14.5 50)"),
        ("", " ", None),
        ("14.5", "", "POINT (14.5 null)"),
        ("1 2", "", "POINT (1 2 null)"),
    ],
)
def test_the_halves_of_a_point_are_sent_as_one_cell(
    trips: Replay, tmp_path: Path, lon: str, lat: str, point: str | None
) -> None:
    columns = [{"name": "region", "type": "text"}, {"name": "at", "type": "point"}]
    trips.answer("GET /v1/datasets/trips", {"name": "trips", "declaration": {"columns": columns}})
    file = tmp_path / "t.csv"
    file.write_text(f"at_lat,region,at_lon,ingestion\n{lat},a,{lon},7\n")
    assert load(trips, file).exit_code == 0
    assert bodies(trips) == [[["a", point]]]


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


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no header"),
        (b"area;notes\n", "no column for notes (nearest: note)"),
        (b"region,note\n", "delimiter ','"),
        (b"%PDF-1.7", "is a PDF document"),
        (gzip.compress(gzip.compress(b"region\n", mtime=0), mtime=0), "compressed twice"),
    ],
)
def test_a_file_that_does_not_fit_fails_before_a_row_is_sent(
    trips: Replay, tmp_path: Path, content: bytes, words: str
) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(content)
    result = load(trips, file)
    assert (result.exit_code, bodies(trips)) == (4, [])
    assert f"{file}: " in result.stderr
    assert f"{words}" in result.stderr
    assert "nothing of the file was published" in result.stderr


ROWS = [["Żory", None], ["café", None]]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("area\r\nŻory\r\ncafé\r\n".encode("utf-16"), ROWS),
        ("AREA\nŻory\n\ncafé".encode(), ROWS),
        (gzip.compress("area\nŻory\ncafé\n".encode()), ROWS),
        (zstd.compress("\ufeffarea\nŻory\ncafé\n".encode()), ROWS),
        ("area\ncafé\n".encode("cp1252"), ROWS[1:]),
        (b"note;area\nb;a\n", [["a", "b"]]),
    ],
    ids=["utf-16", "utf-8", "gzip", "zstd", "windows", "order"],
)
def test_a_file_is_read_as_the_bucket_reads_it(
    trips: Replay, tmp_path: Path, content: bytes, rows: list[list[str | None]]
) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(content)
    assert load(trips, file).exit_code == 0
    assert bodies(trips) == [rows]


def test_a_file_of_any_dialect_is_read_as_the_bucket_reads_it(
    trips: Replay, tmp_path: Path
) -> None:
    columns = [{"name": "region", "type": "text"}, {"name": "note", "type": "text"}]
    dialect = {
        "delimiter": "||",
        "escape": "\\",
        "comment": "#",
        "skip_lines": 1,
        "footer_lines": 1,
    }
    trips.answer("GET /v1/datasets/trips", {"declaration": {**dialect, "columns": columns}})
    file = tmp_path / "t.csv"
    file.write_text('Trips\nnote||region\n"b""\\""||a\n# none\nc\\\nd||\\||\n\\N||e\nTotal||3\n')
    assert load(trips, file).exit_code == 0
    assert bodies(trips) == [[["a", 'b""'], ["||", "c\nd"], ["e", ""]]]


def test_cells_without_a_column_are_sent_where_they_are_rescued(
    trips: Replay, tmp_path: Path
) -> None:
    columns = [{"name": "region", "type": "text"}, {"name": "note", "type": "text"}]
    policies = {"rescue": True, "ragged": "rescue"}
    trips.answer("GET /v1/datasets/trips", {"declaration": {**policies, "columns": columns}})
    file = tmp_path / "t.csv"
    file.write_text("note,more,region\na,b,c\nd,,e,f\ng\n")
    assert load(trips, file).exit_code == 0
    assert bodies(trips) == [
        [["c", "a", '{"more": "b"}'], ["e", "d", '{"column_4": "f"}'], ["", "g", None]]
    ]


def test_a_malformed_record_is_one_reject_with_its_line_and_reason(
    trips: Replay, tmp_path: Path
) -> None:
    route = f"POST {ROUTE}"
    trips._answers[route] = lambda request: accepted_by_width(request, 2)
    file = tmp_path / "t.csv"
    file.write_bytes('region;note\né;1\na "b";2\n"c" d;3\ne;f;g\n'.encode() + b"h\xff;4\ni;5\n")
    result = load(trips, file, "--json")
    assert result.exit_code == 3
    document = json.loads(result.stdout)
    assert [(each["line"], each["rule"]) for each in document["rejects"]] == [
        (3, "stray_quote"),
        (4, "junk_after_quote"),
        (5, "columns"),
        (6, "encoding"),
    ]
    assert document["account"] == {"read": 6, "loaded": 2, "rejected": 4, "duplicates": 0}


def test_what_was_published_before_an_error_is_reported(trips: Replay, tmp_path: Path) -> None:
    route, answers = f"POST {ROUTE}", [accepted]
    refusal = {"title": "no", "status": 422, "code": "CSV113", "detail": "no row is loaded"}
    refused = Answer(
        json.dumps(refusal).encode(), 422, {"Content-Type": "application/problem+json"}
    )
    trips._answers[route] = lambda request: answers.pop()(request) if answers else refused
    file = tmp_path / "t.csv"
    file.write_text("region\n" + "a\n" * 1500)
    result = load(trips, file)
    assert result.exit_code == 4
    assert "no row is loaded (CSV113); 1,000 rows before that are published, as ingestions 7" in (
        result.stderr
    )


def test_a_refused_request_fails_with_the_reason(trips: Replay, tmp_path: Path) -> None:
    trips.refuse(f"POST {ROUTE}", 422, "CSV113", "no row is loaded")
    file = tmp_path / "t.csv"
    file.write_text("region\na\n")
    result = load(trips, file)
    assert (result.exit_code, "no row is loaded" in result.stderr) == (4, True)
