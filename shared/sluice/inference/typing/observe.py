"""Observes the cells of a batch, column by column, with a few passes over their bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sluice.datasets.grammars import WHITE_SPACE
from sluice.inference.detection.ends import Ends
from sluice.inference.detection.scan import Scan, null_marks, scan
from sluice.inference.typing.cell_forms import TEXT
from sluice.inference.typing.observations import (
    MAX_DISTINCT,
    MAX_DISTINCT_LENGTH,
    ColumnObservation,
    Observations,
    Witness,
    max_distinct,
)
from sluice.inference.typing.runs import Run, Runs
from sluice.inference.typing.shapes import Cells, cells_of

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

#: Cells of which two that do not ascend save the rest.
_FIRST = 256
#: Cells among which more than the most distinct values show that there are many.
_SAMPLE = 4096
_MAX_WITNESS = 80


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
    kept = max_distinct(len(cells))
    observed = (
        before.merge(_observe_column(array, numbers, before), kept)
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

    found = Scan(null_marks(values.cells)) if known.is_text else scan(values.cells)
    spaced = None if known.spaced else _first_spaced(values.cells)
    has_nulls, is_text = present < len(cells), known.is_text or TEXT in found.forms
    is_repeated = values.distinct is not None and len(values.distinct) < len(cells)
    is_unordered = known.runs is None or has_nulls or is_text or is_repeated
    return ColumnObservation(
        cells=len(cells),
        nulls=len(cells) - int(present),
        shortest=int(lengths[lengths > 0].min()) if has_nulls else int(lengths.min()),
        longest=int(lengths.max()),
        forms={form: witness(row) for form, row in found.forms.items()},
        spaced=None if spaced is None else witness(spaced),
        distinct=values.distinct,
        runs=None if is_unordered else _runs(array, numbers),
        ends=Ends() if is_text else found.ends,
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
