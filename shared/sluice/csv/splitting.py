"""Cuts a CSV file into chunks at record boundaries; keeps counters, not the data; does no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import numpy as np

from sluice.csv.cuts import Cut
from sluice.csv.scanning import BOM, Boundaries, Offsets, Scanner, Tile
from sluice.errors import HeaderMismatchError

if TYPE_CHECKING:
    from sluice.csv.dialects import Dialect

CHUNK_BYTES: Final = 31 * 1024 * 1024
MAX_HEADER_BYTES: Final = 1024 * 1024
#: Bytes that mean another thing with those that follow: half a CRLF, half a BOM.
_HALVES = (b"\r", b"\xef\xbb", b"\xef")


class _Mark(NamedTuple):
    """A record boundary, with the lines and records complete before it."""

    byte: int
    lines: int
    records: int


@dataclass(frozen=True, slots=True, eq=False)
class _Marks:
    """The marks of one tile, in order."""

    bytes: Offsets
    lines: Offsets
    records: Offsets

    def __len__(self) -> int:
        return len(self.bytes)

    def __getitem__(self, index: int) -> _Mark:
        return _Mark(int(self.bytes[index]), int(self.lines[index]), int(self.records[index]))


class Splitter:
    """Finds the chunks of one file while it is read, in blocks of any size.

    A chunk ends at the last record end within `chunk_bytes` of its start or, if a record is
    longer than that, at the first record end after it. The end of the file ends a record. Blank
    lines are not records, but they belong to the range of a chunk: `[0, header_end)` and the
    chunks tile the file. After an unclosed quote, the rest of the file is one last record;
    `sluice.csv.records` recovers the records in it.

    Attributes:
        header: bytes of the header record without BOM and line end; None until it is known, and
            always None if the dialect has no header, the file has no record, or split resumed.
        header_end: offset of the first byte of the first chunk, after BOM and header; None until
            it is known, and always None if split resumed.
    """

    def __init__(self, dialect: Dialect, chunk_bytes: int = CHUNK_BYTES) -> None:
        if chunk_bytes < 1:
            raise ValueError(f"chunk_bytes is {chunk_bytes}; it must be at least 1")
        self.header: bytes | None = None
        self.header_end: int | None = None
        self._chunk_bytes = chunk_bytes
        self._scanner = Scanner(dialect)
        self._held = b""
        self._is_at_bom = True
        self._head = bytearray()
        self._is_in_head = dialect.header
        self._number = 0
        self._position = 0
        self._lines = 0
        self._start = self._last = _Mark(0, 0, -1 if dialect.header else 0)

    @classmethod
    def resume(cls, dialect: Dialect, at: Cut, chunk_bytes: int = CHUNK_BYTES) -> Self:
        """Continue after a known chunk; the first byte to feed is that at `at.end_byte`."""
        splitter = cls(dialect, chunk_bytes)
        splitter._is_at_bom = splitter._is_in_head = False
        splitter._number = at.number + 1
        splitter._position = at.end_byte
        splitter._lines = at.first_line - 1 + at.lines
        mark = _Mark(at.end_byte, splitter._lines, at.first_record + at.records)
        splitter._start = splitter._last = mark
        return splitter

    @property
    def records(self) -> int:
        """Number of complete records from the start of the file, without the header."""
        return max(self._last.records, 0)

    @property
    def position(self) -> int:
        """Offset in the file after the last byte scanned; after `finish`, its size."""
        return self._position

    @property
    def open_bytes(self) -> int:
        """Number of bytes scanned after the last complete record."""
        return self._position - self._last.byte

    @property
    def open_line(self) -> int:
        """1-based physical line after the last complete record."""
        return self._last.lines + 1

    def feed(self, block: bytes) -> list[Cut]:
        """Process the next bytes of the file and return the chunks that are complete.

        Raises:
            HeaderMismatchError: the header is longer than `MAX_HEADER_BYTES`.
        """
        data = self._held + block if self._held else block
        self._held = self._tail_to_hold(data)
        known = data[: -len(self._held)] if self._held else data
        return self._scan(known) if known else []

    def finish(self) -> list[Cut]:
        """Process the end of the file and return the last chunks.

        Raises:
            HeaderMismatchError: the header is longer than `MAX_HEADER_BYTES`.
        """
        cuts = self._scan(self._held)
        self._held = b""
        if self._last.byte < self._position:
            lines = self._lines + self._scanner.is_in_line
            self._last = _Mark(self._position, lines, self._last.records + 1)
        if self._is_in_head:
            self._end_head(self._last)
        if self._start.byte < self._position:
            cuts.append(self._cut(self._last))
        return cuts

    def _tail_to_hold(self, data: bytes) -> bytes:
        """Return the last bytes that depend on the next block: half a BOM or half a CRLF."""
        if self._is_at_bom and len(data) < len(BOM) and BOM.startswith(data):
            return data
        return next((each for each in _HALVES if data.endswith(each)), b"")

    def _scan(self, data: bytes) -> list[Cut]:
        cuts: list[Cut] = []
        if self._is_at_bom:
            data = self._skip_bom(data)
        for tile in self._scanner.tiles(data):
            is_within = self._position + len(tile) <= self._limit
            if is_within and not self._is_in_head and tile.quotes is None:
                self._count(tile)
            else:
                cuts += self._walk(tile)
            self._position += len(tile)
        return cuts

    def _skip_bom(self, data: bytes) -> bytes:
        self._is_at_bom = False
        self._position = len(BOM) if data.startswith(BOM) else 0
        self._start = self._last = self._start._replace(byte=self._position)
        if not self._is_in_head:
            self.header_end = self._position
        return data[self._position :]

    def _count(self, tile: Tile) -> None:
        """Count the lines and records of a tile without quotes in which no chunk ends."""
        lines, records = tile.count()
        self._lines += lines
        end = 0 if tile.begins_inside else tile.last_line_end()
        if end:
            self._last = _Mark(self._position + end, self._lines, self._last.records + records)

    def _walk(self, tile: Tile) -> list[Cut]:
        """Find the chunks that end in a tile."""
        boundaries = tile.boundaries(self._last.byte - self._position)
        marks = self._marks(boundaries)
        if self._is_in_head:
            self._read_head(tile, boundaries, marks)
        cuts = [] if self._is_in_head else self._cuts(marks, self._position + len(tile))
        if len(marks):
            self._last = marks[-1]
        self._lines += boundaries.line_count
        return cuts

    def _marks(self, boundaries: Boundaries) -> _Marks:
        return _Marks(
            self._position + boundaries.ends,
            self._lines + boundaries.lines,
            self._last.records + np.cumsum(boundaries.is_record),
        )

    def _cuts(self, marks: _Marks, end: int) -> list[Cut]:
        """Cut while there are bytes after the limit of the chunk, and a mark to cut at."""
        cuts: list[Cut] = []
        while self._limit < end and (mark := self._mark_to_cut_at(marks)):
            cuts.append(self._cut(mark))
        return cuts

    @property
    def _limit(self) -> int:
        return self._start.byte + self._chunk_bytes

    def _mark_to_cut_at(self, marks: _Marks) -> _Mark | None:
        within = int(np.searchsorted(marks.bytes, self._limit, side="right"))
        last_within = marks[within - 1] if within else self._last
        if last_within.byte > self._start.byte:
            return last_within
        return marks[within] if within < len(marks) else None

    def _cut(self, end: _Mark) -> Cut:
        start, number = self._start, self._number
        self._start = end
        self._number += 1
        return Cut(
            number=number,
            first_byte=start.byte,
            end_byte=end.byte,
            first_line=start.lines + 1,
            first_record=start.records,
            records=end.records - start.records,
            lines=end.lines - start.lines,
        )

    def _read_head(self, tile: Tile, boundaries: Boundaries, marks: _Marks) -> None:
        """Collect the bytes of the header, the first record, until its end is found."""
        index = int(np.searchsorted(marks.records, 0))
        is_found = index < len(marks)
        end = int(boundaries.content_ends[index]) if is_found else len(tile)
        self._head = (self._head + tile.codes[:end].tobytes()).lstrip(b"\r\n")
        if len(self._head) > MAX_HEADER_BYTES:
            raise HeaderMismatchError(
                f"line 1: the header is longer than {MAX_HEADER_BYTES:,} bytes; "
                "look for an unclosed quote in it"
            )
        if is_found:
            self._end_head(marks[index])

    def _end_head(self, mark: _Mark) -> None:
        self._is_in_head = False
        self.header = bytes(self._head) or None
        self.header_end = mark.byte
        self._start = mark
