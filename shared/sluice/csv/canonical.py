"""Rewrites well-formed records of any dialect as records that a reader of plain CSV understands.

Delimiters and quotes become control characters that the data lacks, so that all other bytes are text as they
are. Most records are rewritten in bulk: each byte is kept, replaced or dropped by what it was scanned as.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sluice.csv.field_counts import cells_of, count_in
from sluice.csv.masking import (
    COMMENT,
    CR,
    ESCAPE,
    LF,
    NOWHERE,
    REST,
    Offsets,
    mask_of,
    scanned_marks,
)
from sluice.csv.scanning import BOM

if TYPE_CHECKING:
    from sluice.csv.dialects import Dialect
    from sluice.csv.masking import Codes
    from sluice.csv.scanning import Flags

#: Records of so many bytes are rewritten at a time.
_BATCH_BYTES = 2 * 1024 * 1024
#: Control characters that may stand for delimiter and quote; not those with a meaning in text or in a
#: stateful encoding, and not the codes of a mask.
_FREE = bytes((0x1F, 0x1E, 0x1D, 0x1C, *range(0x10, 0x1B), 0x06, 0x07, 0x08, 0x7F))
_NULL = ord("N")


@dataclass(frozen=True)
class Records:
    """Some records of a chunk.

    Attributes:
        data: their bytes, with line ends.
        scanned: the same as they were scanned, see `scanned_form`.
        starts: offset of the first byte of each; the first is 0.
        ends: offset after its last byte, without line end.
    """

    data: bytes
    scanned: bytes | bytearray
    starts: Offsets
    ends: Offsets


@dataclass(frozen=True)
class Canonical:
    """Records as plain CSV: a quote opens a field as its first byte, and is doubled inside.

    Where there is an escape, it precedes line ends that end no record.
    """

    data: bytes
    delimiter: str
    quote: str
    escape: str = ""


def canonical(records: Records, dialect: Dialect, width: int) -> Canonical:
    """Rewrite well-formed records of one width, or one more with a trailing delimiter."""
    free = [each for each in _FREE if each not in records.data][:3]
    if len(free) < 3:  # a delimiter, a quote, an escape
        writer = _Writer(ord(","), ord('"'), width)
        pieces = _one_by_one(records, dialect, writer, range(len(records.starts)))
        return Canonical(b"".join(pieces), chr(writer.delimiter), chr(writer.quote))
    rewriter = _Rewriter(records, dialect, _Writer(free[0], free[1], width), escape=free[2])
    data = b"".join(_in_bulk(records, dialect, rewriter))
    escape = chr(free[2]) if rewriter.has_escaped_line_ends else ""
    return Canonical(data, chr(free[0]), chr(free[1]), escape)


@dataclass(frozen=True)
class _Writer:
    """The bytes of the canonical delimiter and quote, and the number of cells of a record."""

    delimiter: int
    quote: int
    width: int

    def record(self, cells: list[bytes | None]) -> bytes:
        """Return a record as plain CSV."""
        cells = cells[: self.width]
        return bytes((self.delimiter,)).join(map(self._cell, cells)) + b"\n"

    def _cell(self, cell: bytes | None) -> bytes:
        quote = bytes((self.quote,))
        marks = (self.delimiter, self.quote, CR, LF)
        if cell and not any(mark in cell for mark in marks):
            return cell
        return quote + (cell or b"").replace(quote, quote + quote) + quote


def _one_by_one(
    records: Records, dialect: Dialect, writer: _Writer, numbers: range
) -> Iterator[bytes]:
    for number in numbers:
        record = records.data[records.starts[number] : records.ends[number]]
        yield writer.record(cells_of(record, dialect))


def _in_bulk(records: Records, dialect: Dialect, rewriter: _Rewriter) -> Iterator[bytes]:
    """Rewrite runs of records that need only bytes replaced and dropped, and the others one by one."""
    special = [-1, *rewriter.special(), len(records.starts)]
    for before, number in itertools.pairwise(special):
        for first, end in _batches(records, before + 1, number):
            yield rewriter.rewrite(first, end)
        if number < len(records.starts):
            yield from _one_by_one(records, dialect, rewriter.writer, range(number, number + 1))


def _batches(records: Records, first: int, stop: int) -> Iterator[tuple[int, int]]:
    while first < stop:
        limit = records.starts[first] + _BATCH_BYTES
        end = int(np.searchsorted(records.starts[:stop], limit, side="left"))
        end = max(end, first + 1)
        yield first, end
        first = end


class _Rewriter:
    """Rewrites batches of records that begin outside quotes and end with a line."""

    def __init__(self, records: Records, dialect: Dialect, writer: _Writer, *, escape: int) -> None:
        marks, mask = scanned_marks(dialect), mask_of(dialect)
        self._records, self._dialect, self.writer = records, dialect, writer
        self._escape = escape
        self._is_masked = mask is not None
        self._has_escapes = mask is not None and ESCAPE in records.scanned
        self._line_ends = NOWHERE
        if mask and self._has_escapes:
            self._line_ends = mask.escaped_line_ends(records.data, bytes(records.scanned))
        self._has_bom = BOM in records.data
        self._delimiter = marks.delimiter[0]
        self._quote = marks.quote
        self._delimiter_bytes = len(dialect.delimiter_byte)
        self._last_of_delimiter = REST if self._delimiter_bytes > 1 else self._delimiter
        self._written = np.frombuffer(records.data, np.uint8)
        self._scanned = np.frombuffer(records.scanned, np.uint8)

    @property
    def has_escaped_line_ends(self) -> bool:
        """Whether there are line ends that an escape precedes."""
        return len(self._line_ends) > 0

    def special(self) -> list[int]:
        """Return the records with an escaped CRLF, which has one escape, and those of one empty cell."""
        is_crlf = self._scanned[self._line_ends - 1] != ESCAPE
        found = [np.searchsorted(self._records.starts, self._line_ends[is_crlf], side="right") - 1]
        if self._dialect.trailing_delimiter and self.writer.width == 1:
            sizes = self._records.ends - self._records.starts
            found.append(np.flatnonzero(sizes <= self._delimiter_bytes))
        numbers: list[int] = np.unique(np.concatenate(found)).tolist()
        return numbers

    def rewrite(self, first: int, end: int) -> bytes:
        """Return the records from one to before another."""
        starts, ends = self._records.starts, self._records.ends
        begin = int(starts[first])
        until = int(starts[end]) if end < len(starts) else len(self._written)
        codes = self._scanned[begin:until]
        out = self._written[begin:until].copy()
        inside = self._replace_quotes(codes, out, keep := np.ones(len(codes), bool))
        is_delimiter = codes == self._delimiter
        is_delimiter &= ~inside
        out[is_delimiter] = self.writer.delimiter
        if self._is_masked:
            is_kept = (codes < REST) | (codes > COMMENT)  # neither rest of a delimiter nor padding
            keep &= inside | is_kept
            if self._has_escapes:
                self._drop_escapes(codes, out, keep, inside)
                self._keep_escapes(begin, until, out, keep)
        if self._has_bom:
            self._drop_marks(codes, starts[first:end] - begin, keep)
        if self._dialect.trailing_delimiter:
            counts = count_in(np.flatnonzero(is_delimiter), starts[first:end] - begin)
            for last in range(1, self._delimiter_bytes + 1):
                keep[ends[first:end][counts == self.writer.width] - begin - last] = False
        return out[keep].tobytes()

    def _drop_marks(self, codes: Codes, starts: Offsets, keep: Flags) -> None:
        """Drop the byte order marks before records, where joined files leave them."""
        padded = np.append(codes, np.zeros(len(BOM), np.uint8))
        while len(starts):
            places = starts[:, None] + np.arange(len(BOM))
            has_mark = (padded[places] == np.frombuffer(BOM, np.uint8)).all(axis=1)
            keep[places[has_mark]] = False
            starts = starts[has_mark] + len(BOM)

    def _replace_quotes(self, codes: Codes, out: Codes, keep: Flags) -> Flags:
        """Replace the quotes around fields, keep one of two inside; return which bytes are inside."""
        if not self._quote:
            return np.zeros(len(codes), bool)
        is_quote = codes == self._quote[0]
        inside = np.logical_xor.accumulate(is_quote)
        is_first = is_quote & ~inside
        is_first[:-1] &= (is_quote & inside)[1:]
        is_first[-1:] = False
        keep &= ~is_first
        is_quote &= ~is_first
        is_quote[1:] &= ~is_first[:-1]
        out[is_quote] = self.writer.quote
        return inside

    def _drop_escapes(self, codes: Codes, out: Codes, keep: Flags, inside: Flags) -> None:
        """Drop escapes; replace an escaped N that is a whole field by two quotes, which are null."""
        at = np.flatnonzero(codes == ESCAPE)
        keep[at] = False
        at = at[(out[at + 1] == _NULL) & ~inside[at]]
        before, after = codes[at - 1], codes[np.minimum(at + 2, len(codes) - 1)]
        begins = (at == 0) | (before == self._last_of_delimiter) | (before == LF) | (before == CR)
        if self._has_bom:
            begins |= np.array([self._follows_marks(codes, each) for each in at.tolist()], bool)
        ends = (after == self._delimiter) | (after == LF) | (after == CR)
        nulls = at[begins & ends]
        keep[nulls] = True
        out[nulls] = out[nulls + 1] = self.writer.quote

    def _keep_escapes(self, begin: int, until: int, out: Codes, keep: Flags) -> None:
        """Keep the escapes before line ends."""
        first, end = np.searchsorted(self._line_ends, (begin, until))
        at = self._line_ends[first:end] - begin - 1
        keep[at] = True
        out[at] = self._escape

    @staticmethod
    def _follows_marks(codes: Codes, at: int) -> bool:
        """Whether there are only byte order marks between the start of a line and an offset."""
        begin = at
        while codes[max(begin - len(BOM), 0) : begin].tobytes() == BOM:
            begin -= len(BOM)
        return begin < at and (begin == 0 or codes[begin - 1] in (CR, LF))
