"""Finds the records of a chunk and the malformed ones among them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sluice.csv.masking import NOWHERE, PADDING, REST, Offsets, mask_of, scanned_marks
from sluice.csv.scanning import BOM, Scanner, Tile
from sluice.errors import RecordTooLongError, TooManyRejectsError

if TYPE_CHECKING:
    from sluice.csv.dialects import Dialect
    from sluice.csv.masking import Mask

_LINE_FEED = 0x0A
#: Of a chunk: memory holds some hundred bytes for each, whatever its size.
MAX_CHUNK_RECORDS = 4 * 1024 * 1024
#: Records of a chunk whose quoting may be flawed: memory holds a value for each.
MAX_FLAWS = 1_000_000
_LINE_END = re.compile(rb"\r\n|\r|\n")
#: What follows the first byte of a masked delimiter, and what precedes a quote.
_MASKED_MARKS = {b"r": b"\\x%02x*+" % REST, b"p": b"\\x%02x*+" % PADDING}


class Flaw(StrEnum):
    """What is wrong with the quoting of a malformed record."""

    STRAY_QUOTE = "stray_quote"
    """A quote inside an unquoted field; a parser may join fields there and still count correctly."""

    JUNK_AFTER_QUOTE = "junk_after_quote"
    """Bytes between a closing quote and the end of its field."""

    UNCLOSED_QUOTE = "unclosed_quote"
    """A quoted field that ends with the data."""

    OPEN_ESCAPE = "open_escape"
    """An escape that ends the data."""


class Malformed(NamedTuple):
    """A malformed record, with its unclosed quote or else its first flaw.

    Attributes:
        record: its position in the index.
        kind: the flaw.
        offset: byte of the chunk: the stray quote, the first junk byte, or the opening quote.
    """

    record: int
    kind: Flaw
    offset: int


@dataclass(frozen=True, slots=True, eq=False)
class RecordIndex:
    """The records of one chunk in order; blank lines are skipped.

    Attributes:
        starts: offset of the first byte of each record.
        ends: offset after its last byte, without the line end.
        lines: 0-based physical line of the chunk on which it starts.
        malformed: the malformed records, in order.
        recovered: number of records recovered after an unclosed quote. The splitter counts them
            as part of that record, so its count is `len(index) - recovered`.
    """

    starts: Offsets
    ends: Offsets
    lines: Offsets
    malformed: tuple[Malformed, ...]
    recovered: int

    def __len__(self) -> int:
        return len(self.starts)


#: The index of an empty chunk.
NO_RECORDS = RecordIndex(NOWHERE, NOWHERE, NOWHERE, (), 0)


class CleanCount(NamedTuple):
    """Number of records of a well-formed chunk, and of delimiters between their fields."""

    records: int
    delimiters: int


def index_records(data: bytes, dialect: Dialect, width: int | None = None) -> RecordIndex:
    """Find the records of one chunk, which has no header and only complete records.

    An unclosed quote costs only its own record, which ends with the physical line on which the
    unclosed field opens; the index resumes with the next line. This happens at most once: after
    the unclosed quote all quotes are doubled, so none of them stays open.

    Args:
        data: the chunk.
        dialect: its dialect.
        width: number of fields of a record; if it is known, a malformed record does not take such records
            with it, see `_recover_inside`.

    Raises:
        TooManyRejectsError: the quoting of more than `MAX_FLAWS` records is flawed.
        RecordTooLongError: more than `MAX_CHUNK_RECORDS` lines follow an unclosed quote.
    """
    has_only_lines = not (dialect.has_quotes(data) or dialect.escape or dialect.comment)
    if has_only_lines and b"\r" not in data:
        return _index_lines(data)
    scanner = Scanner(dialect)
    builder = _Builder()
    for tile in scanner.tiles(data):
        builder.take(tile)
    if scanner.is_inside:
        index = builder.recover(data, scanner.masked, dialect)
    else:
        if scanner.is_in_record:
            builder.end_record(len(data))
        index = builder.index()
        if scanner.has_open_escape:
            index = _with_open_escape(index, len(data) - 1)
    return index if width is None else _recover_inside(index, data, dialect, width)


def _with_open_escape(index: RecordIndex, offset: int) -> RecordIndex:
    last = len(index) - 1
    if index.malformed and index.malformed[-1].record == last:
        return index
    flaw = Malformed(last, Flaw.OPEN_ESCAPE, offset)
    return replace(index, malformed=(*index.malformed, flaw))


def number_by_rows(index: RecordIndex, data: bytes) -> RecordIndex:
    """Return an index whose lines are the rows of a sheet: line ends inside of records do not count."""
    places = zip(index.starts.tolist(), index.ends.tolist(), strict=True)
    inside = np.array([len(_LINE_END.findall(data, *each)) for each in places], index.lines.dtype)
    return replace(index, lines=index.lines - (np.cumsum(inside) - inside))


def _index_lines(data: bytes) -> RecordIndex:
    """Find the records of a chunk without quotes: each line that is not blank is one."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == _LINE_FEED)
    if not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    starts = np.concatenate(([0], ends[:-1] + 1)).astype(ends.dtype)
    is_record = ends > starts
    return RecordIndex(starts[is_record], ends[is_record], np.flatnonzero(is_record), (), 0)


def _recover_inside(index: RecordIndex, data: bytes, dialect: Dialect, width: int) -> RecordIndex:
    """Return an index in which a malformed record of several lines costs its first line alone.

    A quote that is not closed where it should be, as before a backslash that is meant to escape it, takes the
    lines up to the next quote into its record. If one of these lines is a record of `width` fields, all of
    them are indexed by themselves.
    """
    parts, recovered, done = [], index.recovered, 0
    mask = mask_of(dialect)
    for flaw in index.malformed:
        start, end = int(index.starts[flaw.record]), int(index.ends[flaw.record])
        first_end, resume = line_end_after(data[start:end], 0, mask)
        first_end, resume = start + first_end, start + resume
        if resume >= end:
            continue
        rest = index_records(data[resume:end], dialect, width)
        if not _has_whole_record(rest, data[resume:end], dialect, width):
            continue
        line = int(index.lines[flaw.record])
        kind = flaw.kind if flaw.offset < first_end else Flaw.UNCLOSED_QUOTE
        first = Malformed(0, kind, min(flaw.offset, first_end - 1))
        parts.append(_part(index, done, flaw.record))
        own = (np.array([start]), np.array([first_end]), np.array([line]))
        parts.append(RecordIndex(*own, (first,), 0))
        parts.append(_shifted(rest, resume, line + count_line_ends(data, start, resume)))
        recovered += len(rest)
        done = flaw.record + 1
    if not parts:
        return index
    joined = _concatenated([*parts, _part(index, done, len(index))])
    return replace(joined, recovered=recovered)


def _has_whole_record(index: RecordIndex, data: bytes, dialect: Dialect, width: int) -> bool:
    malformed = {each.record for each in index.malformed}
    texts = (
        data[index.starts[number] : index.ends[number]]
        for number in range(len(index))
        if number not in malformed
    )
    clean = (count_clean(each, dialect) for each in texts)
    counts = (width - 1, width) if dialect.trailing_delimiter else (width - 1,)
    return any(each is not None and each.delimiters in counts for each in clean)


def _part(index: RecordIndex, first: int, end: int) -> RecordIndex:
    """Return some consecutive records of an index."""
    malformed = tuple(
        Malformed(each.record - first, each.kind, each.offset)
        for each in index.malformed
        if first <= each.record < end
    )
    own = slice(first, end)
    return RecordIndex(index.starts[own], index.ends[own], index.lines[own], malformed, 0)


def _shifted(index: RecordIndex, offset: int, line: int) -> RecordIndex:
    malformed = tuple(Malformed(n, kind, at + offset) for n, kind, at in index.malformed)
    return RecordIndex(
        index.starts + offset, index.ends + offset, index.lines + line, malformed, index.recovered
    )


def _concatenated(parts: list[RecordIndex]) -> RecordIndex:
    malformed, seen = [], 0
    for part in parts:
        malformed += [Malformed(n + seen, kind, at) for n, kind, at in part.malformed]
        seen += len(part)
    return RecordIndex(
        starts=np.concatenate([each.starts for each in parts]),
        ends=np.concatenate([each.ends for each in parts]),
        lines=np.concatenate([each.lines for each in parts]),
        malformed=tuple(malformed),
        recovered=sum(each.recovered for each in parts),
    )


def count_clean(data: bytes, dialect: Dialect) -> CleanCount | None:
    """Count the records and delimiters of a chunk, or return None if a record is malformed."""
    scanner = Scanner(dialect)
    delimiter = scanned_marks(dialect).delimiter[0]
    records = delimiters = 0
    for tile in scanner.tiles(data):
        if len(tile.strays()) or len(tile.junk()):
            return None
        records += tile.count()[1]
        delimiters += tile.count_outside(delimiter)
    if scanner.is_inside or scanner.has_open_escape:
        return None
    return CleanCount(records + scanner.is_in_record, delimiters)


def count_plain_records(data: bytes, dialect: Dialect, width: int) -> int | None:
    """Count the records of a chunk, or return None if parsers might disagree about it.

    Args:
        data: the chunk, in an encoding that contains ASCII.
        dialect: its dialect.
        width: number of fields that each record must have.
    """
    if b"\0" in data:
        return None
    found = count_clean(data, dialect)
    if found is None or found.delimiters != found.records * (width - 1):
        return None
    return found.records


class _Builder:
    """Builds an index tile by tile; offsets and lines count from the start of the chunk."""

    def __init__(self) -> None:
        self._starts, self._ends, self._lines = [NOWHERE], [NOWHERE], [NOWHERE]
        self._strays, self._junk = [NOWHERE], [NOWHERE]
        self._open_start = 0
        self._open_line = 0
        self._line_count = 0

    def take(self, tile: Tile) -> None:
        """Add the records that end in the next tile, and its flaws."""
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
        """End the open record."""
        self._starts.append(np.array([self._open_start]))
        self._ends.append(np.array([end]))
        self._lines.append(np.array([self._open_line]))

    def index(self) -> RecordIndex:
        """Return the index of the tiles added."""
        starts = np.concatenate(self._starts)
        strays, junk = np.concatenate(self._strays), np.concatenate(self._junk)
        return RecordIndex(
            starts=starts,
            ends=np.concatenate(self._ends),
            lines=np.concatenate(self._lines),
            malformed=_first_flaws(starts, strays, junk),
            recovered=0,
        )

    def recover(self, data: bytes, masked: bytes | bytearray, dialect: Dialect) -> RecordIndex:
        """Return the index of the tiles added, the unclosed record, and the records after it."""
        start, line, record = self._open_start, self._open_line, sum(map(len, self._starts))
        opening = unclosed_opening(masked, start, dialect)
        end, resume = _line_end(masked, opening)
        if data.count(b"\n", resume) + data.count(b"\r", resume) > MAX_CHUNK_RECORDS:
            raise RecordTooLongError(
                f"a quote is not closed, and more than {MAX_CHUNK_RECORDS:,} lines follow it; close it, or"
                ' declare quote = "" if quotes are text in this file'
            )
        self.end_record(end)
        unclosed = Malformed(record, Flaw.UNCLOSED_QUOTE, opening)
        rest = index_records(data[resume:], dialect)
        rest_line = line + count_line_ends(data, start, resume)
        found = self.index()
        malformed = [each for each in found.malformed if each.record < record]
        first = replace(found, malformed=(*malformed, unclosed))
        index = _concatenated([first, _shifted(rest, resume, rest_line)])
        return replace(index, recovered=len(rest))


def _first_flaws(starts: Offsets, strays: Offsets, junk: Offsets) -> tuple[Malformed, ...]:
    offsets = np.concatenate((strays, junk))
    if len(offsets) > MAX_FLAWS:
        found = len(np.unique(np.searchsorted(starts, offsets, side="right")))
        if found > MAX_FLAWS:
            raise TooManyRejectsError(
                f"the quoting of {found:,} records of a chunk is flawed; if quotes are text in this file,"
                ' declare quote = "", else fix the file'
            )
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


def unclosed_opening(data: bytes | bytearray, start: int, dialect: Dialect) -> int:
    """Return the offset of the quote that opens the last field of a record ending inside quotes.

    Args:
        data: the bytes as they are scanned, masked if the dialect is not plain.
        start: offset of the first byte of the record.
        dialect: its dialect.
    """
    scanned = scanned_marks(dialect)
    marks = {b"q": re.escape(scanned.quote), b"d": re.escape(scanned.delimiter)}
    marks |= {b"r": b"", b"p": b""} if dialect.is_plain else _MASKED_MARKS
    quoted = b"%(p)b%(q)b[^%(q)b]*+(?:%(q)b%(q)b[^%(q)b]*+)*+%(q)b[^%(d)b\\r\\n]*+" % marks
    unquoted = b"(?!%(p)b%(q)b)[^%(d)b\\r\\n]*+" % marks
    fields = re.compile(b"(?:(?:%b|%b)%b%b)*+" % (quoted, unquoted, marks[b"d"], marks[b"r"]))
    opening = re.compile(marks[b"p"])
    while data.startswith(BOM, start):
        start += len(BOM)
    found = fields.match(data, start)
    at = found.end() if found else start
    padding = opening.match(data, at)
    return padding.end() if padding else at


def count_line_ends(data: bytes, start: int, end: int) -> int:
    """Count the physical lines that end in a range of bytes."""
    return len(_LINE_END.findall(data, start, end))


def line_end_after(data: bytes, offset: int, mask: Mask | None) -> tuple[int, int]:
    """Return the start and end of the first line end at or after an offset that is not escaped."""
    return _line_end(data if mask is None else mask.apply(data), offset)


def _line_end(data: bytes | bytearray, offset: int) -> tuple[int, int]:
    """Return the start and end of the line end of the physical line at an offset."""
    found = _LINE_END.search(data, offset)
    return found.span() if found else (len(data), len(data))
