"""Observes whole records: what their columns may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sluice.inference.typing.observations import Observations
from sluice.inference.typing.observe import observe
from sluice.parsing.layout import repeatable_header
from sluice.parsing.texts import read_texts

if TYPE_CHECKING:
    from sluice.csv.dialects import Dialect


def observe_records(
    data: bytes,
    dialect: Dialect,
    width: int,
    first_record: int,
    malformed: Mapping[str, str],
    names: Sequence[str] | None = None,
) -> Observations:
    """Return what the columns of whole records may be; records that are rejected are left out.

    Args:
        data: the records.
        dialect: how they are written.
        width: number of columns.
        first_record: number of the first record in the file, from 0.
        malformed: the keys `stray_quotes` and `ragged` of the dataset.
        names: the header of the file, if it has one.
    """
    found = Observations()
    header = repeatable_header(names or (), dialect)
    for numbers, cells in read_texts(data, dialect, width, first_record, malformed, header):
        found = observe(cells, first_record=0, records=numbers, earlier=found)
    return found
