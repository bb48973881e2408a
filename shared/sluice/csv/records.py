"""Finds the records of a chunk and the malformed ones among them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sluice.csv.scanning import NOWHERE, Offsets, Scanner, Tile

if TYPE_CHECKING:
    from sluice.csv.dialects import Dialect

_LINE_FEED = 0x0A
_LINE_END = re.compile(rb"\r\n|\r|\n")


class Flaw(StrEnum):
    """What is wrong with the quoting of a malformed record."""

    STRAY_QUOTE = "stray_quote"
    """A quote inside an unquoted field; a parser may join fields there and still count correctly."""

    JUNK_AFTER_QUOTE = "junk_after_quote"
    """Bytes between a closing quote and the end of its field."""

    UNCLOSED_QUOTE = "unclosed_quote"
    """A quoted field that ends with the data."""


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
    """
    if not dialect.has_quotes(data) and b"\r" not in data:
        return _index_lines(data)
    scanner = Scanner(dialect)
    builder = _Builder()
    for tile in scanner.tiles(data):
        builder.take(tile)
    if not scanner.is_inside and scanner.is_in_line:
        builder.end_record(len(data))
    index = builder.recover(data, dialect) if scanner.is_inside else builder.index()
    return index if width is None else _recover_inside(index, data, dialect, width)


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
    for flaw in index.malformed:
        start, end = int(index.starts[flaw.record]), int(index.ends[flaw.record])
        first_end, resume = _line_end(data, start)
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
        parts.append(_shifted(rest, resume, line + 1))
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
    return any(each is not None and each.delimiters == width - 1 for each in clean)


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
    delimiter = dialect.delimiter_byte[0]
    records = delimiters = 0
    for tile in scanner.tiles(data):
        if len(tile.strays()) or len(tile.junk()):
            return None
        records += tile.count()[1]
        delimiters += tile.count_outside(delimiter)
    return None if scanner.is_inside else CleanCount(records + scanner.is_in_line, delimiters)


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

    def recover(self, data: bytes, dialect: Dialect) -> RecordIndex:
        """Return the index of the tiles added, the unclosed record, and the records after it."""
        start, line, record = self._open_start, self._open_line, sum(map(len, self._starts))
        opening = _unclosed_opening(data, start, dialect)
        end, resume = _line_end(data, opening)
        self.end_record(end)
        unclosed = Malformed(record, Flaw.UNCLOSED_QUOTE, opening)
        rest = index_records(data[resume:], dialect)
        rest_line = line + len(_LINE_END.findall(data, start, resume))
        found = self.index()
        malformed = [each for each in found.malformed if each.record < record]
        first = replace(found, malformed=(*malformed, unclosed))
        index = _concatenated([first, _shifted(rest, resume, rest_line)])
        return replace(index, recovered=len(rest))


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
    """Return the offset of the quote that opens the last field of a record ending inside quotes."""
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
    """Return the start and end of the line end of the physical line at an offset."""
    found = _LINE_END.search(data, offset)
    return found.span() if found else (len(data), len(data))
