"""What all documents share: how they are written as JSON, read, checked and described.

Numbers keep their digits: `read_json` and `write_json` carry the text of each one.

A document is a `msgspec.Struct`. This package alone imports msgspec, and of ours only itself.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Self, TypeVar

import msgspec

T = TypeVar("T")
#: A moment with a time zone, RFC 3339 in JSON.
Time = Annotated[datetime, msgspec.Meta(tz=True)]
#: A name of a dataset, as `sluice.datasets.identifiers` has it; who uses it checks it.
#: Of texts that PostgreSQL can have.
STORABLE_PATTERN = r"^[^\x00]*$"
StorableText = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": STORABLE_PATTERN})]
Name = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": "^[a-z][a-z0-9_]{0,47}$"})]
#: A problem document with all its members.
ProblemDocument = Annotated[
    dict[str, Any], msgspec.Meta(extra_json_schema={"$ref": "#/components/schemas/Problem"})
]

#: Lists and objects in each other in what clients send.
MAX_DEPTH = 64
#: Up to here a float is exact.
_MAX_EXACT = 2**53
_NOT_JSON = "the text is not JSON"
_TOO_DEEP = f"the text is nested too deep: more than {MAX_DEPTH} lists and objects in each other"
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]+)`(?: - at `\$(?P<at>.*)`)?")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>[^`]+)`(?: - at `\$(?P<at>.*)`)?")
_WRONG = re.compile(r"(?P<what>.+) - at `\$\.?(?P<at>.*)`")


class DocumentError(ValueError):
    """A value is not the document that it should be; the message names the field."""


class Number(float):
    """A number of a JSON text that is not a plain integer; its `str` is its text, with every digit."""

    __slots__ = ("_text",)
    _text: str

    def __new__(cls, text: str) -> Self:
        """Read the text of a number."""
        number = super().__new__(cls, text)
        number._text = text
        return number

    def __str__(self) -> str:
        """Return the text that was read."""
        return self._text

    __repr__ = __str__

    def __getnewargs__(self) -> tuple[str]:  # type: ignore[override]  # of a copy
        """Return the arguments that make an equal number."""
        return (self._text,)


class Document(msgspec.Struct, frozen=True):
    """A JSON object; members that it does not have are ignored when it is read."""


class Request(Document, frozen=True, forbid_unknown_fields=True):
    """The JSON object in the body of a request; it may have no other members."""


def decode(data: bytes, kind: type[T]) -> T:
    """Read a document from JSON; a number of no declared type is a `Number`, if not an `int`.

    Raises:
        DocumentError: it is not JSON, or another document, or nested too deep, or a request with NUL.
    """
    try:
        found = msgspec.json.Decoder(kind, float_hook=Number).decode(data)
    except msgspec.ValidationError as error:
        found = _with_whole_numbers(data, kind, error)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DocumentError(f"{_NOT_JSON}: {error}") from None
    except RecursionError:
        raise DocumentError(_TOO_DEEP) from None
    if is_deeper(found, MAX_DEPTH):
        raise DocumentError(_TOO_DEEP)
    if isinstance(found, Request) and b"\\u0000" in data:
        _check_storable(to_json(found))
    return found


def _with_whole_numbers(data: bytes, kind: type[T], refusal: msgspec.ValidationError) -> T:
    """Read a document in which a whole number may be written as 60.0: it is the same number in JSON."""
    try:
        plain = msgspec.json.Decoder(float_hook=_whole_number).decode(data)
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError:
        raise DocumentError(_explain(str(refusal))) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # behind what was refused
        raise DocumentError(f"{_NOT_JSON}: {error}") from None
    except RecursionError:
        raise DocumentError(_TOO_DEEP) from None


def _whole_number(text: str) -> int | Number:
    number = Number(text)
    return int(number) if number.is_integer() and abs(number) < _MAX_EXACT else number


def _check_storable(value: object, at: str = "") -> None:
    """Check that no text has a NUL, which PostgreSQL does not store.

    Raises:
        DocumentError: names the field.
    """
    if isinstance(value, str) and "\0" in value:
        raise DocumentError(f"{at}: contains a NUL character")
    if isinstance(value, dict):
        for name, each in value.items():
            _check_storable(name, at)
            _check_storable(each, f"{at}.{name}".lstrip("."))
    if isinstance(value, list):
        for number, each in enumerate(value):
            _check_storable(each, f"{at}[{number}]")


def is_deeper(value: object, depth: int) -> bool:
    """Whether more lists and objects than so many are in each other."""
    level = [value]
    for _ in range(depth + 1):
        inner = (
            each.values() if isinstance(each, dict) else each
            for each in level
            if isinstance(each, (dict, list))
        )
        level = [each for members in inner for each in members if isinstance(each, (dict, list))]
        if not level:
            return False
    return True


def parse(value: object, kind: type[T]) -> T:
    """Read a document from parsed JSON.

    Raises:
        DocumentError: it is another document.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise DocumentError(_explain(str(error))) from None


def read_json(text: str | bytes) -> Any:  # a JSON value
    """Read JSON as `json.loads` does, but with a `Number` for each number that is not an `int`.

    Raises:
        ValueError: it is not JSON.
    """
    return json.loads(text, parse_float=Number, parse_int=_integer)


def write_json(value: object, indent: int = 0) -> str:
    """Return a value, with documents and numbers in it, as JSON, on one line if `indent` is 0."""
    written = msgspec.json.encode(value, enc_hook=_raw)
    return msgspec.json.format(written, indent=indent).decode()


def to_json(value: object) -> Any:  # a JSON value
    """Return a document, or a value with documents in it, as a value for `json.dumps`."""
    return msgspec.to_builtins(value, enc_hook=str)


def has_required_fields(kind: type[Document]) -> bool:
    """Return whether a document of a kind has members that may not be left out."""
    return any(each.required for each in msgspec.structs.fields(kind))


def schemas() -> dict[str, Any]:
    """Return the JSON Schema of every document, by its name."""
    return msgspec.json.schema_components(
        list(_concrete(Document)), ref_template="#/components/schemas/{name}"
    )[1]


def _integer(text: str) -> int | Number:
    """Return a number without fraction or exponent; `int` has no -0, and refuses very long ones."""
    is_plain = len(text) <= sys.int_info.default_max_str_digits and text != "-0"
    return int(text) if is_plain else Number(text)


def _raw(value: object) -> object:
    return msgspec.Raw(str(value).encode()) if isinstance(value, Number) else str(value)


def _concrete(kind: type[Document]) -> Iterable[type[Document]]:
    for each in kind.__subclasses__():
        yield each
        yield from _concrete(each)


def _explain(message: str) -> str:
    """Put the name of the field first in a message of msgspec."""
    if found := _MISSING.fullmatch(message):
        return f"{_path(found)}: is missing"
    if found := _UNKNOWN.fullmatch(message):
        return f"{_path(found)}: is not a known field"
    if found := _WRONG.fullmatch(message):
        return f"{found['at']}: {found['what'][0].lower()}{found['what'][1:]}"
    return message[0].lower() + message[1:]


def _path(found: re.Match[str]) -> str:
    return ".".join(each for each in ((found["at"] or "").lstrip("."), found["field"]) if each)
