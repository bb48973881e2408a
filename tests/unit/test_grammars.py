"""A text is stored, by both readers and with equal value, exactly if a second grammar accepts it."""

from __future__ import annotations

import datetime as dt
import json
import math
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from reference import NotAValueError, read_cell

from sluice.datasets.declarations import parse_document
from sluice.datasets.grammars import cell_grammar, format_grammar
from sluice.datasets.model import Dataset
from sluice.parsing.duckdb_session import open_cursor
from sluice.parsing.layout import lay_out
from sluice.parsing.parser import parse_chunk
from sluice.parsing.plan import compile_dataset
from sluice.parsing.thorough import Thorough, schema_of

COLUMNS: dict[str, dict[str, Any]] = {
    "integer": {"type": "integer"},
    "bigint": {"type": "bigint"},
    "float": {"type": "float"},
    "numeric": {"type": "numeric"},
    "boolean": {"type": "boolean"},
    "date": {"type": "date"},
    "timestamp": {"type": "timestamp"},
    "timestamp without its zone": {"type": "timestamp", "time_zone": "drop"},
    "timestamp in Prague": {"type": "timestamp", "time_zone": "Europe/Prague"},
    "instant": {"type": "instant"},
    "instant in Prague": {"type": "instant", "time_zone": "Europe/Prague"},
    "time": {"type": "time"},
    "uuid": {"type": "uuid"},
    "json": {"type": "json"},
    "json as written": {"type": "json", "trim": False},
    "json or nothing": {"type": "json", "nulls": ["-", "null"]},
    "thousands": {"type": "numeric", "thousands_separator": ","},
    "whole thousands": {"type": "integer", "thousands_separator": ","},
    "indian": {"type": "numeric", "thousands_separator": ",", "grouping": "indian"},
    "german": {"type": "float", "thousands_separator": ".", "decimal_separator": ","},
    "french": {"type": "numeric", "thousands_separator": " ", "decimal_separator": ","},
    "money": {"type": "numeric", "symbols": ["€", "EUR"], "thousands_separator": ","},
    "accounting": {
        "type": "numeric",
        "negatives": ["parentheses", "trailing_minus", "minus_sign"],
        "thousands_separator": ",",
        "symbols": ["$"],
    },
    "percent": {"type": "numeric", "percent": True},
    "american date": {"type": "date", "formats": ["%m/%d/%Y"]},
    "two digits": {"type": "date", "formats": ["%m/%d/%y"]},
    "compact": {"type": "timestamp", "formats": ["%Y%m%d%H%M%S"]},
    "twelve hours": {"type": "timestamp", "formats": ["%Y-%m-%d %I:%M:%S %p", "%d.%m.%Y %H:%M"]},
    "month names": {"type": "date", "formats": ["%B %d, %Y", "%d-%b-%Y"]},
    "offset": {"type": "instant", "formats": ["%d/%m/%Y %H:%M:%S.%f %z"]},
    "clock": {"type": "time", "formats": ["%I:%M %p"]},
}
NUMBERS = [
    "9,99", "12,34", "1,234", "1,234.50", "1,23,456", "1,23,456.00", "12,345,678", "1234,567",
    "0.673", "12.50", "1.234,5", "1.234.567,89", "1 234,5", "1\u00a0234", "1,5", "1,", ",5", ",",
    ".", "2.5", "1e3", "1E3", "1e-3", "1e400", "1e", "1e+", "0.0000000004",
    "1111111111111111111111111111111111111111", "-1000000000000000000000000000000.5", "(5)",
    "( 5 )", "(5", "5)", "(-5)", "5-", "5 -", "--5", "-5-", "\u22125", "\u2212 5", "+5", "- 5",
    "$5", "$ 5", "-$5", "$-5", "5$", "5 $", "($5)", "(5 $)", "$5$", "$5-", "$", "\u20ac5",
    "5 EUR", "\u20ac 1,234.5", "5%", "5 %", "-12.5%", "5", "%", "5%%", "0.1%", "nan", "inf",
    "-Infinity", "+nan", "infin", "2147483647", "2147483648", "-2147483648", "-2147483649",
    "9223372036854775808", "0x1F", "007", "-0", "\uff11", "\u0663", "1_000", "true", "",
]  # fmt: skip
TIMES = [
    "2026-05-24", "26-05-24", "2026-5-24", "2026/05/24", "0091-04-15", "91-04-15", "0000-01-01",
    "10000-01-01", "2026-02-29", "2024-02-29", "2026-13-01", "2026-04-31", "infinity",
    "-infinity", "epoch", "now", "today", "2026-05-24 09", "2026-05-24 09:10",
    "2026-05-24T09:10:11", "2026-05-24 09:10:11.5", "2026-05-24 9:10",
    "2026-05-24 09:10:11.1234567", "2026-05-24 24:00:00", "2026-05-24 23:59:60",
    "2026-05-24 09:10:11.", "2026-05-24T09:10:11Z", "2026-05-24 09:10:11 -0300",
    "2026-05-24 09:10:11+03", "2026-05-24 09:10+03:30", "2026-05-24 09:10:11 UTC",
    "2026-05-24 09:10:11 CET", "2026-05-24 09:10:11 Europe/Prague", "2026-05-24 09:10:11+16:00",
    "2026-05-24 09:10:11+15:59", "2026-05-24 09:10:11+3", "2026-05-24 09Z", "2018-03-25 02:30:00",
    "2018-10-28 02:30:00", "2018-03-25 02:30:00Z", "2026-05-24t09:10:11z", "06:44:00 PM",
    "06:44:00", "06:44", "6:44 PM", "00:10 AM", "12:05 am", "12:05 PM", "13:05 PM", "24:00",
    "2026-05-24 06:44:00 PM", "2026-05-24 00:10:00 AM", "2026-05-24 12:05:00 AM",
    "2026-05-24 06:44:00 nonsense", "4/15/91", "4/15/1991", "04/15/1991", "1/1/17 0:21",
    "4/15/19911", "15/4/1991", "20260524091011", "2026052409101", "May 24, 2026", "may 4, 2026",
    "Mai 24, 2026", "24-May-2026", "24-MAY-2026", "24.05.2026 09:10", "24.5.2026 9:1",
    "24/05/2026 09:10:11.5 +0200", "24/05/2026 09:10:11.5 Z", "24/05/2026 09:10:11.123456 +02:00",
    "23:59:60", "6BA7B810-9dad-11d1-80b4-00c04fd430c8", "6ba7b8109dad11d180b400c04fd430c8", "yes",
    "NO", "t", "on",
]  # fmt: skip
DEEP = ["[" * depth + "]" * depth for depth in (100, 101, 3000)]
JSON = [
    '{"a": 1}',
    "[]",
    "{}",
    " [1, 2]\t",
    "\u00a0[1]",
    '"a"',
    '"\u00e9\U0001f600"',
    "null",
    "[nul]",
    "-",
    "[-]",
    "[1,]",
    "[,1]",
    '{"a": 1,}',
    '{"a" 1}',
    "{a: 1}",
    "{'a': 1}",
    "[1] // one",
    "/* a */ []",
    "[1",
    "1]",
    '{"a": 1, "a": 2}',
    '{"a": 1, "\\u0061": 2}',
    '[{"b": {"a": 1, "a": 1}}]',
    '{"a": {"a": 1}}',
    "[NaN]",
    "[Infinity]",
    "[-Infinity]",
    "[01]",
    "[1.]",
    "[.5]",
    "[+1]",
    "[-0]",
    "[1e5, 1E+5, 1.5e-5]",
    "[0x1F]",
    "[1_000]",
    "[True]",
    '["\\u0000"]',
    '["\\ud83d\\ude00"]',
    '["\\ud83d"]',
    '["\\ude00\\ud83d"]',
    '{"\\ud800": 1}',
    '{"\\u0000": 1}',
    '["\\x"]',
    '["\\u12"]',
    '["\\u12g4"]',
    '["a\tb"]',
    '["a\nb"]',
    "[1]\n",
    '"\\\\u0000"',
    '"\\/"',
    '["\x7f"]',
    "1e131071",
    "1e131072",
    "0.1e131072",
    "1e-16383",
    "1e-16384",
    "0e200000",
    "1e99999999999",
    "1e-99999999999",
    "1e00000000000001",
    "[" + "9" * 131_073 + "]",
    "[1 2]",
    '{"a": 1}{"b": 2}',
    "\ufeff{}",
    "[1]\x0b",
    "[" * 99 + "1" + "]" * 99,
    '{"a":' * 101 + "1" + "}" * 101,
    "[\u0663]",
    *DEEP,
]


def declared(column: dict[str, Any]) -> Dataset:
    columns = [{"name": "filler", "type": "text"}, {"name": "a", **column}]
    return parse_document({"name": "things", "header": False, "columns": columns})


def expected(cells: list[str], column: dict[str, Any]) -> list[object]:
    found: list[object] = []
    for cell in cells:
        try:
            found.append(comparable(read_cell(cell, column)))
        except NotAValueError:
            found.append("reject")
    return found


def by_columnar_reader(cells: list[str], dataset: Dataset) -> list[object]:
    """Read each cell in the first row, and next to regular ones, so that both readers are used."""
    quoted = (f'"{n}","{cell.replace(chr(34), chr(34) * 2)}"\n' for n, cell in enumerate(cells))
    layout = lay_out(dataset, None)
    data = "".join(quoted).encode()
    with parse_chunk(data, dataset, layout, first_line=1, first_record=0) as parsed:
        assert {each.rule for each in parsed.rejects} <= {"type"}
        return in_order(parsed.rows, len(cells), dataset)


def by_thorough_reader(cells: list[str], dataset: Dataset) -> list[object]:
    plan = compile_dataset(dataset)
    cursor = open_cursor()
    raw = {"_0": pa.array([str(n) for n in range(len(cells))]), "_1": pa.array(cells)}
    rows, _ = Thorough(plan, cursor, schema_of(dataset, plan)).check(pa.table(raw))
    cursor.close()
    return in_order(rows, len(cells), dataset)


def in_order(rows: pa.Table, count: int, dataset: Dataset) -> list[object]:
    found: list[object] = ["reject"] * count
    kind = dataset.columns[1].type
    for number, value in zip(rows["filler"].to_pylist(), rows["a"].to_pylist(), strict=True):
        found[int(number)] = comparable(as_python(value, str(kind)))
    return found


def as_python(value: Any, kind: str) -> Any:
    if value is None:
        return None
    readers = {"numeric": Decimal, "uuid": UUID, "time": dt.time.fromisoformat}
    return readers[kind](value) if kind in readers else value


def comparable(value: Any) -> object:
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value
    return value.astimezone(dt.UTC) if isinstance(value, dt.datetime) and value.tzinfo else value


def assert_read(cells: list[str], column: dict[str, Any]) -> None:
    dataset = declared(column)
    wanted = expected(cells, column)
    for found in (by_columnar_reader(cells, dataset), by_thorough_reader(cells, dataset)):
        wrong = [each for each in zip(cells, wanted, found, strict=True) if each[1] != each[2]]
        assert wrong == []


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS.keys())
def test_a_known_text_is_a_value_exactly_if_the_grammar_accepts_it(column: dict[str, Any]) -> None:
    assert_read(NUMBERS + TIMES, column)
    assert_read(JSON, column)


def inside(column: dict[str, Any]) -> st.SearchStrategy[str]:
    """Texts of the grammar, and texts that differ from them by one character."""
    own = declared(column).columns[1]
    if own.definition.find_problem:
        return st.one_of(json_texts(), changed(json_texts(), '{}[]",:0123456789-.eEu\\ abtn'))
    grammars = [format_grammar(each) for each in own.formats] or [cell_grammar(own)]
    texts = st.one_of(*(st.from_regex(f"(?:{each})", fullmatch=True) for each in grammars))
    return st.one_of(texts, changed(texts, "0123456789+-.,:/ eETZ%()$\u00a0\u2212a"))


def changed(texts: st.SearchStrategy[str], signs: str) -> st.SearchStrategy[str]:
    """Texts that differ by one character."""
    return st.builds(
        lambda text, at, sign, cut: text[: at % (len(text) + 1)] + sign + text[at % (len(text) + 1) + cut :],
        texts, st.integers(0, 40), st.sampled_from(signs), st.integers(0, 1),
    )  # fmt: skip


def json_texts() -> st.SearchStrategy[str]:
    """JSON, also with escapes of what PostgreSQL does not store."""
    scalars = (
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
    )
    names = st.sampled_from(["a", "b", "\u00e9", "\U0001f600"]) | st.text(max_size=3)
    values = st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
        max_leaves=10,
    )
    spaces = st.sampled_from([None, 1, "\t"])
    return st.builds(lambda value, indent: json.dumps(value, indent=indent), values, spaces)


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS.keys())
def test_any_text_is_a_value_exactly_if_the_grammar_accepts_it(column: dict[str, Any]) -> None:
    @given(st.lists(inside(column), min_size=10, max_size=20))
    @settings(deadline=None, max_examples=5, phases=[Phase.generate])  # a list shows enough
    def check(cells: list[str]) -> None:
        assert_read(cells, column)

    check()
