"""A dialect is refused if its files could not be scanned byte by byte."""

from __future__ import annotations

import pytest

from sluice.csv.dialects import Dialect, options_of
from sluice.errors import DeclarationError


def test_a_dialect_survives_json() -> None:
    dialect = Dialect(delimiter="\t", quote="'", encoding="cp1252", header=False)
    assert Dialect.from_json(dialect.to_json()) == dialect
    dialect = Dialect(
        "~|~",
        escape="\\",
        comment="//",
        skip_lines=2,
        header_lines=2,
        footer_lines=1,
        spaces_around_quotes=True,
        trailing_delimiter=True,
    )
    assert Dialect.from_json(dialect.to_json()) == dialect


def test_missing_keys_have_their_defaults() -> None:
    assert Dialect.from_json({"delimiter": ";"}) == Dialect(delimiter=";")


def test_delimiter_and_quote_are_bytes_of_the_file() -> None:
    dialect = Dialect(delimiter="\x14", quote="þ", encoding="latin-1")
    assert (dialect.delimiter_byte, dialect.quote_byte) == (b"\x14", b"\xfe")


@pytest.mark.parametrize("delimiter", ["||", "¦", ", ", "<|>", "::", "aa"])
def test_a_delimiter_has_any_number_of_bytes(delimiter: str) -> None:
    assert Dialect(delimiter).delimiter_byte == delimiter.encode()


@pytest.mark.parametrize(
    ("dialect", "is_plain"),
    [
        (Dialect(";", "'", skip_lines=1, footer_lines=1, trailing_delimiter=True), True),
        (Dialect("||"), False),
        (Dialect("þ", encoding="latin-1"), False),
        (Dialect(escape="\\"), False),
        (Dialect(comment="#"), False),
        (Dialect(spaces_around_quotes=True), False),
    ],
    ids=str,
)
def test_a_plain_dialect_has_records_of_rfc_4180(dialect: Dialect, is_plain: bool) -> None:
    assert dialect.is_plain is is_plain


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"delimiter": ""}, "delimiter: '' is not one character"),
        ({"delimiter": "|" * 33}, "is not one character of utf-8, or up to 32 of them"),
        ({"delimiter": "|\n"}, "occurs in the data"),
        ({"delimiter": '"|'}, "is part of the delimiter"),
        ({"delimiter": "||", "encoding": "shift_jis"}, "is part of other characters in shift_jis"),
        ({"quote": "¦"}, "quote: '¦' is not one character of one byte in utf-8"),
        ({"escape": "\\\\"}, "is not one character of one byte in utf-8"),
        ({"escape": '"'}, "escape: '\"' is also the quote; a doubled quote is literal without"),
        ({"escape": ","}, "escape: ',' is also the delimiter"),
        ({"escape": "n"}, "escape: 'n' occurs in the data"),
        ({"escape": "\\", "encoding": "shift_jis"}, "is part of other characters in shift_jis"),
        ({"comment": "#,"}, "comment: '#,' contains a character of the delimiter"),
        ({"comment": '"'}, "comment: '\"' contains a character of the quote"),
        ({"comment": "x"}, "comment: 'x' occurs in the data"),
        ({"comment": " "}, "comment: ' ' is white space"),
        ({"skip_lines": -1}, "skip_lines: -1 is not between 0 and 100,000"),
        ({"skip_lines": True}, "skip_lines: True is not a whole number"),
        ({"header_lines": 6}, "header_lines: 6 is not between 1 and 5"),
        ({"header_lines": 2, "header": False}, "header_lines: 2 needs header = true"),
        ({"footer_lines": 1_001}, "footer_lines: 1001 is not between 0 and 1,000"),
        ({"trailing_delimiter": 1}, "trailing_delimiter: 1 is not a boolean"),
        ({"delimiter": "€", "encoding": "latin-1"}, "delimiter: '€' is not one character"),
        ({"delimiter": "\n"}, "occurs in the data"),
        ({"delimiter": "x"}, "occurs in the data"),
        ({"delimiter": '"'}, "quote: '\"' is also the delimiter"),
        ({"delimiter": "|", "encoding": "shift_jis"}, "is part of other characters in shift_jis"),
        ({"encoding": "utf-16"}, "'utf-16' does not contain ASCII"),
        ({"encoding": "klingon"}, "'klingon' is unknown"),
        ({"header": "yes"}, "header: 'yes' is not a boolean"),
        ({"quote": None}, "quote: None is not a string"),
        ({"escaped": "\\"}, "escaped: is unknown; the keys of a dialect are comment, delimiter,"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_dialect_that_cannot_be_scanned_is_refused(
    document: dict[str, object], message: str
) -> None:
    with pytest.raises(DeclarationError) as caught:
        Dialect.from_json(document)
    assert message in str(caught.value)
    assert str(caught.value).startswith("dataset.toml: dialect.")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"separator": ";"}, "dialect.separator: is unknown; the keys of a dialect are comment, "),
        ({"header": "maybe"}, "dialect.header: 'maybe' is not true or false"),
        ({"skip-lines": "few"}, "dialect.skip-lines: 'few' is not a whole number"),
    ],
    ids=["unknown", "boolean", "number"],
)
def test_a_wrong_option_of_an_upload_names_no_file(options: dict[str, str], message: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        options_of(options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("encoding", ["0", "latin-99", "a\0b", "base64", "utf-16"])
def test_an_encoding_that_no_file_has_is_refused_before_a_file_is_read(encoding: str) -> None:
    with pytest.raises(DeclarationError, match="encoding"):
        options_of({"encoding": encoding})
