"""Commands that read: datasets, rows, queries, rejects, ingestions, subscriptions."""

from __future__ import annotations

import copy
import json
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from replay import ingestion, query

from sluice.cli.main import sluice
from sluice.client import Client, samples
from sluice.workbooks import sheet_text
from workbooks import workbook

if TYPE_CHECKING:
    from pathlib import Path

    from replay import Replay

ROWS = {"rows": [{"region": "Prague", "trips": 34}, {"region": "Turin", "trips": 38}], "next": "c"}
WEEKLY = {
    "region": "Prague",
    "trips": 34,
    "weekly_average": 6.8,
    "weeks": [{"week": "2018-04-30", "trips": 4}, {"week": "2018-05-07", "trips": 11}],
}
QUERIES = {
    "queries": [
        query(
            "by_title",
            summary="The show of that title.",
            parameters=[
                {"name": "title", "type": "text", "required": True, "description": "Its title."},
                {
                    "name": "order",
                    "type": "text",
                    "description": "By what.",
                    "default": "year",
                    "one_of": ["year", "name"],
                },
            ],
            needs=[["title"], []],
            verb="title",
            output="description",
            near={"query": "search", "column": "title"},
        ),
        query(
            "search",
            summary="The shows that match words.",
            parameters=[{"name": "text", "type": "text", "description": "Words."}],
        ),
    ]
}
REJECT = {"line": 17, "column": "age", "rule": "type", "value": "old", "reason": "not a number"}


def run(api: Replay, *arguments: object) -> Result:
    return CliRunner().invoke(sluice, ["--url", api.url, *map(str, arguments)])


def test_rows_are_aligned_and_say_that_there_are_more(api: Replay) -> None:
    api.answer("GET /v1/datasets/trips/rows", ROWS)
    result = run(api, "rows", "trips", "region=in.(Prague,Turin)", "--order", "trips.desc")
    assert result.exit_code == 0
    assert result.stdout == "region  trips\nPrague     34\nTurin      38\n"
    assert "there are more rows" in result.stderr
    assert api.requests[0].query == {
        "region": "in.(Prague,Turin)",
        "order": "trips.desc",
        "limit": "20",
    }


def test_rows_as_json_are_the_document_of_the_api(api: Replay) -> None:
    api.answer("GET /v1/datasets/trips/rows", ROWS)
    assert json.loads(run(api, "rows", "trips", "--json").stdout) == ROWS


EXACT = (
    '{"digits": 123456789012345678901234567890.123456789, "zeros": 1.500, "float": 1e300,'
    ' "negative": -0, "whole": 123456789012345678901234567890, "list": [0.1000000000000000000001]}'
)


def test_numbers_keep_the_text_of_the_server_in_json(api: Replay) -> None:
    page = f'{{"rows": [{EXACT}], "next": null}}'
    api.answer_bytes("GET /v1/datasets/trips/rows", page.encode(), "application/json")
    assert run(api, "rows", "trips", "--json").stdout == page + "\n"
    api.answer_bytes("GET /v1/datasets/trips/queries/x", EXACT.encode(), "application/json")
    assert run(api, "query", "trips", "x", "--json").stdout == EXACT + "\n"


def test_numbers_keep_the_text_of_the_server_in_a_table(api: Replay) -> None:
    page = f'{{"rows": [{EXACT}], "next": null}}'
    api.answer_bytes("GET /v1/datasets/trips/rows", page.encode(), "application/json")
    _, line = run(api, "rows", "trips").stdout.splitlines()
    assert line.split() == [
        "123456789012345678901234567890.123456789",
        "1.500",
        "1e300",
        "-0",
        "123456789012345678901234567890",
        "[0.1000000000000000000001]",
    ]


def test_a_number_of_thousands_of_digits_is_shown(api: Replay) -> None:
    page = b'{"rows": [{"n": ' + b"9" * 5000 + b'}], "next": null}'
    api.answer_bytes("GET /v1/datasets/trips/rows", page, "application/json")
    assert run(api, "rows", "trips").stdout == " " * 4999 + "n\n" + "9" * 5000 + "\n"


def test_numbers_of_the_client_are_floats_with_every_digit(api: Replay) -> None:
    page = f'{{"rows": [{EXACT}], "next": null}}'
    api.answer_bytes("GET /v1/datasets/trips/rows", page.encode(), "application/json")
    with Client(api.url) as client:
        (row,) = client.rows("trips", {})
    assert Decimal(str(row["digits"])) == Decimal("123456789012345678901234567890.123456789")
    assert row["zeros"] * 2 == 3.0
    assert copy.deepcopy(row) == row
    assert str(copy.deepcopy(row)["digits"]) == str(row["digits"])


@pytest.mark.parametrize(
    ("arguments", "kind", "limit"),
    [
        (("-o", "trips.parquet"), "parquet", None),
        (("-o", "trips"), "ndjson", None),
        (("-o", "trips.bin", "--format", "arrow", "--limit", "3"), "arrow", "3"),
    ],
    ids=["suffix", "no suffix", "format"],
)
def test_a_file_of_rows_appears_only_when_it_is_complete(
    api: Replay, tmp_path: Path, arguments: tuple[str, ...], kind: str, limit: str | None
) -> None:
    api.answer_bytes("GET /v1/datasets/trips/rows", b"\x00PAR1\xff", "application/octet-stream")
    target = tmp_path / arguments[1]
    result = run(api, "rows", "trips", "-o", target, *arguments[2:])
    assert (result.exit_code, result.stdout) == (0, "")
    assert target.read_bytes() == b"\x00PAR1\xff"
    assert api.requests[0].query.get("format") == kind
    assert api.requests[0].query.get("limit") == limit


def test_a_refused_download_leaves_no_file(api: Replay, tmp_path: Path) -> None:
    api.refuse("GET /v1/datasets/trips/rows", 400, "API302", "column speed: there is none")
    target = tmp_path / "trips.csv"
    result = run(api, "rows", "trips", "speed=eq.1", "-o", target)
    assert result.exit_code == 2
    assert result.stderr == "Error: column speed: there is none (API302)\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["trips.xls", "trips.csv.gz"])
def test_a_suffix_without_a_format_is_a_usage_error(api: Replay, tmp_path: Path, name: str) -> None:
    result = run(api, "rows", "trips", "-o", tmp_path / name)
    assert result.exit_code == 2
    suffixes = ".json, .ndjson, .csv, .parquet, .arrow"
    assert f"use one of {suffixes}" in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_bytes_of_a_format_go_to_stdout_as_they_are(api: Replay) -> None:
    api.answer_bytes("GET /v1/datasets/trips/rows", b"region\r\nPrague\r\n", "text/csv")
    result = run(api, "rows", "trips", "--format", "csv")
    assert result.stdout_bytes == b"region\r\nPrague\r\n"


def test_an_argument_that_is_not_a_filter_is_a_usage_error(api: Replay) -> None:
    result = run(api, "rows", "trips", "Prague")
    assert result.exit_code == 2
    assert "'Prague' is not of the form COLUMN=OP.VALUE" in result.stderr


def test_control_characters_in_a_value_do_not_reach_the_terminal(api: Replay) -> None:
    api.answer("GET /v1/datasets/trips/rows", {"rows": [{"a": "x\x1b[31m\ny"}], "next": None})
    assert run(api, "rows", "trips").stdout == "a\nx\N{REPLACEMENT CHARACTER}[31m⏎y\n"


def test_an_answer_of_one_object_is_a_record_with_its_lists_as_tables(api: Replay) -> None:
    api.answer("GET /v1/datasets/trips/queries/weekly_average", WEEKLY)
    result = run(api, "query", "trips", "weekly_average", "region=Prague")
    assert result.stdout.splitlines() == [
        "region          Prague",
        "trips           34",
        "weekly_average  6.8",
        "",
        "weeks",
        "week        trips",
        "2018-04-30      4",
        "2018-05-07     11",
    ]
    assert api.requests[0].query == {"region": "Prague"}


def test_an_answer_of_many_rows_is_a_table(api: Replay) -> None:
    api.answer("GET /v1/datasets/trips/queries/groups", {"rows": ROWS["rows"]})
    assert run(api, "query", "trips", "groups").stdout.startswith("region  trips\nPrague     34\n")


def test_queries_are_listed_with_their_parameters(api: Replay) -> None:
    api.answer("GET /v1/datasets/titles/queries", QUERIES)
    assert run(api, "query", "titles").stdout.splitlines() == [
        "by_title  The show of that title.",
        "    title=text       Its title. Required.",
        "    order=year|name  By what. Default: year.",
        "    give title, or none",
        "    also: sluice title",
        "search  The shows that match words.",
        "    text=text  Words.",
    ]


@pytest.fixture
def titles(api: Replay) -> Replay:
    api.answer("GET /v1/datasets", {"datasets": [{"name": "titles"}]})
    api.answer("GET /v1/datasets/titles/queries", QUERIES)
    found = {"rows": [{"title": "Ganglands", "description": "To protect his family."}]}
    api.answer("GET /v1/datasets/titles/queries/by_title", found)
    return api


def test_several_results_of_a_command_have_headings(titles: Replay) -> None:
    (by_title, *others) = QUERIES["queries"]
    declared = {**by_title, "heading": "{title} ({year})"}
    titles.answer("GET /v1/datasets/titles/queries", {"queries": [declared, *others]})
    assert run(titles, "title", "Ganglands").stdout == "    To protect his family.\n"
    found = [
        {"title": "Twins", "year": year, "description": f"Of {year}."} for year in (1988, 2001)
    ]
    titles.answer("GET /v1/datasets/titles/queries/by_title", {"rows": found})
    assert run(titles, "title", "Twins").stdout == (
        "Twins (1988)\n    Of 1988.\nTwins (2001)\n    Of 2001.\n"
    )


def test_a_query_may_declare_a_command(titles: Replay) -> None:
    result = run(titles, "title", "Ganglands", "order=name")
    assert result.stdout == "    To protect his family.\n"
    assert titles.requests[-1].query == {"title": "Ganglands", "order": "name"}


def test_a_verb_has_help_and_json(titles: Replay) -> None:
    assert "The show of that title." in run(titles, "title", "--help").stdout
    assert json.loads(run(titles, "title", "Ganglands", "--json").stdout)["rows"]


def test_a_verb_without_a_result_suggests_similar_values(titles: Replay) -> None:
    titles.answer("GET /v1/datasets/titles/queries/by_title", {"rows": []})
    near = {"rows": [{"title": "Ganglands"}, {"title": "Ganglands"}, {"title": "Gangs"}]}
    titles.answer("GET /v1/datasets/titles/queries/search", near)
    result = run(titles, "title", "Ganglnds", "order=name")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "nothing found; similar:\n    Ganglands\n    Gangs\n"
    assert titles.requests[-1].query == {"text": "Ganglnds"}
    titles.answer("GET /v1/datasets/titles/queries/search", {"rows": []})
    assert run(titles, "title", "Xyzzy").stderr == "nothing found\n"
    assert json.loads(run(titles, "title", "Xyzzy", "--json").stdout) == {"rows": []}


def test_a_value_with_an_equals_sign_is_a_value(titles: Replay) -> None:
    run(titles, "title", "a=b")
    assert titles.requests[-1].query == {"title": "a=b"}


def test_one_argument_too_many_names_the_parameters(titles: Replay) -> None:
    result = run(titles, "title", "a", "year", "c")
    assert result.exit_code == 2
    assert "'c' is one argument too many; the parameters are title, order" in result.stderr


def test_a_command_that_no_query_declares_is_unknown(titles: Replay) -> None:
    result = run(titles, "nothing_such")
    assert result.exit_code == 2
    assert "No such command 'nothing_such'" in result.stderr


def test_built_in_commands_are_found_without_the_api(api: Replay) -> None:
    assert run(api, "load", "--help").exit_code == 0
    assert api.requests == []


def test_rejects_are_a_table_with_line_column_and_reason(api: Replay) -> None:
    api.answer("GET /v1/ingestions/7/rejects", {"rejects": [REJECT], "next": None})
    assert run(api, "rejects", 7).stdout.splitlines() == [
        "line  column  rule  value  reason",
        "  17  age     type  old    not a number",
    ]


def test_rejects_as_csv_are_bytes(api: Replay) -> None:
    api.answer_bytes("GET /v1/ingestions/7/rejects", b"line\n17\n", "text/csv")
    assert run(api, "rejects", 7, "--format", "csv").stdout_bytes == b"line\n17\n"
    assert api.requests[0].query == {"format": "csv"}


@pytest.mark.parametrize("verb", ["cancel", "retry", "undo"])
def test_an_ingestion_is_cancelled_retried_or_undone(api: Replay, verb: str) -> None:
    api.answer(f"POST /v1/ingestions/7/{verb}", ingestion("cancelled"))
    assert run(api, verb, 7).stdout == "ingestion 7 of trips/trips.csv: cancelled\n"
    assert json.loads(run(api, verb, 7, "--json").stdout)["state"] == "cancelled"


def test_ingestions_are_filtered_and_listed(api: Replay) -> None:
    api.answer("GET /v1/ingestions", {"ingestions": [ingestion("failed")], "next": None})
    assert "trips/trips.csv  failed" in run(api, "ingestions", "--state", "failed").stdout
    assert api.requests[0].query == {"state": "failed", "limit": "20"}


def test_datasets_are_listed_and_described(api: Replay) -> None:
    api.answer(
        "GET /v1/datasets",
        {"datasets": [{"name": "titles", "rows": 8807, "description": "Shows."}]},
    )
    column = {"name": "title", "type": "text", "required": True, "headers": ["title"]}
    declared = {"name": "titles", "description": "Shows.", "columns": [column]}
    api.answer("GET /v1/datasets/titles", declared)
    api.answer("GET /v1/datasets/titles/queries", QUERIES)
    assert "titles  8807  Shows." in run(api, "datasets").stdout
    described = run(api, "datasets", "titles").stdout
    assert "title  text  true" in described
    assert "by_title  The show of that title." in described


def test_a_dataset_that_does_not_exist_yet_is_declared_by_a_file(
    api: Replay, tmp_path: Path
) -> None:
    (tmp_path / "dataset.toml").write_text('[[columns]]\nname = "title"\ntype = "text"\n')
    api.answer("PUT /v1/datasets/titles", {"name": "titles", "version": 1, "changed": True})
    result = run(api, "datasets", "declare", "titles", tmp_path / "dataset.toml")
    assert (result.exit_code, result.stdout) == (0, "titles: declared, version 1\n")
    sent = json.loads(api.seen("PUT", "/v1/datasets/titles")[0].body)
    assert sent["columns"] == [{"name": "title", "type": "text"}]


def test_a_refusal_other_than_of_a_new_dataset_is_reported(api: Replay, tmp_path: Path) -> None:
    (tmp_path / "dataset.toml").write_text("")
    api.refuse("GET /v1/datasets/titles", 401, "API302", "a token is required")
    result = run(api, "datasets", "declare", "titles", tmp_path / "dataset.toml")
    assert result.exit_code != 0
    assert not api.seen("PUT", "/v1/datasets/titles")


INFERENCE = {
    "dataset": "box",
    "is_declared": True,
    "is_complete": True,
    "dialect": {},
    "evidence": [
        {"key": "delimiter", "value": ";", "reason": "3 of 3 records have 2 fields with it"},
        {"key": "quote", "value": '"', "reason": "no field is quoted"},
        {"key": "escape", "value": "", "reason": "quotes are doubled"},
        {"key": "header_lines", "value": 1, "reason": "the second line is a row"},
        {"key": "skip_lines", "value": 1, "reason": "the table begins in line 2"},
    ],
    "warnings": [],
    "columns": [{"name": "id", "type": "text", "headers": ["id"], "evidence": ["changed: x"]}],
    "records": 2,
    "rows": 2,
    "rejected": 0,
    "rejects": [],
    "seconds": 0.1,
    "declaration": {},
    "toml": 'dialect = "detect"\n',
}


def test_an_inference_shows_what_is_unusual_and_what_changes(api: Replay, tmp_path: Path) -> None:
    (tmp_path / "box.csv").write_text("title\nid;n\n1;2\n2;3\n")
    api.answer("POST /v1/infer", INFERENCE)
    shown = run(api, "infer", tmp_path / "box.csv").stdout
    assert "dataset box, declared, would be changed" in shown
    assert "delimiter = ';'" in shown
    assert "skip_lines = 1: the table begins in line 2" in shown
    assert not any(key in shown for key in ("quote", "escape", "header_lines"))
    assert "changed: x" in shown
    assert run(api, "infer", tmp_path / "box.csv", "--toml").stdout == INFERENCE["toml"]


def test_of_a_large_workbook_the_first_rows_are_sent_as_csv(
    api: Replay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "SAMPLE_BYTES", 2_000)
    monkeypatch.setattr(sheet_text, "_BLOCK_BYTES", 1_000)
    rows = [["id", "note"], *([n, f"note {n}"] for n in range(1_000))]
    (tmp_path / "box.xlsx").write_bytes(workbook([["x"]], Other=rows))
    api.answer("POST /v1/infer", INFERENCE)
    run(api, "infer", tmp_path / "box.xlsx", "--dialect", "sheet=Other")
    (request,) = api.requests
    body = request.body.splitlines()
    assert body[:2] == [b"id,note", b"0,note 0"]
    assert 2_000 <= len(request.body) < 4_000
    given = dict(request.query)
    assert int(given.pop("size_bytes")) > len(request.body)
    written = {"encoding": "utf-8", "delimiter": ",", "quote": '"'}
    assert given == {"name": "box.xlsx", **written}


def test_an_empty_file_is_not_inferred(api: Replay, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    result = run(api, "infer", tmp_path / "empty.csv")
    assert (result.exit_code, "empty.csv: the file is empty" in result.stderr) == (4, True)
    assert not api.requests


def test_subscriptions_are_created_listed_and_deleted(api: Replay) -> None:
    made = {
        "id": "sub-1",
        "endpoint": "http://x/",
        "dataset": "trips",
        "states": ["done"],
        "created_at": "2026-11-21T12:00:00Z",
    }
    api.answer("POST /v1/subscriptions", made, 201)
    api.answer("GET /v1/subscriptions", {"subscriptions": [made]})
    api.answer_bytes("DELETE /v1/subscriptions/sub-1", b"", "")
    run(api, "subscribe", "http://x/", "--dataset", "trips", "--state", "done")
    assert api.requests[0].json == {"endpoint": "http://x/", "dataset": "trips", "states": ["done"]}
    assert "sub-1         http://x/  trips    done" in run(api, "subscriptions").stdout
    assert run(api, "unsubscribe", "sub-1").exit_code == 0
