"""Casts the cells of one column to its type with Arrow; knows no rule and no declaration beyond the column.

A cell that is written in the usual way becomes a value. Any other is *irregular*: it is null here, and the
thorough reader decides what it means. Arrow accepts a few texts that are not values of ours, and those are
made irregular below; a property test compares both readers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sluice.datasets.grammars import MAX_NUMERIC_LENGTH, WHITE_SPACE, cell_grammar
from sluice.datasets.model import Column
from sluice.datasets.types import ColumnType, TypeDefinition
from sluice.parsing.plan import MAX_LATITUDE, MAX_LONGITUDE

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]
    Codes = NDArray[np.uint8]
    Offsets = NDArray[np.int32]

_POINT = b"POINT ("
_SHORTEST_POINT = len(b"POINT (1 2)")
#: Where the date and the hour of a timestamp end.
_DATE_END, _HOUR_END = len("2018-05-28"), len("2018-05-28 09")
#: The first days of the years 1 and 10000 as Arrow counts days, and a day in microseconds.
_FIRST_DAY, _END_DAY, _DAY = -719_162, 2_932_897, 86_400_000_000
#: If the irregular cells of a column are more than this share, and than a few, the thorough reader types all.
_MAX_IRREGULAR = 1 / 64
_FEW = 64
#: Cells of a batch, about, by which the search for refused cells is limited.
_FULL_BATCH = 16 * 1024
#: Every other piece is a cell, those between are not.
_ALTERNATE = 0b01010101


class _TooIrregularError(Exception):
    """So many cells are irregular that a cast is not worthwhile."""


@dataclass(frozen=True, slots=True, eq=False)
class Cast:
    """The cells of a column as values.

    Attributes:
        arrays: an Arrow array for each stored column.
        irregular: which cells have no value yet; None where all have.
    """

    arrays: list[pa.Array]
    irregular: Flags | None = None


def cast_column(column: Column, cells: pa.Array) -> Cast | None:
    """Cast the cells of a column; None where the thorough reader has to type the whole column.

    Args:
        column: the declaration.
        cells: texts; an empty cell is null.
    """
    if column.is_special:
        return None
    try:
        return _cast(column, cells)
    except _TooIrregularError:
        return None


def _cast(column: Column, cells: pa.Array) -> Cast:
    if column.dictionary:
        return Cast([_dictionary(cells, trims=column.trim)])
    if column.type is ColumnType.TEXT:
        return Cast([_trimmed(cells) if column.trim else cells])
    if column.type is ColumnType.POINT:
        return _points(cells)
    if column.definition.find_problem:
        return _without_problem(column, column.definition.find_problem, cells)
    if column.definition.is_stored_from_text:
        return _matched(cell_grammar(column), cells)
    return _values(column.definition, cells)


def _dictionary(cells: pa.Array, *, trims: bool) -> pa.Array:
    """Return texts by reference to their distinct ones, of which each is trimmed once."""
    import pyarrow as pa  # noqa: PLC0415

    encoded = cells.dictionary_encode()
    texts = _trimmed(encoded.dictionary) if trims else encoded.dictionary
    if texts is encoded.dictionary:
        return encoded
    distinct = texts.dictionary_encode()
    return pa.DictionaryArray.from_arrays(
        distinct.indices.take(encoded.indices), distinct.dictionary
    )


def _trimmed(cells: pa.Array) -> pa.Array:
    """Return texts without white space around them, null where nothing else is left."""
    from pyarrow import compute  # noqa: PLC0415

    if _has_visible_ends(cells):
        return cells
    texts = compute.utf8_trim(cells, WHITE_SPACE)
    is_empty = compute.equal(compute.binary_length(texts), 0)
    return compute.if_else(is_empty, None, texts) if is_empty.true_count else texts


def _has_visible_ends(cells: pa.Array) -> bool:
    """Whether every text begins and ends with visible ASCII, and so needs no trim."""
    codes, starts, ends = _bytes_of(cells)
    present = starts < ends
    for edges in (starts[present], ends[present] - 1):
        found = codes[edges]
        if len(found) and (found.min() <= ord(" ") or found.max() > ord("~")):
            return False
    return True


def _values(kind: TypeDefinition, cells: pa.Array) -> Cast:
    import pyarrow as pa  # noqa: PLC0415

    target = pa.type_for_alias(kind.stored.arrow)
    if kind.stored.time_zone:
        target = pa.timestamp(target.unit, kind.stored.time_zone)
    refused: list[int] = []
    try:
        values = cells.cast(target)
    except pa.ArrowInvalid:
        cells = _trimmed(cells)
        values = _cast_in_halves(cells, target, 0, refused)
    irregular = _mistaken(kind, cells, values)
    if irregular is None and not refused:
        return Cast([values])
    irregular = np.zeros(len(cells), bool) if irregular is None else irregular
    irregular[refused] = True
    _limit(int(np.count_nonzero(irregular)), len(irregular))
    return Cast([_without(irregular, values)], irregular)


def _matched(grammar: str, cells: pa.Array) -> Cast:
    """Texts that PostgreSQL casts itself, because they are in a grammar."""
    from pyarrow import compute  # noqa: PLC0415

    cells = _trimmed(cells)
    is_value = compute.match_substring_regex(cells, rf"\A(?:{grammar})\z")
    is_short = compute.less_equal(compute.binary_length(cells), MAX_NUMERIC_LENGTH)
    is_value = compute.and_(is_value, is_short)
    irregular = ~np.asarray(compute.fill_null(is_value, fill_value=True))
    if not irregular.any():
        return Cast([cells])
    _limit(int(np.count_nonzero(irregular)), len(irregular))
    return Cast([_without(irregular, cells)], irregular)


def _without_problem(column: Column, find_problem: Callable[[str], str], cells: pa.Array) -> Cast:
    """Texts that PostgreSQL casts itself, because nothing is found wrong with them."""
    encoded = _dictionary(cells, trims=column.trim)
    is_wrong = [
        text is not None and bool(find_problem(text)) for text in encoded.dictionary.to_pylist()
    ]
    texts = encoded.dictionary_decode()
    if not any(is_wrong):
        return Cast([texts])
    places = np.asarray(encoded.indices.fill_null(0))
    irregular = np.array(is_wrong)[places] & np.asarray(texts.is_valid())
    _limit(int(np.count_nonzero(irregular)), len(irregular))
    return Cast([_without(irregular, texts)], irregular)


def _mistaken(kind: TypeDefinition, cells: pa.Array, values: pa.Array) -> Flags | None:
    """Return which cells Arrow takes for another value than we do, or for one at all; None for none."""
    from pyarrow import compute  # noqa: PLC0415

    codes, starts, ends = _bytes_of(cells)
    found: Flags = np.zeros(0, bool)
    if kind.name is ColumnType.FLOAT:  # nan(1) is a number to Arrow
        is_finite = compute.is_finite(values)
        if is_finite.false_count:
            found = ~np.asarray(compute.fill_null(is_finite, fill_value=True))
    elif kind.name is ColumnType.DATE:
        found = np.asarray(compute.fill_null(values.cast("int32"), 0)) < _FIRST_DAY
    elif kind.is_time:  # an hour alone is a time of day to Arrow
        minutes = np.where(ends - starts > _HOUR_END, starts + _HOUR_END, 0)
        found = (ends - starts > _DATE_END) & ((minutes == 0) | (codes[minutes] != ord(":")))
        moments = np.asarray(compute.fill_null(values.cast("int64"), 0))
        found |= (moments < _FIRST_DAY * _DAY) | (moments >= _END_DAY * _DAY)
    elif kind.is_whole and b"x" in codes.tobytes().lower():  # 0x10 is 16 to Arrow
        is_long = ends - starts > 2
        found = is_long & (codes[np.where(is_long, starts + 1, 0)] | 0x20 == ord("x"))
    return found if found.any() else None


def _points(cells: pa.Array) -> Cast:
    """The halves of points, each written `POINT (longitude latitude)`."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import compute  # noqa: PLC0415

    codes, starts, ends = _bytes_of(cells)
    irregular = ~_is_point(codes, starts, ends)
    first = np.where(irregular, starts, starts + len(_POINT))
    end = np.where(irregular, starts, ends - 1)
    found = compute.find_substring(_pieces(codes, ~irregular, first, end), " ")
    space = _numbers(found)[::2]
    irregular |= space <= 0
    space = np.where(irregular, first, first + space)
    irregular |= space + 1 >= end
    second = np.where(irregular, space, space + 1)
    refused: list[int] = []
    pieces = _pieces(codes, ~irregular, first, space, second, end)
    _limit(int(np.count_nonzero(irregular & (starts < ends))), len(irregular))
    values = _cast_in_halves(pieces, pa.float64(), 0, refused)
    irregular[np.array(refused, np.intp) // 4] = True
    lon, lat = _numbers(values)[::4], _numbers(values)[2::4]
    irregular |= ~((abs(lon) <= MAX_LONGITUDE) & (abs(lat) <= MAX_LATITUDE))
    halves = [_array(values.type, half, ~irregular) for half in (lon, lat)]
    irregular &= starts < ends
    return Cast(halves, irregular if irregular.any() else None)


def _is_point(codes: Codes, starts: Offsets, ends: Offsets) -> Flags:
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


def _pieces(codes: Codes, present: Flags, *bounds: Offsets) -> pa.Array:
    """Return the text between each two bounds, and what is between those, as one array without a copy.

    Args:
        codes: the bytes of the cells.
        present: cells of which there are texts; the pieces of others, and those between, are null.
        bounds: begin and end of the first text of each cell, of the second, and so on.
    """
    import pyarrow as pa  # noqa: PLC0415

    width, rows = len(bounds), len(present)
    offsets = np.empty(rows * width + 1, np.int32)
    for number, each in enumerate(bounds):
        offsets[number:-1:width] = each
    offsets[-1] = offsets[-2] if rows else 0
    if present.all():
        bits = np.full((rows * width + 7) // 8, _ALTERNATE, np.uint8)
    else:
        valid = np.zeros((rows, width), bool)
        valid[:, ::2] = present[:, np.newaxis]
        bits = np.packbits(valid, bitorder="little")
    buffers = [pa.py_buffer(bits), pa.py_buffer(offsets), pa.py_buffer(codes)]
    return pa.Array.from_buffers(pa.string(), rows * width, buffers)


def _cast_in_halves(
    cells: pa.Array, target: pa.DataType, first: int, refused: list[int]
) -> pa.Array:
    """Cast texts of which the first is number `first`; those that Arrow refuses become null.

    Arrow refuses an array as a whole: halves of halves show which cells it refuses.
    """
    import pyarrow as pa  # noqa: PLC0415

    try:
        return cells.cast(target)
    except pa.ArrowInvalid:
        if middle := len(cells) // 2:
            left = _cast_in_halves(cells[:middle], target, first, refused)
            right = _cast_in_halves(cells[middle:], target, first + middle, refused)
            return pa.concat_arrays([left, right])
    refused.append(first)
    _limit(len(refused), _FULL_BATCH)
    return pa.nulls(1, target)


def _limit(irregular: int, cells: int) -> None:
    if irregular > max(_FEW, cells * _MAX_IRREGULAR):
        raise _TooIrregularError


def _bytes_of(texts: pa.Array) -> tuple[Codes, Offsets, Offsets]:
    """Return the bytes of texts, and where each begins and ends in them."""
    _, offsets, data = texts.buffers()
    places = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    codes = np.frombuffer(data or b"\0", np.uint8)
    return (codes if len(codes) else np.zeros(1, np.uint8)), places[:-1], places[1:]


def _numbers(array: pa.Array) -> NDArray[Any]:
    """Return the underlying numbers of an array; where it is null, they are undefined."""
    is_float = str(array.type) == "double"
    dtype = "f8" if is_float else f"i{array.type.bit_width // 8}"
    numbers: NDArray[Any] = np.frombuffer(array.buffers()[1], dtype)
    return numbers[array.offset : array.offset + len(array)]


def _without(irregular: Flags, values: pa.Array) -> pa.Array:
    """Return values, null where they are irregular."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import compute  # noqa: PLC0415

    return compute.if_else(pa.array(~irregular), values, None)


def _array(kind: pa.DataType, numbers: NDArray[Any], present: Flags) -> pa.Array:
    """Return numbers as an array of a type, null where none is present."""
    import pyarrow as pa  # noqa: PLC0415

    bits = None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little"))
    values = pa.py_buffer(np.ascontiguousarray(numbers))
    return pa.Array.from_buffers(kind, len(numbers), [bits, values])
