"""Where the records of one chunk are and which are malformed; knows the bytes, not the columns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sluice.csv.scanning import NOWHERE, Offsets, Scanner, Tile

if TYPE_CHECKING:
    from sluice.csv.dialects import Dialect

_LINE_FEED = 0x0A
_LINE_END = re.compile(rb"\r\n|\r|\n")


class Flaw(StrEnum):
    """What is wrong with the quotes of a malformed record."""

    STRAY_QUOTE = "stray_quote"
    """A quote inside an unquoted field; a parser may glue fields there and still count right."""

    JUNK_AFTER_QUOTE = "junk_after_quote"
    """Bytes between a closing quote and the end of its field."""

    UNCLOSED_QUOTE = "unclosed_quote"
    """A quoted field that the end of the data ends."""


class Malformed(NamedTuple):
    """A malformed record, by its unclosed quote or else by the first flaw in it.

    Attributes:
        record: its position in the index.
        kind: what is wrong.
        offset: byte of the chunk at which: the stray quote, the first junk, the opening quote.
    """

    record: int
    kind: Flaw
    offset: int


@dataclass(frozen=True, slots=True, eq=False)
class RecordIndex:
    """The records of one chunk in order; blank lines are skipped.

    Attributes:
        starts: offset of the first byte of each record.
        ends: offset behind its last byte, without the line end.
        lines: 0-based physical line of the chunk on which it starts.
        malformed: the malformed ones, in order.
        recovered: how many records were saved from behind an unclosed quote. The splitter takes
            these into the record of that quote, so its count is `len(index) - recovered`.
    """

    starts: Offsets
    ends: Offsets
    lines: Offsets
    malformed: tuple[Malformed, ...]
    recovered: int

    def __len__(self) -> int:
        return len(self.starts)


class CleanCount(NamedTuple):
    """What a chunk without a malformed record holds: records, and delimiters between fields."""

    records: int
    delimiters: int


def index_records(data: bytes, dialect: Dialect) -> RecordIndex:
    """Find the records of one chunk: no BOM, no header, and no record cut in two.

    An unclosed quote costs its own record alone: that record ends with the physical line on which
    the unclosed field opens, and the index goes on with the next line. It goes on to the end,
    since behind the unclosed quote all quotes are doubled, and so none of them stays open.
    """
    if dialect.quote_byte not in data and b"\r" not in data:
        return _index_lines(data)
    scanner = Scanner(dialect)
    builder = _Builder()
    for tile in scanner.tiles(data):
        builder.take(tile)
    if scanner.is_inside:
        return builder.recover(data, dialect)
    if scanner.is_in_line:
        builder.end_record(len(data))
    return builder.index()


def _index_lines(data: bytes) -> RecordIndex:
    """Find the records of a chunk without quotes: every line that is not blank is one."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == _LINE_FEED)
    if not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    starts = np.concatenate(([0], ends[:-1] + 1)).astype(ends.dtype)
    is_record = ends > starts
    return RecordIndex(starts[is_record], ends[is_record], np.flatnonzero(is_record), (), 0)


def count_clean(data: bytes, dialect: Dialect) -> CleanCount | None:
    """Count what one chunk holds, or return None if `index_records` finds a record malformed."""
    scanner = Scanner(dialect)
    delimiter = dialect.delimiter_byte[0]
    records = delimiters = 0
    for tile in scanner.tiles(data):
        if len(tile.strays()) or len(tile.junk()):
            return None
        records += tile.count()[1]
        delimiters += tile.count_outside(delimiter)
    return None if scanner.is_inside else CleanCount(records + scanner.is_in_line, delimiters)


def count_plain_records(data: bytes, dialect: Dialect, width: int) -> int | None:
    """Count the records of one chunk, or return None where a parser might read it in another way.

    Args:
        data: the chunk, in UTF-8.
        dialect: how it is written.
        width: how many fields each record must have.
    """
    if b"\0" in data or not is_utf8(data):
        return None
    if b"\r" in data and not data.count(b"\r") == data.count(b"\n") == data.count(b"\r\n"):
        return None
    found = count_clean(data, dialect)
    if found is None or found.delimiters != found.records * (width - 1):
        return None
    return found.records


def is_utf8(data: bytes) -> bool:
    """Whether bytes are text in UTF-8."""
    if data.isascii():
        return True
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class _Builder:
    """Collects an index tile by tile; all offsets and lines count from the start of the chunk."""

    def __init__(self) -> None:
        self._starts, self._ends, self._lines = [NOWHERE], [NOWHERE], [NOWHERE]
        self._strays, self._junk = [NOWHERE], [NOWHERE]
        self._open_start = 0
        self._open_line = 0
        self._line_count = 0

    def take(self, tile: Tile) -> None:
        """Add the records that end in the next tile, and the flaws in it."""
        found = tile.boundaries(self._open_start - tile.start)
        lines = np.concatenate(([self._open_line], self._line_count + found.lines))
        is_record = found.is_record
        self._starts.append(tile.start + found.starts[is_record])
        self._ends.append(tile.start + found.content_ends[is_record])
        self._lines.append(lines[:-1][is_record])
        self._strays.append(tile.start + tile.strays())
        self._junk.append(tile.start + tile.junk())
        if len(found.ends):
            self._open_start = tile.start + int(found.ends[-1])
        self._open_line = int(lines[-1])
        self._line_count += found.line_count

    def end_record(self, end: int) -> None:
        """End the record that is open."""
        self._starts.append(np.array([self._open_start]))
        self._ends.append(np.array([end]))
        self._lines.append(np.array([self._open_line]))

    def index(self) -> RecordIndex:
        """Return the index of what was added."""
        starts = np.concatenate(self._starts)
        strays, junk = np.concatenate(self._strays), np.concatenate(self._junk)
        return RecordIndex(
            starts=starts,
            ends=np.concatenate(self._ends),
            lines=np.concatenate(self._lines),
            malformed=_first_flaws(starts, strays, junk),
            recovered=0,
        )

    def recover(self, data: bytes, dialect: Dialect) -> RecordIndex:
        """Return the index of what was added, of the unclosed record, and of what is behind it."""
        start, line, record = self._open_start, self._open_line, sum(map(len, self._starts))
        opening = _unclosed_opening(data, start, dialect)
        end, resume = _line_end(data, opening)
        self.end_record(end)
        unclosed = Malformed(record, Flaw.UNCLOSED_QUOTE, opening)
        rest = index_records(data[resume:], dialect)
        rest_line = line + len(_LINE_END.findall(data, start, resume))
        return _join(self.index(), unclosed, rest, resume, rest_line)


def _join(
    index: RecordIndex, unclosed: Malformed, rest: RecordIndex, offset: int, line: int
) -> RecordIndex:
    malformed = [each for each in index.malformed if each.record < unclosed.record]
    malformed.append(unclosed)
    malformed += (
        Malformed(each.record + len(index), each.kind, each.offset + offset)
        for each in rest.malformed
    )
    return RecordIndex(
        starts=np.concatenate((index.starts, rest.starts + offset)),
        ends=np.concatenate((index.ends, rest.ends + offset)),
        lines=np.concatenate((index.lines, rest.lines + line)),
        malformed=tuple(malformed),
        recovered=len(rest),
    )


def _first_flaws(starts: Offsets, strays: Offsets, junk: Offsets) -> tuple[Malformed, ...]:
    offsets = np.concatenate((strays, junk))
    order = np.argsort(offsets)
    records, first = np.unique(
        np.searchsorted(starts, offsets[order], side="right") - 1, return_index=True
    )
    return tuple(
        Malformed(record, Flaw.STRAY_QUOTE if each < len(strays) else Flaw.JUNK_AFTER_QUOTE, offset)
        for record, each, offset in zip(
            records.tolist(), order[first].tolist(), offsets[order[first]].tolist(), strict=True
        )
    )


def _unclosed_opening(data: bytes, start: int, dialect: Dialect) -> int:
    """Pass the fields of a record that ends inside quotes, up to the quote that opens its last."""
    marks = {
        b"q": re.escape(dialect.quote_byte),
        b"d": re.escape(dialect.delimiter_byte),
    }
    quoted = b"%(q)b[^%(q)b]*+(?:%(q)b%(q)b[^%(q)b]*+)*+%(q)b[^%(d)b\\r\\n]*+" % marks
    unquoted = b"(?!%(q)b)[^%(d)b\\r\\n]*+" % marks
    fields = re.compile(b"(?:(?:%b|%b)%b)*+" % (quoted, unquoted, marks[b"d"]))
    found = fields.match(data, start)
    return found.end() if found else start


def _line_end(data: bytes, offset: int) -> tuple[int, int]:
    """Return where the physical line of an offset ends: before and behind its line end."""
    found = _LINE_END.search(data, offset)
    return found.span() if found else (len(data), len(data))
