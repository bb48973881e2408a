"""The reason of a reject names what is invisible, or easily overlooked."""

from __future__ import annotations

import pytest

from sluice.csv.rejects import visible
from sluice.datasets.declarations import parse_document
from sluice.parsing.layout import lay_out
from sluice.parsing.parser import parse_chunk

COLUMNS = [{"name": "n", "type": "integer"}, {"name": "note", "type": "text"}]


def reasons(data: bytes, **keys: object) -> list[str]:
    dataset = parse_document({"name": "things", "header": False, "columns": COLUMNS, **keys})
    with parse_chunk(data, dataset, lay_out(dataset, None), first_line=1, first_record=0) as chunk:
        return [each.reason for each in chunk.rejects]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 名", "plain é 名"),
        ("1\N{NO-BREAK SPACE}000", "1<no-break space>000"),
        ("\ufeff1", "<byte order mark>1"),
        ("1\N{ZERO WIDTH SPACE}", "1<zero width space>"),
        ("1\N{RIGHT-TO-LEFT MARK}2", "1<right-to-left mark>2"),
        ("a\tb\r\n", "a<tab>b<carriage return><line feed>"),
        ("\x1f", "<U+001F>"),
    ],
    ids=ascii,
)
def test_an_invisible_character_is_shown_by_its_name(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_value_of_the_wrong_type_is_shown_with_its_invisible_characters() -> None:
    (reason,) = reasons("1\N{NO-BREAK SPACE}000,x\n".encode())
    assert reason == '"1<no-break space>000" is not a whole number'


@pytest.mark.parametrize("record", [rb'1,"a \"b\" c"', rb"1,a \"b\"", rb'1,"a \"b'])
def test_a_backslash_before_a_quote_is_named_if_no_escape_is_declared(record: bytes) -> None:
    (reason,) = reasons(record + b"\n")
    assert "a backslash precedes a quote" in reason
    assert r'declare escape = "\\"' in reason
    (other,) = reasons(record.replace(b"\\", b"") + b"\n")
    assert "backslash" not in other


@pytest.mark.parametrize("record", [rb'1,"a \"b\" c"', rb"1,a \"b\""])
def test_a_declared_escape_reads_it(record: bytes) -> None:
    assert reasons(record + b"\n", escape="\\") == []


def test_a_lone_carriage_return_that_cuts_a_record_is_named() -> None:
    (reason,) = reasons(b"1,a\n2,b\rc\n3,d\n")
    assert reason.startswith("has 1 columns instead of 2; a carriage return without line feed")
    assert reasons(b"1,a\r2\r3,d\r") == ["has 1 columns instead of 2"]


def test_too_many_columns_are_rejected_where_missing_ones_are_added() -> None:
    assert reasons(b"1\n2,b\n3,c,d\n", ragged="pad") == [
        "has 3 columns instead of 2; ragged = pad adds missing columns, and drops none; rescue keeps them"
    ]


def test_an_escape_at_the_end_of_the_file_is_named() -> None:
    (reason,) = reasons(b"1,a\n2,b\\", escape="\\")
    assert reason.startswith("ends with an escape, and the file with it")


def test_stray_quotes_are_literal_in_any_dialect() -> None:
    keys = {"stray_quotes": "literal", "escape": "\\", "delimiter": "||"}
    dataset = parse_document({"name": "things", "header": False, "columns": COLUMNS, **keys})
    layout = lay_out(dataset, None)
    data = b'1||5" \\"pipe\\"\n2||"a"b\n3||plain\n'
    with parse_chunk(data, dataset, layout, first_line=1, first_record=0) as chunk:
        assert [row["note"] for row in chunk.rows.to_pylist()] == ['5" "pipe"', "plain"]
        assert [each.rule for each in chunk.rejects] == ["junk_after_quote"]
