"""The values of a column as numpy buffers. Imports neither the database nor a file format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]
Mask = NDArray[np.bool_]


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
        if len(self.data) == ends[-1] and np.array_equal(self.starts, ends[:-1]):
            return self.data, ends
        return self.data[offsets_of(self.starts, self.lengths)], ends


Values = Numbers | Texts


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
