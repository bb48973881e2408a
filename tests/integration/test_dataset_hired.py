"""The datasets `departments`, `jobs` and `hired_employees`: missing references are reported; metrics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from real_files import DATA, expected_json, expected_records, needs_real_files

if TYPE_CHECKING:
    from flow import Flow

CASES = Path(__file__).parents[1] / "cases" / "datasets"
FILES = ("departments", "jobs", "hired_employees")

pytestmark = pytest.mark.flow(chunk_bytes=4096, declared=None)


def load(flow: Flow, folder: Path, names: tuple[str, ...] = FILES) -> dict[str, Any]:
    ingestions = {n: flow.run((folder / f"{n}.csv").read_bytes(), f"{n}/{n}.csv") for n in names}
    return {name: flow.ingestion(each) for name, each in ingestions.items()}


def test_texts_are_trimmed_and_the_byte_order_mark_is_gone(flow: Flow) -> None:
    load(flow, CASES)
    found = [tuple(each) for each in flow.all("SELECT id, department FROM departments ORDER BY id")]
    assert found == [(1, "Sales"), (2, "Ops"), (3, "Ärzte")]


def test_rows_that_lack_a_field_are_kept_whole_with_the_reason(flow: Flow) -> None:
    hired = load(flow, CASES)["hired_employees"]
    rejects = flow.rejects(hired.id)
    assert [(each.line, each.column_name, each.rule) for each in rejects] == [
        (5, "name", "required"),
        (6, "hired_at", "required"),
        (7, "department_id", "required"),
        (8, "job_id", "required"),
    ]
    assert bytes(rejects[0].original) == b"5,,2021-05-05T05:05:05Z,2,2"
    account = (hired.records_read, hired.rows_loaded, hired.rows_rejected, hired.duplicates)
    assert account == (11, 6, 4, 1)
    assert [(each["column"], each["rows"]) for each in hired.warnings] == [
        ("department_id", 1),
        ("id", 1),
    ]


def test_years_and_quarters_are_those_of_utc(flow: Flow) -> None:
    load(flow, CASES)
    found = [tuple(each.values()) for each in flow.ask("hired_employees", "metric1")]
    assert found == [
        ("Ops", "Boss", 0, 0, 0, 1),
        ("Sales", "Boss", 0, 0, 0, 1),
        ("Sales", "Clerk", 2, 0, 0, 0),
    ]
    found = [tuple(each.values()) for each in flow.ask("hired_employees", "metric1", year=2020)]
    assert found == [("Sales", "Clerk", 0, 0, 0, 1)]
    months = flow.ask("hired_employees", "months", department="Sales")
    assert [(each["month"], each["hired"]) for each in months] == [
        ("2020-12-01", 1),
        ("2021-01-01", 1),
        ("2021-02-01", 1),
        ("2021-12-01", 1),
    ]


def test_the_mean_counts_departments_that_hired_nobody(flow: Flow) -> None:
    load(flow, CASES)
    assert flow.ask("hired_employees", "metric2") == [{"id": 1, "department": "Sales", "hired": 3}]


def test_loading_a_file_twice_doubles_nothing(flow: Flow) -> None:
    load(flow, CASES)
    before = flow.ask("hired_employees", "metric1")
    again = flow.run((CASES / "departments.csv").read_bytes(), "departments/again.csv")
    assert flow.state(again) == "skipped"
    longer = (CASES / "hired_employees.csv").read_bytes() + b"\n"
    later = flow.ingestion(flow.run(longer, "hired_employees/again.csv"))
    assert (later.rows_loaded, later.duplicates, later.rows_rejected) == (0, 7, 4)
    assert flow.ask("hired_employees", "metric1") == before


@needs_real_files
@pytest.mark.parametrize("order", [FILES, FILES[::-1]], ids=["in-order", "hired-first"])
def test_the_real_files_give_the_expected_metrics(flow: Flow, order: tuple[str, ...]) -> None:
    loaded = load(flow, DATA / "hr", order)
    assert {name: (row.records_read, row.rows_loaded) for name, row in loaded.items()} == {
        "departments": (12, 12),
        "jobs": (183, 183),
        "hired_employees": (1999, 1929),
    }
    hired = loaded["hired_employees"]
    assert bool(hired.warnings) is (order[0] == "hired_employees")
    columns = {"hired_at": "datetime"}
    rejected = [
        [str(each.line), columns.get(each.column_name, each.column_name), *_cells(each.original)]
        for each in flow.rejects(hired.id)
    ]
    assert rejected == expected_records("hr/rejected_rows.csv")
    metric1 = [[str(v) for v in each.values()] for each in flow.ask("hired_employees", "metric1")]
    assert metric1 == expected_records("hr/metric1_complete_rows_only.csv")
    assert len(metric1) == 933
    totals = [sum(int(row[quarter]) for row in metric1) for quarter in range(2, 6)]
    assert totals == expected_json("hr/summary.json")["results"][0]["metric1_totals"]
    metric2 = [[str(v) for v in each.values()] for each in flow.ask("hired_employees", "metric2")]
    assert metric2 == expected_records("hr/metric2_complete_rows_only.csv")


@needs_real_files
def test_a_chunk_may_be_as_small_as_a_row(flow: Flow) -> None:
    by_row = flow.twin(chunk_bytes=1)
    data = (DATA / "hr" / "departments.csv").read_bytes()
    row = flow.ingestion(by_row.run(data, "departments/departments.csv"))
    assert (row.records_read, row.rows_loaded) == (12, 12)
    assert flow.one("SELECT count(*) AS n FROM sluice.chunks").n == 12


def _cells(original: bytes) -> list[str]:
    return bytes(original).decode().split(",")
