"""A file that does not fit its dataset is refused once, with all that differs and what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sluice.csv.dialects import Dialect
from sluice.csv.splitting import Splitter
from sluice.datasets.declarations import parse_document
from sluice.datasets.model import Dataset
from sluice.errors import HeaderMismatchError
from sluice.parsing.layout import lay_out
from sluice.parsing.mismatches import check_first_records
from sluice.parsing.small_file import read_small_file

COLUMNS = [
    {"name": "sku", "type": "text", "required": True},
    {"name": "price", "type": "numeric", "required": True, "header": ["unit price", "price"]},
    {"name": "colour", "type": "text"},
]


def dataset(**document: object) -> Dataset:
    return parse_document({"name": "parts", "columns": COLUMNS, **document})


def refusal(header: str, **document: object) -> HeaderMismatchError:
    with pytest.raises(HeaderMismatchError) as raised:
        lay_out(dataset(**document), header.encode())
    return raised.value


def test_all_differences_of_a_header_are_reported_with_the_nearest_names() -> None:
    error = refusal("skuu,unit prise,color,weight")
    assert error.detail == (
        "line 1: the header lacks sku, unit price; dataset parts has no column for skuu (nearest: sku),"
        " unit prise (nearest: unit price), color (nearest: colour), weight. Rename these columns in the"
        " header, or declare them"
    )
    assert error.extra == {
        "missing": ["sku", "unit price"],
        "unknown": ["skuu", "unit prise", "color", "weight"],
    }


def test_a_policy_for_further_columns_is_named() -> None:
    detail = refusal("sku,price,weight").detail
    assert 'declare new_columns = "add" or "ignore" with `sluice datasets declare parts`' in detail


def test_no_advice_loses_stored_values() -> None:
    assert "take the column out" not in refusal("sku,price,colour,weight").detail


@pytest.mark.parametrize(
    ("delimiter", "shown", "declared"),
    [(";", "';'", '";"'), ("\t", "tabs", r'"\t"'), ("|", "'|'", '"|"')],
)
def test_another_delimiter_of_a_header_is_named(delimiter: str, shown: str, declared: str) -> None:
    detail = refusal(delimiter.join(("sku", "price", "colour"))).detail
    assert f"seems to use the delimiter {shown}, and dataset parts declares ','" in detail
    option = declared.strip('"')
    assert f"load this file with --dialect delimiter='{option}'; or declare" in detail
    assert f'delimiter = {declared}, or dialect = "detect"' in detail
    assert "lacks" not in detail


def test_what_differs_with_the_other_delimiter_too_is_reported_with_it() -> None:
    detail = refusal("sku;prize;colour").detail
    assert "delimiter ';'" in detail
    assert "the header lacks unit price; dataset parts has no column for prize" in detail


def test_commas_are_found_where_tabs_are_declared() -> None:
    detail = refusal("sku,price", delimiter="\t").detail
    assert "delimiter ',', and dataset parts declares tabs" in detail


def test_a_file_without_header_is_recognised_where_one_is_declared() -> None:
    detail = refusal("B-17,2.50,red").detail
    assert "load the file with --dialect header=false, or declare header = false" in detail
    assert "load it with --dialect skip_lines=1" in detail


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"sku,unit price,colour\nB-17,2.50,red\n", "line 1 is a header"),
        (b"\xef\xbb\xbfcolour, SKU ,price\n", "line 1 is a header"),
        (b"B-17;2.50;red\nB-18;3.50;\n", "--dialect delimiter=';'; or declare delimiter = \";\""),
        (b"B-17\t2,50\tred\r\nB-18\t3.50\t", r'or declare delimiter = "\t"'),
        (b"B-17|2.50|red", "delimiter '|'"),
    ],
)
def test_a_file_of_another_kind_is_refused_where_no_header_is_declared(
    data: bytes, words: str
) -> None:
    with pytest.raises(HeaderMismatchError) as raised:
        read_small_file(data, dataset(header=False))
    assert words in raised.value.detail


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b"B-17,2.50,red\nB-18;3;4\n",
        b"B-17;2.50\nB-18,2.50,red\n",
        b"B-17,2.50\n",
        b"a;b;c,2.50,red\n",
        b"sku,2.50,colour\n",
    ],
)
def test_a_file_that_fits_or_has_only_bad_rows_passes(data: bytes) -> None:
    check_first_records(dataset(header=False), "utf-8", data)


PAIR = parse_document(
    {"name": "pair", "columns": [{"name": "a", "type": "text"}, {"name": "b", "type": "text"}]}
)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("a,b,", "column 3 of the header has no name. If each line ends with a delimiter, declare"),
        ("a,,b,,", "columns 2, 4, 5 of the header have no name"),
        ("a,b,a", "the header lists 'a' twice"),
        ("a,b\N{ZERO WIDTH SPACE}", "no column for b<zero width space> (nearest: b)"),
        ("\N{NO-BREAK SPACE}a,b,c\N{SOFT HYPHEN}d", "no column for c<soft hyphen>d"),
    ],
)
def test_a_header_without_a_name_or_with_an_invisible_character_is_explained(
    header: str, words: str
) -> None:
    with pytest.raises(HeaderMismatchError) as caught:
        lay_out(PAIR, header.encode())
    assert words in str(caught.value)


def test_a_header_of_many_columns_is_refused_with_some_of_them() -> None:
    header = ",".join(["a", "b", *(f"c{number}" for number in range(100_000))])
    with pytest.raises(HeaderMismatchError) as caught:
        lay_out(PAIR, header.encode())
    assert "no column for c0, c1," in str(caught.value)
    assert "c19 and 99,980 more" in str(caught.value)


def test_a_header_of_a_million_columns_is_refused_with_their_number() -> None:
    splitter = Splitter(PAIR.dialect)
    with pytest.raises(
        HeaderMismatchError, match=r"longer than 1,048,576 bytes, and has [0-9,]+ fields so far"
    ):
        splitter.feed(b",".join([b"ab"] * 1_000_000) + b"\n1\n")


@pytest.mark.parametrize(
    "content", [b"sep=;\na;b\n1;2\n", b'\xef\xbb\xbf"sep=;"\r\na;b\r\n1;2\r\n']
)
def test_the_line_of_excel_that_names_the_declared_delimiter_is_skipped(content: bytes) -> None:
    dataset = replace(PAIR, dialect=Dialect(";"))
    splitter = Splitter(dataset.dialect)
    (cut,) = [*splitter.feed(content), *splitter.finish()]
    assert splitter.header == b"a;b"
    assert (cut.first_line, cut.records) == (3, 1)
    assert lay_out(dataset, splitter.header).order == (0, 1)


def test_the_line_of_excel_that_names_another_delimiter_is_refused() -> None:
    splitter = Splitter(Dialect())
    with pytest.raises(
        HeaderMismatchError, match="line 1 names the delimiter ';' for Excel, and the"
    ):
        splitter.feed(b"sep=;\na;b\n" + b"1;2\n" * 20)


def test_a_first_line_that_only_looks_like_that_of_excel_is_a_header() -> None:
    splitter = Splitter(Dialect())
    splitter.feed(b"sep=x,b\n1,2\n" * 20)
    assert splitter.header == b"sep=x,b"


def test_two_header_lines_are_joined_by_column() -> None:
    dialect = Dialect(header_lines=2, trailing_delimiter=True, comment="#")
    columns = [{"name": "x", "header": "size mm", "type": "text"}, {"name": "y", "type": "text"}]
    dataset = parse_document({"name": "two", **dialect.to_json(), "columns": columns})
    header = b'size,"y",\n#comment\n\nmm,,'
    assert lay_out(dataset, header).order == (0, 1)
