"""`sluice load`: uploads, progress, output and exit codes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from replay import GENERATION, Stream, event, ingestion, sse

from sluice.cli.main import sluice

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from replay import Replay

EVENTS = "GET /v1/ingestions/7/events"
REJECTED = {"read": 100, "loaded": 98, "rejected": 2, "duplicates": 0}
REJECTS = {
    "rejects": [
        {
            "line": 17,
            "column": "age",
            "rule": "type",
            "value": "old",
            "reason": '"old" is not a whole number',
            "original": "1,old",
        }
    ],
    "next": None,
}
PROBLEM = {
    "title": "The header does not fit the dataset",
    "status": 422,
    "code": "CSV104",
    "detail": "trips.csv: the header lacks region",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "trips" / "march.csv"
    path.parent.mkdir()
    path.write_text("region\nPrague\n")
    return path


@pytest.fixture
def cloud(api: Replay) -> Callable[..., Replay]:
    """Return a cloud whose ingestion ends in a state and whose first event is late, as in reality."""

    def prepare(state: str = "done", **members: object) -> Replay:
        api.answer("GET /v1/datasets", {"datasets": [{"name": "trips"}, {"name": "people"}]})
        first, last = event(1, "received"), event(2, state, **members)
        other = event(9, "loading", id=6, generation=str(GENERATION - 1))
        heard = (sse(other, of_all=True), sse(first, of_all=True))
        api.stream("GET /v1/ingestions", Stream(heard, after=api.inbox.is_complete))
        api.stream(EVENTS, Stream((sse(first), sse(last)), end="end"))
        api.answer("GET /v1/ingestions/7", ingestion(state, **members))
        api.answer("GET /v1/ingestions/7/rejects", REJECTS)
        return api

    return prepare


def run(api: Replay, *arguments: object) -> Result:
    return CliRunner().invoke(sluice, ["--url", api.url, *map(str, arguments)])


def test_a_file_is_uploaded_followed_and_its_account_printed(
    cloud: Callable[..., Replay], file: Path
) -> None:
    api = cloud()
    result = run(api, "load", file)
    assert result.exit_code == 0
    assert bytes(api.inbox.content) == file.read_bytes()
    assert result.stdout.splitlines() == [
        "ingestion  dataset  object           state  read  loaded  rejected  duplicates  seconds",
        "        7  trips    trips/trips.csv  done    100     100         0           0      1.5",
    ]
    assert "ingestion 7 received" in result.stderr


def test_the_address_of_the_rows_is_printed(
    cloud: Callable[..., Replay], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = cloud()
    address = f"rows of trips: {api.url}/v1/datasets/trips/rows\n"
    assert address in run(api, "load", file).stderr
    assert address not in run(api, "load", file, "--json").stderr
    monkeypatch.setenv("SLUICE_TOKEN", "a token that no browser sends")
    assert address not in run(api, "load", file).stderr


def test_a_warning_about_no_row_has_no_number(cloud: Callable[..., Replay], file: Path) -> None:
    warning = {"rule": "dialect", "column": None, "rows": 0, "message": "column 4 has no name"}
    api = cloud(warnings=[warning])
    assert "trips.csv: warning: column 4 has no name\n" in run(api, "load", file).stdout


def test_types_that_are_observed_are_progress(cloud: Callable[..., Replay], file: Path) -> None:
    api = cloud()
    chunks = {"total": 10, "loaded": 0, "observed": 3}
    nothing = {"read": 0, "loaded": 0, "rejected": 0, "duplicates": 0}
    events = (event(1, "loading", chunks=chunks, account=nothing), event(2, "done"))
    api.stream(EVENTS, Stream(tuple(map(sse, events)), end="end"))
    observed = "ingestion 7 loading, types observed in 3 of 10 chunks\n"
    assert observed in run(api, "load", file).stderr
    assert observed in run(api, "watch", 7).stdout


def test_each_state_is_printed_once(cloud: Callable[..., Replay], file: Path) -> None:
    api = cloud()
    last_chunk = event(2, "progress")
    last_chunk["data"]["state"] = "publishing"
    events = (event(1, "received"), last_chunk, event(3, "publishing"), event(4, "done"))
    api.stream(EVENTS, Stream(tuple(map(sse, events)), end="end"))
    assert run(api, "load", file).stderr.count("publishing") == 1


def test_the_event_stream_opens_before_the_upload_starts(
    cloud: Callable[..., Replay], file: Path
) -> None:
    api = cloud()
    run(api, "load", file)
    asked = [f"{each.method} {each.path}" for each in api.requests]
    assert asked.index("GET /v1/ingestions") < asked.index("POST /v1/uploads")


@pytest.mark.parametrize(
    ("arguments", "name", "dataset"),
    [
        ((), "trips/march.csv", "trips"),
        ((), "elsewhere/people.csv.gz", "people"),
        ((), "elsewhere/TRIPS.CSV", "trips"),
        (("--dataset", "people"), "trips/march.csv", "people"),
        (("--dataset", "unheard_of"), "trips/march.csv", "unheard_of"),
        ((), "elsewhere/Price List 2026.csv", "price_list_2026"),
        ((), "elsewhere/2026.csv", "data_2026"),
    ],
    ids=["folder", "stem", "capitals", "option", "undeclared", "new", "number"],
)
def test_the_dataset_follows_from_the_folder_or_the_file_name(
    cloud: Callable[..., Replay],
    tmp_path: Path,
    arguments: tuple[str, ...],
    name: str,
    dataset: str,
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("region\n")
    api = cloud()
    run(api, "load", path, *arguments)
    assert api.seen("POST", "/v1/uploads")[0].json == {
        "dataset": dataset,
        "name": path.name,
        "size_bytes": 7,
    }


def test_a_file_may_be_written_in_a_dialect_of_its_own(
    cloud: Callable[..., Replay], file: Path
) -> None:
    api = cloud()
    run(api, "load", file, "--dialect", "delimiter=;", "--dialect", "header=false")
    assert api.seen("POST", "/v1/uploads")[0].json["dialect"] == {
        "delimiter": ";",
        "header": "false",
    }


@pytest.mark.parametrize(
    ("state", "members", "exit_code"),
    [
        ("done", {}, 0),
        ("skipped", {}, 0),
        ("done", {"account": REJECTED}, 3),
        ("failed", {"problem": PROBLEM}, 4),
        ("cancelled", {}, 4),
    ],
    ids=["done", "skipped", "rejects", "failed", "cancelled"],
)
def test_the_exit_code_follows_from_the_final_state(
    cloud: Callable[..., Replay],
    file: Path,
    state: str,
    members: dict[str, object],
    exit_code: int,
) -> None:
    assert run(cloud(state, **members), "load", file).exit_code == exit_code


def test_a_skipped_file_is_reported(cloud: Callable[..., Replay], file: Path) -> None:
    warnings = [{"rule": "skipped", "message": "ingestion 3 loaded the same content before"}]
    result = run(cloud("skipped", warnings=warnings, replaced_by=3), "load", file)
    assert "skipped; ingestion 3 loaded the same content before" in result.stdout


def test_the_first_rejects_are_shown_with_line_column_and_reason(
    cloud: Callable[..., Replay], file: Path
) -> None:
    result = run(cloud(account=REJECTED), "load", file)
    assert "trips/trips.csv: 2 rows rejected" in result.stdout
    assert re.search(r'17 +age +type +old +"old" is not a whole number', result.stdout)
    assert "and 1 more: `sluice rejects 7` lists them" in result.stdout
    assert "to fix them: `sluice rejects 7 -o fixed.csv`" in result.stderr
    assert "`sluice load fixed.csv --fixes 7`" in result.stderr


def test_a_failure_prints_the_problem_on_stderr(cloud: Callable[..., Replay], file: Path) -> None:
    result = run(cloud("failed", problem=PROBLEM), "load", file)
    assert "failed: trips.csv: the header lacks region (CSV104)" in result.stderr
    assert result.stderr.endswith(
        "fix the file and load it again, or fix the declaration and run `sluice retry 7`\n"
    )


@pytest.mark.parametrize("code", ["SYS903", "CSV103", "CSV107", "CSV120", "CSV121", "CSV122"])
def test_a_retry_is_suggested_where_it_can_help(
    cloud: Callable[..., Replay], file: Path, code: str
) -> None:
    result = run(cloud("failed", problem={**PROBLEM, "code": code}), "load", file)
    assert "run `sluice retry 7`" in result.stderr


@pytest.mark.parametrize("code", ["CSV101", "CSV102", "CSV105", "CSV109"])
def test_a_file_that_cannot_succeed_is_to_be_loaded_again(
    cloud: Callable[..., Replay], file: Path, code: str
) -> None:
    result = run(cloud("failed", problem={**PROBLEM, "code": code}), "load", file)
    assert "load" in result.stderr.splitlines()[-1]
    assert "again" in result.stderr.splitlines()[-1]
    assert "retry" not in result.stderr


def test_a_cancelled_file_may_be_retried(cloud: Callable[..., Replay], file: Path) -> None:
    result = run(cloud("cancelled"), "load", file)
    assert "run `sluice retry 7` to start it again" in result.stderr


def test_rows_of_a_request_are_to_be_sent_again(cloud: Callable[..., Replay], file: Path) -> None:
    problem = {**PROBLEM, "code": "CSV121"}
    result = run(cloud("failed", problem=problem, bucket=""), "watch", 7)
    assert "retry" not in result.stderr


def test_warnings_are_printed_with_the_rows_they_concern(
    cloud: Callable[..., Replay], file: Path
) -> None:
    warnings = [
        {"rule": "key", "column": "id", "rows": 1, "message": "ignored: a row with this id exists"},
        {"rule": "references", "column": "job", "rows": 1200, "message": "no such job"},
    ]
    result = run(cloud(warnings=warnings), "load", file)
    assert result.exit_code == 0
    assert "warning: 1 row (column id): ignored: a row with this id exists" in result.stdout
    assert "warning: 1,200 rows (column job): no such job" in result.stdout


def test_json_is_one_document_for_each_file_and_nothing_else(
    cloud: Callable[..., Replay], file: Path
) -> None:
    api = cloud(account=REJECTED)
    result = run(api, "load", file, "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout) == {"file": str(file)} | ingestion(account=REJECTED)
    assert result.stderr == ""


def test_no_wait_returns_when_the_file_is_uploaded(
    cloud: Callable[..., Replay], file: Path
) -> None:
    api = cloud()
    result = run(api, "load", file, "--no-wait", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["generation"] == GENERATION
    assert not api.seen("GET", "/v1/ingestions")


def test_an_ingestion_that_started_while_the_stream_was_down_is_found_in_the_list(
    cloud: Callable[..., Replay], file: Path
) -> None:
    api = cloud()
    dropped = Stream((), after=api.inbox.is_complete, end="break")
    api.stream("GET /v1/ingestions", dropped, Stream(()))
    api.answer("GET /v1/ingestions", {"ingestions": [ingestion("loading")], "next": None})
    assert run(api, "load", file).exit_code == 0


def test_a_refused_upload_fails_with_the_reason(cloud: Callable[..., Replay], file: Path) -> None:
    api = cloud()
    api.inbox.faults = {0: (403, 0)}
    result = run(api, "load", file)
    assert result.exit_code == 4
    assert "the upload stopped at byte 0 (Cloud Storage answered 403)" in result.stderr


def test_an_empty_file_is_refused_before_the_upload(
    cloud: Callable[..., Replay], tmp_path: Path
) -> None:
    empty = tmp_path / "trips.csv"
    empty.touch()
    api = cloud()
    result = run(api, "load", empty)
    assert result.exit_code == 4
    assert result.stderr == f"Error: {empty}: the file is empty; nothing was uploaded\n"
    assert not [each for each in api.requests if each.method == "POST"]


@pytest.mark.parametrize("via", ["storage", "http"])
def test_an_unknown_dataset_is_a_usage_error_that_names_the_command(
    cloud: Callable[..., Replay], file: Path, via: str
) -> None:
    api = cloud()
    detail = "there is no dataset tripz; GET /v1/datasets lists them"
    for route in ("POST /v1/uploads", "GET /v1/datasets/tripz"):
        api.refuse(route, 404, "API305", detail)
    result = run(api, "load", file, "--dataset", "tripz", "--via", via)
    assert result.exit_code == 2
    assert "there is no dataset tripz; `sluice datasets` lists them" in result.stderr


def test_output_to_a_pipe_has_no_escape_codes(cloud: Callable[..., Replay], file: Path) -> None:
    result = run(cloud("failed", problem=PROBLEM, account=REJECTED), "load", file)
    assert "\x1b" not in result.output


def test_a_file_without_progress_fails_after_the_timeout(
    cloud: Callable[..., Replay], file: Path
) -> None:
    api = cloud()
    api.stream(EVENTS, Stream((sse(event(1, "received")),)))
    result = run(api, "load", file, "--timeout", "1")
    assert result.exit_code == 4
    assert "ingestion 7 is received" in result.stderr
    assert "no progress for 1 s" in result.stderr
    assert "sluice watch 7" in result.stderr


@pytest.mark.parametrize(("state", "seconds"), [("done", "1.5"), ("undone", "")])
def test_seconds_are_those_of_the_load(api: Replay, state: str, seconds: str) -> None:
    api.answer("GET /v1/ingestions", {"ingestions": [ingestion(state)], "next": None})
    heading, row = run(api, "ingestions").stdout.rstrip("\n").splitlines()
    assert row[heading.index("seconds") :].strip() == seconds
