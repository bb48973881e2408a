"""A reject: a refused row with its position, the rule that it broke, and its original bytes."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluice.csv.records import RecordIndex

#: Column, rule, value and reason of a reject.
Finding = tuple[str | None, str, str | None, str]
#: Records of a chunk that may be rejects, by default: memory holds all of them.
MAX_REJECTS = 100_000
#: Names of invisible characters that Unicode names otherwise, or not at all.
_INVISIBLE = {
    "\t": "tab",
    "\n": "line feed",
    "\r": "carriage return",
    "\0": "NUL",
    "\x1b": "escape",
    "\x7f": "delete",
    "\ufeff": "byte order mark",
}
#: Unicode's categories of characters that are not seen, or seen as a space.
_INVISIBLE_CATEGORIES = ("Cc", "Cf", "Zs", "Zl", "Zp", "Co", "Cn")
#: Shown instead of a value of a column with personal data; the same for all, so that nothing can be inferred.
MASK = "***"
#: Reasons of malformed records, by the kind of flaw.
RECORD_REASONS = {
    "stray_quote": "a quote is inside an unquoted field; quote the field and double the quote",
    "junk_after_quote": "text follows a closing quote; double the quotes inside the field",
    "unclosed_quote": "a quoted field is not closed",
    "open_escape": "ends with an escape, and the file with it: the character after it is missing",
    "columns": "has {found} columns instead of {expected}",
    "encoding": "is not text in {encoding}",
    "header": "repeats the header",
    "nul": "contains a NUL byte, which text cannot",
}


#: What is added to the reason of a flawed quote after a backslash, and of a wrong number of columns.
BACKSLASH_HINT = (
    '; a backslash precedes a quote: if the file escapes quotes so, declare escape = "\\\\"'
)
LONE_CR_HINT = (
    "; a carriage return without line feed ends its line: remove it, or quote the field that has it"
)


def visible(text: str) -> str:
    """Return a text in which invisible characters are named, such as `1<no-break space>000`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character == " " or unicodedata.category(character) not in _INVISIBLE_CATEGORIES:
        return character
    name = unicodedata.name(character, f"U+{ord(character):04X}")
    return f"<{_INVISIBLE.get(character) or (name if name[:2] == 'U+' else name.lower())}>"


class Findings(dict[int, Finding]):
    """What is wrong with records of a chunk, by their position in it.

    Args:
        most: how many there may be.
    """

    def __init__(self, most: int = MAX_REJECTS) -> None:
        super().__init__()
        self.most = most

    def add(self, number: int, found: Finding) -> None:
        """Add what is wrong with a record, or replace it.

        Raises:
            TooManyFindingsError: there are too many.
        """
        if len(self) >= self.most and number not in self:
            raise TooManyFindingsError(self)
        self[number] = found


class TooManyFindingsError(Exception):
    """So many records are rejects that the others do not count.

    Attributes:
        findings: those found before.
    """

    def __init__(self, findings: Mapping[int, Finding]) -> None:
        super().__init__()
        self.findings = findings


@dataclass(frozen=True, slots=True)
class Reject:
    """A refused row.

    Attributes:
        record: number in the file, from 0, without the header.
        line: physical line of the file on which the record begins, from 1.
        column: the declared column, or None if the record itself is malformed.
        rule: `type`, `required`, ... or a kind of `RECORD_REASONS`.
        value: the cell as written, or None.
        original: the bytes of the record in the file, without the line end.
        line_end: the line end after it; empty at the end of the file, and for a row of a request.
    """

    record: int
    line: int
    column: str | None
    rule: str
    value: str | None
    reason: str
    original: bytes
    line_end: bytes = b""


def line_end_at(data: bytes, at: int) -> bytes:
    """Return the line end at an offset: CRLF, LF or CR; empty where there is none."""
    if data[at : at + 2] == b"\r\n":
        return b"\r\n"
    one = bytes(data[at : at + 1])
    return one if one in (b"\r", b"\n") else b""


def rejects_of(
    data: bytes,
    index: RecordIndex,
    found: Mapping[int, Finding],
    first_line: int,
    first_record: int,
) -> list[Reject]:
    """Return the rejects of a chunk from the findings about its records."""
    return [
        Reject(
            record=first_record + number,
            line=first_line + int(index.lines[number]),
            column=column,
            rule=rule,
            value=value,
            reason=reason,
            original=bytes(data[index.starts[number] : index.ends[number]]),
            line_end=line_end_at(data, int(index.ends[number])),
        )
        for number, (column, rule, value, reason) in sorted(found.items())
    ]


def file_of_rejects(
    preamble: bytes, records: Iterable[tuple[Iterable[bytes], bytes]], footer: bytes = b""
) -> Iterator[bytes]:
    """Yield rejected records as the bytes of a file in the dialect of the one that they came from.

    Args:
        preamble: what precedes the first record there.
        records: the pieces of each, with its line end. Where a record has none and another one follows, it
            gets that of the preamble.
        footer: what follows the last record there.
    """
    usual = line_end_at(preamble, len(preamble.rstrip(b"\r\n"))) or b"\n"
    yield preamble
    owed = b"" if not preamble or preamble.endswith((b"\r", b"\n", b"\xbf")) else usual
    for pieces, line_end in records:
        yield owed
        yield from pieces
        yield line_end
        owed = b"" if line_end else usual
    if footer:
        yield owed + footer
