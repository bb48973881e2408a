"""Finds the quotes that open and close fields, and the line ends, in CSV bytes.

The automaton: a quote opens a field only as its first byte, which is the first byte of the data or
follows a delimiter or a record end. Inside a quoted field, a doubled quote is a literal. Any other quote
is *stray* and has no meaning. Bytes between a closing quote and the next delimiter or record end
are *junk*: unquoted, and a quote among them does not reopen the field. LF, CR and CRLF end a line;
outside quotes they also end a record, unless the line is blank.

The implementation: if every quote were structural, the parity of quotes would separate inside from
outside. Each tile is first resolved that way, and each opening quote is then checked to be at the start
of a field or directly after a closing quote, which makes a doubled quote. If all pass, parity
was exact, by induction over the quotes. The first quote that fails is stray; it is dropped and
parity is computed again. If a tile has more than a few stray quotes, its quotes (and only they)
go through the automaton. (Speculation and check: Ge et al., SIGMOD 2019. Parity of 64 bytes in one
step: Langdale and Lemire, VLDB Journal 2019.)

Of a dialect that is not plain, a masked copy is scanned, see `sluice.csv.masking`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sluice.csv.masking import (
    COMMENT,
    CR,
    LF,
    NEUTRAL,
    NOWHERE,
    PADDING,
    REST,
    Codes,
    Offsets,
    mask_of,
    scanned_marks,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from sluice.csv.dialects import Dialect
    from sluice.csv.masking import Mask

Flags = NDArray[np.bool_]

BOM = b"\xef\xbb\xbf"
_FIRST_MARKS = re.compile(rb"(?:\xef\xbb\xbf)++")
_NO_QUOTE = -1
"""Equal to no byte: where the dialect has no quote."""
TILE_BYTES = 128 * 1024
"""Large enough to amortise the cost of a call, small enough for the L2 cache."""

_MAX_GUESSES = 3
"""Number of stray quotes of a tile above which the automaton is cheaper than dropping each."""

_OPENING, _DOUBLING, _OTHER = b"odx"
_QUOTED_FIELD = re.compile(rb"(o(?:.d)*.?)")
"""The quotes of one quoted field, by the byte before each: opening, doubled ones, closing.

A quote after a border opens a field, a quote after a closing quote doubles it; the byte before a
quote inside a field does not matter.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Boundaries:
    """The line ends outside quotes of a tile; each ends a record or a blank line.

    Attributes:
        starts: offset of the first byte of that record or blank line.
        content_ends: offset of its CR, LF or CRLF.
        ends: offset after its CR, LF or CRLF.
        lines: number of physical lines from the start of the tile to there.
        line_count: number of physical lines that end in the tile, including those inside quotes.
        is_record: which of them end a record, rather than a blank line or a comment.
    """

    starts: Offsets
    content_ends: Offsets
    ends: Offsets
    lines: Offsets
    line_count: int
    is_record: Flags


@dataclass(frozen=True, slots=True, eq=False)
class Quotes:
    """The resolved quotes of a tile.

    Attributes:
        inside: for each byte, whether it is inside quotes; an opening quote is, a closing quote is not.
        is_border: for each byte, whether it is a delimiter, a quote that is not stray, CR or LF.
        strays: offsets of the stray quotes.
    """

    inside: Flags
    is_border: Flags
    strays: Offsets


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """A range of bytes with resolved quotes; never ends between CR and LF.

    Attributes:
        data: the scanned data of which it is a part.
        start: offset of its first byte in that data; all other offsets are relative to it.
        codes: its bytes.
        has_cr: whether they include a CR.
        begins_inside: whether the byte before it is inside quotes.
        begins_in_record: whether the byte before it is neither CR nor LF.
        begins_with_junk: whether its first byte is junk after a closing quote.
        quotes: its resolved quotes; None if it has none.
        hidden: offsets of the last bytes of escaped line ends, which are masked.
        comments: offsets of the line ends that end a comment.
    """

    data: bytes | bytearray
    start: int
    codes: Codes
    has_cr: bool
    begins_inside: bool
    begins_in_record: bool
    begins_with_junk: bool
    quotes: Quotes | None
    hidden: Offsets
    comments: Offsets

    def __len__(self) -> int:
        return len(self.codes)

    def count(self) -> tuple[int, int]:
        """Count the physical lines and the records that end in the tile.

        A record ends where a line end outside quotes follows content.
        """
        is_newline = self.codes == LF
        lines = int(np.count_nonzero(is_newline)) + len(self.hidden)
        if self.has_cr:
            is_cr = self.codes == CR
            lines += int(np.count_nonzero(is_cr) - np.count_nonzero(is_cr[:-1] & is_newline[1:]))
            is_newline |= is_cr
        return lines, self._count_record_ends(is_newline) - len(self.comments)

    def _count_record_ends(self, is_newline: Flags) -> int:
        first = bool(is_newline[0]) and self.begins_in_record and not self.begins_inside
        is_step = is_newline[1:] > is_newline[:-1]
        if self.quotes:
            is_step &= ~self.quotes.inside[1:]
        elif self.begins_inside:
            return 0
        return int(np.count_nonzero(is_step)) + first

    def count_outside(self, byte: int) -> int:
        """Count the occurrences of a byte outside quotes."""
        is_byte = self.codes == byte
        if self.quotes:
            return int(np.count_nonzero(is_byte > self.quotes.inside))
        return 0 if self.begins_inside else int(np.count_nonzero(is_byte))

    def boundaries(self, record_start: int) -> Boundaries:
        """Find all record boundaries of the tile.

        Args:
            record_start: offset of the first byte of the record that is open at the start of the
                tile; 0 or negative.
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
        lines += 1
        is_record = starts < content_ends
        if len(self.hidden):
            lines += np.searchsorted(self.hidden, last_bytes)
        if len(self.comments):
            is_record &= ~np.isin(content_ends, self.comments)
        line_count = len(line_ends) + len(self.hidden)
        return Boundaries(starts, content_ends, ends, lines, line_count, is_record)

    def _line_ends(self) -> Offsets:
        """Find the last byte of each line end, including those inside quotes."""
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
        """Return the offset after the last line end, or 0 if there is none."""
        end = self.start + len(self)
        last = self.data.rfind(b"\n", self.start, end)
        if self.has_cr:
            last = max(last, self.data.rfind(b"\r", self.start, end))
        return max(last + 1 - self.start, 0)

    def strays(self) -> Offsets:
        """Return the offsets of the stray quotes."""
        return self.quotes.strays if self.quotes else NOWHERE

    def are_inside(self, offsets: Offsets) -> Flags:
        """Return which bytes are inside quotes."""
        return ~self._is_outside(offsets)

    def junk(self) -> Offsets:
        """Find the first junk byte after each closing quote that does not end its field."""
        first = np.zeros(int(self.begins_with_junk), np.intp)
        if self.quotes is None:
            return first
        inside = self.quotes.inside
        is_closing = np.concatenate(([self.begins_inside], inside[:-1])) > inside
        junk = np.flatnonzero(is_closing[:-1] > self.quotes.is_border[1:]) + 1
        return np.concatenate((first, junk))


class _Wrong(NamedTuple):
    """The offset of a comment that turned out to be inside quotes, and of the tile that shows it."""

    comment: int
    tile: int


def without_first_marks(record: bytes) -> bytes:
    """Return a record without the byte order marks before it."""
    found = _FIRST_MARKS.match(record)
    return record[found.end() :] if found else record


def _comment_starts(codes: Codes, previous: int) -> Offsets:
    """Return where comments begin in masked bytes."""
    is_comment = codes == COMMENT
    is_start = is_comment & ~np.concatenate(([previous == COMMENT], is_comment[:-1]))
    return np.flatnonzero(is_start)


def _comment_ends(codes: Codes, previous: int) -> Offsets:
    """Return where the line ends of comments begin in masked bytes."""
    is_comment = codes == COMMENT
    is_end = np.concatenate(([previous == COMMENT], is_comment[:-1])) & ~is_comment
    return np.flatnonzero(is_end)


def _comment_size(masked: bytearray, previous: int) -> int:
    """Return the size of the comments in masked bytes, with their line ends."""
    codes = np.frombuffer(masked, np.uint8)
    ends = _comment_ends(codes, previous)
    within = ends[ends + 1 < len(codes)]
    pairs = np.count_nonzero((codes[within] == CR) & (codes[within + 1] == LF))
    return int(np.count_nonzero(codes == COMMENT)) + len(ends) + int(pairs)


def _tile_end(data: bytes | bytearray, start: int, stop: int) -> int:
    """Return where a tile ends: not between CR and LF, and not inside a byte order mark."""
    end = min(start + TILE_BYTES, stop)
    end += data[end - 1 : end + 1] == b"\r\n"
    return end + 2 * (data[end - 1 : end + 2] == BOM) + (data[end - 2 : end + 1] == BOM)


class Scanner:
    """Resolves the quotes of one file or chunk, given in pieces of any size, tile by tile.

    A piece must not end between CR and LF: the caller keeps the CR for the next piece. If the dialect is
    not plain, a piece ends with a physical line or with the data.

    Attributes:
        is_inside: whether the data so far ends inside quotes.
        is_in_comment: whether it ends inside a comment.
        masked: the last piece as it was scanned; complete after its last tile.
        comment_bytes: number of bytes of comments so far, with their line ends.
    """

    def __init__(self, dialect: Dialect) -> None:
        marks = scanned_marks(dialect)
        self.is_inside = self.is_in_comment = False
        self.masked: bytes | bytearray = b""
        self.comment_bytes = 0
        self._mask = mask_of(dialect)
        self._quote_byte = marks.quote
        self._quote = ord(marks.quote) if marks.quote else _NO_QUOTE
        self._delimiter = ord(marks.delimiter)
        self._borders = frozenset((self._delimiter, self._quote, CR, LF))
        self._masked_borders = (REST, PADDING) if self._mask else ()
        self._borders |= {*self._masked_borders}
        self._previous = LF
        self._last_byte = LF
        self._hidden = NOWHERE

    @property
    def is_in_line(self) -> bool:
        """Whether the data so far ends within a physical line."""
        return (self._last_byte if self._mask else self._previous) not in (CR, LF)

    @property
    def is_in_record(self) -> bool:
        """Whether the data so far ends after content that no line end has ended."""
        return self._previous not in (CR, LF) and not self.is_in_comment

    @property
    def has_open_escape(self) -> bool:
        """Whether the data so far ends with an escape."""
        is_open = self._mask is not None and self._mask.has_open_escape(self.masked[-1:])
        return is_open and not self.is_in_comment

    def tiles(self, data: bytes) -> Iterator[Tile]:
        """Yield the tiles of the next piece of the data."""
        if self._mask is None:
            self.masked = data
            yield from self._tiles(data, 0, len(data))
        elif data:
            yield from self._masked_tiles(data, self._mask)

    def _masked_tiles(self, data: bytes, mask: Mask) -> Iterator[Tile]:
        """Yield the tiles of a masked copy.

        Each line that begins like a comment is taken for one, and it is then checked that it is outside
        quotes. From the first that is not, comments are decided one by one.
        """
        plain = mask.apply(data, self._previous)
        self._hidden = mask.escaped_line_ends(data, plain)
        self._last_byte = data[-1]
        at = self._first_comment(mask, plain)
        self.is_in_comment = False
        if at is None:
            self.masked = plain
            yield from self._tiles(plain, 0, len(data))
            return
        self.masked = masked = bytearray(plain)
        mask.mask_comments(data, masked, at)
        previous = self._previous
        wrong = yield from self._tiles_outside(masked)
        if wrong is not None:
            masked[wrong.comment :] = plain[wrong.comment :]
            mask.mask_comments_after_quotes(data, masked, wrong.comment)
            yield from self._tiles(masked, wrong.tile, len(data))
        self.comment_bytes += _comment_size(masked, previous)
        self.is_in_comment = masked[-1] == COMMENT

    def _first_comment(self, mask: Mask, masked: bytes) -> int | None:
        """Return where the first comment may begin: with the piece, only if a line does."""
        if self.is_in_comment:
            return 0
        at = mask.comment_at_or_after(masked, 0)
        is_within_line = at == 0 and self._previous not in (CR, LF)
        return mask.comment_at_or_after(masked, 1) if is_within_line else at

    def _tiles_outside(self, masked: bytearray) -> Generator[Tile, None, _Wrong | None]:
        """Yield the tiles before the first with a comment that is inside quotes; return that."""
        start, codes = 0, np.frombuffer(masked, np.uint8)
        while start < len(masked):
            before = self.is_inside, self._previous
            tile = self._tile(masked, codes[start : _tile_end(masked, start, len(masked))], start)
            places = _comment_starts(tile.codes, before[1])
            is_inside = tile.are_inside(places)
            if is_inside.any():
                self.is_inside, self._previous = before
                return _Wrong(start + int(places[is_inside.argmax()]), start)
            yield tile
            start += len(tile)
        return None

    def _tiles(self, data: bytes | bytearray, start: int, stop: int) -> Iterator[Tile]:
        codes = np.frombuffer(data, np.uint8)
        while start < stop:
            end = _tile_end(data, start, stop)
            yield self._tile(data, codes[start:end], start)
            start = end

    def _hidden_in(self, data: bytes | bytearray, start: int, end: int) -> Offsets:
        """Return the escaped line ends of a tile; those of comments are not escaped."""
        if not len(self._hidden):
            return NOWHERE
        first, last = np.searchsorted(self._hidden, (start, end))
        found = self._hidden[first:last]
        is_hidden = np.frombuffer(data, np.uint8)[found] == NEUTRAL
        hidden: Offsets = found[is_hidden] - start
        return hidden

    def _tile(self, data: bytes | bytearray, codes: Codes, start: int) -> Tile:
        end = start + len(codes)
        begins_inside, previous = self.is_inside, self._previous
        has_cr = data.find(b"\r", start, end) >= 0
        self._previous = data[end - 1]
        quotes, ends_with_mark = None, data.endswith(BOM, start, end)
        has_quote = bool(self._quote_byte) and data.find(self._quote_byte, start, end) >= 0
        marks = _marks(data, start, end, previous) if has_quote or ends_with_mark else []
        if has_quote:
            quotes = self._resolve(codes, previous, marks, has_cr)
        if ends_with_mark and len(codes) - 1 in marks:
            self._previous = self._delimiter
        is_after_closing = previous == self._quote and not begins_inside
        return Tile(
            data=data,
            start=start,
            codes=codes,
            has_cr=has_cr,
            begins_inside=begins_inside,
            begins_in_record=previous not in (CR, LF),
            begins_with_junk=is_after_closing and data[start] not in self._borders,
            quotes=quotes,
            hidden=self._hidden_in(data, start, end),
            comments=_comment_ends(codes, previous) if self._mask else NOWHERE,
        )

    def _resolve(self, codes: Codes, previous: int, marks: list[int], has_cr: bool) -> Quotes:
        """Separate structural from stray quotes, and advance the state."""
        is_quote = codes == self._quote
        is_border = is_quote | (codes == self._delimiter)
        is_border |= codes == LF
        for each in self._masked_borders:
            is_border |= codes == each
        is_border[marks] = True
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
        """Find the first quote that parity takes for an opening quote and that cannot be one."""
        if is_opening[0] and previous not in self._borders:
            return np.zeros(1, np.intp)
        is_stray = is_opening[1:] > is_border[:-1]
        return np.array([is_stray.argmax() + 1]) if is_stray.any() else NOWHERE

    def _find_strays(self, is_quote: Flags, is_border: Flags, previous: int) -> Offsets:
        """Run the automaton, here a regular expression, over the quotes of a tile."""
        quotes = np.flatnonzero(is_quote)
        kinds = np.where(is_border[quotes - 1], _OPENING, _OTHER).astype(np.uint8)
        kinds[1:][quotes[1:] == quotes[:-1] + 1] = _DOUBLING
        if quotes[0] == 0:
            kinds[0] = self._kind_after(previous)
        earlier = self._quotes_of_open_field(previous)
        parts = _QUOTED_FIELD.split(earlier + kinds.tobytes())
        is_stray = np.repeat(np.arange(len(parts)) % 2 == 0, [len(part) for part in parts])
        strays: Offsets = quotes[is_stray[len(earlier) :]]
        return strays

    def _kind_after(self, previous: int) -> int:
        if previous == self._quote:
            return _DOUBLING
        return _OPENING if previous in self._borders else _OTHER

    def _quotes_of_open_field(self, previous: int) -> bytes:
        """Return the kinds of the quotes before the tile: an open one, or a pair just closed."""
        if self.is_inside:
            return b"o"
        return b"oo" if previous == self._quote else b""


def _marks(data: bytes | bytearray, start: int, end: int, previous: int) -> list[int]:
    """Return the offsets, in a tile, of the last bytes of byte order marks that begin a record, in order."""
    found: list[int] = []
    if data.find(BOM[:1], start, end) < 0:  # one byte is found much faster
        return found
    at = data.find(BOM, start, end)
    while at >= 0:
        is_after_mark = found[-1:] == [at - 1 - start]
        if is_after_mark or (data[at - 1] if at > start else previous) in (CR, LF):
            found.append(at + len(BOM) - 1 - start)
        at = data.find(BOM, at + 1, end)
    return found


def _parity(is_quote: Flags, *, begins_inside: bool) -> Flags:
    """Return for each byte whether the number of quotes up to and including it is odd."""
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
