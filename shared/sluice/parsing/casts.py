"""Types the cells of a regular chunk column by column, by the casts of Arrow; knows no rule.

A cell is typed if it is written in the usual way. Any other is *odd*: it has no value here, and must be
looked at by somebody else. Arrow's casts take less than DuckDB's and read what they take alike, but for
what is set aside below; `tests/unit/test_parsing_on_grid.py` holds the one against the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sluice.datasets.model import Column, Dataset
from sluice.datasets.types import ColumnType

if TYPE_CHECKING:
    import pyarrow as pa

    from sluice.parsing.grids import Codes, Places

Flags = NDArray[np.bool_]
#: A column of Arrow for each stored column, and which cells are odd.
Typed = tuple[list[Any], Flags]

_POINT = b"POINT ("
_SHORTEST_POINT = len(b"POINT (1 2)")
#: Length of a moment that ends with its hour, which is no moment to DuckDB.
HOUR_ALONE = len("2018-05-28 09")
#: More values that a cast refuses are not picked out one by one.
_MOST_REFUSED = 256
#: Every other piece is a cell, those between are not.
_ALTERNATE = 0b01010101

#: Arrow's names of the types that are known here.
ARROW_TYPES = {
    ColumnType.TEXT: "string",
    ColumnType.INTEGER: "int32",
    ColumnType.BIGINT: "int64",
    ColumnType.FLOAT: "float64",
    ColumnType.DATE: "date32",
    ColumnType.TIMESTAMP: "timestamp[us]",
    ColumnType.POINT: "float64",
}


class TooOddError(Exception):
    """So many cells are odd that this way does not pay."""


def has_casts(dataset: Dataset) -> bool:
    """Whether every column of the dataset is of a kind that is known here."""
    return all(each.type in ARROW_TYPES and not each.is_special for each in dataset.columns)


def type_column(
    column: Column, codes: Codes, starts: Places, ends: Places, texts: Mapping[str, int] | None
) -> Typed:
    """Type the cells of a column.

    Args:
        column: the declaration.
        codes: the bytes of the chunk.
        starts: offsets of the first bytes of its cells.
        ends: offsets behind their last bytes.
        texts: the codes of its texts, if it is a dictionary column.

    Raises:
        TooOddError: a cast refuses too many cells.
    """
    if texts is not None:
        return _coded(codes, starts, ends, texts)
    if column.type is ColumnType.TEXT:
        return _texts(codes, starts, ends, trims=column.trim)
    if column.type is ColumnType.POINT:
        return _points(codes, starts, ends)
    return _values(column.type, codes, starts, ends)


def absent_column(column: Column, rows: int) -> Typed:
    """Return the nulls of a column that the file does not have."""
    import pyarrow as pa  # noqa: PLC0415

    name = "int16" if column.dictionary else ARROW_TYPES[column.type]
    nulls = pa.nulls(rows, pa.type_for_alias(name))
    return [nulls] * len(column.fields), np.zeros(rows, bool)


def _coded(codes: Codes, starts: Places, ends: Places, texts: Mapping[str, int]) -> Typed:
    """The codes of texts; a text that has none is odd."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import compute  # noqa: PLC0415

    present = starts < ends
    cells = _pieces(codes, present, starts, ends)
    found = compute.index_in(cells, value_set=pa.array(texts.keys(), pa.string()))
    known = np.asarray(found.is_valid())[::2]
    places = _numbers(found, np.int32)[::2]
    values = np.fromiter(texts.values(), np.int16, len(texts))
    return [_array(pa.int16(), values[np.where(known, places, 0)], known)], present & ~known


def _texts(codes: Codes, starts: Places, ends: Places, *, trims: bool) -> Typed:
    """Texts; one that does not begin and end with visible ASCII may need a trim, and is odd."""
    import pyarrow as pa  # noqa: PLC0415

    present = starts < ends
    odd = np.zeros(len(starts), bool)
    if trims:
        for edge in (starts, ends - 1):
            code = codes[np.where(present, edge, 0)]
            odd |= present & ((code < ord("!")) | (code > ord("~")))
    cells = _pieces(codes, present, starts, ends)
    return [cells.take(pa.array(np.arange(0, len(cells), 2)))], odd


def _values(kind: ColumnType, codes: Codes, starts: Places, ends: Places) -> Typed:
    import pyarrow as pa  # noqa: PLC0415

    present = starts < ends
    cells = _pieces(codes, present, starts, ends)
    cast, refused = _cast(cells, pa.type_for_alias(ARROW_TYPES[kind]))
    odd = np.zeros(len(starts), bool)
    odd[refused // 2] = True
    if kind is ColumnType.TIMESTAMP:
        odd |= ends - starts == HOUR_ALONE
    if kind in (ColumnType.INTEGER, ColumnType.BIGINT):
        second = codes[np.where(ends - starts > 2, starts + 1, 0)]
        odd |= (second == ord("x")) | (second == ord("X"))  # 0x10 is 16 to Arrow
    dtype = f"i{cast.type.bit_width // 8}" if kind is not ColumnType.FLOAT else "f8"
    return [_array(cast.type, _numbers(cast, dtype)[::2], present & ~odd)], odd


def _points(codes: Codes, starts: Places, ends: Places) -> Typed:
    """The halves of points, each written `POINT (longitude latitude)`."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import compute  # noqa: PLC0415

    odd = ~_is_point(codes, starts, ends)
    first = np.where(odd, starts, starts + len(_POINT))
    end = np.where(odd, starts, ends - 1)
    found = compute.find_substring(_pieces(codes, ~odd, first, end), " ")
    space = _numbers(found, np.int32)[::2]
    odd |= space <= 0
    space = np.where(odd, first, first + space)
    odd |= space + 1 >= end
    second = np.where(odd, space, space + 1)
    cast, refused = _cast(_pieces(codes, ~odd, first, space, second, end), pa.float64())
    odd[refused // 4] = True
    numbers = _numbers(cast, np.float64)
    halves = [_array(pa.float64(), half, ~odd) for half in (numbers[::4], numbers[2::4])]
    return halves, odd & (starts < ends)


def _is_point(codes: Codes, starts: Places, ends: Places) -> Flags:
    """Whether cells begin and end as points do; what is between is not looked at."""
    is_long: Flags = ends - starts >= _SHORTEST_POINT
    if not is_long.any():
        return is_long
    # Eight bytes at each offset, of which seven count.
    words = np.ndarray(len(codes) - 7, "<u8", codes.data, strides=(1,))
    heads = words[np.where(is_long, starts, 0)] & np.uint64(2**56 - 1)
    is_closed = codes[np.where(is_long, ends - 1, 0)] == ord(")")
    begins = heads == np.uint64(int.from_bytes(_POINT, "little"))
    found: Flags = is_long & begins & is_closed
    return found


def _pieces(codes: Codes, present: Flags, *bounds: Places) -> pa.Array:
    """Return the text between each two bounds, and what is between those, as one array without a copy.

    Args:
        codes: the bytes of the chunk.
        present: records of which there are texts; the pieces of others, and those between, are null.
        bounds: begin and end of the first text of each record, of the second, and so on.
    """
    import pyarrow as pa  # noqa: PLC0415

    width, rows = len(bounds), len(present)
    offsets = np.empty(rows * width + 1, np.int32)
    for number, each in enumerate(bounds):
        offsets[number:-1:width] = each
    offsets[-1] = offsets[-2]
    if present.all():
        bits = np.full((rows * width + 7) // 8, _ALTERNATE, np.uint8)
    else:
        valid = np.zeros((rows, width), bool)
        valid[:, ::2] = present[:, np.newaxis]
        bits = np.packbits(valid, bitorder="little")
    buffers = [pa.py_buffer(bits), pa.py_buffer(offsets), pa.py_buffer(codes)]
    return pa.Array.from_buffers(pa.string(), rows * width, buffers)


def _cast(pieces: pa.Array, kind: pa.DataType) -> tuple[pa.Array, NDArray[np.int64]]:
    """Return the values of texts, null where a cast refuses, and the places of those."""
    import pyarrow as pa  # noqa: PLC0415

    refused: list[int] = []
    parts = _halved(pieces, kind, 0, refused)
    values = parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
    return values, np.array(refused, np.int64)


def _halved(pieces: pa.Array, kind: pa.DataType, first: int, refused: list[int]) -> list[Any]:
    """Cast texts of which the first is number `first`; those that are refused in halves of halves."""
    import pyarrow as pa  # noqa: PLC0415

    try:
        return [pieces.cast(kind)]
    except pa.ArrowInvalid:
        if middle := len(pieces) // 2:
            left = _halved(pieces[:middle], kind, first, refused)
            return left + _halved(pieces[middle:], kind, first + middle, refused)
    refused.append(first)
    if len(refused) > _MOST_REFUSED:
        raise TooOddError
    return [pa.nulls(1, kind)]


def _numbers(array: pa.Array, dtype: Any) -> NDArray[Any]:
    """Return the numbers behind an array, whatever they are where it is null."""
    numbers: NDArray[Any] = np.frombuffer(array.buffers()[1], dtype, len(array))
    return numbers


def _array(kind: pa.DataType, numbers: NDArray[Any], present: Flags) -> pa.Array:
    """Return numbers as an array of a type, null where none is present."""
    import pyarrow as pa  # noqa: PLC0415

    bits = None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little"))
    values = pa.py_buffer(np.ascontiguousarray(numbers))
    return pa.Array.from_buffers(kind, len(numbers), [bits, values])
