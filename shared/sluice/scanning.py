"""Which quotes of CSV bytes open and close fields, and where lines end; knows no chunk.

The automaton. A quote opens a field only as its first byte: at the start, behind a delimiter or
behind a record end. Inside a quoted field a doubled quote is a literal. Any other quote is a
*stray* one and means nothing. Bytes between a closing quote and the next delimiter or record end
are *junk* of that field: unquoted, and a quote among them does not open it again. A line ends
with LF, CR or CRLF; outside quotes it ends a record too, unless it is blank.

The fast way to it. Were every quote structural, their parity would tell inside from outside. So
each tile is taken that way first, and every quote that ought to open a field is checked to stand
where one may: at the start of a field, or right behind a closing quote, which makes a doubled
one. If all do, parity was exact, by induction over the quotes. If one does not, the automaton
goes over the quotes of that one tile. (Speculation and check: Ge et al., SIGMOD 2019.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sluice.dialects import Dialect

Codes = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Offsets = NDArray[np.intp]

CR, LF = 0x0D, 0x0A
NEUTRAL = 0x00
"""Stands for a stray quote as the byte before a tile: neither delimiter, quote nor line end."""

TILE_BYTES = 128 * 1024
"""Large enough to hide the cost of a call, small enough for a second-level cache."""

NOWHERE: Offsets = np.empty(0, np.intp)


@dataclass(frozen=True, slots=True, eq=False)
class Boundaries:
    """The line ends outside quotes of a tile; each ends a record or a blank line.

    Attributes:
        starts: offset at which that record or blank line began.
        content_ends: offset of its CR, LF or CRLF.
        ends: offset behind its CR, LF or CRLF.
        lines: physical lines complete there, counted from the start of the tile.
        line_count: physical lines that end in the tile, inside quotes as well.
    """

    starts: Offsets
    content_ends: Offsets
    ends: Offsets
    lines: Offsets
    line_count: int

    @property
    def is_record(self) -> Flags:
        """Which of them end a record and not a blank line."""
        return self.starts < self.content_ends


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """A stretch of bytes whose quotes are resolved; never ends between CR and LF.

    Attributes:
        data: the scanned piece of which it is a part.
        start: offset of its first byte in that piece; all other offsets count from here.
        codes: its bytes.
        has_cr: whether a CR is among them.
        previous: the byte before it, `NEUTRAL` for a stray quote, LF at the very start.
        begins_inside: whether its first byte is inside quotes.
        toggles: structural quotes; they open and close in turn, a doubled one closes and opens.
        strays: quotes that mean nothing.
    """

    data: bytes
    start: int
    codes: Codes
    has_cr: bool
    previous: int
    begins_inside: bool
    toggles: Offsets
    strays: Offsets

    def __len__(self) -> int:
        return len(self.codes)

    def count_lines(self) -> int:
        """Count the physical lines that end here, inside quotes as well."""
        is_lf = self.codes == LF
        lines = int(np.count_nonzero(is_lf))
        if self.has_cr:
            is_cr = self.codes == CR
            lines += int(np.count_nonzero(is_cr) - np.count_nonzero(is_cr[:-1] & is_lf[1:]))
        return lines

    def count_records(self) -> int:
        """Count the records that end here: the steps from content to a line end outside quotes."""
        is_newline = self.codes == LF
        if self.has_cr:
            is_newline |= self.codes == CR
        is_step = is_newline[1:] > is_newline[:-1]
        first = bool(is_newline[0]) and self.previous not in (CR, LF)
        if len(self.toggles):
            steps = np.flatnonzero(is_step) + 1
            return int(np.count_nonzero(self.is_outside(steps))) + (
                first and not self.begins_inside
            )
        return 0 if self.begins_inside else int(np.count_nonzero(is_step)) + first

    def line_ends(self) -> Offsets:
        """Find the offset behind each line end, inside quotes as well."""
        is_end = self.codes == LF
        if self.has_cr:
            is_cr = self.codes == CR
            is_cr[:-1] &= ~is_end[1:]
            is_end |= is_cr
        return np.flatnonzero(is_end) + 1

    def is_outside(self, offsets: Offsets) -> Flags:
        """Tell which of these offsets are outside quotes."""
        toggled: Offsets = np.searchsorted(self.toggles, offsets) + self.begins_inside
        is_even: Flags = toggled & 1 == 0
        return is_even

    def boundaries(self, record_start: int) -> Boundaries:
        """Find all places here where a record could be cut off from the next.

        Args:
            record_start: offset at which the record began that is open at the start of the tile,
                so 0 or negative.
        """
        line_ends = self.line_ends()
        lines = np.flatnonzero(self.is_outside(line_ends))
        ends = line_ends[lines]
        content_ends = ends - 1
        if self.has_cr:
            before = self.codes[ends - 2]
            content_ends -= (self.codes[ends - 1] == LF) & (ends > 1) & (before == CR)
        starts = np.concatenate(([record_start], ends[:-1])) if len(ends) else ends
        return Boundaries(starts, content_ends, ends, lines + 1, len(line_ends))

    def last_line_end(self) -> int:
        """Return the offset behind the last line end, or 0 if there is none."""
        end = self.start + len(self)
        last = self.data.rfind(b"\n", self.start, end)
        if self.has_cr:
            last = max(last, self.data.rfind(b"\r", self.start, end))
        return max(last + 1 - self.start, 0)


class Scanner:
    """The automaton over the bytes of one file or chunk, fed in any pieces, tile by tile out.

    A piece must not end between CR and LF: the caller holds the CR back.

    Attributes:
        is_inside: whether the data so far ends inside quotes.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.is_inside = False
        self._quote = ord(dialect.quote_byte)
        self._quote_byte = dialect.quote_byte
        self._previous = LF
        self._is_border = np.zeros(256, np.bool_)
        self._is_border[[ord(dialect.delimiter_byte), self._quote, CR, LF]] = True

    @property
    def is_in_line(self) -> bool:
        """Whether the data so far ends within a physical line."""
        return self._previous not in (CR, LF)

    def tiles(self, data: bytes) -> Iterator[Tile]:
        """Walk over the next piece of the data."""
        codes = np.frombuffer(data, np.uint8)
        start = 0
        while start < len(data):
            end = min(start + TILE_BYTES, len(data))
            end += data[end - 1 : end + 1] == b"\r\n"
            yield self._tile(data, codes[start:end], start)
            start = end

    def junk(self, tile: Tile) -> Offsets:
        """Find the bytes that follow a closing quote where the field or the record must end."""
        behind = tile.toggles[int(not tile.begins_inside) :: 2] + 1
        behind = behind[behind < len(tile)]
        if tile.previous == self._quote and not tile.begins_inside:
            behind = np.append(0, behind)
        return behind[~self._is_border[tile.codes[behind]]]

    def _tile(self, data: bytes, codes: Codes, start: int) -> Tile:
        end = start + len(codes)
        previous, begins_inside = self._previous, self.is_inside
        self._previous = int(codes[-1])
        toggles = strays = NOWHERE
        if data.find(self._quote_byte, start, end) >= 0:
            toggles, strays = self._resolve(codes, previous)
        has_cr = data.find(b"\r", start, end) >= 0
        return Tile(data, start, codes, has_cr, previous, begins_inside, toggles, strays)

    def _resolve(self, codes: Codes, previous: int) -> tuple[Offsets, Offsets]:
        """Tell structural from stray quotes, and move the state behind them."""
        quotes = np.flatnonzero(codes == self._quote)
        before = self._bytes_before(quotes[int(self.is_inside) :: 2], codes, previous)
        if self._is_border[before].all():
            self.is_inside ^= bool(len(quotes) & 1)
            return quotes, NOWHERE
        is_structural = self._step_through(self._bytes_before(quotes, codes, previous))
        if quotes[-1] == len(codes) - 1 and not is_structural[-1]:
            self._previous = NEUTRAL
        return quotes[is_structural], quotes[~is_structural]

    def _bytes_before(self, quotes: Offsets, codes: Codes, previous: int) -> Codes:
        before = codes[quotes - 1]
        if len(quotes) and quotes[0] == 0:
            before[0] = previous
        return before

    def _step_through(self, before: Codes) -> Flags:
        """Step the automaton over quotes, given the byte before each."""
        structural = []
        follows_structural = True  # where `previous` is a quote, it is one: else it is NEUTRAL
        inside = self.is_inside
        is_doubling = (before == self._quote).tolist()
        is_border = self._is_border[before].tolist()
        for doubling, border in zip(is_doubling, is_border, strict=True):
            follows_structural = inside or (border and (follows_structural or not doubling))
            inside = inside != follows_structural
            structural.append(follows_structural)
        self.is_inside = inside
        return np.array(structural)
