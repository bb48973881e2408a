"""Every key of a column works as docs/datasets.md describes: a cell, and the value or reject it becomes."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from sluice.csv.rejects import Reject
from sluice.datasets.declarations import parse_document
from sluice.errors import HeaderMismatchError
from sluice.parsing.layout import lay_out
from sluice.parsing.parser import parse_chunk


def parse(
    data: bytes, header: bytes | None = None, **document: Any
) -> tuple[list[tuple[Any, ...]], list[Reject]]:
    dataset = parse_document({"name": "things", "header": header is not None, **document})
    layout = lay_out(dataset, header)
    with parse_chunk(data, dataset, layout, first_line=1, first_record=0) as parsed:
        return [tuple(each.values()) for each in parsed.rows.to_pylist()], parsed.rejects


def cell(text: str, **column: Any) -> tuple[Any, str | None]:
    """Return what a cell of a column becomes: the value, or None and the rule that it breaks."""
    columns = [{"name": "kept", "type": "text"}, {"name": "a", "type": "text", **column}]
    rows, rejects = parse(f'x,"{text}"\n'.encode(), columns=columns)
    assert len(rows) + len(rejects) == 1
    return (rows[0][1], None) if rows else (None, rejects[0].rule)


@pytest.mark.parametrize("text", ["n/a", " n/a ", "-", "", " ", "\u00a0"])
def test_null_tokens_and_empty_cells_are_null(text: str) -> None:
    for kind in ("text", "integer", "date", "boolean", "numeric"):
        assert cell(text, type=kind, nulls=["n/a", "-"]) == (None, None)
        assert cell(text, type=kind, nulls=["n/a", "-"], required=True) == (None, "required")


def test_a_null_token_is_the_whole_cell_as_it_is_written() -> None:
    assert cell("n/a?", nulls=["n/a"]) == ("n/a?", None)
    assert cell("N/A", nulls=["n/a"]) == ("N/A", None)


def test_a_default_takes_the_place_of_a_null() -> None:
    assert cell("", type="integer", default="7", required=True) == (7, None)
    assert cell("-", nulls=["-"], default="unknown") == ("unknown", None)
    assert cell("b", default="unknown") == ("b", None)


def test_white_space_is_taken_off_unless_it_is_to_stay() -> None:
    assert cell("\t a b\u00a0 ") == ("a b", None)
    assert cell(" a ", trim=False) == (" a ", None)


@pytest.mark.parametrize(
    ("text", "column", "value"),
    [
        ("€ 1.234,50", {"symbols": ["€"]}, "1234.50"),
        ("1.234.567,89 EUR", {"symbols": ["€", "EUR"]}, "1234567.89"),
        ("-12,5", {}, "-12.5"),
        ("1.000", {}, "1000"),
    ],
)
def test_money_and_local_numbers_are_numbers(text: str, column: dict[str, Any], value: str) -> None:
    local = {"type": "numeric", "thousands_separator": ".", "decimal_separator": ","}
    assert cell(text, **local, **column) == (value, None)


@pytest.mark.parametrize("text", ["$ 5", "1,2,3", "12-", "five"])
def test_what_is_no_local_number_is_a_reject(text: str) -> None:
    column = {"type": "numeric", "decimal_separator": ",", "symbols": ["€"]}
    assert cell(text, **column) == (None, "type")


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("24.06.1999", dt.date(1999, 6, 24)),
        ("06/24/99", dt.date(1999, 6, 24)),
        ("06/24/40", dt.date(1940, 6, 24)),
        ("June 4, 2018", dt.date(2018, 6, 4)),
    ],
)
def test_formats_are_tried_in_order(text: str, day: dt.date) -> None:
    formats = ["%d.%m.%Y", "%m/%d/%y", "%B %d, %Y"]
    assert cell(text, type="date", formats=formats, two_digit_years="past") == (day, None)


@pytest.mark.parametrize("text", ["31.02.2018", "2018-06-24", "June 40, 2018"])
def test_a_date_in_no_format_is_a_reject(text: str) -> None:
    assert cell(text, type="date", formats=["%d.%m.%Y", "%B %d, %Y"]) == (None, "type")


@pytest.mark.parametrize(
    ("text", "value"), [("Yes", True), ("0", False), ("T", True), ("n", False)]
)
def test_booleans_are_written_in_many_ways(text: str, value: bool) -> None:
    assert cell(text, type="boolean") == (value, None)


@pytest.mark.parametrize(
    ("good", "bad", "column", "rule"),
    [
        ("5", "4", {"type": "integer", "minimum": 5}, "minimum"),
        ("5", "6", {"type": "integer", "maximum": 5}, "maximum"),
        ("2018-01-01", "2017-12-31", {"type": "date", "minimum": "2018-01-01"}, "minimum"),
        ("äöü", "äöüß", {"max_length": 3}, "max_length"),
        ("AB12", "xAB12", {"pattern": "[A-Z]{2}[0-9]+"}, "pattern"),
        ("it's", "x", {"one_of": ["it's", "m"]}, "one_of"),
        ("b", "a", {"checks": [{"sql": "a > kept[:0] || 'a'", "message": "too small"}]}, "check"),
    ],
    ids=lambda each: next(reversed(each)) if isinstance(each, dict) else None,
)
def test_a_rule_keeps_what_it_allows_and_names_what_it_refuses(
    good: str, bad: str, column: dict[str, Any], rule: str
) -> None:
    value, broken = cell(good, **column)
    assert (str(value), broken) == (good, None)
    assert cell(bad, **column) == (None, rule)
    assert cell("", **{**column, "checks": []}) == (None, None)


COLUMNS = [
    {"name": "song", "type": "text", "header": ["Song", "Title of Song"], "required": True},
    {"name": "plays", "type": "integer", "header": "Plays"},
    {"name": "note", "type": "text"},
]


@pytest.mark.parametrize(
    ("header", "record"),
    [
        (b"Song,Plays,note\n", b"a,1,n\n"),
        (b"title of song, PLAYS ,Note\n", b"a,1,n\n"),
        (b"note,Plays,Song\n", b"n,1,a\n"),
        (b'"Title of Song","note","Plays"\r\n', b"a,n,1\r\n"),
    ],
)
def test_a_header_lists_columns_by_any_of_their_names_in_any_order(
    header: bytes, record: bytes
) -> None:
    assert parse(record, header, columns=COLUMNS) == ([("a", 1, "n")], [])


def test_a_column_that_is_not_required_may_be_absent() -> None:
    assert parse(b"a\n", b"Song\n", columns=COLUMNS) == ([("a", None, None)], [])


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"Plays,note\n", "lacks Song"),
        (b"Song,Plays,Notes\n", "no column for Notes"),
        (b"Song,song\n", "'song' twice"),
        (b"Song,Title of Song\n", "no column for Title of Song"),
    ],
)
def test_a_header_that_does_not_fit_is_told(header: bytes, words: str) -> None:
    with pytest.raises(HeaderMismatchError, match=words):
        parse(b"", header, columns=COLUMNS)


def test_short_rows_are_padded_where_the_dataset_says_so_and_long_ones_never() -> None:
    data = b"a\nb,1,n,more\nc,2\n"
    rows, rejects = parse(data, columns=COLUMNS, ragged="pad")
    assert rows == [("a", None, None), ("c", 2, None)]
    assert [(each.line, each.rule) for each in rejects] == [(2, "columns")]
    assert [each.line for each in parse(data, columns=COLUMNS)[1]] == [1, 2, 3]


def test_long_rows_of_a_file_with_unknown_columns_keep_all_their_cells() -> None:
    header, data = b"a,column_4,Plays\n", b"a,x,1,y,z\nb\nc,,3,,\n"
    columns = [{"name": "a", "type": "text"}, {"name": "plays", "type": "integer"}]
    rows, rejects = parse(data, header, columns=columns, rescue=True, ragged="rescue")
    assert rows == [
        ("a", 1, '{"column_4": "x", "column_4_": "y", "column_5": "z"}'),
        ("b", None, None),
        ("c", 3, None),
    ]
    assert rejects == []


def test_another_delimiter_and_quote_are_heeded() -> None:
    data = b"'a;b''c';1;\"n\n"
    found = parse(data, columns=COLUMNS, delimiter=";", quote="'")
    assert found == ([("a;b'c", 1, '"n')], [])


def test_a_reason_names_the_header_of_the_file_where_it_differs_from_the_column() -> None:
    columns = [{"name": "born_on", "type": "date", "header": "Day of birth"}]
    _, (reject,) = parse(b"x\n", b"Day of birth\n", columns=columns)
    assert reject.column == "born_on"
    assert reject.reason.endswith('(header "Day of birth")')
    _, (reject,) = parse(
        b"x\n", b"Age\n", columns=[{"name": "age", "type": "integer", "header": "Age"}]
    )
    assert reject.reason == '"x" is not a whole number'
