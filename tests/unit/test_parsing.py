"""Parsing one chunk: types, rules, rejects with their place, and nothing lost."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.csv.rejects import Reject
from sluice.datasets.declarations import parse_document
from sluice.datasets.model import Dataset
from sluice.parsing.chunk import ParsedChunk
from sluice.parsing.layout import lay_out
from sluice.parsing.parser import parse_chunk

THINGS = {
    "name": "things",
    "columns": [
        {"name": "id", "type": "integer", "required": True, "minimum": 1},
        {"name": "name", "type": "text", "max_length": 20},
        {"name": "place", "type": "point"},
        {"name": "seen_at", "type": "timestamp"},
    ],
}


def rows_of(parsed: ParsedChunk) -> list[tuple[Any, ...]]:
    return [tuple(each.values()) for each in parsed.rows.to_pylist()]


def parse(
    data: bytes, document: dict[str, Any] = THINGS
) -> tuple[list[tuple[Any, ...]], list[Reject]]:
    dataset = parse_document({**document, "header": False})
    return parse_with(data, dataset)


def parse_with(data: bytes, dataset: Dataset) -> tuple[list[tuple[Any, ...]], list[Reject]]:
    layout = lay_out(dataset, None)
    with parse_chunk(data, dataset, layout, first_line=10, first_record=5) as parsed:
        assert parsed.records_read == len(parsed.rows) + len(parsed.rejects)
        parsed.encode({each.name: {} for each in dataset.dictionaries})
        return rows_of(parsed), parsed.rejects


def test_values_become_typed() -> None:
    rows, rejects = parse(b"1, a ,POINT (14.4 50.1),2018-05-28 09:03:40\n2,,,\n")
    assert not rejects
    rows.sort()
    assert [str(each) for each in rows[0]] == ["1", "a", "14.4", "50.1", "2018-05-28 09:03:40"]
    assert rows[1] == (2, None, None, None, None)


@pytest.mark.parametrize(
    "point",
    [
        "POINT (14.4 50.1)",
        "POINT(14.4 50.1)",
        " point ( 14.4  50.1 ) ",
        "Point (14.4 50.1)",
        "\u00a0POINT (14.4 50.1)",
    ],
)
def test_a_point_may_be_spaced_in_any_way(point: str) -> None:
    rows, rejects = parse(f"1,a,{point},\n".encode())
    assert not rejects
    assert rows[0][2:4] == (14.4, 50.1)


@pytest.mark.parametrize(
    ("line", "column", "rule", "words"),
    [
        ("x,a,,", "id", "type", '"x" is not a whole number'),
        ("2.5,a,,", "id", "type", '"2.5" is not a whole number'),
        (",a,,", "id", "required", "a value is required"),
        ("0,a,,", "id", "minimum", '"0" is less than 1'),
        ("1,aaaaaaaaaaaaaaaaaaaaaaaa,,", "name", "max_length", "longer than 20 characters"),
        ("1,a,POINT (50.1),", "place", "type", "POINT (longitude latitude)"),
        ("1,a,POINT (14 95),", "place", "range", "outside the valid range"),
        ("1,a,POINT (14 50 3),", "place", "type", "is not a point"),
        ("1,a,,yesterday", "seen_at", "type", '"yesterday" is not a date and time'),
        ("1,a,", None, "columns", "has 3 columns instead of 4"),
        ("1,a,,,", None, "columns", "has 5 columns instead of 4"),
        ('1,a"b,,', None, "stray_quote", "quote is inside an unquoted field"),
        ('1,"a"b,,', None, "junk_after_quote", "text follows a closing quote"),
    ],
)
def test_a_bad_row_is_a_reject_with_its_place(
    line: str, column: str | None, rule: str, words: str
) -> None:
    rows, rejects = parse(f"1,a,,\n\n{line}\n2,b,,\n".encode())
    assert [row[0] for row in rows] == [1, 2]
    (reject,) = rejects
    assert (reject.record, reject.line) == (6, 12)
    assert (reject.column, reject.rule) == (column, rule)
    assert words in reject.reason
    assert reject.original == line.encode()


def test_the_value_of_a_reject_is_the_cell_as_written() -> None:
    _, (reject,) = parse(b'1,"a, ""b""", POINT(x) ,\n')
    assert reject.value == " POINT(x) "


def test_a_quoted_newline_stays_in_one_row_and_counts_lines() -> None:
    rows, (reject,) = parse(b'1,"a\nb",,\nx,,,\n')
    assert rows[0][1] == "a\nb"
    assert reject.line == 12


def test_an_unclosed_quote_costs_only_its_own_record() -> None:
    rows, (reject,) = parse(b'1,a,,\n2,"b,,\n3,c,,\n4,d,,\n')
    assert [row[0] for row in rows] == [1, 3, 4]
    assert (reject.rule, reject.original) == ("unclosed_quote", b'2,"b,,')


def test_a_quote_after_a_backslash_costs_its_own_record_alone() -> None:
    data = b'1,"a",,\n2,"b \\"",,\n3,"c",,\n4,"d \\"e\\"",,\n5,"f",,\n'
    rows, rejects = parse(data)
    assert [row[0] for row in rows] == [1, 3, 5]
    assert [(each.line, each.original) for each in rejects] == [
        (11, b'2,"b \\"",,'),
        (13, b'4,"d \\"e\\"",,'),
    ]


def test_a_malformed_record_of_several_lines_stays_one_if_none_of_them_is_a_record() -> None:
    rows, (reject,) = parse(b'1,"a\nb" c,,\n2,d,,\n')
    assert [row[0] for row in rows] == [2]
    assert reject.original == b'1,"a\nb" c,,'


def test_bytes_that_are_no_utf8_cost_their_own_record_and_are_kept() -> None:
    rows, (reject,) = parse(b"1,a,,\n2,caf\xe9,,\n3,c,,\n")
    assert [row[0] for row in rows] == [1, 3]
    assert (reject.rule, reject.original) == ("encoding", b"2,caf\xe9,,")


def test_a_cell_of_many_megabytes_is_read() -> None:
    columns = [{"name": "id", "type": "integer"}, {"name": "body", "type": "text"}]
    body = "a,\n" * 1_000_000 + "end"
    rows, rejects = parse(f'1,"{body}"\n2,b\n'.encode(), {"name": "things", "columns": columns})
    assert not rejects
    assert rows == [(1, body), (2, "b")]


def test_a_nul_byte_is_a_reject() -> None:
    rows, (reject,) = parse(b"1,a\0b,,\n2,b,,\n")
    assert [row[0] for row in rows] == [2]
    assert reject.rule == "nul"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_every_line_end_is_understood(end: bytes) -> None:
    rows, rejects = parse(end.join([b"1,a,,", b"2,b,,", b"x,c,,", b""]))
    assert [row[0] for row in rows] == [1, 2]
    assert rejects[0].line == 12


def test_mixed_line_ends_are_understood() -> None:
    rows, _ = parse(b"1,a,,\r\n2,b,,\n3,c,,\r4,d,,")
    assert [row[0] for row in rows] == [1, 2, 3, 4]


def test_a_windows_1252_file_is_decoded() -> None:
    rows, rejects = parse("1,café,,\n".encode("cp1252"), {**THINGS, "encoding": "cp1252"})
    assert not rejects
    assert rows[0][1] == "café"


@given(
    st.lists(
        st.lists(st.text(alphabet='ab1 ",\n\r\u00e9', max_size=6), min_size=1, max_size=6),
        max_size=12,
    )
)
@settings(deadline=None)  # the first example pays for DuckDB
def test_the_account_always_balances(records: list[list[str]]) -> None:
    parse("\n".join(",".join(record) for record in records).encode())


def test_a_text_of_a_dictionary_is_trimmed_like_any_other() -> None:
    columns = [{"name": "region", "type": "text", "dictionary": True, "required": True}]
    dataset = parse_document({"name": "things", "header": False, "columns": columns})
    layout = lay_out(dataset, None)
    data = "a\n b \n\u00a0a\n \n".encode()
    with parse_chunk(data, dataset, layout, first_line=1, first_record=0) as parsed:
        assert parsed.texts("region") == ["a", "b"]
        assert [(each.line, each.rule) for each in parsed.rejects] == [(4, "required")]


NUMBERED = {
    **THINGS,
    "header": False,
    "cluster": ["id DESC"],
    "rollups": {
        "first": "-- The first record of each value.\n-- key: id\n-- measure record: min\n"
        "SELECT id, min(_record) AS record FROM rows GROUP BY ALL"
    },
}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"7,a,,\n8,b,,\n\n9,c,,\n", id="plain"),
        pytest.param(b"7,a,,\n8, b ,,\n9,c,POINT( 1  2 ),\n", id="read-thoroughly"),
        pytest.param(
            b'x,a,,\n6,a"b,,\n7,"c\nd",,\n8,a\n8,b,,\n9,\xe9,,\n0,e,,\n9,,,\n', id="refused"
        ),
        pytest.param(b'7,a,,\n8,"b,,\n9,c,,\n', id="recovered"),
    ],
)
def test_a_row_knows_the_number_of_its_record(data: bytes) -> None:
    dataset = parse_document(NUMBERED)
    with parse_chunk(
        data, dataset, lay_out(dataset, None), first_line=10, first_record=5
    ) as parsed:
        parsed.encode({})
        parsed.cursor.register("rows", parsed.rows)
        found = parsed.cursor.rows(dataset.rollups[0].sql)
    lines = [line for line in data.replace(b"c\nd", b"c").split(b"\n") if line]
    whole = {number for number, line in enumerate(lines, 5)} - {
        each.record for each in parsed.rejects
    }
    assert {record for _, record in found} == whole
    assert all(lines[record - 5].startswith(b"%d," % thing) for thing, record in found)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b'1,5" pipe,,', '5" pipe'),
        (b'1,a "b" c,,', 'a "b" c'),
        (b'1,a"b"", c"",,', None),
        (b'"1",a"b,"POINT (1 2)",', 'a"b'),
    ],
    ids=["inch", "word", "too-many", "beside-quoted"],
)
def test_stray_quotes_may_be_taken_literally(line: bytes, name: str | None) -> None:
    data = b'0,"x, ""y""",,\n' + line + b"\n2,b,,\n"
    rows, rejects = parse(data, {**THINGS, "stray_quotes": "literal", "columns": LOOSE})
    wanted = [(0, 'x, "y"'), *([(1, name)] if name else []), (2, "b")]
    assert [row[:2] for row in rows] == wanted
    assert [each.original for each in rejects] == ([] if name else [line])


LOOSE = [{**each, "minimum": 0} if each["name"] == "id" else each for each in THINGS["columns"]]  # type: ignore[arg-type]


@pytest.mark.parametrize("again", [b"id,name", b'"id","name"'])
def test_a_record_that_repeats_the_header_is_no_row_of_texts(again: bytes) -> None:
    columns = [{"name": "id", "type": "text"}, {"name": "name", "type": "text"}]
    dataset = parse_document({"name": "things", "columns": columns})
    data = b"1,a\n" + again + b"\nid,other\n"
    layout = lay_out(dataset, b"id,name")
    with parse_chunk(data, dataset, layout, first_line=2, first_record=0) as parsed:
        assert rows_of(parsed) == [("1", "a"), ("id", "other")]
        assert [(each.line, each.rule) for each in parsed.rejects] == [(3, "header")]


def test_text_behind_a_closing_quote_is_a_reject_even_so() -> None:
    line = b'1,a"b,"c"d,'
    rows, (reject,) = parse(line + b"\n2,b,,\n", {**THINGS, "stray_quotes": "literal"})
    assert [row[0] for row in rows] == [2]
    assert (reject.rule, reject.original) == ("stray_quote", line)


@pytest.mark.parametrize(
    ("written", "year"),
    [("6/24/40", 1940), ("6/25/01", 2001), ("6/24/1940", 1940), ("1/2/2140", 2140)],
)
def test_two_digits_of_a_year_never_name_the_future(written: str, year: int) -> None:
    formats = ["%m/%d/%y", "%m/%d/%Y"]
    column = {"name": "day", "type": "date", "formats": formats, "two_digit_years": "past"}
    ((day,),), rejects = parse(f"{written}\n".encode(), {"name": "things", "columns": [column]})
    assert (day.year, rejects) == (year, [])


def test_many_columns_have_each_reject_under_the_first_rule_that_its_row_breaks() -> None:
    count = 150
    columns = [{"name": f"c{number}", "type": "integer"} for number in range(count)]
    columns[140]["minimum"] = 0
    columns[3]["checks"] = [{"sql": "c3 <= c149", "message": "c3 is more than c149"}]
    dataset = parse_document({"name": "wide", "columns": columns})
    usual = ["1"] * count
    lines = {
        10: usual,
        11: [*usual[:149], "x"],
        12: [*usual[:140], "-1", *usual[141:]],
        13: [*usual[:149], "0"],
        14: [*usual[:140], "-1", *usual[141:149], "0"],  # the check of c3 comes first
        15: ["2"] * count,
    }
    data = "\n".join([*map(",".join, lines.values()), ""]).encode()
    rows, rejects = parse_with(data, dataset)
    assert [row[:count] for row in rows] == [(1,) * count, (2,) * count]
    assert [(each.line, each.column, each.rule) for each in rejects] == [
        (11, "c149", "type"),
        (12, "c140", "minimum"),
        (13, "c3", "check"),
        (14, "c3", "check"),
    ]


def test_the_time_of_a_reject_grows_with_the_columns_and_not_with_their_square() -> None:
    def seconds(count: int) -> float:
        columns = [{"name": f"c{number}", "type": "integer"} for number in range(count)]
        dataset = parse_document({"name": "wide", "columns": columns})
        lines = [["1"] * count, ["x"] * count]
        data = "\n".join(map(",".join, lines)).encode() + b"\n"
        began = time.process_time()
        assert len(parse_with(data, dataset)[1]) == 1
        return time.process_time() - began

    seconds(10)
    assert seconds(1000) < 10 * seconds(200)
