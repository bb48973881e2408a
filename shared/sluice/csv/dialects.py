"""The dialect of a CSV file: delimiter, quote, escape, encoding, header, and lines that are no records."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from sluice.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ASCII = bytes(range(128))
_LEAD_BYTES = range(0x80, 0x100)
_KINDS: dict[type, str] = {bool: "boolean", int: "whole number", str: "string"}
#: Lines of a preamble, of a header and of a footer, at most.
_MOST_LINES = {"skip_lines": 100_000, "header_lines": 5, "footer_lines": 1_000}
_LONGEST_MARK = 32


def _fail(key: str, detail: str) -> DeclarationError:
    return DeclarationError(detail, key=f"dialect.{key}")


def _wrong_option(key: str, detail: str) -> DeclarationError:
    return DeclarationError(detail, file="", key=f"dialect.{key}")


@dataclass(frozen=True)
class Dialect:
    """How a file separates and quotes fields, and which of its lines are no records.

    A quote inside quotes is doubled (RFC 4180). Without quote, every byte but delimiters, escapes and
    line ends is part of a value.

    Quote and escape are single bytes, and the encoding is a superset of ASCII in which no other
    character contains those bytes or the delimiter. Therefore bytes can be scanned without decoding
    them.

    Attributes:
        delimiter: one character or more.
        quote: one character; empty: there is none.
        escape: makes the next character literal, inside and outside quotes; empty: there is none. An
            unquoted cell that is the escape and `N` is null.
        comment: lines that begin with it, outside quotes, are no records; empty: there are none.
        header: whether there is a header.
        header_lines: records of the header, 1 to 5; the names of several are joined with spaces.
        skip_lines: physical lines before the header or the first record.
        footer_lines: physical lines at the end of the file that are no records.
        spaces_around_quotes: spaces and tabs between delimiter and quote are no part of a field.
        trailing_delimiter: a record may end with one more delimiter.

    Raises:
        DeclarationError: a value has the wrong type, or bytes could not be scanned with it.
    """

    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    header: bool = True
    escape: str = ""
    comment: str = ""
    skip_lines: int = 0
    header_lines: int = 1
    footer_lines: int = 0
    spaces_around_quotes: bool = False
    trailing_delimiter: bool = False

    def __post_init__(self) -> None:
        for each in fields(self):
            _check_type(each.name, getattr(self, each.name), type(each.default))
        _check_encoding(self.encoding)
        _check_delimiter(self.delimiter, self.encoding)
        for key in ("quote", "escape"):
            if mark := getattr(self, key):
                _check_mark(key, mark, self.encoding)
                _check_is_other(key, mark, self.delimiter)
        if self.escape and self.escape == self.quote:
            raise _fail(
                "escape",
                f"{self.escape!r} is also the quote; a doubled quote is literal without an escape",
            )
        if self.comment:
            _check_comment(self)
        _check_lines(self)

    @property
    def delimiter_byte(self) -> bytes:
        """The encoded delimiter, of several bytes if it has several characters."""
        return self.delimiter.encode(self.encoding)

    @property
    def quote_byte(self) -> bytes:
        """The encoded quote, empty where there is none."""
        return self.quote.encode(self.encoding)

    @property
    def escape_byte(self) -> bytes:
        """The encoded escape, empty where there is none."""
        return self.escape.encode(self.encoding)

    @property
    def comment_bytes(self) -> bytes:
        """The encoded prefix of comments, empty where there are none."""
        return self.comment.encode(self.encoding)

    @property
    def is_plain(self) -> bool:
        """Whether records are those of RFC 4180, with a delimiter and a quote of one ASCII character."""
        return (
            len(self.delimiter) == 1
            and (self.delimiter + self.quote).isascii()
            and not (self.escape or self.comment or self.spaces_around_quotes)
        )

    @property
    def header_records(self) -> int:
        """Number of records before the first row."""
        return self.header_lines if self.header else 0

    def has_quotes(self, data: bytes) -> bool:
        """Whether there are quotes in data."""
        return bool(self.quote) and self.quote_byte in data

    def to_json(self) -> dict[str, str | bool | int]:
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


#: The keys of a dialect, in order.
KEYS = tuple(each.name for each in fields(Dialect))


def options_of(texts: Mapping[str, str]) -> dict[str, str | int | bool]:
    """Return keys of a dialect from texts, as the metadata of an object or a command line has them.

    Raises:
        DeclarationError: a key is unknown, or its text is not of its type.
    """
    kinds = {each.name: type(each.default) for each in fields(Dialect)}
    options: dict[str, str | int | bool] = {}
    for key, text in texts.items():
        name = key.replace("-", "_")
        if name not in kinds:
            raise _wrong_option(
                key, f"is unknown; the keys of a dialect are {', '.join(sorted(kinds))}"
            )
        try:
            options[name] = _READERS[kinds[name]](text)
        except (KeyError, ValueError):
            kind = "true or false" if kinds[name] is bool else "a whole number"
            raise _wrong_option(key, f"{text!r} is not {kind}") from None
    if encoding := str(options.get("encoding", "")):
        _check_encoding(encoding)
    return options


def dialect_option(key: str, value: str) -> str:
    """Return the option of the command line that gives a key of a dialect, for a message."""
    text = value.replace("\t", "\\t")
    return f"--dialect {key}={text}" if text.isidentifier() else f"--dialect {key}='{text}'"


def _read_text(text: str) -> str:
    r"""Return a text in which `\t` may stand for a tab."""
    return text.replace("\\t", "\t")


_READERS: Mapping[type, Callable[[str], str | int | bool]] = {
    str: _read_text,
    int: int,
    bool: {"true": True, "false": False}.__getitem__,
}


def _check_type(key: str, value: object, wanted: type) -> None:
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise _fail(key, f"{value!r} is not a {_KINDS[wanted]}")


def _check_encoding(encoding: str) -> None:
    try:
        is_ascii_superset = _ASCII.decode(encoding) == _ASCII.decode("ascii")
    except UnicodeError:
        is_ascii_superset = False
    except (LookupError, ValueError):  # a ValueError if the name has a NUL
        raise _fail("encoding", f"{encoding!r} is unknown; try utf-8 or cp1252") from None
    if not is_ascii_superset:
        raise _fail("encoding", f"{encoding!r} does not contain ASCII; save the file as utf-8")


def _check_delimiter(mark: str, encoding: str) -> None:
    if len(mark) == 1 and len(_encoded(mark, encoding)) == 1:
        _check_mark("delimiter", mark, encoding)
        return
    _check_text("delimiter", mark, encoding)
    if encoding != "utf-8" and any(_is_shared(each, encoding) for each in mark):
        raise _fail("delimiter", f"{mark!r} is part of other characters in {encoding}")


def _check_text(key: str, mark: str, encoding: str) -> None:
    """Check a mark of any number of characters."""
    if not (_encoded(mark, encoding) and len(mark) <= _LONGEST_MARK):
        raise _fail(
            key, f"{mark!r} is not one character of {encoding}, or up to {_LONGEST_MARK} of them"
        )
    if set(mark) & set("\r\n\0") or (len(mark) == 1 and mark.isascii() and mark.isalnum()):
        raise _fail(key, f"{mark!r} occurs in the data; choose a punctuation character")


def _check_mark(key: str, mark: str, encoding: str) -> None:
    """Check a mark of one character."""
    if len(mark) != 1 or len(_encoded(mark, encoding)) != 1:
        raise _fail(key, f"{mark!r} is not one character of one byte in {encoding}")
    if mark in "\r\n\0" or (mark.isascii() and mark.isalnum()):
        raise _fail(key, f"{mark!r} occurs in the data; choose a punctuation character")
    if _is_shared(mark, encoding):
        raise _fail(key, f"{mark!r} is part of other characters in {encoding}; choose another")


def _encoded(mark: str, encoding: str) -> bytes:
    try:
        return mark.encode(encoding)
    except UnicodeError:
        return b""


def _is_shared(mark: str, encoding: str) -> bool:
    """Whether other characters contain a character's bytes."""
    encoded = mark.encode(encoding)
    pairs = (bytes((lead, encoded[0])) for lead in _LEAD_BYTES)
    return len(encoded) > 1 or any(_is_character(each, encoding) for each in pairs)


def _is_character(data: bytes, encoding: str) -> bool:
    try:
        return len(data.decode(encoding)) == 1
    except UnicodeDecodeError:
        return False


def _check_is_other(key: str, mark: str, delimiter: str) -> None:
    if mark == delimiter:
        raise _fail(key, f"{mark!r} is also the delimiter; choose another")
    if mark in delimiter:
        raise _fail(key, f"{mark!r} is part of the delimiter {delimiter!r}; choose another")


def _check_comment(dialect: Dialect) -> None:
    _check_text("comment", dialect.comment, dialect.encoding)
    for key in ("delimiter", "quote", "escape"):
        if set(getattr(dialect, key)) & set(dialect.comment):
            raise _fail(
                "comment", f"{dialect.comment!r} contains a character of the {key}; choose another"
            )
    if dialect.comment.isspace():
        raise _fail("comment", f"{dialect.comment!r} is white space; choose another")


def _check_lines(dialect: Dialect) -> None:
    for key, most in _MOST_LINES.items():
        least, found = int(key == "header_lines"), getattr(dialect, key)
        if not least <= found <= most:
            raise _fail(key, f"{found} is not between {least} and {most:,}")
    if dialect.header_lines > 1 and not dialect.header:
        raise _fail("header_lines", f"{dialect.header_lines} needs header = true")
