"""The dialect of a CSV file: delimiter, quote, encoding, header."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from sluice.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Mapping

_ASCII = bytes(range(128))
_LEAD_BYTES = range(0x80, 0x100)


def _fail(key: str, detail: str) -> DeclarationError:
    return DeclarationError(detail, key=f"dialect.{key}")


@dataclass(frozen=True)
class Dialect:
    """How a file separates and quotes fields; a quote inside quotes is doubled (RFC 4180).

    Without quote, every byte but delimiters and line ends is part of a value.

    Delimiter and quote are single bytes, and the encoding is a superset of ASCII in which no other
    character contains those bytes. Therefore bytes can be scanned without decoding them.

    Raises:
        DeclarationError: a value has the wrong type, or bytes could not be scanned with it.
    """

    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    header: bool = True

    def __post_init__(self) -> None:
        for each in fields(self):
            _check_type(each.name, getattr(self, each.name), type(each.default))
        _check_encoding(self.encoding)
        _check_mark("delimiter", self.delimiter, self.encoding)
        if self.quote:
            _check_mark("quote", self.quote, self.encoding)
        if self.delimiter == self.quote:
            raise _fail("quote", f"{self.quote!r} is also the delimiter; choose another")

    @property
    def delimiter_byte(self) -> bytes:
        """The encoded delimiter."""
        return self.delimiter.encode(self.encoding)

    @property
    def quote_byte(self) -> bytes:
        """The encoded quote, empty where there is none."""
        return self.quote.encode(self.encoding)

    def has_quotes(self, data: bytes) -> bool:
        """Whether there are quotes in data."""
        return bool(self.quote) and self.quote_byte in data

    def to_json(self) -> dict[str, str | bool]:
        """Return the dialect as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> Dialect:
        """Read a dialect from a JSON object; missing keys have their defaults.

        Raises:
            DeclarationError: a key is unknown or a value is invalid.
        """
        known = {each.name for each in fields(cls)}
        for key in document:
            if key not in known:
                raise _fail(
                    key, f"is unknown; the keys of a dialect are {', '.join(sorted(known))}"
                )
        return cls(**document)  # type: ignore[arg-type]  # the constructor checks the types


def _check_type(key: str, value: object, wanted: type) -> None:
    if not isinstance(value, wanted):
        raise _fail(key, f"{value!r} is not a {'boolean' if wanted is bool else 'string'}")


def _check_encoding(encoding: str) -> None:
    try:
        is_ascii_superset = _ASCII.decode(encoding) == _ASCII.decode("ascii")
    except LookupError:
        raise _fail("encoding", f"{encoding!r} is unknown; try utf-8 or cp1252") from None
    except UnicodeError:
        is_ascii_superset = False
    if not is_ascii_superset:
        raise _fail("encoding", f"{encoding!r} does not contain ASCII; save the file as utf-8")


def _check_mark(key: str, mark: str, encoding: str) -> None:
    try:
        encoded = mark.encode(encoding)
    except UnicodeError:
        encoded = b""
    if len(mark) != 1 or len(encoded) != 1:
        raise _fail(key, f"{mark!r} is not one character of one byte in {encoding}")
    if mark in "\r\n\0" or (mark.isascii() and mark.isalnum()):
        raise _fail(key, f"{mark!r} occurs in the data; choose a punctuation character")
    if any(_forms_character(bytes((lead, encoded[0])), encoding) for lead in _LEAD_BYTES):
        raise _fail(key, f"{mark!r} is part of other characters in {encoding}; choose another")


def _forms_character(pair: bytes, encoding: str) -> bool:
    return len(pair.decode(encoding, "replace")) == 1
