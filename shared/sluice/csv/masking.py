"""Masks the bytes of a dialect that is not plain, so that the scanner can read them as plain ones.

A masked copy has as many bytes as the original. An escape and the character after it, a delimiter, the white
space around quotes and a comment are replaced by codes; all other bytes stay, so quotes and line ends mean
what they mean in a plain dialect.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sluice.csv.dialects import Dialect

Offsets = NDArray[np.intp]
Codes = NDArray[np.uint8]
NOWHERE: Offsets = np.empty(0, np.intp)

CR, LF = 0x0D, 0x0A
NEUTRAL = 0x00
"""Replaces a byte without meaning: neither delimiter, quote nor line end."""
ESCAPE = 0x01
"""Replaces an escape; the character after it is neutral."""
DELIMITER = 0x02
"""Replaces the first byte of a delimiter."""
REST = 0x03
"""Replaces the other bytes of a delimiter."""
PADDING = 0x04
"""Replaces white space between a delimiter or line end and a quote."""
COMMENT = 0x05
"""Replaces the bytes of a comment, without its line end."""
_CODES = bytes((ESCAPE, DELIMITER, REST, PADDING, COMMENT))
_WITHOUT_CODES = bytes.maketrans(_CODES, bytes(len(_CODES)))
_LINE_END = re.compile(rb"\r\n|\r|\n")
_NO_SPACE = re.compile(rb"[^ \t]")
_LINE = re.compile(rb"[^\r\n]*+(?:\r\n|\r|\n)?+")
#: Turns a comment into its code, without its line end.
_ALL_COMMENT = bytes(each if each in (CR, LF) else COMMENT for each in range(256))
#: Comments are found in so many bytes at a time: the arrays of all would be much larger than the bytes.
_WINDOW_BYTES = 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_BOMS = rb"(?:\xef\xbb\xbf)*+"


class ScannedMarks(NamedTuple):
    """The bytes that the scanner looks for; the quote is empty where there is none."""

    delimiter: bytes
    quote: bytes


def scanned_marks(dialect: Dialect) -> ScannedMarks:
    """Return the delimiter and the quote of a dialect as the scanner sees them."""
    delimiter = dialect.delimiter_byte if dialect.is_plain else bytes((DELIMITER,))
    return ScannedMarks(delimiter, dialect.quote_byte)


@lru_cache(maxsize=64)
def mask_of(dialect: Dialect) -> Mask | None:
    """Return the mask of a dialect, None where its bytes are scanned as they are."""
    return None if dialect.is_plain else Mask(dialect)


class Mask:
    """The mask of a dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._escape, self._delimiter = dialect.escape_byte, dialect.delimiter_byte
        self._quote = dialect.quote_byte
        self._pair = re.compile(re.escape(self._escape) + rb"(?:\r\n|.)", re.DOTALL)
        self._long_delimiter = bytes((DELIMITER,)) + bytes((REST,)) * (len(self._delimiter) - 1)
        self._padding = None
        if dialect.spaces_around_quotes and dialect.quote:
            self._padding = _padding(dialect, self._long_delimiter[-1:])
        self._comment = self._first_comment = self._run = None
        self._prefix, prefix = dialect.comment_bytes, re.escape(dialect.comment_bytes)
        if dialect.comment:
            self._first_comment = re.compile(_BOMS + prefix)
            self._comment = re.compile(prefix + rb"(?<=[\r\n\xbf]" + prefix + b")")
            self._run = re.compile(b"(?:%b%b%b){1,4096}+" % (_BOMS, prefix, _LINE.pattern))
        if dialect.comment and dialect.quote:
            marks = {b"q": re.escape(self._quote), b"c": _BOMS + prefix, b"m": _BOMS}
            self._closing = re.compile(b"(?:[^%(q)b]|%(q)b%(q)b)*+%(q)b" % marks)
            self._comment_or_quote = re.compile(
                rb"(?<=[\r\n])(?:%(c)b|%(m)b(%(q)b))|(?<=[\x02-\x04])(%(q)b)" % marks
            )

    def apply(self, data: bytes, previous: int = LF) -> bytes:
        """Return the masked copy of some bytes, in which comments are not masked yet.

        Args:
            data: the bytes; an escape at their end is open, and stays as it is.
            previous: the masked byte before them.
        """
        masked = data.translate(_WITHOUT_CODES)
        if self._escape and self._escape in data:
            has_long_pairs = self._escape + b"\r\n" in data
            pair = _neutral_pair if has_long_pairs else bytes((ESCAPE, NEUTRAL))
            masked = b"".join(self._pair.sub(pair, each) for each in self._windows_of_pairs(masked))
        masked = masked.replace(self._delimiter, self._long_delimiter)
        return self._padded(masked, previous) if self._padding else masked

    def has_open_escape(self, masked: bytes | bytearray) -> bool:
        """Whether masked bytes end with an escape that has no character after it."""
        return bool(self._escape) and masked.endswith(self._escape)

    def escaped_line_ends(self, data: bytes, masked: bytes) -> Offsets:
        """Return the offsets of the last bytes of escaped line ends."""
        escape = self._escape
        if not escape or escape not in data:  # one byte is found much faster
            return NOWHERE
        if not (escape + b"\n" in data or escape + b"\r" in data):
            return NOWHERE
        codes = np.frombuffer(data, np.uint8)
        is_end = (codes == LF) | (codes == CR)
        is_end &= np.frombuffer(masked, np.uint8) == NEUTRAL
        is_end[:-1] &= ~((codes[:-1] == CR) & (codes[1:] == LF) & is_end[1:])
        return np.flatnonzero(is_end)

    def comment_at_or_after(self, masked: bytes | bytearray, offset: int) -> int | None:
        """Return the offset of the next line that begins like a comment, after byte order marks or not."""
        if self._comment is None:
            return None
        if offset == 0 and self.is_comment_at(masked, 0):
            return 0
        for found in self._comment.finditer(masked, offset):
            start = _before_boms(masked, found.start())
            if start >= offset and masked[start - 1 : start] in (b"\r", b"\n"):
                return start
        return None

    def is_comment_at(self, masked: bytes | bytearray, offset: int) -> bool:
        """Whether the line at an offset begins like a comment."""
        first = self._first_comment
        return first is not None and first.match(masked, offset) is not None

    def mask_comments(self, data: bytes, masked: bytearray, first: int) -> None:
        """Mask all lines that begin like a comment, from the one at an offset on."""
        if self._escape and self._escape in data:
            at: int | None = first
            while at is not None:
                at = self.comment_at_or_after(masked, self._mask_run(data, masked, at))
            return
        codes, is_open = np.frombuffer(masked, np.uint8), True
        for start in range(first, len(masked), _WINDOW_BYTES):
            window = codes[start : start + _WINDOW_BYTES]
            is_comment = self._comment_bytes_of(masked, codes, start, is_open=is_open)
            window[is_comment] = COMMENT
            is_open = bool(is_comment[-1])

    def mask_comments_after_quotes(self, data: bytes, masked: bytearray, at: int) -> None:
        """Mask the comments after an offset that is inside quotes: those that begin outside quotes."""
        while (closing := self._closing.match(masked, at)) is not None:
            found = self._comment_or_quote.search(masked, closing.end())
            while found is not None and found.lastindex is None:
                after = self._mask_run(data, masked, found.start())
                found = self._comment_or_quote.search(masked, after)
            if found is None:
                return
            at = found.end()

    def _comment_bytes_of(
        self, masked: bytearray, codes: Codes, start: int, *, is_open: bool
    ) -> NDArray[np.bool_]:
        """Return which bytes of the window at an offset belong to comments, without their line ends.

        Args:
            masked: the bytes, without escapes.
            codes: the same as an array.
            start: offset of the window.
            is_open: whether its first byte belongs to a comment, if it is no line end.
        """
        window = codes[start : start + _WINDOW_BYTES]
        is_event = (window == LF) | (window == CR)
        is_first = np.concatenate(([bool(start) and codes[start - 1] in (CR, LF)], is_event[:-1]))
        begins = np.flatnonzero(is_first & (window == self._prefix[0])) + start
        for place, code in enumerate(self._prefix[1:], 1):
            begins = begins[begins + place < len(codes)]
            begins = begins[codes[begins + place] == code]
        marked = (np.flatnonzero(is_first & (window == _BOM[0])) + start).tolist()
        others = [each - start for each in marked if self.is_comment_at(masked, each)]
        is_comment = np.zeros(len(window), bool)
        is_comment[begins - start] = True
        is_comment[others] = True
        is_comment[0] |= is_open and not is_event[0]
        is_event |= is_comment
        latest = np.where(is_event, np.arange(len(window)), 0)
        inside: NDArray[np.bool_] = is_comment[np.maximum.accumulate(latest)]
        return inside

    def _mask_run(self, data: bytes, masked: bytearray, start: int) -> int:
        """Mask the line at an offset as a comment, with some of those directly after it.

        An escape before the line end of a comment does not escape it.

        Returns:
            The offset after the line end of the last of them.
        """
        after = line.end() if (line := _LINE.match(data, start)) else start
        if (run := self._run and self._run.match(data, after)) is not None:
            after = run.end()
        is_escaped = after > start and masked[after - 1] != data[after - 1]
        masked[start:after] = data[start:after].translate(_ALL_COMMENT)
        if is_escaped and self._padding:
            following = _LINE_END.search(masked, after)
            until = following.start() if following else len(masked)
            masked[after:until] = self._padded(bytes(masked[after:until]), LF)
        return after

    def _padded(self, masked: bytes, previous: int) -> bytes:
        """Mask white space around quotes: single spaces first, since that is fast."""
        assert self._padding is not None  # noqa: S101  # the caller asked
        last, first, space = self._long_delimiter[-1:], self._long_delimiter[:1], b" "
        padding = bytes((PADDING,))
        masked = masked.replace(last + space + self._quote, last + padding + self._quote)
        masked = masked.replace(self._quote + space + first, self._quote + padding + first)
        parts = []
        for each in _windows_of_spaces(masked):
            parts.append(self._padding.sub(_all_padding, bytes((previous,)) + each)[1:])
            previous = each[-1]
        return b"".join(parts)

    def _windows_of_pairs(self, data: bytes) -> Iterator[bytes]:
        """Yield bytes in pieces that do not divide an escape from what it escapes.

        A replacement of all at once would take eighty bytes for each.
        """
        start = 0
        while start < len(data):
            end = min(start + _WINDOW_BYTES, len(data))
            escapes = end - start - len(data[start:end].rstrip(self._escape))
            end += escapes % 2
            end += data[end - 1 : end + 1] == b"\r\n"
            yield data[start:end]
            start = end


def _windows_of_spaces(data: bytes) -> Iterator[bytes]:
    """Yield bytes in pieces that do not divide a run of spaces and tabs."""
    start = 0
    while start < len(data):
        found = _NO_SPACE.search(data, start + _WINDOW_BYTES)
        end = found.end() if found else len(data)
        yield data[start:end]
        start = end


def _before_boms(data: bytes | bytearray, offset: int) -> int:
    while offset and data.endswith(_BOM, 0, offset):
        offset -= len(_BOM)
    return offset


def _neutral_pair(found: re.Match[bytes]) -> bytes:
    return bytes((ESCAPE,)) + bytes(len(found[0]) - 1)


def _all_padding(found: re.Match[bytes]) -> bytes:
    return bytes((PADDING,)) * len(found[0])


def _padding(dialect: Dialect, last: bytes) -> re.Pattern[bytes] | None:
    """Return what matches spaces and tabs around quotes; they begin with the same set, which is fast."""
    spaces = b"".join(each for each in (b" ", b"\t") if each != dialect.delimiter_byte)
    marks = {b"s": spaces, b"q": re.escape(dialect.quote_byte), b"d": b"\x02", b"l": last}
    before = rb"(?<=[%(l)b\r\n][%(s)b])[%(s)b]*+(?=%(q)b)"
    after = rb"(?<=%(q)b[%(s)b])[%(s)b]*+(?=[%(d)b\r\n]|\Z)"
    return re.compile((rb"[%(s)b](?:" + before + b"|" + after + b")") % marks)
