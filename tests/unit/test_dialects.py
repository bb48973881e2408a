"""A dialect is refused where its file could not be scanned byte by byte."""

from __future__ import annotations

import pytest

from sluice.csv.dialects import Dialect
from sluice.errors import DeclarationError


def test_a_dialect_survives_json() -> None:
    dialect = Dialect(delimiter="\t", quote="'", encoding="cp1252", header=False)
    assert Dialect.from_json(dialect.to_json()) == dialect


def test_what_json_leaves_out_has_its_default() -> None:
    assert Dialect.from_json({"delimiter": ";"}) == Dialect(delimiter=";")


def test_delimiter_and_quote_are_bytes_of_the_file() -> None:
    dialect = Dialect(delimiter="\x14", quote="þ", encoding="latin-1")
    assert (dialect.delimiter_byte, dialect.quote_byte) == (b"\x14", b"\xfe")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"delimiter": ""}, "delimiter: '' is not one character"),
        ({"delimiter": "||"}, "delimiter: '||' is not one character"),
        ({"delimiter": "¦"}, "delimiter: '¦' is not one character of one byte in utf-8"),
        ({"delimiter": "€", "encoding": "latin-1"}, "delimiter: '€' is not one character"),
        ({"delimiter": "\n"}, "cannot be told from the data"),
        ({"delimiter": "x"}, "cannot be told from the data"),
        ({"delimiter": '"'}, "quote: '\"' is the delimiter too"),
        ({"delimiter": "|", "encoding": "shift_jis"}, "is part of other characters in shift_jis"),
        ({"encoding": "utf-16"}, "'utf-16' does not contain ASCII"),
        ({"encoding": "klingon"}, "'klingon' is not known"),
        ({"header": "yes"}, "header: 'yes' is not a boolean"),
        ({"quote": None}, "quote: None is not a string"),
        ({"escape": "\\"}, "escape: is not known; a dialect has delimiter, encoding"),
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
