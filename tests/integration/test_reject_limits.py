"""Files with more rejects than are kept: they fail, whatever their dataset allows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flow import HEADER, THINGS, Flow, lines

from sluice.parsing import parser

pytestmark = pytest.mark.flow(chunk_bytes=40)
BAD = b"x,bad,a\n"


@pytest.fixture(autouse=True)
def few(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rejects are kept of a chunk or file, and two are shown of one with more."""
    flow.settings = replace(flow.settings, max_rejects=3)
    monkeypatch.setattr(parser, "_SHOWN_REJECTS", 2)


def problem(flow: Flow, ingestion: int) -> tuple[str, str]:
    assert flow.state(ingestion) == "failed"
    found = flow.ingestion(ingestion).problem
    return found["code"], found["detail"]


def test_a_chunk_with_too_many_rejects_ends_the_file(flow: Flow) -> None:
    ingestion = flow.run(HEADER + BAD * 5)
    code, detail = problem(flow, ingestion)
    assert code == "CSV106"
    assert (
        'more than 3 of 5 rows of a chunk are rejects, the first on line 2, column id: "x"'
        in detail
    )
    assert [each.line for each in flow.rejects(ingestion)] == [2, 3]
    assert flow.ids() == []


def test_the_first_rejects_are_those_of_the_first_lines(flow: Flow) -> None:
    flow.settings = replace(flow.settings, chunk_bytes=1000)
    malformed = b"too,many,fields,here\n" * 2
    ingestion = flow.run(HEADER + BAD + malformed + BAD)
    found = [(each.line, each.rule) for each in flow.rejects(ingestion)]
    assert problem(flow, ingestion)[0] == "CSV106"
    assert found == [(2, "type"), (3, "columns")]


@pytest.mark.parametrize(
    "line",
    [BAD, b"1,2\n", b'1,"a"b,c\n', b"1,\0,c\n", HEADER],
    ids=["type", "columns", "quotes", "NUL", "header"],
)
def test_rejects_of_each_rule_are_counted(flow: Flow, line: bytes) -> None:
    ingestion = flow.run(HEADER + line * 4)
    assert problem(flow, ingestion)[0] == "CSV106"


def test_chunks_with_too_many_rejects_together_end_the_file(flow: Flow) -> None:
    ingestion = flow.run(HEADER + (BAD * 2 + lines(1, 1)) * 5)
    code, detail = problem(flow, ingestion)
    assert code == "CSV106"
    assert "rows that were read are rejects, more than are kept" in detail
    assert flow.ids() == []


def test_many_rejects_among_very_many_rows_are_kept(flow: Flow) -> None:
    ingestion = flow.run(HEADER + (lines(1, 12) + BAD) * 5)
    assert flow.state(ingestion) == "done"
    assert flow.account(ingestion) == (65, 60, 5)


def test_a_file_resumes_when_more_rejects_are_allowed(flow: Flow) -> None:
    ingestion = flow.run(HEADER + lines(1, 3) + BAD * 5 + lines(4, 6))
    assert problem(flow, ingestion)[0] == "CSV106"
    flow.settings = replace(flow.settings, max_rejects=10)
    flow.retry(ingestion)
    flow.deliver()
    assert flow.state(ingestion) == "done"
    assert flow.account(ingestion) == (11, 6, 5)
    assert len(flow.rejects(ingestion)) == 5


def test_a_small_file_with_many_rejects_is_no_exception(flow: Flow) -> None:
    flow.settings = replace(flow.settings, chunk_bytes=1000)
    assert problem(flow, flow.run(HEADER + BAD * 5))[0] == "CSV106"


def test_short_records_of_very_many_columns_are_not_padded(flow: Flow) -> None:
    columns = [{"name": f"c{n}", "type": "integer"} for n in range(1000)]
    flow.declare({"name": "wide", "description": "W.", "ragged": "pad", "columns": columns})
    flow.settings = replace(flow.settings, chunk_bytes=1024 * 1024)
    header = ",".join(each["name"] for each in columns).encode()
    ingestion = flow.run(header + b"\n" + b"1\n" * 40_000, "wide/a.csv")
    code, detail = problem(flow, ingestion)
    assert code == "CSV116"
    assert "lack 39,960,000 of their 1,000 columns" in detail


REFERRING = {
    "name": "uses",
    "description": "Uses of things.",
    "columns": [
        {"name": "id", "type": "integer"},
        {"name": "thing", "type": "integer", "references": "things", "dangling": "reject"},
    ],
}


def test_repeated_keys_beyond_the_limit_fail_the_file(flow: Flow) -> None:
    flow.declare(THINGS, rollups={}, key=["id"], duplicates="error")
    ingestion = flow.run(HEADER + BAD + lines(1, 1) * 6 + lines(2, 3))
    code, detail = problem(flow, ingestion)
    assert code == "CSV106"
    assert "6 of 9 rows are rejects, more than are kept" in detail
    assert "3 of them are listed" in detail
    assert [(each.line, each.rule) for each in flow.rejects(ingestion)] == [
        (2, "type"), (4, "key"), (5, "key")]  # fmt: skip
    assert flow.ids() == []


def test_repeated_keys_up_to_the_limit_are_kept(flow: Flow) -> None:
    flow.declare(THINGS, rollups={}, key=["id"], duplicates="error")
    ingestion = flow.run(HEADER + lines(1, 1) * 4 + lines(2, 2))
    assert flow.state(ingestion) == "done"
    assert flow.account(ingestion) == (5, 2, 3)


def test_dangling_references_beyond_the_limit_fail_the_file(flow: Flow) -> None:
    flow.declare(THINGS, rollups={}, key=["id"])
    flow.run(HEADER + lines(1, 2))
    flow.declare(REFERRING)
    ingestion = flow.run(b"id,thing\n1,1\n" + b"2,9\n" * 5, "uses/a.csv")
    code, detail = problem(flow, ingestion)
    assert code == "CSV106"
    assert "5 of 6 rows are rejects, more than are kept" in detail
    assert [each.line for each in flow.rejects(ingestion)] == [3, 4, 5]


def test_a_keyed_file_with_too_many_rejects_is_loaded_when_more_are_allowed(flow: Flow) -> None:
    flow.declare(THINGS, rollups={}, key=["id"], duplicates="error")
    ingestion = flow.run(HEADER + lines(1, 1) * 6)
    assert problem(flow, ingestion)[0] == "CSV106"
    flow.settings = replace(flow.settings, max_rejects=10)
    flow.retry(ingestion)
    flow.deliver()
    assert flow.state(ingestion) == "done"
    assert flow.account(ingestion) == (6, 1, 5)
    assert len(flow.rejects(ingestion)) == 5
