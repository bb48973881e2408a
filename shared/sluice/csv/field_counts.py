"""Counts the fields of well-formed records, splits a record into its fields, and repairs stray quotes."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sluice.csv.masking import ESCAPE, PADDING, REST, Mask, Offsets, mask_of, scanned_marks
from sluice.csv.scanning import Scanner, without_first_marks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sluice.csv.dialects import Dialect

_NULL = b"N"


class _Field(NamedTuple):
    """A field of a record, as written and as it is scanned."""

    written: bytes
    scanned: bytes
    is_quoted: bool


def scanned_form(data: bytes, dialect: Dialect) -> bytes | bytearray:
    """Return bytes that begin with a record as they are scanned: masked if the dialect is not plain."""
    mask = mask_of(dialect)
    if mask is None or not dialect.comment:
        return mask.apply(data) if mask else data
    scanner = Scanner(dialect)
    for _ in scanner.tiles(data):
        pass
    return scanner.masked


def cells_of(record: bytes, dialect: Dialect) -> list[bytes | None]:
    """Return the cells of a record, resolved; None for an escaped N alone, which is null."""
    record = without_first_marks(record)
    mask, quote = mask_of(dialect), dialect.quote_byte
    return [_resolved(each, mask, quote) for each in _fields(record, dialect) or ()]


def split_after(
    record: bytes, width: int, dialect: Dialect
) -> tuple[bytes, list[bytes | None]] | None:
    """Return the first fields of a record as a record, and the cells of the others.

    None where the first fields alone are no record: a single field that is an empty line.
    """
    record = without_first_marks(record)
    mask, quote = mask_of(dialect), dialect.quote_byte
    if mask is None and not dialect.has_quotes(record):
        cells = record.split(dialect.delimiter_byte)
        first = dialect.delimiter_byte.join(cells[:width]) or quote * 2
        return (first, list(cells[width:])) if first else None
    fields = _fields(record, dialect) or []
    first = dialect.delimiter_byte.join(each.written for each in fields[:width]) or quote * 2
    return (first, [_resolved(each, mask, quote) for each in fields[width:]]) if first else None


def _resolved(field: _Field, mask: Mask | None, quote: bytes) -> bytes | None:
    written, scanned = field.written, field.scanned
    if field.is_quoted:
        first, last = scanned.index(quote) + 1, scanned.rindex(quote)
        written, scanned = written[first:last], scanned[first:last]
    elif mask and len(written) == len(_NULL) + 1 and scanned[0] == ESCAPE and written[1:] == _NULL:
        return None
    if not (field.is_quoted or (mask and ESCAPE in scanned)):
        return written
    kept, is_second = bytearray(), False
    for byte, code in zip(written, scanned, strict=True):
        is_first = field.is_quoted and code == quote[0] and not is_second
        if not (is_first or (mask and code == ESCAPE)):
            kept.append(byte)
        is_second = is_first
    return bytes(kept)


def quote_strays(record: bytes, dialect: Dialect) -> bytes | None:
    """Quote the fields of a record that contain stray quotes, so that the quotes are literal.

    Returns:
        The record, or None where it is ambiguous: text follows a closing quote, or a quote that opens
        within a field may enclose the delimiter after it.
    """
    fields = _fields(record, dialect, is_strict=True)
    quote = dialect.quote_byte
    if fields is None or _may_enclose_delimiters(fields, quote):
        return None
    return dialect.delimiter_byte.join(
        each.written if each.is_quoted or quote not in each.scanned else _quoted(each, quote)
        for each in fields
    )


def _may_enclose_delimiters(fields: Sequence[_Field], quote: bytes) -> bool:
    """Whether a field has an open quote before a word, and a later one has a quote too.

    Where the quote follows text directly, as that of inches does, the later one must end its field.
    """
    odd = [each.scanned for each in fields if not each.is_quoted and each.scanned.count(quote) % 2]
    mark = re.escape(quote)
    if any(re.search(rb"[\s(\[=:]" + mark + rb"\S", each) for each in odd[:-1]):
        return True
    closing = [re.search(rb"[^\s\d]" + mark + rb"\s*\Z", each) is not None for each in odd]
    return any(
        re.search(mark + rb"\w", each) and any(closing[at + 1 :]) for at, each in enumerate(odd)
    )


def _quoted(field: _Field, quote: bytes) -> bytes:
    """Return a field in quotes, with each quote in it that is not escaped doubled."""
    written = bytearray(quote)
    for byte, code in zip(field.written, field.scanned, strict=True):
        written.append(byte)
        if code == quote[0]:
            written.append(byte)
    return bytes(written + quote)


@lru_cache(maxsize=64)
def _patterns(dialect: Dialect) -> tuple[re.Pattern[bytes], re.Pattern[bytes], re.Pattern[bytes]]:
    """Return what matches a quoted field, a plain one, and a delimiter, of a scanned record."""
    scanned = scanned_marks(dialect)
    delimiter = re.escape(scanned.delimiter)
    plain = re.compile(b"[^%b]*+" % delimiter)
    after = b"" if dialect.is_plain else b"\\x%02x*+" % REST
    padding = b"" if dialect.is_plain else b"\\x%02x*+" % PADDING
    quoted = b"(?!)"
    if quote := re.escape(scanned.quote):
        parts = {b"p": padding, b"q": quote}
        quoted = b"%(p)b%(q)b[^%(q)b]*+(?:%(q)b%(q)b[^%(q)b]*+)*+%(q)b%(p)b" % parts
    return re.compile(quoted), plain, re.compile(delimiter + after)


def _fields(record: bytes, dialect: Dialect, *, is_strict: bool = False) -> list[_Field] | None:
    """Return the fields of a record.

    Args:
        record: the record.
        dialect: its dialect.
        is_strict: return None if text follows a closing quote; otherwise the quotes are text then.
    """
    mask, (quoted, plain, delimiter) = mask_of(dialect), _patterns(dialect)
    scanned = mask.apply(record) if mask else record
    fields, at = [], 0
    while True:
        found = quoted.match(scanned, at)
        if found and not is_strict and not _ends_at(scanned, found.end(), delimiter):
            found = None
        is_quoted = found is not None
        end = (found or plain.match(scanned, at)).end()  # type: ignore[union-attr]  # matches anything
        fields.append(_Field(record[at:end], scanned[at:end], is_quoted))
        if end == len(scanned):
            return fields
        after = delimiter.match(scanned, end)
        if after is None:
            return None
        at = after.end()


def _ends_at(scanned: bytes, end: int, delimiter: re.Pattern[bytes]) -> bool:
    return end == len(scanned) or delimiter.match(scanned, end) is not None


def count_fields(
    scanned: bytes | bytearray, starts: Offsets, dialect: Dialect
) -> NDArray[np.int64]:
    """Count the fields of each record.

    Args:
        scanned: well-formed records, see `scanned_form`.
        starts: offset of each record's first byte; the first is 0.
        dialect: their dialect.

    Returns:
        Number of fields of each record.
    """
    if not len(starts):
        return np.zeros(0, np.int64)
    return count_in(np.flatnonzero(_delimiters(scanned, dialect)), starts) + 1


def count_in(offsets: Offsets, starts: Offsets) -> NDArray[np.int64]:
    """Count the offsets in each record; both are in order."""
    before = np.searchsorted(offsets, starts)
    return np.diff(before, append=len(offsets))


def ends_with_delimiter(
    scanned: bytes | bytearray, ends: Offsets, dialect: Dialect
) -> NDArray[np.bool_]:
    """Return which well-formed records end with a delimiter outside quotes.

    Args:
        scanned: the records, see `scanned_form`.
        ends: offset after each record's last byte; no record is empty.
        dialect: their dialect.
    """
    marks = scanned_marks(dialect)
    is_long = len(dialect.delimiter_byte) > 1
    last: NDArray[np.bool_] = np.frombuffer(scanned, np.uint8)[ends - 1] == (
        REST if is_long else marks.delimiter[0]
    )
    return last


def _delimiters(data: bytes | bytearray, dialect: Dialect) -> NDArray[np.bool_]:
    """Mark the delimiters outside quotes, those after an even number of quotes."""
    marks = scanned_marks(dialect)
    codes = np.frombuffer(data, np.uint8)
    is_delimiter: NDArray[np.bool_] = codes == marks.delimiter[0]
    if not marks.quote:
        return is_delimiter
    is_inside = np.logical_xor.accumulate(codes == marks.quote[0])
    outside: NDArray[np.bool_] = is_delimiter & ~is_inside
    return outside
