"""Observes the cells of a batch, column by column, with a few passes over their bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sluice.datasets.grammars import WHITE_SPACE
from sluice.inference.cell_forms import (
    BLANK,
    NULL_MARK,
    TEXT,
    Probe,
    Reading,
    is_on_earth,
    read_shape,
)
from sluice.inference.observations import (
    MAX_DISTINCT,
    MAX_DISTINCT_LENGTH,
    ColumnObservation,
    Observations,
    Witness,
)
from sluice.inference.runs import Run, Runs
from sluice.inference.shapes import Cells, Digits, Shapes, cells_of, shapes_of

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from sluice.inference.shapes import Flags, Rows

#: Cells that are looked at first: a text among them saves the rest.
_FIRST = 256
#: Cells among which more than the most distinct values show that there are many.
_SAMPLE = 4096
_MAX_WITNESS = 80
#: Combinations of shapes and variants that are counted in an array.
_MAX_CODES = 4_000_000
#: A probe that no cell fails.
_ANY = Probe(0, 0, 255)
_UUID_SHAPE = "99999999-9999-9999-9999-999999999999"


def observe(
    cells: Sequence[pa.Array],
    *,
    first_record: int,
    records: NDArray[np.int64] | None = None,
    earlier: Observations | None = None,
) -> Observations:
    """Return what cells admit.

    Args:
        cells: an array of texts for each column of the file; an empty cell is null.
        first_record: position in the file of the first record, from 0, the header not counted.
        records: the position of each record, if they do not follow each other.
        earlier: what earlier records of the same chunk admit; the result is of them and these.
    """
    known = (earlier or Observations()).padded(len(cells))
    numbers = _Numbers(first_record, records)
    observed = (
        before.merge(_observe_column(array, numbers, before))
        for array, before in zip(cells, known, strict=True)
    )
    return Observations(tuple(observed))


@dataclass(frozen=True, eq=False)
class _Numbers:
    """The positions of records in their file."""

    first: int
    records: NDArray[np.int64] | None

    def __getitem__(self, row: int) -> int:
        return self.first + row if self.records is None else int(self.records[row])


@dataclass(frozen=True, eq=False)
class _Values:
    """The cells of a column, or only the different ones, and in which row each is first."""

    cells: Cells
    first_row: Callable[[int], int]
    distinct: frozenset[str] | None


def _observe_column(
    array: pa.Array, numbers: _Numbers, known: ColumnObservation
) -> ColumnObservation:
    cells = cells_of(array)
    lengths = cells.lengths
    present = np.count_nonzero(lengths)
    if not present:
        runs = () if not len(cells) else None
        return ColumnObservation(len(cells), len(cells), runs=runs)
    values = _values(cells, int(lengths.max()), is_many=known.distinct is None)

    def witness(row: int) -> Witness:
        return Witness(numbers[values.first_row(row)], values.cells.text(row)[:_MAX_WITNESS])

    forms = _null_marks(values.cells) if known.is_text else _forms_in(values.cells)
    spaced = None if known.spaced else _first_spaced(values.cells)
    has_nulls, is_text = present < len(cells), known.is_text or TEXT in forms
    is_repeated = values.distinct is not None and len(values.distinct) < len(cells)
    is_unordered = known.runs is None or has_nulls or is_text or is_repeated
    return ColumnObservation(
        cells=len(cells),
        nulls=len(cells) - int(present),
        shortest=int(lengths[lengths > 0].min()) if has_nulls else int(lengths.min()),
        longest=int(lengths.max()),
        forms={form: witness(row) for form, row in forms.items()},
        spaced=None if spaced is None else witness(spaced),
        distinct=values.distinct,
        runs=None if is_unordered else _runs(array, numbers),
    )


def _values(cells: Cells, longest: int, *, is_many: bool) -> _Values:
    """Return the different cells if they are few and short, otherwise all."""
    from pyarrow import compute  # noqa: PLC0415

    everything = _Values(cells, lambda row: row, None)
    if is_many or longest > MAX_DISTINCT_LENGTH:
        return everything
    if len(cells) > _SAMPLE and len(cells.array[:_SAMPLE].unique()) > MAX_DISTINCT + 1:
        return everything
    encoded = cells.array.dictionary_encode()
    distinct = frozenset(filter(None, encoded.dictionary.to_pylist()))
    if len(distinct) > MAX_DISTINCT:
        return everything
    indices = encoded.indices
    return _Values(
        cells_of(encoded.dictionary), lambda at: compute.index(indices, at).as_py(), distinct
    )


def _null_marks(cells: Cells) -> dict[str, int]:
    """Return the first cell that means null also among texts, by its form."""
    starts = cells.places[:-1]
    rows = np.flatnonzero(cells.lengths == len(NULL_MARK))
    for place, code in enumerate(NULL_MARK.encode()):
        rows = rows[cells.codes[starts[rows] + place] == code]
    return {f"word {NULL_MARK}": int(rows[0])} if len(rows) else {}


def _first_spaced(cells: Cells) -> int | None:
    """Return the first cell with white space around it."""
    from pyarrow import compute  # noqa: PLC0415

    present = np.flatnonzero(cells.lengths)
    edges = (cells.codes[cells.places[:-1][present]], cells.codes[cells.places[1:][present] - 1])
    is_doubtful = (edges[0] <= ord(" ")) | (edges[0] > ord("~"))
    is_doubtful |= (edges[1] <= ord(" ")) | (edges[1] > ord("~"))
    rows = present[is_doubtful]
    if not len(rows):
        return None
    texts = cells.take(rows).array
    is_spaced = compute.not_equal(compute.utf8_trim(texts, WHITE_SPACE), texts)
    at = is_spaced.index(True).as_py()
    return None if at < 0 else int(rows[at])


def _runs(array: pa.Array, numbers: _Numbers) -> Runs:
    """Return the rows as one run if their numbers ascend."""
    import pyarrow as pa  # noqa: PLC0415

    try:
        for part in (array[:_FIRST], array):
            values = np.asarray(part.cast(pa.int64()))
            if not (values[1:] > values[:-1]).all():
                return None
    except pa.ArrowInvalid:
        return None
    first, last = int(values[0]), int(values[-1])
    return (Run(numbers[0], numbers[len(array) - 1] + 1, first, last),)


def _forms_in(cells: Cells) -> dict[str, int]:
    """Return the forms of cells, each with the first cell that has it."""
    if len(cells) > _FIRST:
        found = _shaped_forms(cells.head(_FIRST))
        if TEXT in found:
            return _merge(found, _null_marks(cells))
        if "uuid" in found:
            return _uuid_forms(cells)
    found = _shaped_forms(cells)
    return _merge(found, _null_marks(cells)) if TEXT in found else found


def _merge(found: dict[str, int], others: dict[str, int]) -> dict[str, int]:
    """Return the first text, and the first of other forms."""
    return {TEXT: found[TEXT], **others}


def _uuid_forms(cells: Cells) -> dict[str, int]:
    """Return the forms of cells most of which are UUIDs, whose shapes differ by their letters."""
    shapes = shapes_of(cells, is_hexadecimal=True)
    is_uuid = np.array([each == _UUID_SHAPE for each in shapes.texts])[shapes.index]
    others = np.flatnonzero(~is_uuid)
    found = {form: int(others[row]) for form, row in _shaped_forms(cells.take(others)).items()}
    return _merge(found, {}) if TEXT in found else {**found, "uuid": int(is_uuid.argmax())}


def _shaped_forms(cells: Cells) -> dict[str, int]:
    if not len(cells):
        return {}
    shapes = shapes_of(cells)
    readings = [read_shape(each) for each in shapes.texts]
    variants = _variants(cells, shapes, readings)
    width = 1 if variants is None else int(variants.max()) + 1
    codes = shapes.index if variants is None else shapes.index.astype(np.int64) * width + variants
    found: dict[str, int] = {}
    for code, row in _first_rows(codes, len(readings) * width):
        form = readings[code // width].forms[code % width]
        found[form] = min(row, found.get(form, row))
    found.pop(BLANK, None)
    return found


def _first_rows(codes: NDArray[np.integer], count: int) -> list[tuple[int, int]]:
    """Return each code that occurs, with its first row."""
    if count > _MAX_CODES:
        present, first = np.unique(codes, return_index=True)
    else:
        rows = np.full(count, -1, np.int64)
        rows[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
        present = np.flatnonzero(rows >= 0)
        first = rows[present]
    return list(zip(present.tolist(), first.tolist(), strict=True))


def _variants(
    cells: Cells, shapes: Shapes, readings: Sequence[Reading]
) -> NDArray[np.uint8] | None:
    """Return the variant of each cell; None if all are 0."""
    flagged = _flagged(cells, shapes, readings)
    variants = None if flagged is None else flagged.astype(np.uint8)
    for number, reading in enumerate(readings):
        if reading.values is not None:
            variants = np.zeros(len(cells), np.uint8) if variants is None else variants
            rows = shapes.rows(number)
            digits = Digits(cells, rows, len(shapes.texts[number].encode()))
            variants[rows] = reading.values.variants(digits)
    return variants


def _flagged(cells: Cells, shapes: Shapes, readings: Sequence[Reading]) -> Flags | None:
    """Return which cells have a digit outside of a probe's range; None for none."""
    turns = max((len(each.probes) for each in readings), default=0)
    flagged: Flags = np.zeros(len(cells) if turns else 0, bool)
    for turn in range(turns):
        probes = [each.probes[turn] if turn < len(each.probes) else _ANY for each in readings]
        at = np.array([each.at for each in probes], np.int32)[shapes.index]
        low = np.array([each.low for each in probes], np.uint8)[shapes.index]
        high = np.array([each.high for each in probes], np.uint8)[shapes.index]
        found = cells.codes[np.minimum(cells.places[:-1] + at, len(cells.codes) - 1)]
        flagged |= (found < low) | (found > high)
    if not flagged.any():
        return None
    return _with_exact_points(cells, shapes, readings, flagged)


def _with_exact_points(
    cells: Cells, shapes: Shapes, readings: Sequence[Reading], flagged: Flags
) -> Flags:
    """Keep the flag of a point only if it is outside of the Earth's degrees."""
    is_point = np.array([each.is_point for each in readings])[shapes.index]
    rows: Rows = np.flatnonzero(flagged & is_point)
    for row in rows.tolist():
        flagged[row] = not is_on_earth(cells.text(row))
    return flagged
