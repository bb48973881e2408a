"""The values of a column as numpy buffers. Imports neither the database nor a file format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]
Mask = NDArray[np.bool_]
#: Of the values of a row; a record of a file has at most 32 MiB.
MAX_ROW_BYTES = 128 * 1024 * 1024
#: Of the values that a restore has decoded at a time, for each of a few batches.
BATCH_BYTES = 32 * 1024 * 1024
#: Of a text besides its own bytes: its start and its length.
_TEXT_BYTES = 16


@dataclass(frozen=True)
class Numbers:
    """Values of a fixed width: numbers, booleans, days, microseconds.

    Attributes:
        values: one for each row; arbitrary where there is none.
        present: false where the row has no value; None where every row has one.
    """

    values: NDArray[Any]
    present: Mask | None = None

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Texts:
    """Texts in UTF-8, each a range of one buffer; ranges may overlap.

    Attributes:
        data: the buffer.
        starts: offset of each row's text in it.
        lengths: size in bytes; 0 where there is none.
        present: as in `Numbers`.
    """

    data: Bytes
    starts: Offsets
    lengths: Offsets
    present: Mask | None = None

    def __len__(self) -> int:
        return len(self.starts)

    def packed(self) -> tuple[Bytes, Offsets]:
        """Return the texts concatenated, the offset of each, and the end of the last."""
        ends = np.concatenate(([0], np.cumsum(self.lengths)))
        first = int(self.starts[0]) if len(self.starts) else 0
        if np.array_equal(self.starts, first + ends[:-1]):
            return self.data[first : first + ends[-1]], ends
        return self.data[offsets_of(self.starts, self.lengths)], ends


Values = Numbers | Texts


def size_of(values: Sequence[Values]) -> int:
    """Return how many bytes the values of some columns take."""
    return sum(
        _TEXT_BYTES * len(each) + int(each.lengths.sum())
        if isinstance(each, Texts)
        else each.values.nbytes
        for each in values
    )


def pieces(values: Sequence[Values], max_bytes: int) -> Iterator[list[Values]]:
    """Divide rows into pieces of `max_bytes` at most, or of one row.

    Args:
        values: of each column, with the same number of rows.
        max_bytes: as `size_of` counts them.
    """
    if size_of(values) <= max_bytes:
        yield list(values)
        return
    ends = np.cumsum(sum(_row_bytes(each) for each in values))
    first = 0
    while first < len(ends):
        before = int(ends[first - 1]) if first else 0
        end = max(first + 1, int(np.searchsorted(ends, before + max_bytes, side="right")))
        yield [rows_of(each, slice(first, end)) for each in values]
        first = end


def _row_bytes(values: Values) -> Offsets:
    if isinstance(values, Texts):
        return values.lengths + _TEXT_BYTES
    return np.full(len(values), values.values.itemsize, np.int64)


def rows_of(values: Values, rows: slice) -> Values:
    """Return the values of some rows, without copying."""
    present = None if values.present is None else values.present[rows]
    if isinstance(values, Numbers):
        return Numbers(values.values[rows], present)
    return Texts(values.data, values.starts[rows], values.lengths[rows], present)


def offsets_of(starts: Offsets, lengths: Offsets) -> Offsets:
    """Return every offset of the ranges, in order: `[2, 9], [3, 1]` gives `[2, 3, 4, 9]`."""
    begins = np.cumsum(lengths) - lengths
    return np.repeat(starts - begins, lengths) + np.arange(int(lengths.sum()))


def concatenate(parts: list[Values]) -> Values:
    """Concatenate the values of several blocks.

    Args:
        parts: at least one, all of one kind.
    """
    present = None
    if parts[0].present is not None:
        present = np.concatenate([part.present for part in parts if part.present is not None])
    if isinstance(parts[0], Numbers):
        return Numbers(np.concatenate([part.values for part in _numbers(parts)]), present)
    texts = _texts(parts)
    if all(part.data is texts[0].data for part in texts):
        data, shifts = texts[0].data, [0] * len(texts)
    else:
        data = np.concatenate([part.data for part in texts])
        sizes = np.cumsum([len(part.data) for part in texts])
        shifts = [0, *sizes[:-1].tolist()]
    starts = np.concatenate([part.starts + by for part, by in zip(texts, shifts, strict=True)])
    return Texts(data, starts, np.concatenate([part.lengths for part in texts]), present)


def _numbers(parts: list[Values]) -> list[Numbers]:
    return [part for part in parts if isinstance(part, Numbers)]


def _texts(parts: list[Values]) -> list[Texts]:
    return [part for part in parts if isinstance(part, Texts)]
