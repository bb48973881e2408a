"""The shapes of cells: a text with each digit as 9, so that a million cells become a few dozen texts.

What a cell may be depends on its shape and, for dates and leading zeros, on single digits. The shapes of a
column are found in one pass over its bytes; everything else is decided for each distinct shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    Rows = NDArray[np.intp]
    Flags = NDArray[np.bool_]

_DIGITS = b"0123456789"
#: Digits of numbers that 16 bits hold.
_SHORT = 4
_HEXADECIMAL = b"0123456789abcdefABCDEF"


def _table(digits: bytes) -> bytes:
    table = bytearray(range(256))
    for each in digits:
        table[each] = ord("9")
    return bytes(table)


_SHAPE, _HEXADECIMAL_SHAPE = _table(_DIGITS), _table(_HEXADECIMAL)


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The texts of a column as bytes; a null is an empty text.

    Attributes:
        array: an Arrow array of texts.
        codes: the bytes of all texts.
        places: where each text begins, and the end of the last.
    """

    array: pa.Array
    codes: NDArray[np.uint8]
    places: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.array)

    @property
    def lengths(self) -> NDArray[np.int32]:
        """The number of bytes of each text."""
        found: NDArray[np.int32] = np.diff(self.places)
        return found

    def text(self, row: int) -> str:
        """Return the text of one cell."""
        return bytes(self.codes[self.places[row] : self.places[row + 1]]).decode("utf-8", "replace")

    def head(self, rows: int) -> Cells:
        """Return the first cells."""
        return Cells(self.array[:rows], self.codes, self.places[: rows + 1])

    def take(self, rows: Rows) -> Cells:
        """Return some of the cells."""
        import pyarrow as pa  # noqa: PLC0415

        return cells_of(self.array.take(pa.array(rows)))


def cells_of(array: pa.Array) -> Cells:
    """Return an Arrow array of texts as cells."""
    from pyarrow import compute  # noqa: PLC0415

    cells = _view(array)
    if array.null_count:
        is_null = np.asarray(compute.is_null(array))
        if cells.lengths[is_null].any():
            return _view(compute.fill_null(array, ""))
    return cells


def _view(array: pa.Array) -> Cells:
    _, offsets, data = array.buffers()
    places = np.frombuffer(offsets or bytes(4), np.int32)[array.offset :][: len(array) + 1]
    codes = np.frombuffer(data if data and data.size else b"\0", np.uint8)
    return Cells(array, codes, places)


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
    """The distinct shapes of cells.

    Attributes:
        texts: the shapes.
        index: for each cell the position of its shape.
    """

    texts: tuple[str, ...]
    index: NDArray[np.int32]

    def rows(self, shape: int) -> Rows:
        """Return the cells that have a shape, by its position."""
        return np.flatnonzero(self.index == shape)


def shapes_of(cells: Cells, *, is_hexadecimal: bool = False) -> Shapes:
    """Return the shapes of cells; `is_hexadecimal` makes the letters a to f nines too."""
    import pyarrow as pa  # noqa: PLC0415

    begin, end = int(cells.places[0]), int(cells.places[-1])
    table = _HEXADECIMAL_SHAPE if is_hexadecimal else _SHAPE
    shaped = cells.codes[begin:end].tobytes().translate(table)
    offsets = cells.places - np.int32(begin) if begin else cells.places
    buffers = [None, pa.py_buffer(np.ascontiguousarray(offsets)), pa.py_buffer(shaped)]
    encoded = pa.Array.from_buffers(pa.string(), len(cells), buffers).dictionary_encode()
    return Shapes(tuple(encoded.dictionary.to_pylist()), np.asarray(encoded.indices))


class Digits:
    """The digits of cells that all have the same shape."""

    def __init__(self, cells: Cells, rows: Rows, length: int) -> None:
        """Read cells.

        Args:
            cells: a column.
            rows: the cells of one shape.
            length: number of bytes of each.
        """
        self._codes = cells.codes
        self._starts = cells.places[:-1][rows]
        self._matrix = None
        if len(rows) == len(cells):
            begin = int(cells.places[0])
            whole = cells.codes[begin : begin + len(rows) * length]
            self._matrix = whole.reshape(len(rows), length)
        self._numbers: dict[tuple[int, int], NDArray[Any]] = {}

    def __len__(self) -> int:
        return len(self._starts)

    def number(self, at: int, length: int) -> NDArray[Any]:
        """Return the number that digits at a position of each cell form."""
        if (at, length) not in self._numbers:
            number: NDArray[Any] = np.zeros(len(self), np.int64 if length > _SHORT else np.int16)
            for place in range(at, at + length):
                number *= 10
                number += self._byte(place)
                number -= ord("0")
            self._numbers[at, length] = number
        return self._numbers[at, length]

    def _byte(self, at: int) -> NDArray[np.uint8]:
        return self._codes[self._starts + at] if self._matrix is None else self._matrix[:, at]
