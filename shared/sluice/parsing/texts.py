"""Reads the records of a chunk as texts, without a declaration of its columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sluice.datasets.model import Column, Dataset
from sluice.datasets.types import ColumnType
from sluice.parsing.columnar import NotWellFormedError, batches
from sluice.parsing.layout import Layout
from sluice.parsing.well_formed import find_well_formed, pick_well_formed

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from sluice.csv.dialects import Dialect
    from sluice.parsing.well_formed import WellFormed


def read_texts(
    data: bytes,
    dialect: Dialect,
    width: int,
    first_record: int,
    malformed: Mapping[str, str],
    header: Sequence[str] = (),
) -> Iterator[tuple[NDArray[np.int64], list[pa.Array]]]:
    """Yield the cells of the well-formed records of a chunk, one array per column.

    Each batch comes with the numbers of its records in the file; an empty cell is null.

    Args:
        data: whole records.
        dialect: how they are written.
        width: number of columns.
        first_record: number of the chunk's first record in the file, from 0.
        malformed: the keys `stray_quotes` and `ragged` of the dataset.
        header: names that a record may repeat, which is none then; see `Layout`.
    """
    layout = Layout(tuple(range(width)), width, dialect, header=tuple(header))
    dataset = undeclared(width, dialect, malformed)
    try:
        batches_read = list(_batches(find_well_formed(data, dataset, layout), layout))
    except NotWellFormedError:
        batches_read = list(_batches(pick_well_formed(data, dataset, layout), layout))
    for numbers, cells in batches_read:
        yield numbers + first_record, cells


def undeclared(width: int, dialect: Dialect, malformed: Mapping[str, str]) -> Dataset:
    """Return a dataset of so many texts; see `read_texts`."""
    columns = (
        Column(f"column_{n + 1}", ColumnType.TEXT, (f"column_{n + 1}",)) for n in range(width)
    )
    made = Dataset("undeclared", "", tuple(columns), dialect)
    return replace(made, **malformed)  # type: ignore[arg-type]  # keys that are texts


def _batches(
    records: WellFormed, layout: Layout
) -> Iterator[tuple[NDArray[np.int64], list[pa.Array]]]:
    if not records.count:
        return
    seen = 0
    for batch in batches(records, layout):
        numbers = np.arange(seen, seen + len(batch))
        if records.numbers is not None:
            numbers = records.numbers[numbers]
        yield numbers, [batch.column(f"f{at}") for at in range(layout.width)]
        seen += len(batch)
    if seen != records.count:
        raise NotWellFormedError
