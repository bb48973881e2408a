"""The values of a workbook's cells as text, and the table that a sheet becomes."""

from __future__ import annotations

import csv
import io
from datetime import date, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sluice.csv.records import index_records, number_by_rows
from sluice.datasets.declarations import parse_document
from sluice.datasets.model import Dataset
from sluice.errors import EmptyFileError, WorkbookError
from sluice.workbooks.number_formats import Kind, kind_of_code
from sluice.workbooks.sheet_text import SheetText, open_sheet
from workbooks import raw, workbook, written

UNDECLARED = Dataset("any", "", ())


def declared(*columns: dict[str, Any], **keys: Any) -> Dataset:
    return parse_document({"name": "any", "columns": list(columns), **keys})


def opened(data: bytes, dataset: Dataset = UNDECLARED, sheet: str = "") -> SheetText:
    return open_sheet(io.BytesIO(data), "a.xlsx", dataset, sheet)


def text_of(data: bytes, dataset: Dataset = UNDECLARED, sheet: str = "") -> str:
    return b"".join(opened(data, dataset, sheet).blocks()).decode()


def formatted(value: float, number_format: str, *, is_1904: bool = False) -> str:
    """Return the text of one number in a format."""

    def fill(book: Any) -> None:
        style = book.add_format({"num_format": number_format})
        book.add_worksheet().write_number(0, 0, value, style)

    return text_of(written(fill, date_1904=is_1904)).rstrip("\n")


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        ("<v>1234.5</v>", "1234.5"),
        ("<v>5.0</v>", "5"),
        ("<v>0</v>", "0"),
        ("<v>-0</v>", "0"),
        ("<v>-17</v>", "-17"),
        ("<v>007</v>", "7"),
        ("<v>0.1</v>", "0.1"),
        ("<v>0.10000000000000001</v>", "0.1"),
        ("<v>0.30000000000000004</v>", "0.30000000000000004"),
        ("<v>12345678901234567</v>", "12345678901234567"),
        ("<v>9007199254740993</v>", "9007199254740993"),
        ("<v>0.1234567890123456789</v>", "0.1234567890123456789"),
        ("<v>1E+20</v>", "100000000000000000000"),
        ("<v>1.5E-10</v>", "0.00000000015"),
        ("<v>1.2345678901234567E+16</v>", "12345678901234568"),
        ("<v>1E999</v>", "1E999"),
        ("<v>abc</v>", "abc"),
        ("<v></v>", ""),
    ],
)
def test_a_number_is_the_value_in_the_file(xml: str, text: str) -> None:
    data = raw(f'<row r="1"><c r="A1" t="str"><v>x</v></c><c r="B1">{xml}</c></row>')
    assert text_of(data).rstrip("\n") == (f"x,{text}" if text else "x")


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ('<c t="b"><v>1</v></c>', "true"),
        ('<c t="b"><v>0</v></c>', "false"),
        ('<c t="e"><v>#DIV/0!</v></c>', "#DIV/0!"),
        ('<c t="inlineStr"><is><t>007</t></is></c>', "007"),
        ('<c t="inlineStr"><is><r><t>a </t></r><r><t>b</t></r></is></c>', "a b"),
        ('<c t="inlineStr"><is><t>a</t><rPh sb="0" eb="1"><t>x</t></rPh></is></c>', "a"),
        ('<c t="str"><f>A2&amp;"x"</f><v>x</v></c>', "x"),
        ('<c t="s"><v>1</v></c>', '"a,""b"""'),
        ('<c t="s"><v>0</v></c>', '"two\nlines"'),
        ('<c t="inlineStr"><is><t>a_x000D_b_x005F_x000D_</t></is></c>', '"a\rb_x000D_"'),
        ('<c t="inlineStr"><is><t>_xD83D__xDE00_</t></is></c>', "\U0001f600"),
        ('<c t="inlineStr"><is><t xml:space="preserve">  x </t></is></c>', "  x "),
    ],
)
def test_texts_logical_values_and_errors(cell: str, text: str) -> None:
    data = raw(f"<row>{cell}</row>", shared='<si><t>two\nlines</t></si><si><t>a,"b"</t></si>')
    assert text_of(data) == f"{text}\n"


def test_a_date_in_iso_8601_is_a_number_with_a_format() -> None:
    styles = '<styleSheet xmlns="m"><cellXfs><xf numFmtId="14"/><xf numFmtId="20"/></cellXfs></styleSheet>'
    relation = (
        '<Relationships xmlns="p"><Relationship Id="s" Type="r/worksheet" Target="sheets/one.xml"/>'
        '<Relationship Id="y" Type="r/styles" Target="styles.xml"/></Relationships>'
    )
    cells = '<c s="0" t="d"><v>2024-01-02</v></c><c s="1" t="d"><v>03:04:05</v></c>'
    cells += '<c s="0" t="d"><v>1900-01-31</v></c>'
    parts = {"xl/styles.xml": styles, "xl/_rels/book.xml.rels": relation}
    assert text_of(raw(f"<row>{cells}</row>", parts=parts)) == "2024-01-02,03:04:05,1900-01-31\n"


def test_a_value_is_not_what_is_displayed() -> None:
    assert formatted(0.25, "0%") == "0.25"
    assert formatted(1234.5, "#,##0.00") == "1234.5"
    assert formatted(1234.5, '"EUR "#,##0.00;[Red]-#,##0.00') == "1234.5"
    assert formatted(-3, "0.00E+00") == "-3"
    assert formatted(45000, '0 "days"') == "45000"


@pytest.mark.parametrize(
    ("value", "number_format", "text"),
    [
        (45000, "yyyy-mm-dd", "2023-03-15"),
        (45000, "dd/mm/yy", "2023-03-15"),
        (45000, "[$-409]d-mmm-yy;@", "2023-03-15"),
        (45000, "mmm", "2023-03-15"),
        (45000.5, "yyyy-mm-dd hh:mm", "2023-03-15T12:00:00"),
        (45000, "yyyy-mm-dd hh:mm", "2023-03-15T00:00:00"),
        (45000.5, "yyyy-mm-dd", "2023-03-15T12:00:00"),
        (0.5, "hh:mm", "12:00:00"),
        (0.5, "h:mm AM/PM", "12:00:00"),
        (45000.5, "hh:mm", "2023-03-15T12:00:00"),
        (45000 + 1.5 / 86_400, "yyyy-mm-dd hh:mm:ss.000", "2023-03-15T00:00:01.500"),
        (44999.9999999999, "yyyy-mm-dd hh:mm", "2023-03-15T00:00:00"),
        (1.5, "[h]:mm", "36:00:00"),
        (-0.25, "[h]:mm:ss", "-06:00:00"),
        (1, "yyyy-mm-dd", "1900-01-01"),
        (59, "yyyy-mm-dd", "1900-02-28"),
        (60, "yyyy-mm-dd", "1900-02-29"),
        (61, "yyyy-mm-dd", "1900-03-01"),
        (2_958_465, "yyyy-mm-dd", "9999-12-31"),
        (2_958_466, "yyyy-mm-dd", "2958466"),
        (0, "yyyy-mm-dd", "0"),
        (-1, "yyyy-mm-dd", "-1"),
    ],
)
def test_dates_and_times_are_iso_8601(value: float, number_format: str, text: str) -> None:
    assert formatted(value, number_format) == text


def test_dates_of_the_1904_system() -> None:
    assert formatted(0, "yyyy-mm-dd", is_1904=True) == "1904-01-01"
    assert formatted(43_538, "yyyy-mm-dd", is_1904=True) == "2023-03-15"


def test_dates_as_a_writer_writes_them() -> None:
    given = [
        date(2024, 2, 29),
        datetime(1999, 12, 31, 23, 59, 59),  # noqa: DTZ001
        time(1, 2, 3),
        date(1900, 1, 31),
    ]

    def fill(book: Any) -> None:
        styles = [
            book.add_format({"num_format": each})
            for each in ("yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss", "hh:mm:ss", "d.m.yyyy")
        ]
        sheet = book.add_worksheet()
        for number, each in enumerate(given):
            sheet.write_datetime(0, number, each, styles[number])
        sheet.write_datetime(0, 4, timedelta(hours=30), book.add_format({"num_format": "[h]:mm"}))

    expected = "2024-02-29,1999-12-31T23:59:59,01:02:03,1900-01-31,30:00:00\n"
    assert text_of(written(fill)) == expected


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("General", Kind.NUMBER),
        ("@", Kind.NUMBER),
        ("0.00_);[Red](0.00)", Kind.NUMBER),
        ('"day "0', Kind.NUMBER),
        (r"0.00\d", Kind.NUMBER),
        ("[$€-407] #,##0.00", Kind.NUMBER),
        ("[>100]0;0.0", Kind.NUMBER),
        ("m/d/yyyy", Kind.DATE),
        ('yyyy"年"m"月"d"日"', Kind.DATE),
        ("[DBNum1]yyyy-mm", Kind.DATE),
        ("mm:ss.0", Kind.TIME),
        ("h AM/PM", Kind.TIME),
        ("d/m h:mm", Kind.DATE_TIME),
        ("[mm]:ss", Kind.DURATION),
    ],
)
def test_the_meaning_of_a_number_format(code: str, kind: Kind) -> None:
    assert kind_of_code(code) is kind


def test_numbers_are_written_as_their_column_declares() -> None:
    dataset = declared(
        {"name": "price", "type": "numeric", "decimal_separator": ",", "thousands_separator": "."},
        {"name": "share", "type": "float", "percent": True},
        {"name": "sum", "type": "numeric", "precision": 9, "scale": 2},
        {"name": "code", "type": "text"},
        {"name": "note", "type": "text"},
    )
    rows = [["price", "share", "sum", "code", "note"], [1.234, 0.255, 0.1 + 0.2, 1.5, 0.125]]
    assert text_of(workbook(rows), dataset).splitlines()[1] == '"1,234",25.5%,0.3,1.5,0.125'


def test_the_noise_of_binary_fractions_has_no_place_in_a_column_with_a_scale() -> None:
    dataset = declared(
        {"name": "a", "type": "numeric", "precision": 9, "scale": 2},
        {"name": "b", "type": "numeric", "precision": 9, "scale": 2},
        {"name": "c", "type": "numeric"},
        header=False,
    )
    noisy = "<c><v>0.30000000000000004</v></c>"
    data = raw(f"<row>{noisy}<c><v>0.301</v></c>{noisy}</row>")
    assert text_of(data, dataset) == "0.3,0.301,0.30000000000000004\n"


def test_dates_are_written_in_a_format_of_their_column_that_keeps_them() -> None:
    dataset = declared(
        {"name": "day", "type": "date", "formats": ["%d/%m/%Y"]},
        {"name": "at", "type": "timestamp", "formats": ["%d/%m/%Y", "%d/%m/%Y %H:%M"]},
        {"name": "short", "type": "date", "formats": ["%d/%m/%y"]},
        {"name": "plain", "type": "date"},
    )

    def fill(book: Any) -> None:
        sheet = book.add_worksheet()
        style = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        sheet.write_row(0, 0, ["day", "at", "short", "plain"])
        sheet.write_row(1, 0, [45000, 45000.5, 45000, 45000], style)
        sheet.write_row(2, 0, [45000.5, 45000 + 1 / 86_400, 45000, 45000], style)

    lines = text_of(written(fill), dataset).splitlines()[1:]
    assert lines == [
        "15/03/2023,15/03/2023 12:00,2023-03-15,2023-03-15",
        "2023-03-15T12:00:00,2023-03-15T00:00:01,2023-03-15,2023-03-15",
    ]


ID_NAME = declared({"name": "id", "type": "integer"}, {"name": "name", "type": "text"})


def test_blank_rows_keep_the_numbers_of_rows() -> None:
    text = opened(workbook([[], ["id", "name"], [], [1, "a\nb"], [], [2, "c"]]), ID_NAME)
    content = b"".join(text.blocks())
    assert content == b'\nid,name\n\n1,"a\nb"\n\n2,c\n'
    assert text.row_at(content.index(b"1,")) == 4
    assert text.row_at(content.index(b"2,")) == 6
    assert text.row_at(len(content)) == 7


def test_a_table_may_begin_anywhere_and_have_empty_columns_between() -> None:
    rows = [[None, None, "id", None, "name"], [None, None, 1, None, "a"], [None, None, 2]]
    text = opened(workbook([[], *rows]), ID_NAME)
    assert b"".join(text.blocks()) == b"\nid,name\n1,a\n2,\n"
    assert text.columns == ("C", "E")


def test_a_value_beside_the_table_makes_its_row_too_long() -> None:
    rows = [["id", "name"], [1, "a", None, "a note"], [2, "b"], [None, None, "a total"]]
    assert text_of(workbook(rows), ID_NAME) == "id,name\n1,a,a note\n2,b\n,,a total\n"


def test_declared_lines_around_a_table_are_rows() -> None:
    dataset = declared(
        {"name": "a", "type": "text", "header": "Group A"},
        {"name": "b", "type": "text", "header": "Group B"},
        skip_lines=2,
        header_lines=2,
        footer_lines=1,
        comment="#",
    )
    rows = [
        ["Report\nof 2024"],
        [],
        ["Group", "Group"],
        ["A", "B"],
        [1, 2],
        ["# no"],
        [3],
        ["Sum", 3],
    ]
    assert text_of(workbook(rows), dataset) == "\n\n\nGroup A,Group B\n1,2\n\n3,\n\n"


def test_without_header_columns_are_those_from_a_on() -> None:
    dataset = declared(
        {"name": "id", "type": "integer"}, {"name": "name", "type": "text"}, header=False
    )
    assert text_of(workbook([[None, "a"], [2]]), dataset) == ",a\n2,\n"


def test_undeclared_columns_are_all_that_the_first_rows_have() -> None:
    rows = [
        [None, "a title"],
        [],
        [None, "id", None, "name"],
        *([None, n, None, "x"] for n in range(2000)),
    ]
    lines = text_of(workbook(rows)).splitlines()
    assert lines[:4] == ["a title,,", "", "id,,name", "0,,x"]
    assert (len(lines), lines[-1]) == (2003, "1999,,x")


def test_an_unnamed_column_is_one_if_it_is_declared() -> None:
    dataset = declared(
        {"name": "number", "type": "integer", "header": ""}, {"name": "name", "type": "text"}
    )
    assert text_of(workbook([[None, "name"], [0, "a"]]), dataset) == ",name\n0,a\n"


def test_the_sheet_is_the_named_one_or_the_first_visible_one_with_a_value() -> None:
    data = workbook(Empty=[], Orders=[["orders"]], More=[["more"]])
    assert opened(data).sheet == "Orders"
    assert text_of(data, sheet="more") == "more\n"
    with pytest.raises(
        WorkbookError, match="no sheet 'X'; its sheets are 'Empty', 'Orders', 'More'"
    ):
        opened(data, sheet="X")
    with pytest.raises(EmptyFileError, match="no visible sheet"):
        opened(workbook(Empty=[]))


def test_a_hidden_sheet_is_loaded_only_by_its_name() -> None:
    def fill(book: Any) -> None:
        book.add_worksheet("Notes").write(0, 0, "notes")
        book.add_worksheet("Data").write(0, 0, "data")
        book.worksheets()[1].activate()
        book.worksheets()[0].hide()

    assert text_of(written(fill)) == "data\n"
    assert text_of(written(fill), sheet="Notes") == "notes\n"


def test_a_formula_has_its_value_and_must_have_been_calculated() -> None:
    def fill(book: Any) -> None:
        sheet = book.add_worksheet()
        sheet.write_formula(0, 0, "=1+1", None, 2)
        sheet.write_formula(0, 1, "=A1/0", None, "#DIV/0!")
        sheet.write_formula(0, 2, '="a"', None, "a")

    assert text_of(written(fill)) == "2,#DIV/0!,a\n"
    assert text_of(raw('<row><c><v>1</v></c><c t="str"><f>""</f><v></v></c></row>')) == "1\n"
    with pytest.raises(WorkbookError, match=r"One!B2 has a formula without a value"):
        text_of(raw('<row r="2"><c><v>1</v></c><c r="B2"><f>A1+1</f><v/></c></row>'))


def test_the_same_workbook_gives_the_same_bytes() -> None:
    data = workbook([["id", "name"], *([n, f"name {n}"] for n in range(2000))])
    assert text_of(data, ID_NAME) == text_of(data, ID_NAME)


def test_elements_with_a_prefix_and_controls_after_the_rows_are_understood() -> None:
    sheet = (
        '<x:worksheet xmlns:x="m" xmlns:d="d"><x:dimension ref="A1:B2"/><x:sheetData>'
        "<x:row><x:c><x:v>1</x:v></x:c></x:row></x:sheetData><x:controls><d:row>7</d:row><d:v>9</d:v>"
        "</x:controls></x:worksheet>"
    )
    assert text_of(raw("", parts={"xl/sheets/one.xml": sheet})) == "1\n"


def test_a_line_break_in_a_name_is_a_space_unless_it_is_declared() -> None:
    dataset = declared(
        {"name": "a", "type": "text", "header": "unit price"},
        {"name": "b", "type": "text", "header": "two\nlines"},
    )
    rows = [["Unit\n Price", "Two\nlines"], [1, 2]]
    assert text_of(workbook(rows), dataset) == 'Unit Price,"Two\nlines"\n1,2\n'


CELLS = st.one_of(
    st.none(),
    st.integers(-(10**15), 10**15),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
    st.sampled_from(["a,b", 'say "x"', "two\nlines", "cr\r\nlf", "007", "\ufeffx", "_x000D_", " "]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=12))
def test_every_cell_of_every_row_is_kept_with_its_row(rows: list[list[int | str | None]]) -> None:
    def fill(book: Any) -> None:
        sheet = book.add_worksheet()
        for number, row in enumerate(rows):
            for column, value in enumerate(row):
                if isinstance(value, str):
                    sheet.write_string(number, column, value)
                elif value is not None:
                    sheet.write_number(number, column, value)

    columns = [{"name": each, "type": "text"} for each in "abc"]
    dataset = declared(*columns, header=False)
    assume(any(cell is not None for row in rows for cell in row))
    text = opened(written(fill), dataset)
    content = b"".join(text.blocks()).decode()
    found = list(csv.reader(io.StringIO(content, newline="")))
    expected = [["" if cell is None else str(cell) for cell in row] for row in rows]
    while not any(expected[-1]):
        expected.pop()
    assert found == [row if any(row) else [] for row in expected]
    index = index_records(content.encode(), text.dialect)
    lines = number_by_rows(index, content.encode()).lines.tolist()
    assert lines == [number for number, row in enumerate(expected) if any(row)]
    assert [text.row_at(int(start)) - 1 for start in index.starts] == lines
