"""A parsed chunk: typed rows in Arrow, their rejects, and both as streams for COPY."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluice.csv.rejects import Reject
from sluice.datasets.identifiers import quote
from sluice.datasets.model import (
    INGESTION_COLUMN,
    LINE_COLUMN,
    MAX_RECORDS,
    ORIGINAL_COLUMN,
    RECORD_COLUMN,
    Dataset,
    Rollup,
)
from sluice.errors import AccountImbalanceError
from sluice.parsing.copy_stream import CopyStream, stream
from sluice.parsing.sort_keys import key_expressions, order_of

if TYPE_CHECKING:
    import pyarrow as pa

    from sluice.parsing.duckdb_session import Cursor


@dataclass
class ParsedChunk:
    """The typed rows of a chunk, and its rejects.

    Attributes:
        records_read: records of the chunk, counted on its bytes.
        rows: the rows that break no rule; dictionary columns are texts until `encode`.
        rejects: the other records.
        recovered: how many of the records follow an unclosed quote and were recovered.
        originals: of each record, where a row may be refused later: see `originals_of`; None elsewhere.
        cursor: a cursor of DuckDB, on which roll-ups run.
    """

    dataset: Dataset
    records_read: int
    rows: pa.Table
    rejects: list[Reject]
    recovered: int
    originals: pa.Table | None
    cursor: Cursor

    def texts(self, column: str) -> list[str]:
        """Return the distinct texts of a dictionary column, in order."""
        found = self.rows[column].unique().to_pylist()
        return sorted(each for each in found if each is not None)

    def encode(self, codes: Mapping[str, Mapping[str, int]]) -> None:
        """Replace the texts of dictionary columns by their codes.

        Args:
            codes: the codes of each dictionary column's texts.
        """
        self.rows = self.rows.unify_dictionaries().combine_chunks()
        for number, name in enumerate(self.rows.column_names):
            if name in codes:
                coded = _coded(self.rows[name], codes[name])
                self.rows = self.rows.set_column(number, name, coded)

    def number_apart(self, chunk: int, first_record: int) -> None:
        """Give each record a number that no record of another chunk has; see `MAX_RECORDS`."""
        shift = (chunk + 1) * MAX_RECORDS - first_record
        self.rows = _shifted(self.rows, shift)
        self.originals = self.originals and _shifted(self.originals, shift)

    def renumber(self, records: Sequence[int]) -> None:
        """Replace the number of each row's record, where it is kept: n by the n-th of these."""
        import pyarrow as pa  # noqa: PLC0415

        if RECORD_COLUMN in self.rows.column_names:
            place = self.rows.column_names.index(RECORD_COLUMN)
            numbers = pa.array(records, pa.int64()).take(self.rows[RECORD_COLUMN].combine_chunks())
            self.rows = self.rows.set_column(place, RECORD_COLUMN, numbers)

    def copy_rows(self, ingestion: int, block_bytes: int) -> CopyStream:
        """Return the rows in the order of `cluster`, as `copied_columns` has them.

        Args:
            ingestion: the ingestion that they belong to.
            block_bytes: least size of a block.
        """
        import pyarrow as pa  # noqa: PLC0415

        rows = self.in_order()
        owner = pa.repeat(pa.scalar(ingestion, pa.int32()), len(rows))
        rows = rows.append_column(INGESTION_COLUMN, owner)
        if self.originals is not None:
            rows = _with_originals(rows, self.originals)
        return stream(rows.select(copied_columns(self.dataset)), self.dataset, block_bytes)

    def in_order(self, cluster: Sequence[str] | None = None) -> pa.Table:
        """Return the encoded rows in the order of the dataset's `cluster`, or of another."""
        cluster = self.dataset.cluster if cluster is None else cluster
        if not cluster:
            return self.rows
        relation = self.relation()
        expressions = key_expressions(cluster)
        order = None
        if expressions:
            sql = f"SELECT {', '.join(expressions)} FROM ({relation})"
            keys = self.cursor.table(sql)
            order = order_of(keys.columns)
        if order is not None:
            return self.rows.take(order)
        sql = f"SELECT _sent FROM (SELECT *, row_number() OVER () - 1 AS _sent FROM ({relation}))"
        places = self.cursor.table(f"{sql} ORDER BY {', '.join(cluster)}")
        return self.rows.take(places[0].combine_chunks())

    def relation(self) -> str:
        """Return the query of the encoded rows with values in place of the texts PostgreSQL is sent."""
        self.cursor.register("sent", self.rows)
        values = [
            f"try_cast({quote(field.name)} AS {column.definition.duckdb}) AS {quote(field.name)}"
            for column in self.dataset.columns
            for field in column.fields
            if column.definition.is_stored_from_text
        ]
        replaced = f"REPLACE ({', '.join(values)})" if values else ""
        return f"SELECT * {replaced} FROM sent"

    def copy_rollup(self, rollup: Rollup, ingestion: int, block_bytes: int) -> CopyStream:
        """Return the roll-up of the encoded rows, as `copied_rollup_columns` has it."""
        names = (*rollup.keys, *(name for name, _ in rollup.measures))
        types = dict(self.describe(rollup))
        casts = ", ".join(
            f"CAST({quote(name)} AS BIGINT)" if types[name] == "HUGEINT" else quote(name)
            for name in names
        )
        sql = f"{self._over_rows(rollup)} SELECT {casts}, CAST({ingestion} AS INTEGER) FROM rollup"
        return stream(self.cursor.table(sql), None, block_bytes)

    def describe(self, rollup: Rollup) -> list[tuple[str, str]]:
        """Return (column, DuckDB type) of a roll-up of the encoded rows."""
        described = self.cursor.rows(f"DESCRIBE {self._over_rows(rollup)} FROM rollup")
        return [(name, kind) for name, kind, *_ in described]

    def _over_rows(self, rollup: Rollup) -> str:
        return f"WITH rows AS ({self.relation()}), rollup AS (\n{rollup.sql}\n)"


def _shifted(rows: pa.Table, shift: int) -> pa.Table:
    from pyarrow import compute  # noqa: PLC0415

    place = rows.column_names.index(RECORD_COLUMN)
    numbers = compute.add(rows[RECORD_COLUMN], shift)
    return rows.set_column(place, RECORD_COLUMN, numbers)


def _coded(texts: pa.ChunkedArray, codes: Mapping[str, int]) -> pa.Array:
    import pyarrow as pa  # noqa: PLC0415

    array = texts.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # of an empty table
        return pa.array([], pa.int16())
    known = pa.array([codes.get(each) for each in array.dictionary.to_pylist()], pa.int16())
    return known.take(array.indices)


def _with_originals(rows: pa.Table, originals: pa.Table) -> pa.Table:
    """Return rows with the line and the bytes of their records."""
    from pyarrow import compute  # noqa: PLC0415

    numbers = originals[RECORD_COLUMN].combine_chunks()
    places = compute.index_in(rows[RECORD_COLUMN], value_set=numbers)
    found = originals.take(places)
    for name in (LINE_COLUMN, ORIGINAL_COLUMN):
        rows = rows.append_column(name, found[name])
    return rows


def copied_columns(dataset: Dataset) -> tuple[str, ...]:
    """Return the columns that `copy_rows` streams, in its order."""
    names = (*(each.name for each in dataset.fields), INGESTION_COLUMN)
    if dataset.keeps_originals:
        return (*names, RECORD_COLUMN, LINE_COLUMN, ORIGINAL_COLUMN)
    return (*names, RECORD_COLUMN) if dataset.is_staged else names


def copied_rollup_columns(rollup: Rollup) -> tuple[str, ...]:
    """Return the columns that `copy_rollup` streams, in its order."""
    return (*rollup.keys, *(name for name, _ in rollup.measures), INGESTION_COLUMN)


def originals_of(
    records: Sequence[int], lines: Sequence[int], originals: Sequence[bytes]
) -> pa.Table:
    """Return what to keep of records whose rows may be refused later.

    Args:
        records: their numbers in the file or request, from 0.
        lines: the lines on which they begin, from 1.
        originals: their bytes as received, with the line end.
    """
    import pyarrow as pa  # noqa: PLC0415

    return pa.table(
        {
            RECORD_COLUMN: pa.array(records, pa.int64()),
            LINE_COLUMN: pa.array(lines, pa.int64()),
            ORIGINAL_COLUMN: pa.array(originals, pa.large_binary()),
        }
    )


def check_account(records: int, rows: int, rejects: int, first_line: int) -> None:
    """Compare the records of a chunk, counted on its bytes, with its rows and rejects.

    Raises:
        AccountImbalanceError: they differ.
    """
    if records != rows + rejects:
        raise AccountImbalanceError(
            f"lines from {first_line}: {records} records gave {rows} rows and {rejects} rejects."
            " Nothing of the file is published; retry it, and if it fails again report it with the file"
        )
