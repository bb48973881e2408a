"""Both readers give the same rows and rejects, and the records of a plain reference."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import csv_automaton
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.csv.rejects import Finding
from sluice.datasets.declarations import parse_document
from sluice.datasets.grammars import WHITE_SPACE
from sluice.datasets.model import RECORD_COLUMN, Dataset
from sluice.parsing import columnar
from sluice.parsing.chunk import ParsedChunk
from sluice.parsing.duckdb_session import open_cursor
from sluice.parsing.layout import lay_out
from sluice.parsing.parser import parse_chunk
from sluice.parsing.plan import compile_dataset
from sluice.parsing.thorough import Thorough, schema_of

COLUMNS: list[dict[str, Any]] = [
    {"name": "whole", "type": "integer"},
    {"name": "large", "type": "bigint", "minimum": -7},
    {"name": "real", "type": "float", "maximum": 1e9},
    {"name": "day", "type": "date"},
    {"name": "at", "type": "timestamp"},
    {"name": "place", "type": "point"},
    {"name": "word", "type": "text", "max_length": 40},
    {"name": "raw", "type": "text", "trim": False, "required": True},
    {"name": "code", "type": "text", "dictionary": True, "pattern": "[^x]*"},
    {"name": "loose", "type": "float", "trim": False},
    {"name": "flag", "type": "boolean"},
    {"name": "moment", "type": "instant"},
    {"name": "exact", "type": "numeric"},
    {"name": "clock", "type": "time"},
    {"name": "identity", "type": "uuid"},
    {"name": "document", "type": "json"},
    {"name": "state", "type": "integer", "nulls": ["-"], "default": "3"},
    {"name": "noon", "type": "date", "formats": ["%d.%m.%Y", "%m/%d/%y"]},
    {"name": "price", "type": "float", "decimal_separator": ",", "thousands_separator": "."},
]
NUMBERS = """
    1 -1 +1 007 -0 0 0x1F 0X1f -0x1F 0b1 0o7 0x 0xg 1e3 1E3 1e2 1.2e4 1e 1e+5 1e-5 e5 2.5 1. 3. .5 -.5 . - +
    1_000 1__0 _1 2147483647 2147483648 -2147483648 -2147483649 9223372036854775807 9223372036854775808
    999999999999999999999 00000000000000000000000000000000000001 0.1 0.30000000000000004 123456789012345678
    1e400 -1e400 1e-400 4.9e-324 2e-324 1e-308 1.7976931348623157e308 1.7976931348623159e308 1e99999999999
    nan NaN -nan nan(1) inf INF -inf Infinity infinity infin 1f 1d 1L 1u 1,5 --1 1..5 1.0.0 true
    \uff11 \u0663
""".split()  # noqa: SIM905  # a table
TIMES = """
    2026-05-24 2026-5-24 2026-05-4 20260524 2026/05/24 24.05.2026 2026-02-29 2024-02-29 2026-13-01 1-1-1
    2026-05-24T09 2026-05-24T09:10 2026-05-24T09:10:11 2026-05-24T09:10:11Z 2026-05-24T09:10:11+02
    2026-05-24T09:10+00 2026-05-24T09:10:11.5 2026-05-24T09:10:11. 2026-05-24T09:10:11.123456
    2026-05-24T09:10:11.1234567 2026-05-24T24:00:00 2026-05-24T23:59:60 2026-05-24T9:10:11 2026-05-24T091011
    2026-05-24T09:10:11.1Z 2026-05-24T09:1:11 2026-05-24T09:10:7.1 2026-05-24T-9:10:11 2026-05-24t09:10:11
    0000-01-01 0001-01-01 9999-12-31 10000-01-01 99999-01-01 -026-01-01 +026-01-01 1582-10-10 infinity epoch
""".split()  # noqa: SIM905
TIMES += [each.replace("T", " ") for each in TIMES if "T" in each]
TEXTS = [
    "",
    '""',
    "a",
    "a b",
    "é",
    "aé",
    "\x7f",
    "a\x7f",
    "\x1b",
    "\u200b",
    "x" * 41,
    "\ufeffa",
    "0x1F",
]
SPACED = [f"{space}{text}{space}" for space in WHITE_SPACE for text in ("7", "a", "2026-05-24", "")]
SPACED += [
    f" {each}\u00a0"
    for each in ("0x1F", "nan(1)", "2026-05-24 09", "2.5", "1e3", "+1", "1_000", "1e400")
]
POINTS = [
    "POINT (14.4 50.1)",
    "POINT(14.4 50.1)",
    " point ( 14.4  50.1 ) ",
    "POINT (14 50 3)",
    "POINT (50.1)",
    "POINT ( 50.1)",
    "POINT (1\t2)",
    "POINT (1\u00a02)",
    "POINT (181 0)",
    "POINT (0 90.5)",
    "POINT (nan 1)",
    "POINT (1 2",
    "POINT (",
    "POINT (-0.0 1e1)",
]
AWKWARD = (Path(__file__).parents[1] / "cases" / "cells.txt").read_text("utf-8").splitlines()
CELLS = [
    *(NUMBERS + TIMES + TEXTS + SPACED + POINTS + AWKWARD),
    *("[]", "[1]", '{"a": 1}', '{"a": 1, "a": 1}', "[NaN]", '["\\u0000"]', "null", " {} "),
    *("yes", "f", "T", "-", " - ", "6f9619ff-8b86-d011-b42d-00c04fc964ff", "24.05.2026", "1.234,5"),
]


def written(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def dataset_of(*columns: dict[str, Any], **document: Any) -> Dataset:
    return parse_document({"name": "things", "columns": list(columns), "header": False, **document})


Outcome = tuple[list[str], dict[int, Finding]]


def shown(rows: pa.Table) -> list[str]:
    """Return rows as texts, because NaN does not equal itself; times as numbers, which have no limit."""
    columns = [
        each.cast(f"int{each.type.bit_width}") if pa.types.is_temporal(each.type) else each
        for each in rows.columns
    ]
    return sorted(map(repr, zip(*(each.to_pylist() for each in columns), strict=True)))


def read(data: bytes, dataset: Dataset) -> Outcome:
    layout = lay_out(dataset, None)
    with parse_chunk(data, dataset, layout, first_line=1, first_record=0) as parsed:
        found = {
            each.record: (each.column, each.rule, each.value, each.reason)
            for each in parsed.rejects
        }
        return shown(parsed.rows), found


def read_thoroughly(records: list[list[str]], dataset: Dataset) -> Outcome:
    """Read cells that a plain reference has split, by the thorough reader alone."""
    plan = compile_dataset(dataset)
    cells = {
        f"_{number}": pa.array([record[number] or None for record in records], pa.string())
        for number in range(len(dataset.columns))
    }
    if plan.numbered:
        cells[RECORD_COLUMN] = pa.array(range(len(records)), pa.int64())
    cursor = open_cursor()
    reader = Thorough(plan, cursor, schema_of(dataset, plan))
    rows, findings = reader.check(pa.table(cells))
    cursor.close()
    return shown(rows), findings


def assert_agreed(records: list[list[str]], dataset: Dataset) -> None:
    data = "".join(",".join(map(written, each)) + "\n" for each in records).encode()
    assert read(data, dataset) == read_thoroughly(records, dataset)


@pytest.mark.parametrize("column", COLUMNS, ids=[each["name"] for each in COLUMNS])
def test_an_awkward_cell_is_accepted_or_rejected_by_both_readers(column: dict[str, Any]) -> None:
    dataset = dataset_of({"name": "filler", "type": "text"}, column)
    assert_agreed([["x", each] for each in CELLS], dataset)


@pytest.mark.parametrize("column", COLUMNS, ids=[each["name"] for each in COLUMNS])
def test_an_awkward_cell_among_usual_ones_is_accepted_or_rejected_by_both_readers(
    column: dict[str, Any],
) -> None:
    usual = {"day": "2026-05-24", "at": "2026-05-24 09:10:11", "place": "POINT (1 2)"}
    dataset = dataset_of({"name": "filler", "type": "text"}, column)
    cells = [each for awkward in CELLS for each in (*[usual.get(column["name"], "7")] * 5, awkward)]
    assert_agreed([["x", each] for each in cells], dataset)


@pytest.mark.parametrize("column", COLUMNS[:7], ids=[each["name"] for each in COLUMNS[:7]])
def test_white_space_around_a_cell_changes_nothing(column: dict[str, Any]) -> None:
    dataset = dataset_of({"name": "filler", "type": "text"}, column)
    found = []
    for space in ("", "\u00a0"):
        lines = [f"x,{written(f'{space}{each}{space}')}\n" for each in CELLS]
        rows, findings = read("".join(lines).encode(), dataset)
        found.append((rows, [(record, rule) for record, (_, rule, *_) in findings.items()]))
    assert found[0] == found[1]


digits = st.text("0123456789+-.,eExX_ ", max_size=8)
times = st.from_regex(r"\A[0-9]{4}-[01][0-9]-[0-3][0-9]([T ][0-9:.Z+ -]{0,12})?\Z")
numbers = st.one_of(st.floats().map(repr), st.integers(-(2**65), 2**65).map(str))
points = st.builds("POINT ({} {})".format, numbers, numbers)
texts = st.text(st.sampled_from('ab ",\n\u00e9\u00a0\u2003\ufeff\U0001f600'), max_size=6)
cells = st.one_of(st.sampled_from(CELLS), digits, times, numbers, points, texts)
records = st.lists(
    st.lists(cells, min_size=len(COLUMNS), max_size=len(COLUMNS)), min_size=1, max_size=5
)


@given(
    found=records,
    more=st.sampled_from(
        [{}, {"key": ["raw"], "duplicates": "error"}, {"cluster": ["word", "day DESC"]}]
    ),
)
@settings(deadline=None, max_examples=40)
def test_any_cells_are_accepted_or_rejected_by_both_readers(
    found: list[list[str]], more: dict[str, Any]
) -> None:
    assert_agreed(found, dataset_of(*COLUMNS, **more))


NULLABLE = [{**each, "nulls": ["n/a"]} for each in COLUMNS if "default" not in each]


@given(
    records=st.lists(st.tuples(st.integers(0, len(NULLABLE) - 1), cells), min_size=1, max_size=40)
)
@settings(deadline=None, max_examples=25)
def test_a_value_is_null_only_if_its_cell_is_empty_or_a_null_token(
    records: list[tuple[int, str]],
) -> None:
    columns = [{k: v for k, v in each.items() if k != "required"} for each in NULLABLE]
    dataset = dataset_of({"name": "row", "type": "integer"}, *columns)
    lines = [
        ",".join([str(n), *(written(cell) if place == at else "" for at in range(len(NULLABLE)))])
        for n, (place, cell) in enumerate(records)
    ]
    layout = lay_out(dataset, None)
    data = ("\n".join(lines) + "\n").encode()
    with parse_chunk(data, dataset, layout, first_line=1, first_record=0) as parsed:
        rows = parsed.rows
    for number in range(len(rows)):
        place, cell = records[rows["row"][number].as_py()]
        column = dataset.columns[place + 1]
        text = cell.strip(WHITE_SPACE) if column.trim else cell
        assert rows[column.fields[0].name][number].is_valid == (text not in ("", "n/a"))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=50, max_size=200))
@settings(deadline=None, max_examples=20)
def test_a_double_is_the_one_nearest_to_its_text(found: list[float]) -> None:
    dataset = dataset_of({"name": "a", "type": "float"}, {"name": "b", "type": "float"})
    data = "".join(f"{each!r},{each:.25e}\n" for each in found).encode()
    assert read(data, dataset) == (
        sorted(repr((each, float(f"{each:.25e}"))) for each in found),
        {},
    )


TWO = dataset_of(
    {"name": "a", "type": "text", "trim": False}, {"name": "b", "type": "text", "trim": False}
)


@given(data=st.text('ab",\n\r\u00e9\ufeff', max_size=30), block_bytes=st.sampled_from([16, 4096]))
@settings(deadline=None, max_examples=300)
def test_any_bytes_give_the_records_and_cells_of_the_reference(data: str, block_bytes: int) -> None:
    content = data.encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columnar, "_BLOCK_BYTES", block_bytes)
        rows, findings = read(content, TWO)
    reference = csv_automaton.index(content, 2)
    malformed = {record: kind for record, kind, _ in reference.malformed}
    expected = []
    for number, (start, end, _) in enumerate(reference.records):
        fields = csv_automaton.fields(content[start:end])
        if number not in malformed and len(fields) == 2:
            expected.append(repr(tuple(each.decode() or None for each in fields)))
            assert number not in findings
        else:
            assert findings[number][1] == malformed.get(number, "columns")
    assert rows == sorted(expected)


@pytest.mark.parametrize("size", [5_000_000, 9_000_000])
def test_a_cell_longer_than_a_block_is_read(size: int) -> None:
    body = "a," * (size // 2)
    rows, findings = read(f'x,1\n" {body}",2\n'.encode(), TWO)
    assert not findings
    assert rows == sorted(map(repr, [("x", "1"), (f" {body}", "2")]))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param("\ufeffa,b\n", [("a", "b")], id="start-of-a-chunk"),
        pytest.param("a,b\n\ufeffc,d\n", [("a", "b"), ("c", "d")], id="joined"),
        pytest.param('a,b\r\n\ufeff"c, d",e\r\n', [("a", "b"), ("c, d", "e")], id="before-a-quote"),
        pytest.param('\ufeff\ufeff"c\nd",e\n', [("c\nd", "e")], id="twice"),
    ],
)
def test_a_byte_order_mark_is_not_part_of_a_value(
    data: str, expected: list[tuple[str, str]]
) -> None:
    rows, findings = read(data.encode(), TWO)
    assert rows == sorted(map(repr, expected))
    assert not findings


def test_a_column_that_the_file_lacks_is_null() -> None:
    columns = [
        {"name": "a", "type": "integer"},
        {"name": "b", "type": "point"},
        {"name": "region", "type": "text", "dictionary": True},
        {"name": "c", "type": "text"},
        {"name": "d", "type": "instant"},
    ]
    dataset = parse_document({"name": "things", "columns": columns})
    layout = lay_out(dataset, b"c,a\n")
    with parse_chunk(b"x,1\ny,2\n", dataset, layout, first_line=2, first_record=0) as parsed:
        rows = [tuple(each.values()) for each in parsed.rows.to_pylist()]
    assert rows == [(1, None, None, None, "x", None), (2, None, None, None, "y", None)]


@pytest.mark.parametrize(
    "column",
    [
        {"type": "integer", "minimum": 3, "maximum": 5},
        {"type": "integer", "required": True},
        {"type": "text", "pattern": "[0-9]+"},
        {"type": "text", "one_of": ["3", "5"]},
        {"type": "text", "max_length": 1},
        {"type": "text", "dictionary": True, "one_of": ["3", "5"]},
        {"type": "text", "trim": False},
        {"type": "float", "checks": [{"sql": "a * 2 < 9", "message": "too much"}]},
    ],
    ids=str,
)
def test_both_readers_apply_the_rules(column: dict[str, Any]) -> None:
    dataset = dataset_of({"name": "a", **column}, {"name": "b", "type": "text"})
    assert_agreed([[each, "x"] for each in ("", " ", "1", "3", "5", "7", " 4", "10", "x")], dataset)


def test_a_parsed_chunk_does_not_keep_the_bytes_it_came_from() -> None:
    data = b"a,b\n" * 10_000
    before = sys.getrefcount(data)
    with parse_chunk(data, TWO, lay_out(TWO, None), first_line=1, first_record=0):
        end = time.monotonic() + 10  # a thread of Arrow may still be about to let go of them
        while sys.getrefcount(data) > before and time.monotonic() < end:
            time.sleep(0.01)
        assert sys.getrefcount(data) == before


whole_numbers = st.none() | st.integers(-(2**20), 2**20) | st.sampled_from([2**62, -(2**62)])
fractions = st.none() | st.integers(-9, 9).map(float) | st.floats(allow_nan=False)


@pytest.mark.parametrize("cluster", [["a", "b"], ["b", "c"], ["a"], ["c", "a", "b"], ["a + 1"]])
@given(found=st.lists(st.tuples(whole_numbers, fractions, whole_numbers), max_size=30))
@settings(deadline=None, max_examples=30)
def test_rows_are_copied_in_the_order_of_cluster_with_nulls_last(
    cluster: list[str], found: list[tuple[int | float | None, ...]]
) -> None:
    columns = [{"name": "a", "type": "bigint"}, {"name": "b", "type": "float"}]
    dataset = dataset_of(*columns, {"name": "c", "type": "bigint"}, cluster=cluster)
    data = "".join(
        ",".join("" if each is None else repr(each) for each in row) + "\n" for row in found
    )
    layout = lay_out(dataset, None)
    with parse_chunk(data.encode(), dataset, layout, first_line=1, first_record=0) as parsed:
        rows = parsed.in_order().to_pylist()
    names = [each.removesuffix(" + 1") for each in cluster]
    keys = [[(row[name] is None, row[name] or 0) for name in names] for row in rows]
    assert keys == sorted(keys)
    assert len(rows) == len(found)


def copied(parsed: ParsedChunk) -> tuple[str, bytes]:
    options, blocks = parsed.copy_rows(7, 1)
    return options, b"".join(blocks)


@pytest.mark.parametrize("kind", ["numeric", "time", "uuid", "json"])
def test_types_without_a_binary_form_are_copied_as_text(kind: str) -> None:
    value = {
        "numeric": "1.5",
        "time": "09:10:11",
        "uuid": "6f9619ff-8b86-d011-b42d-00c04fc964ff",
        "json": "[]",
    }[kind]
    dataset = dataset_of({"name": "a", "type": kind}, {"name": "b", "type": "text", "trim": False})
    data = f'{value}," ""x"""\n,\n'.encode()
    with parse_chunk(data, dataset, lay_out(dataset, None), first_line=1, first_record=0) as parsed:
        options, text = copied(parsed)
    assert options == "(FORMAT csv)"
    first, second = text.decode().splitlines()
    assert first.startswith((value, f'"{value}'))
    assert first.endswith('," ""x""",7')
    assert second == ",,7"
