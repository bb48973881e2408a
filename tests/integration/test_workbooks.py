"""Excel workbooks load like CSV files: typed cells, rejects with cell addresses, refusals by name."""

from __future__ import annotations

import gzip
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from flow import THINGS, Flow, Killed, die

from sluice.ingestion.chunks import CHUNKS_TOPIC
from sluice.ingestion.ingestions import select_ingestion
from sluice.postgres.connection import transaction
from workbooks import PROTECTED, archive, raw, workbook

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving import Serve

ROWS = [
    ["id", "name", "kind"],
    [1, "thing 1", "a"],
    [2, "two\nlines", "a"],
    ["x", "thing 3", "a"],
    [],
    [4, "thing 4", "b"],
    [-5, "thing\r\n5", "b"],
    [6, "thing 6", "b"],
]


@pytest.mark.flow(chunk_bytes=16)
def test_a_workbook_loads_in_chunks_and_its_rejects_have_rows_and_cells(flow: Flow) -> None:
    ingestion = flow.run(workbook(ROWS), "things/a.xlsx")
    assert flow.state(ingestion) == "done", flow.ingestion(ingestion).problem
    assert flow.account(ingestion) == (6, 4, 2)
    assert flow.ids() == [1, 2, 4, 6]
    assert flow.one("SELECT name FROM things WHERE id = 2") == ("two\nlines",)
    found = [(each.record, each.line, each.column_name) for each in flow.rejects(ingestion)]
    assert found == [(2, 4, "id"), (4, 7, "id")]
    layout = flow.ingestion(ingestion).layout
    assert (layout["sheet"], layout["cells"]) == ("Sheet1", {"id": "A", "name": "B", "kind": "C"})
    assert len(flow.chunks(ingestion)) > 3


def test_a_reject_of_a_workbook_has_the_address_of_its_cell(flow: Flow) -> None:
    rows = [["id", None, "name", "kind"], ["x", None, "a", "b"], [2, None, "a", "b", "a note"]]
    ingestion = flow.run(workbook(rows), "things/a.xlsx")
    assert flow.state(ingestion) == "failed"
    ingestion = flow.run(workbook([*rows, [3, None, "c", "d"]]), "things/b.xlsx")
    with transaction(flow.engine) as connection:
        found = select_ingestion(connection, ingestion)
    places = [(each.line, each.column_name) for each in flow.rejects(ingestion)]
    assert [found.cell_of(*each) for each in places] == ["A2", "3:3"]
    assert [each.reason for each in flow.rejects(ingestion)][1] == "has 4 columns instead of 3"
    assert (found.cell_of(9, "name"), found.cell_of(9, "kind")) == ("C9", "D9")


def test_the_api_answers_the_cells_of_rejects(flow: Flow, serve: Serve) -> None:
    ingestion = flow.run(workbook(ROWS), "things/a.xlsx")
    answer = serve("status").get(f"/v1/ingestions/{ingestion}/rejects").get_json()["rejects"]
    assert [(each["line"], each["cell"], each["value"]) for each in answer] == [
        (4, "A4", "x"),
        (7, "A7", "-5"),
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.xlsm"])
def test_the_bytes_decide_what_is_a_workbook(flow: Flow, name: str) -> None:
    assert flow.account(flow.run(workbook(ROWS), f"things/{name}")) == (6, 4, 2)
    assert flow.account(flow.run(b"id,name,kind\n7,a,a\n", "things/b.xlsx")) == (1, 1, 0)


@pytest.mark.flow(chunk_bytes=300_000)
@pytest.mark.parametrize("after", ["before_publish", "after_publish"])
def test_a_killed_split_of_a_workbook_resumes_with_the_same_chunks(flow: Flow, after: str) -> None:
    wide = "x\n" * 10_000
    rows = [[n, f"a\n{n}", "a", wide] for n in range(1, 120)]
    flow.declare(columns=[*THINGS["columns"], {"name": "wide", "type": "text"}])
    data = workbook([["id", "name", "kind", "wide"], *rows, ["x"]])
    stored = flow.put(data, "things/a.xlsx")
    setattr(flow.topics, after, _dying_with_chunks())
    with pytest.raises(Killed):
        flow.split(stored)
    ingestion = flow.split(stored)
    flow.deliver()
    assert (flow.state(ingestion), flow.account(ingestion)) == ("done", (120, 119, 1))
    assert [each.line for each in flow.rejects(ingestion)] == [121]
    chunks = {each.number: each for each in flow.chunks(ingestion)}
    assert [chunks[n].first_line for n in sorted(chunks)] == [2, 16, 30, 44, 58, 72, 86, 100, 114]


def _dying_with_chunks() -> Callable[[str], object]:
    """Kill the process at the first message of a chunk."""
    deaths = itertools.count()

    def act(topic: str) -> None:
        if topic == CHUNKS_TOPIC and next(deaths) == 0:
            die()

    return act


@pytest.mark.flow(declared={**THINGS, "delimiter": ";", "quote": "'", "encoding": "cp1252"})
def test_the_dialect_of_csv_files_is_not_that_of_workbooks_and_their_fixes(flow: Flow) -> None:
    ingestion = flow.run(
        workbook([["id", "name", "kind"], [1, "żółć; it's", "a"], ["x", "b,c", "a"]]),
        "things/a.xlsx",
    )
    assert flow.account(ingestion) == (2, 1, 1)
    assert flow.one("SELECT name FROM things") == ("żółć; it's",)
    fixed = b'id,name,kind\n2,"b,c",a\n'
    flow.run(fixed, f"things/_fixes/{ingestion}/a.csv")
    assert flow.account(ingestion) == (2, 2, 0)


@pytest.mark.flow(declared={**THINGS, "sheet": "orders"})
def test_the_declared_sheet_is_loaded_and_one_that_is_not_there_is_refused(flow: Flow) -> None:
    data = workbook([["other"]], Orders=ROWS)
    assert flow.account(flow.run(data, "things/a.xlsx")) == (6, 4, 2)
    problem = flow.ingestion(flow.run(workbook(ROWS), "things/b.xlsx")).problem
    assert problem["code"] == "CSV114"
    assert "no sheet 'orders'; its sheets are 'Sheet1'" in problem["detail"]


def test_the_same_sheet_in_another_workbook_is_skipped(flow: Flow) -> None:
    first = flow.run(workbook(ROWS), "things/a.xlsx")
    again = flow.run(workbook(ROWS, Notes=[["new"]]), "things/b.xlsx")
    assert (flow.state(first), flow.state(again)) == ("done", "skipped")


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (workbook(Empty=[]), "CSV101", "no visible sheet"),
        (workbook([["id", "title"], [1, "a"]]), "CSV104", "title"),
        (workbook(ROWS)[:900], "CSV114", "damaged"),
        (gzip.compress(workbook(ROWS)), "CSV102", "an Excel workbook (XLSX)"),
        (archive({"a.csv": "id,name,kind"}), "CSV102", "a ZIP archive: unpack it"),
        (PROTECTED, "CSV102", "protected with a password"),
        (PROTECTED[:512] + bytes(600), "CSV102", "an Excel workbook (XLS)"),
        (raw("<row><c><f>A1</f></c></row>"), "CSV114", "One!A1 has a formula without a value"),
    ],
    ids=["empty", "header", "truncated", "gzip", "zip", "protected", "xls", "not-calculated"],
)
def test_what_cannot_be_loaded_is_refused_by_name(
    flow: Flow, data: bytes, code: str, words: str
) -> None:
    ingestion = flow.run(data, "things/a.xlsx")
    problem = flow.ingestion(ingestion).problem
    assert problem is not None
    assert (problem["code"], words in problem["detail"]) == (code, True), problem


@pytest.mark.parametrize("sheet", ["Orders", "orders"])
@pytest.mark.parametrize("declared", [True, False])
def test_the_uploader_names_the_sheet(flow: Flow, sheet: str, declared: bool) -> None:
    data = workbook(ROWS, Orders=[["id", "name", "kind"], [41, "from the other sheet", "b"]])
    dataset = "things" if declared else "orders"
    stored = replace(flow.put(data, f"{dataset}/a.xlsx"), options={"sheet": sheet})
    ingestion = flow.split(stored)
    flow.deliver()
    assert flow.account(ingestion) == (1, 1, 0)
    assert flow.ids(dataset) == [41]
    assert flow.ingestion(ingestion).layout["sheet"] == "Orders"


def test_a_sheet_that_the_workbook_lacks_is_refused_with_the_names_of_its_sheets(
    flow: Flow,
) -> None:
    stored = replace(flow.put(workbook(ROWS, Orders=ROWS), "things/a.xlsx"), options={"sheet": "x"})
    ingestion = flow.split(stored)
    assert flow.state(ingestion) == "failed"
    assert "'Sheet1', 'Orders'" in flow.ingestion(ingestion).problem["detail"]
