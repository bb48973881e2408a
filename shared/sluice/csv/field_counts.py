"""Counts the fields of well-formed records, and repairs stray quotes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sluice.csv.dialects import Dialect


def quote_strays(record: bytes, dialect: Dialect) -> bytes | None:
    """Quote the fields of a record that contain stray quotes, so that the quotes are literal.

    Returns:
        The record, or None if text follows a closing quote, which is ambiguous.
    """
    mark, delimiter = dialect.quote_byte, dialect.delimiter_byte
    one, end = re.escape(mark), re.escape(delimiter)
    field = re.compile(b"(%b(?:[^%b]|%b%b)*%b)|([^%b]*)" % (one, one, one, one, one, end))
    fields, at = [], 0
    while True:
        found = field.match(record, at)
        assert found is not None  # noqa: S101  # the second branch matches anything
        quoted, plain = found.groups()
        if quoted is None and mark in plain:
            quoted = mark + plain.replace(mark, mark + mark) + mark
        fields.append(plain if quoted is None else quoted)
        at = found.end()
        if at == len(record):
            return delimiter.join(fields)
        if not record.startswith(delimiter, at):
            return None
        at += len(delimiter)


def count_fields(data: bytes, starts: NDArray[np.int64], dialect: Dialect) -> NDArray[np.int64]:
    """Count the fields of each record.

    Args:
        data: well-formed records.
        starts: offset of each record's first byte; the first is 0.
        dialect: their dialect.

    Returns:
        Number of fields of each record.
    """
    if not len(starts):
        return np.zeros(0, np.int64)
    mask = _delimiters(data, dialect)
    counts: NDArray[np.int64] = np.add.reduceat(mask, starts, dtype=np.int64) + 1
    return counts


def _delimiters(data: bytes, dialect: Dialect) -> NDArray[np.bool_]:
    """Mark the delimiters outside quotes, those after an even number of quotes."""
    codes = np.frombuffer(data, np.uint8)
    is_delimiter: NDArray[np.bool_] = codes == dialect.delimiter_byte[0]
    if not dialect.quote:
        return is_delimiter
    is_inside = np.logical_xor.accumulate(codes == dialect.quote_byte[0])
    outside: NDArray[np.bool_] = is_delimiter & ~is_inside
    return outside
