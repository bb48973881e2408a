"""A dialect is refused if its files could not be scanned byte by byte."""

from __future__ import annotations

import pytest

from sluice.csv.dialects import Dialect
from sluice.errors import DeclarationError


def test_a_dialect_survives_json() -> None:
    dialect = Dialect(delimiter="\t", quote="'", encoding="cp1252", header=False)
    assert Dialect.from_json(dialect.to_json()) == dialect


def test_missing_keys_have_their_defaults() -> None:
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
        ({"delimiter": "\n"}, "occurs in the data"),
        ({"delimiter": "x"}, "occurs in the data"),
        ({"delimiter": '"'}, "quote: '\"' is also the delimiter"),
        ({"delimiter": "|", "encoding": "shift_jis"}, "is part of other characters in shift_jis"),
        ({"encoding": "utf-16"}, "'utf-16' does not contain ASCII"),
        ({"encoding": "klingon"}, "'klingon' is unknown"),
        ({"header": "yes"}, "header: 'yes' is not a boolean"),
        ({"quote": None}, "quote: None is not a string"),
        ({"escape": "\\"}, "escape: is unknown; the keys of a dialect are delimiter, encoding"),
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
