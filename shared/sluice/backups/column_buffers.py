"""Values of a column, many at a time, between the database and a file; knows neither."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Numbers:
    """Values of a fixed width: numbers, booleans, days, microseconds.

    Attributes:
        values: one for each row; any where there is none.
        present: false where the row has no value; None where every row has one.
    """

    values: NDArray[Any]
    present: Flags | None = None

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Texts:
    """Texts in UTF-8, each a piece of a buffer; rows may share one.

    Attributes:
        data: the buffer.
        starts: where the text of each row begins in it.
        lengths: its bytes; 0 where there is none.
        present: as in `Numbers`.
    """

    data: Bytes
    starts: Places
    lengths: Places
    present: Flags | None = None

    def __len__(self) -> int:
        return len(self.starts)

    def packed(self) -> tuple[Bytes, Places]:
        """Return the texts one behind the other, and where each begins and the last ends."""
        ends = np.concatenate(([0], np.cumsum(self.lengths)))
        if len(self.data) == ends[-1] and np.array_equal(self.starts, ends[:-1]):
            return self.data, ends
        return self.data[places_of(self.starts, self.lengths)], ends


Values = Numbers | Texts


def places_of(starts: Places, lengths: Places) -> Places:
    """Return every place of the pieces, in order: `[2, 9], [3, 1]` gives `[2, 3, 4, 9]`."""
    begins = np.cumsum(lengths) - lengths
    return np.repeat(starts - begins, lengths) + np.arange(int(lengths.sum()))


def joined(parts: list[Values]) -> Values:
    """Return the values of several runs of rows as one.

    Args:
        parts: at least one, all of a kind.
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
