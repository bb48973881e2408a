"""Which quotes of CSV bytes open and close fields, and where lines end; knows no chunk.

The automaton. A quote opens a field only as its first byte: at the start, behind a delimiter or
behind a record end. Inside a quoted field a doubled quote is a literal. Any other quote is a
*stray* one and means nothing. Bytes between a closing quote and the next delimiter or record end
are *junk* of that field: unquoted, and a quote among them does not open it again. A line ends
with LF, CR or CRLF; outside quotes it ends a record too, unless it is blank.

The fast way to it. Were every quote structural, their parity would tell inside from outside. So
each tile is taken that way first, and every quote that ought to open a field is checked to stand
where one may: at the start of a field, or right behind a closing quote, which makes a doubled
one. If all do, parity was exact, by induction over the quotes. The first that does not is a stray
one: it is dropped, and parity taken anew. Where a tile has more than a few of them its quotes, and
they alone, go through the automaton. (Speculation and check: Ge et al., SIGMOD 2019. Parity of 64
bytes at once: Langdale and Lemire, VLDB Journal 2019.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sluice.csv.dialects import Dialect

Codes = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Offsets = NDArray[np.intp]

CR, LF = 0x0D, 0x0A
NEUTRAL = 0x00
"""Stands for a stray quote as the byte before a tile: neither delimiter, quote nor line end."""

TILE_BYTES = 128 * 1024
"""Large enough to hide the cost of a call, small enough for a second-level cache."""

NOWHERE: Offsets = np.empty(0, np.intp)

_MAX_GUESSES = 3
"""Stray quotes of a tile that are dropped one by one, before the automaton is the cheaper way."""

_OPENING, _DOUBLING, _OTHER = b"odx"
_QUOTED_FIELD = re.compile(rb"(o(?:.d)*.?)")
"""The quotes of one quoted field, by what stands before each: opening, any doubled ones, closing.

A quote that follows a border opens a field, one that follows a closing quote doubles it; what
stands before a quote inside a field does not matter.
"""


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
class Quotes:
    """What the quotes of a tile mean.

    Attributes:
        inside: for each byte, whether it is inside quotes; an opening quote is, a closing is not.
        is_border: for each byte, whether it is a delimiter, a quote (no stray one), CR or LF.
        strays: offsets of the quotes that mean nothing.
    """

    inside: Flags
    is_border: Flags
    strays: Offsets


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """A stretch of bytes whose quotes are resolved; never ends between CR and LF.

    Attributes:
        data: the scanned piece of which it is a part.
        start: offset of its first byte in that piece; all other offsets count from here.
        codes: its bytes.
        has_cr: whether a CR is among them.
        begins_inside: whether the byte before it is inside quotes.
        begins_in_record: whether the byte before it is neither CR nor LF.
        begins_with_junk: whether its first byte is junk behind a closing quote.
        quotes: what its quotes mean; None if it has none.
    """

    data: bytes
    start: int
    codes: Codes
    has_cr: bool
    begins_inside: bool
    begins_in_record: bool
    begins_with_junk: bool
    quotes: Quotes | None

    def __len__(self) -> int:
        return len(self.codes)

    def count(self) -> tuple[int, int]:
        """Count the physical lines and the records that end here.

        A record ends where content is followed by a line end outside quotes.
        """
        is_newline = self.codes == LF
        lines = int(np.count_nonzero(is_newline))
        if self.has_cr:
            is_cr = self.codes == CR
            lines += int(np.count_nonzero(is_cr) - np.count_nonzero(is_cr[:-1] & is_newline[1:]))
            is_newline |= is_cr
        return lines, self._count_record_ends(is_newline)

    def _count_record_ends(self, is_newline: Flags) -> int:
        first = bool(is_newline[0]) and self.begins_in_record and not self.begins_inside
        is_step = is_newline[1:] > is_newline[:-1]
        if self.quotes:
            is_step &= ~self.quotes.inside[1:]
        elif self.begins_inside:
            return 0
        return int(np.count_nonzero(is_step)) + first

    def count_outside(self, byte: int) -> int:
        """Count how often a byte stands outside quotes."""
        is_byte = self.codes == byte
        if self.quotes:
            return int(np.count_nonzero(is_byte > self.quotes.inside))
        return 0 if self.begins_inside else int(np.count_nonzero(is_byte))

    def boundaries(self, record_start: int) -> Boundaries:
        """Find all places here where a record could be cut off from the next.

        Args:
            record_start: offset at which the record began that is open at the start of the tile,
                so 0 or negative.
        """
        line_ends = self._line_ends()
        lines = np.flatnonzero(self._is_outside(line_ends))
        last_bytes = line_ends[lines]
        content_ends = last_bytes
        if self.has_cr:
            is_lf_of_crlf = (self.codes[last_bytes] == LF) & (self.codes[last_bytes - 1] == CR)
            content_ends = last_bytes - (is_lf_of_crlf & (last_bytes > 0))
        ends = last_bytes + 1
        starts = np.concatenate(([record_start], ends[:-1])) if len(ends) else ends
        return Boundaries(starts, content_ends, ends, lines + 1, len(line_ends))

    def _line_ends(self) -> Offsets:
        """Find the last byte of each line end, inside quotes as well."""
        is_end = self.codes == LF
        if self.has_cr:
            is_cr = self.codes == CR
            is_cr[:-1] &= ~is_end[1:]
            is_end |= is_cr
        return np.flatnonzero(is_end)

    def _is_outside(self, offsets: Offsets) -> Flags:
        if self.quotes:
            return ~self.quotes.inside[offsets]
        return np.full(len(offsets), not self.begins_inside)

    def last_line_end(self) -> int:
        """Return the offset behind the last line end, or 0 if there is none."""
        end = self.start + len(self)
        last = self.data.rfind(b"\n", self.start, end)
        if self.has_cr:
            last = max(last, self.data.rfind(b"\r", self.start, end))
        return max(last + 1 - self.start, 0)

    def strays(self) -> Offsets:
        """Return the quotes that mean nothing."""
        return self.quotes.strays if self.quotes else NOWHERE

    def junk(self) -> Offsets:
        """Find the bytes that follow a closing quote where the field or the record must end."""
        first = np.zeros(int(self.begins_with_junk), np.intp)
        if self.quotes is None:
            return first
        inside = self.quotes.inside
        is_closing = np.concatenate(([self.begins_inside], inside[:-1])) > inside
        junk = np.flatnonzero(is_closing[:-1] > self.quotes.is_border[1:]) + 1
        return np.concatenate((first, junk))


class Scanner:
    """The automaton over the bytes of one file or chunk, fed in any pieces, tile by tile out.

    A piece must not end between CR and LF: the caller holds the CR back.

    Attributes:
        is_inside: whether the data so far ends inside quotes.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.is_inside = False
        self._quote_byte = dialect.quote_byte
        self._quote = ord(dialect.quote_byte)
        self._delimiter = ord(dialect.delimiter_byte)
        self._borders = frozenset((self._delimiter, self._quote, CR, LF))
        self._previous = LF

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

    def _tile(self, data: bytes, codes: Codes, start: int) -> Tile:
        end = start + len(codes)
        begins_inside, previous = self.is_inside, self._previous
        has_cr = data.find(b"\r", start, end) >= 0
        self._previous = data[end - 1]
        quotes = None
        if data.find(self._quote_byte, start, end) >= 0:
            quotes = self._resolve(codes, previous, has_cr=has_cr)
        is_behind_closing = previous == self._quote and not begins_inside
        return Tile(
            data=data,
            start=start,
            codes=codes,
            has_cr=has_cr,
            begins_inside=begins_inside,
            begins_in_record=previous not in (CR, LF),
            begins_with_junk=is_behind_closing and data[start] not in self._borders,
            quotes=quotes,
        )

    def _resolve(self, codes: Codes, previous: int, *, has_cr: bool) -> Quotes:
        """Tell structural from stray quotes, and move the state behind them."""
        is_quote = codes == self._quote
        is_border = is_quote | (codes == self._delimiter)
        is_border |= codes == LF
        if has_cr:
            is_border |= codes == CR
        inside, strays = self._without_strays(is_quote, is_border, previous)
        if len(strays) and strays[-1] == len(codes) - 1:
            self._previous = NEUTRAL
        self.is_inside = bool(inside[-1])
        return Quotes(inside, is_border, strays)

    def _without_strays(
        self, is_quote: Flags, is_border: Flags, previous: int
    ) -> tuple[Flags, Offsets]:
        """Drop the stray quotes from the flags, until parity is exact."""
        strays = NOWHERE
        while True:
            inside = _parity(is_quote, begins_inside=self.is_inside)
            found = self._first_stray(is_quote & inside, is_border, previous)
            if not len(found):
                return inside, strays
            if len(strays) == _MAX_GUESSES:
                found = self._find_strays(is_quote, is_border, previous)
            is_quote[found] = is_border[found] = False
            strays = np.concatenate((strays, found))

    def _first_stray(self, is_opening: Flags, is_border: Flags, previous: int) -> Offsets:
        """Find the first quote that parity takes for an opening one and that cannot be one."""
        if is_opening[0] and previous not in self._borders:
            return np.zeros(1, np.intp)
        is_stray = is_opening[1:] > is_border[:-1]
        return np.array([is_stray.argmax() + 1]) if is_stray.any() else NOWHERE

    def _find_strays(self, is_quote: Flags, is_border: Flags, previous: int) -> Offsets:
        """Put the quotes of a tile through the automaton, which is a regular expression here."""
        quotes = np.flatnonzero(is_quote)
        kinds = np.where(is_border[quotes - 1], _OPENING, _OTHER).astype(np.uint8)
        kinds[1:][quotes[1:] == quotes[:-1] + 1] = _DOUBLING
        if quotes[0] == 0:
            kinds[0] = self._kind_behind(previous)
        earlier = self._quotes_of_open_field(previous)
        parts = _QUOTED_FIELD.split(earlier + kinds.tobytes())
        is_stray = np.repeat(np.arange(len(parts)) % 2 == 0, [len(part) for part in parts])
        strays: Offsets = quotes[is_stray[len(earlier) :]]
        return strays

    def _kind_behind(self, previous: int) -> int:
        if previous == self._quote:
            return _DOUBLING
        return _OPENING if previous in self._borders else _OTHER

    def _quotes_of_open_field(self, previous: int) -> bytes:
        """Stand in for the quotes before the tile: one that is open, or a pair just closed."""
        if self.is_inside:
            return b"o"
        return b"oo" if previous == self._quote else b""


def _parity(is_quote: Flags, *, begins_inside: bool) -> Flags:
    """Tell for each byte whether the quotes up to it, and itself, are odd in number."""
    packed = np.packbits(is_quote, bitorder="little")
    words = np.zeros(-(-len(packed) // 8), "<u8")
    words.view(np.uint8)[: len(packed)] = packed
    for shift in (1, 2, 4, 8, 16, 32):
        words ^= words << np.uint64(shift)
    odd_words = words >> np.uint64(63)
    odd_before = np.bitwise_xor.accumulate(odd_words) ^ odd_words ^ np.uint64(begins_inside)
    words ^= np.negative(odd_before)
    bits = np.unpackbits(words.view(np.uint8), count=len(is_quote), bitorder="little")
    return bits.view(np.bool_)
