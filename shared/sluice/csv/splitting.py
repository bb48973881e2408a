"""Cuts a CSV file into chunks at record boundaries; keeps counters, not the data; does no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import numpy as np

from sluice.csv.cuts import Cut
from sluice.csv.masking import Offsets, mask_of
from sluice.csv.preambles import (
    FIRST_LINE_BYTES,
    Preamble,
    Skipped,
    before_last_lines,
    whole_lines,
)
from sluice.csv.records import (
    MAX_CHUNK_RECORDS,
    count_line_ends,
    line_end_after,
    unclosed_opening,
)
from sluice.csv.scanning import BOM, Boundaries, Scanner, Tile
from sluice.errors import HeaderMismatchError, RecordTooLongError

if TYPE_CHECKING:
    from sluice.csv.dialects import Dialect

CHUNK_BYTES: Final = 31 * 1024 * 1024
MAX_HEADER_BYTES: Final = 1024 * 1024
#: Size above which a record is too long, and a quote that is still open is unclosed. A number of lines is
#: no such bound: a legitimate text may have any.
MAX_RECORD_BYTES: Final = 32 * 1024 * 1024
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

    A chunk ends at the last record end within `chunk_bytes` and `MAX_CHUNK_RECORDS` of its start or, if a
    record is longer than that, at the first record end after it. The end of the file ends a record. Blank
    lines and comments are not records, but they belong to the range of a chunk: `[0, header_end)`,
    the chunks and the footer tile the file.

    After an unclosed quote, the rest of the file is one last record; `sluice.csv.records` recovers the
    records in it. If the rest is longer than `MAX_RECORD_BYTES`, the record with the quote ends with the line
    on which the quote opens, a chunk ends there, and the next line begins a record.

    Attributes:
        header: bytes of the header records without BOM and last line end; None until they are known, and
            always None if the dialect has no header, the file has no record, or split resumed.
        header_end: offset of the first byte of the first chunk, after BOM, preamble and header; None until
            it is known, and always None if split resumed.
        footer: the lines at the end that are no records; empty until `finish`.
    """

    def __init__(self, dialect: Dialect, chunk_bytes: int = CHUNK_BYTES) -> None:
        if chunk_bytes < 1:
            raise ValueError(f"chunk_bytes is {chunk_bytes}; it must be at least 1")
        self.header: bytes | None = None
        self.header_end: int | None = None
        self.footer = b""
        self._dialect = dialect
        self._chunk_bytes = chunk_bytes
        self._scanner = Scanner(dialect)
        self._held = b""
        self._is_at_bom = True
        self._preamble = Preamble(dialect)
        self._is_before_records = True
        self._piece = b""
        self._open = bytearray()
        self._head = bytearray()
        self._head_content = 0
        self._is_in_head = dialect.header
        self._comment_bytes = 0
        self._footer_bytes = 0
        self._number = 0
        self._position = 0
        self._lines = 0
        self._start = self._last = _Mark(0, 0, -dialect.header_records)

    @classmethod
    def resume(cls, dialect: Dialect, at: Cut, chunk_bytes: int = CHUNK_BYTES) -> Self:
        """Continue after a known chunk; the first byte to feed is that at `at.end_byte`."""
        splitter = cls(dialect, chunk_bytes)
        splitter._is_at_bom = splitter._is_in_head = splitter._is_before_records = False
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
        """Offset in the file after the last byte scanned; after `finish`, its size without footer."""
        return self._position

    @property
    def skipped(self) -> Skipped:
        """What is no record and no header, of the bytes scanned since the split began or resumed."""
        comment_bytes = self._comment_bytes + self._scanner.comment_bytes
        return Skipped(self._preamble.size_bytes, comment_bytes, self._footer_bytes)

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
            HeaderMismatchError: the header is longer than `MAX_HEADER_BYTES`, or the first line names
                another delimiter.
            RecordTooLongError: the lines of the footer are longer than `MAX_RECORD_BYTES`.
        """
        data = self._held + block if self._held else block
        known = data[: self._known_bytes(data)]
        self._held = data[len(known) :]
        return self._scan(known) if known else []

    def finish(self) -> list[Cut]:
        """Process the end of the file and return the last chunks.

        Raises:
            HeaderMismatchError: see `feed`.
        """
        known = self._held[: self._footer_start(self._held)]
        self.footer = self._held[len(known) :]
        self._footer_bytes = len(self.footer)
        self._held = b""
        cuts = self._scan(known)
        is_record = self._last.byte < self._position and not self._scanner.is_in_comment
        if self._last.byte < self._position:
            lines = self._lines + self._scanner.is_in_line
            self._last = _Mark(self._position, lines, self._last.records + is_record)
        if self._is_in_head:
            del self._head[len(self._head) if is_record else self._head_content :]
            self._end_head(self._last)
        if self._start.byte < self._position:
            cuts.append(self._cut(self._last))
        return cuts

    def _known_bytes(self, data: bytes) -> int:
        """Return how many bytes do not depend on the next block.

        The rest is half a BOM, half a CRLF, a first line that may be short, a line of a dialect that is not
        plain, or the last lines, which may be the footer.
        """
        end = len(data)
        if footer := self._dialect.footer_lines:
            end = before_last_lines(data, footer)
            self._check_held(end, data, f"the last {footer} lines")
        if self._is_before_records and end < FIRST_LINE_BYTES and not whole_lines(data[:end]):
            return 0
        if not self._dialect.is_plain:
            lines_end = whole_lines(data[:end] if end < len(data) else data)
            return lines_end if end - lines_end <= MAX_RECORD_BYTES else end
        half = next((each for each in _HALVES if data.endswith(each, 0, end)), b"")
        return end - len(half)

    def _check_held(self, end: int, data: bytes, what: str) -> None:
        if len(data) - end > MAX_RECORD_BYTES:
            raise RecordTooLongError(
                f"{what} are longer than {MAX_RECORD_BYTES // 1024**2} MiB; look for a file without line"
                " ends, or declare fewer footer_lines",
                line=self._lines + 1,
            )

    def _footer_start(self, data: bytes) -> int:
        """Return the offset of the footer in the last bytes of the file."""
        if not (footer := self._dialect.footer_lines):
            return len(data)
        start = before_last_lines(data, footer - (not data.endswith((b"\r", b"\n"))))
        has_bom = self._is_at_bom and data.startswith(BOM)
        return max(start, len(BOM)) if has_bom else start

    def _scan(self, data: bytes) -> list[Cut]:
        if self._is_before_records:
            data = self._skip_preamble(data)
        cuts: list[Cut] = []
        while data:
            size = self._bytes_to_scan(data)
            cuts += self._scan_records(data[:size])
            data = data[size:]
            if self._scanner.is_inside and self.open_bytes > MAX_RECORD_BYTES:
                data = self._end_unclosed(cuts) + data
        return cuts

    def _bytes_to_scan(self, data: bytes) -> int:
        """Return how many bytes to scan before the open record may be too long, whatever the blocks are."""
        size = MAX_RECORD_BYTES + 1 - self.open_bytes
        if not 0 < size < len(data):
            return len(data)
        if self._dialect.is_plain:
            size += data[size - 1 : size + 1] == b"\r\n"
            return (
                size + 2 * (data[size - 1 : size + 2] == BOM) + (data[size - 2 : size + 1] == BOM)
            )
        return line_end_after(data, size - 1, None)[1]

    def _skip_preamble(self, data: bytes) -> bytes:
        """Return the data after BOM and preamble."""
        if self._is_at_bom:
            self._is_at_bom = False
            self._position = len(BOM) if data.startswith(BOM) else 0
            data = data[self._position :]
        skipped = self._preamble.skip(data)
        self._position += skipped
        self._lines = self._preamble.lines
        self._start = self._last = _Mark(self._position, self._lines, self._last.records)
        self._is_before_records = self._preamble.is_open
        if not self._is_in_head:
            self.header_end = self._position
        return data[skipped:]

    def _scan_records(self, data: bytes) -> list[Cut]:
        cuts: list[Cut] = []
        begin = self._position
        self._piece = data
        for tile in self._scanner.tiles(data):
            is_within = self._position + len(tile) <= self._limit
            # A record has at least one byte.
            is_within &= self._last.records + len(tile) <= self._record_limit
            is_simple = tile.quotes is None and not len(tile.hidden)
            if is_within and is_simple and not self._is_in_head:
                self._count(tile)
            else:
                cuts += self._walk(tile)
            self._position += len(tile)
        self._piece = b""
        self._keep_open(data, begin)
        return cuts

    def _keep_open(self, data: bytes, begin: int) -> None:
        """Keep the bytes of the open record, in case that its quote is not closed."""
        if self._last.byte < begin:
            self._open += data
        else:
            self._open = bytearray(data[self._last.byte - begin :])

    def _end_unclosed(self, cuts: list[Cut]) -> bytes:
        """End the open record with the line of its unclosed quote, and a chunk with it.

        Args:
            cuts: the chunks so far; those that end are appended.

        Returns:
            The bytes to scan again; nothing where that line has no end yet.
        """
        data, mask = bytes(self._open), mask_of(self._dialect)
        opening = unclosed_opening(mask.apply(data) if mask else data, 0, self._dialect)
        end, resume = line_end_after(data, opening, mask)
        if self._is_in_head or end == len(data):
            return b""
        if self._start.byte < self._last.byte and self._last.byte + resume > self._limit:
            cuts.append(self._cut(self._last))
        self._position = self._last.byte + resume
        self._lines = self._last.lines + count_line_ends(data, 0, resume)
        self._last = _Mark(self._position, self._lines, self._last.records + 1)
        cuts.append(self._cut(self._last))
        self._comment_bytes += self._scanner.comment_bytes
        self._scanner = Scanner(self._dialect)
        self._open.clear()
        return data[resume:]

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
        """Cut while there are bytes or records after the limit of the chunk, and a mark to cut at."""
        cuts: list[Cut] = []
        records = int(marks.records[-1]) if len(marks) else self._last.records
        while (self._limit < end or self._record_limit < records) and (
            mark := self._mark_to_cut_at(marks)
        ):
            cuts.append(self._cut(mark))
        return cuts

    @property
    def _limit(self) -> int:
        return self._start.byte + self._chunk_bytes

    @property
    def _record_limit(self) -> int:
        return self._start.records + MAX_CHUNK_RECORDS

    def _mark_to_cut_at(self, marks: _Marks) -> _Mark | None:
        within_bytes = int(np.searchsorted(marks.bytes, self._limit, side="right"))
        within_records = int(np.searchsorted(marks.records, self._record_limit, side="right"))
        within = min(within_bytes, within_records)
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
        """Collect the bytes of the header, the first records, until its end is found."""
        index = int(np.searchsorted(marks.records, 0))
        is_found = index < len(marks)
        end = int(boundaries.content_ends[index]) if is_found else len(tile)
        begin = 0
        if self._last.records == -self._dialect.header_records:
            blank = int(np.searchsorted(marks.records, self._last.records, side="right"))
            if blank:
                self._head.clear()
                begin = int(boundaries.ends[blank - 1])
        self._head += self._piece[tile.start + begin : tile.start + end]
        content_ends = boundaries.content_ends[boundaries.is_record]
        if len(content_ends):
            self._head_content = len(self._head) - end + int(content_ends[-1])
        if len(self._head) > MAX_HEADER_BYTES:
            raise HeaderMismatchError(self._long_header())
        if is_found:
            self._end_head(marks[index])

    def _long_header(self) -> str:
        fields = self._head.count(self._dialect.delimiter_byte) + 1
        return (
            f"line {self._last.lines + 1}: the header is longer than {MAX_HEADER_BYTES:,} bytes, and has"
            f" {fields:,} fields so far; look for an unclosed quote in it, or for data without line ends"
        )

    def _end_head(self, mark: _Mark) -> None:
        self._is_in_head = False
        self.header = bytes(self._head) or None
        self.header_end = mark.byte
        self._start = mark
