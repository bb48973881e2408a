"""The columnar reader: Arrow splits well-formed records into cells and types complete columns.

It handles every dataset, quoted or not. The thorough reader types what Arrow would type differently: complete
columns of types or formats that Arrow does not have, and records with an irregular cell or a broken rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sluice.csv.rejects import MAX_REJECTS, Findings, TooManyFindingsError
from sluice.datasets.grammars import WHITE_SPACE
from sluice.datasets.model import RECORD_COLUMN, Dataset
from sluice.parsing.casts import cast_column
from sluice.parsing.layout import places_of
from sluice.parsing.thorough import Thorough, schema_of

if TYPE_CHECKING:
    import pyarrow as pa

    from sluice.csv.rejects import Finding
    from sluice.parsing.duckdb_session import Cursor
    from sluice.parsing.layout import Layout
    from sluice.parsing.mismatches import Place
    from sluice.parsing.plan import Plan
    from sluice.parsing.well_formed import WellFormed

#: Cells of so many bytes are in memory at the same time, as texts and as values.
_BLOCK_BYTES = 4 * 1024 * 1024
#: Records that the thorough reader checks at a time: hardly more than those that may be rejects.
_CHECKED_ROWS = 64 * 1024


def _positions(layout: Layout) -> Iterator[int]:
    """Yield the positions of the columns of a file that are read."""
    yield from places_of(layout.order)
    yield from (place for place, _ in layout.rescued)


def _cells(batch: pa.RecordBatch, place: Place | None) -> pa.Array:
    """Return the cells of a column; of a point in two halves, as if it were whole."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import compute  # noqa: PLC0415

    if place is None:
        return pa.nulls(len(batch), pa.string())
    if isinstance(place, int):
        return batch.column(f"f{place}")
    trimmed = (compute.utf8_trim(batch.column(f"f{at}"), WHITE_SPACE) for at in place)
    lon, lat = (compute.if_else(compute.equal(each, ""), None, each) for each in trimmed)
    is_absent = compute.and_(compute.is_null(lon), compute.is_null(lat))
    halves = (compute.fill_null(each, "null") for each in (lon, lat))
    both = compute.binary_join_element_wise(*halves, " ")
    point = compute.binary_join_element_wise("POINT (", both, ")", "")
    return compute.if_else(is_absent, None, point)


def rescued_cells(
    batch: pa.RecordBatch, layout: Layout, extras: Sequence[Sequence[str | None]]
) -> pa.Array:
    """Return for each record its cells without a column; see `Layout.rescued_text`."""
    import pyarrow as pa  # noqa: PLC0415

    columns = [batch.column(f"f{place}").to_pylist() for place, _ in layout.rescued]
    texts = [
        layout.rescued_text([column[row] for column in columns], further)
        for row, further in enumerate(extras)
    ]
    return pa.array(texts, pa.string())


class NotWellFormedError(Exception):
    """Some record is not UTF-8, or has too few or too many fields."""


def batches(records: WellFormed, layout: Layout) -> Iterator[pa.RecordBatch]:
    """Yield batches of cells as texts; an empty cell is null.

    Raises:
        NotWellFormedError: use `pick_well_formed`.
    """
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import csv  # noqa: PLC0415

    block_bytes = max(_BLOCK_BYTES, 2 * records.longest_bytes)
    names = [f"f{at}" for at in range(layout.width)]
    try:
        yield from csv.open_csv(
            pa.BufferReader(records.data),
            csv.ReadOptions(use_threads=False, block_size=block_bytes, column_names=names),
            csv.ParseOptions(
                delimiter=records.delimiter,
                quote_char=records.quote or False,
                escape_char=records.escape or False,
                newlines_in_values=records.has_line_ends,
            ),
            csv.ConvertOptions(
                include_columns=[f"f{at}" for at in _positions(layout)],
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:
        raise NotWellFormedError(str(error)) from None


class Columnar:
    """Reads the well-formed records of one chunk.

    Attributes:
        findings: what is wrong with records that break a rule, by position in the chunk.
    """

    def __init__(self, dataset: Dataset, layout: Layout, plan: Plan, cursor: Cursor) -> None:
        self._dataset = dataset
        self._layout = layout
        self._plan = plan
        self._schema = schema_of(dataset, plan)
        self._thorough = Thorough(plan, cursor, self._schema)
        self.findings = Findings()

    def read(
        self, records: WellFormed, first_record: int, max_rejects: int = MAX_REJECTS
    ) -> pa.Table:
        """Return the rows of the records that break no rule.

        Args:
            records: the records.
            first_record: number of the chunk's first record in the file, from 0.
            max_rejects: how many records of the chunk may be rejects.

        Raises:
            NotWellFormedError: use `pick_well_formed`.
            TooManyFindingsError: more are rejects.
        """
        import pyarrow as pa  # noqa: PLC0415

        if not records.count:
            return self._schema.empty_table()
        self.findings = Findings(max_rejects - len(records.malformed))
        seen = 0
        rows: list[pa.Table] = []
        for batch in batches(records, self._layout):
            numbers = np.arange(seen, seen + len(batch))
            if records.numbers is not None:
                numbers = records.numbers[numbers]
            rescued = None
            if self._layout.rescued or records.extras:
                extras = [records.extras.get(each, ()) for each in numbers.tolist()]
                rescued = rescued_cells(batch, self._layout, extras)
            rows.append(self._typed(batch, rescued, numbers, first_record))
            seen += len(batch)
        if seen != records.count:
            raise NotWellFormedError
        return pa.concat_tables(rows)

    def _typed(
        self,
        batch: pa.RecordBatch,
        rescued: pa.Array | None,
        numbers: np.ndarray[Any, Any],
        first_record: int,
    ) -> pa.Table:
        """Return the rows that break no rule, in the order of the records."""
        import pyarrow as pa  # noqa: PLC0415

        cells = [_cells(batch, place) for place in self._layout.order]
        if rescued is not None:
            cells[-1] = rescued
        typed: dict[str, pa.Array] = {}
        done, full = set(), set()
        irregular = np.zeros(len(batch), bool)
        for column, texts in zip(self._dataset.columns, cells, strict=True):
            cast = cast_column(column, texts)
            if cast is None:
                continue
            done.add(column.name)
            if not any(each.null_count for each in cast.arrays):
                full.add(column.name)
            typed |= zip((each.name for each in column.fields), cast.arrays, strict=True)
            if cast.irregular is not None:
                irregular |= cast.irregular
        raw = {f"_{number}": each for number, each in enumerate(cells)}
        if self._plan.numbered:
            raw[RECORD_COLUMN] = typed[RECORD_COLUMN] = pa.array(numbers + first_record)
        good = self._thorough.complete(typed, raw, done, full)
        is_good = ~irregular if good is None else ~irregular & good
        rows = pa.table([typed[name] for name in self._schema.names], schema=self._schema)
        if is_good.all():
            return rows
        doubtful = np.flatnonzero(~is_good)
        again, good_after_all = self._check(raw, doubtful, numbers)
        rows = pa.concat_tables([rows.filter(pa.array(is_good)), *again])
        if self._dataset.cluster or not len(good_after_all):
            return rows
        places = np.concatenate((np.flatnonzero(is_good), good_after_all))
        return rows.unify_dictionaries().combine_chunks().take(np.argsort(places))

    def _check(
        self,
        raw: dict[str, pa.Array],
        doubtful: np.ndarray[Any, Any],
        numbers: np.ndarray[Any, Any],
    ) -> tuple[list[pa.Table], np.ndarray[Any, Any]]:
        """Check doubtful records of a batch; return the rows that are good, and their places in the batch."""
        import pyarrow as pa  # noqa: PLC0415

        rows, good = [], []
        for first in range(0, len(doubtful), _CHECKED_ROWS):
            places = doubtful[first : first + _CHECKED_ROWS]
            table = pa.table({name: each.take(pa.array(places)) for name, each in raw.items()})
            left = self.findings.most - len(self.findings)
            try:
                again, findings = self._thorough.check(table, left)
            except TooManyFindingsError as error:
                self._add(error.findings, numbers[places])
                raise TooManyFindingsError(self.findings) from None
            self._add(findings, numbers[places])
            rows.append(again)
            good.append(np.delete(places, list(findings)))
        return rows, np.concatenate(good)

    def _add(self, findings: Mapping[int, Finding], numbers: np.ndarray[Any, Any]) -> None:
        for place, each in findings.items():
            self.findings.add(int(numbers[place]), each)
