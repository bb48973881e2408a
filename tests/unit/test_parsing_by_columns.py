"""The way by columns gives the rows and the rejects of the thorough way, whatever stands in the cells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.csv.rejects import Reject
from sluice.datasets.declarations import parse_document
from sluice.datasets.model import Dataset
from sluice.parsing import columnar as parsing_by_columns
from sluice.parsing.column_mapping import lay_out
from sluice.parsing.columnar import ByColumns
from sluice.parsing.parser import Parser, parse_chunk
from sluice.parsing.plan import WHITE_SPACE

COLUMNS: list[dict[str, Any]] = [
    {"name": "whole", "type": "integer"},
    {"name": "large", "type": "bigint", "minimum": -7},
    {"name": "real", "type": "float", "maximum": 1e9},
    {"name": "day", "type": "date"},
    {"name": "at", "type": "timestamp"},
    {"name": "word", "type": "text", "max_length": 40},
    {"name": "raw", "type": "text", "trim": False, "required": True},
    {"name": "loose", "type": "float", "trim": False},
    {"name": "flag", "type": "boolean"},
    {"name": "state", "type": "integer", "nulls": ["-"], "default": "3"},
]
WIDTH = len(COLUMNS)
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
CELLS = [*NUMBERS, *TIMES, *TEXTS, *SPACED, "yes", "f", "T", "-", " - "]


def written(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def dataset(**document: Any) -> Dataset:
    return parse_document({"name": "things", "columns": COLUMNS, "header": False, **document})


def parse(data: bytes, declared: Dataset) -> tuple[list[str], list[Reject]]:
    with parse_chunk(
        data, declared, lay_out(declared, None), first_line=10, first_record=5
    ) as parsed:
        parsed.encode({})
        rows = parsed._cursor.execute("SELECT * FROM rows").fetchall()
        assert len(rows) == parsed.rows
        return sorted(map(repr, rows)), parsed.rejects


@contextmanager
def thoroughly_alone() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ByColumns, "parse", lambda *_: None)
        patch.setattr(Parser, "is_usual", lambda *_: False)
        yield


@contextmanager
def by_columns_alone(block_bytes: int) -> Iterator[None]:
    """Let no other way answer."""

    def fail(*_: object) -> bool:
        raise AssertionError("the way by columns gave up")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsing_by_columns, "_BLOCK_BYTES", block_bytes)
        patch.setattr(Parser, "_read", fail)
        yield


def assert_agreed(data: bytes, declared: Dataset, block_bytes: int = 4096) -> None:
    with by_columns_alone(block_bytes):
        found = parse(data, declared)
    with thoroughly_alone():
        expected = parse(data, declared)
    assert found == expected


@pytest.mark.parametrize("column", COLUMNS[:7], ids=[each["name"] for each in COLUMNS[:7]])
def test_an_awkward_cell_by_itself_is_taken_or_refused_as_by_the_thorough_way(
    column: dict[str, Any],
) -> None:
    cells = [written(each).encode() for each in CELLS if "\r" not in each]
    size = max(map(len, cells)) + 2
    # Each record fills a block, and so each cell is a column of its own to Arrow.
    lines = [b"x" * (size - len(each)) + b"," + each + b"\n" for each in cells]
    declared = dataset(columns=[{"name": "filler", "type": "text"}, column])
    assert_agreed(b"".join(lines), declared, len(lines[0]))


@pytest.mark.parametrize("column", COLUMNS[:6], ids=[each["name"] for each in COLUMNS[:6]])
def test_white_space_around_a_cell_changes_nothing(column: dict[str, Any]) -> None:
    declared = dataset(columns=[column])
    found = []
    for space in ("", "\u00a0"):
        lines = [written(f"{space}{each}{space}") for each in CELLS if "\r" not in each]
        with thoroughly_alone():
            rows, rejects = parse("\n".join(lines).encode(), declared)
        found.append((rows, [(each.line, each.rule) for each in rejects]))
    assert found[0] == found[1]


digits = st.text("0123456789+-.eExX_ ", max_size=8)
times = st.from_regex(r"\A[0-9]{4}-[01][0-9]-[0-3][0-9]([T ][0-9:.Z+ -]{0,12})?\Z")
texts = st.text(st.sampled_from('ab ",\n\u00e9\u00a0\u2003\ufeff\U0001f600'), max_size=6)
cells = st.one_of(
    st.sampled_from([each for each in CELLS if "\r" not in each]), digits, times, texts
)


@given(
    records=st.lists(st.lists(cells, min_size=WIDTH, max_size=WIDTH), min_size=1, max_size=5),
    block_bytes=st.sampled_from([1024, 1 << 20]),
    more=st.sampled_from(
        [{}, {"key": ["raw"], "duplicates": "error"}, {"cluster": ["word", "day DESC"]}]
    ),
)
@settings(deadline=None, max_examples=25)
def test_any_cells_are_taken_or_refused_as_by_the_thorough_way(
    records: list[list[str]], block_bytes: int, more: dict[str, Any]
) -> None:
    data = "\n".join(",".join(map(written, each)) for each in records)
    assert_agreed(data.encode(), dataset(**more), block_bytes)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"1,a\r\n\r\n2,b\r\n", id="CRLF"),
        pytest.param(b'1,"a\r\nb"\r\n2,b', id="CRLF-in-quotes"),
        pytest.param(b'1,"a\n\n""b""\n"\n\n\n2,\n,""\n', id="blank-lines"),
        pytest.param(b"1,a\n 2 , b \n0x10,c\n", id="spaced"),
    ],
)
@pytest.mark.parametrize("block_bytes", [16, 24, 1 << 20])
def test_records_are_those_of_the_thorough_way(data: bytes, block_bytes: int) -> None:
    columns = [{"name": "id", "type": "integer"}, {"name": "word", "type": "text"}]
    assert_agreed(data, dataset(columns=columns), block_bytes)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"1,a\n2\n3,c,d\n4,e\n", id="a-short-and-a-long-record"),
        pytest.param(b'1,"' + b"a," * 2000 + b'"\n', id="longer-than-a-block"),
        pytest.param(b"\xef\xbb\xbf1,a\n2,b\n", id="byte-order-mark"),
    ],
)
def test_what_is_not_for_the_way_by_columns_is_read_otherwise(data: bytes) -> None:
    columns = [{"name": "id", "type": "text", "trim": False}, {"name": "word", "type": "text"}]
    declared = dataset(columns=columns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsing_by_columns, "_BLOCK_BYTES", 1024)
        found = parse(data, declared)
    with thoroughly_alone():
        assert found == parse(data, declared)


def test_a_column_that_the_file_lacks_is_empty() -> None:
    declared = parse_document(
        {"name": "things", "columns": [*COLUMNS[:2], {**COLUMNS[5], "required": True}]}
    )
    layout = lay_out(declared, b"word,whole")
    with (
        by_columns_alone(1024),
        parse_chunk(b"a,1\n,2\n", declared, layout, first_line=2, first_record=0) as parsed,
    ):
        assert parsed._cursor.execute("SELECT * FROM rows").fetchall() == [(1, None, "a")]
        assert [(each.line, each.column, each.rule) for each in parsed.rejects] == [
            (3, "word", "required")
        ]


def test_the_binary_copy_has_every_column_of_every_row() -> None:
    columns = [{**COLUMNS[0], "required": True}, *COLUMNS[1:6]]
    declared = dataset(columns=columns, key=["whole"])
    with parse_chunk(
        b"1,2,3.5,2026-05-24,2026-05-24 09:10:11,a\n2,,,,,\n",
        declared,
        lay_out(declared, None),
        first_line=1,
        first_record=0,
    ) as parsed:
        options, blocks = parsed.copy_rows(7, 1)
        found = b"".join(blocks)
        parsed.ordered = None
        assert (options, found) == ("(FORMAT binary)", b"".join(parsed.copy_rows(7, 1)[1]))
