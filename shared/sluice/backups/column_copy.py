"""Reads rows from PostgreSQL column by column: the SELECT of a block, and the decoder of its result.

COPY sends a message for each row, which costs a Python client microseconds each. So the server aggregates
each column of some thousand rows into an array: one message, which numpy decodes without a loop. Does no
I/O. Formats: PostgreSQL's documentation, "COPY", and array_send in its source.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sluice.backups.column_buffers import Mask, Numbers, Offsets, Texts, Values
from sluice.backups.type_mapping import TableColumn, shifted
from sluice.datasets.identifiers import quote

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_HEAD_BYTES = len(_SIGNATURE) + 8
_ARRAY_HEAD_BYTES = 20


@dataclass(frozen=True)
class Dictionary:
    """The texts of a dictionary column, by code."""

    data: Any  # numpy arrays
    starts: Offsets
    lengths: Offsets

    @classmethod
    def of(cls, texts: Mapping[int, str]) -> Dictionary:
        """Return the dictionary of these texts."""
        size = max(texts, default=0) + 1
        written = [texts.get(code, "").encode() for code in range(size)]
        lengths = np.array([len(each) for each in written], np.int64)
        data = np.frombuffer(b"".join(written), np.uint8)
        return cls(data, np.cumsum(lengths) - lengths, lengths)

    def decode(self, codes: Numbers) -> Texts:
        """Return the texts of codes."""
        places = codes.values.astype(np.int64)
        lengths = self.lengths[places]
        if codes.present is not None:
            lengths = np.where(codes.present, lengths, 0)
        return Texts(self.data, self.starts[places], lengths, codes.present)


def select_block(columns: Sequence[TableColumn], source: str) -> str:
    """Return the SELECT of one row: the number of rows, and the columns as arrays.

    Args:
        columns: of the stored table.
        source: FROM and WHERE clauses, in which the table has the alias `stored`.
    """
    listed = ", ".join(("count(*)", *(each for column in columns for each in _arrays(column))))
    return f"SELECT {listed} FROM {source}"


def _arrays(column: TableColumn) -> Iterator[str]:
    name = f"stored.{quote(column.name)}"
    if column.nullable:
        yield f"array_agg({name} IS NOT NULL)"
    if column.dictionary or column.fixed_width:
        zero = column.fixed_width.zero if column.fixed_width else "0"
        plain = f"coalesce({name}, CAST({zero} AS {column.type}))" if column.nullable else name
        yield f"array_agg({plain})"
    else:
        plain = (
            f"coalesce(CAST({name} AS text), '')" if column.nullable else f"CAST({name} AS text)"
        )
        yield f"array_agg(octet_length({plain}))"
        yield f"string_agg({plain}, '')"


def read_block(
    data: bytes, columns: Sequence[TableColumn], dictionaries: Mapping[str, Dictionary]
) -> tuple[int, list[Values]]:
    """Return the number of rows in a block, and its columns.

    Args:
        data: the binary COPY of `select_block`.
        columns: those of `select_block`.
        dictionaries: by the name that a column refers to.
    """
    sent = _sent(data)
    rows = struct.unpack(">q", next(sent))[0]
    if not rows:
        return 0, []
    return rows, [_values(column, sent, dictionaries) for column in columns]


def _sent(data: bytes) -> Iterator[memoryview]:
    """Yield the fields of the only row."""
    view = memoryview(data)
    (count,) = struct.unpack_from(">h", view, _HEAD_BYTES)
    at = _HEAD_BYTES + 2
    for _ in range(count):
        (size,) = struct.unpack_from(">i", view, at)
        at += 4
        yield view[at : at + max(size, 0)]
        at += max(size, 0)


def _values(
    column: TableColumn, sent: Iterator[memoryview], dictionaries: Mapping[str, Dictionary]
) -> Values:
    present = _flags(next(sent)) if column.nullable else None
    if column.dictionary:
        codes = Numbers(_array(next(sent), "i2"), present)
        return dictionaries[column.dictionary].decode(codes)
    if column.fixed_width is not None:
        found = _array(next(sent), column.fixed_width.dtype)
        return Numbers(shifted(found, column.fixed_width.epoch_offset), present)
    lengths = _array(next(sent), "i4").astype(np.int64)
    text = np.frombuffer(next(sent), np.uint8)
    return Texts(text, np.cumsum(lengths) - lengths, lengths, present)


def _flags(data: memoryview) -> Mask:
    flags: Mask = _array(data, "u1").view(np.bool_)
    return flags


def _array(data: memoryview, dtype: str) -> Any:  # a numpy array
    """Read an array without nulls: each element follows its length, which is constant."""
    element = np.dtype([("bytes", ">i4"), ("value", f">{dtype}")])
    return np.frombuffer(data, element, offset=_ARRAY_HEAD_BYTES)["value"].astype(f"={dtype}")
