"""A chunk in the loader's hands: typed rows inside DuckDB, encoded, ordered and streamed to PostgreSQL."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.csv.rejects import Reject
from sluice.datasets.identifiers import literal, quote
from sluice.datasets.model import (
    INGESTION_COLUMN,
    LINE_COLUMN,
    ORIGINAL_COLUMN,
    RECORD_COLUMN,
    Dataset,
    Rollup,
)
from sluice.errors import AccountImbalanceError
from sluice.parsing.duckdb_session import distinct_texts

if TYPE_CHECKING:
    import duckdb

#: Stored types that pgpq does not encode; a dataset that has one is copied as CSV.
_TEXT_ONLY = frozenset({"numeric", "time", "uuid"})
#: How much is encoded at once: larger pieces cost new memory each, smaller ones a call for each column.
_BATCH_ROWS = 16 * 1024
_BATCH_CELLS = 128 * 1024
_BATCH_BYTES = 1024 * 1024


@dataclass
class ParsedChunk:
    """A chunk in the loader's hands: typed rows inside DuckDB, rejects beside them.

    Attributes:
        records_read: records of the chunk, counted on its bytes.
        rows: how many of them became rows.
        rejects: the others.
        recovered: how many of the records were saved from behind an unclosed quote.
        is_encoded: whether the relation `rows` is there already, for every text was known.
        origins: an Arrow table of what each row that may yet be refused was, see `origins_of`; None
            where no row may.
        ordered: an Arrow table of the rows in the order of `cluster`, where there is one.
    """

    dataset: Dataset
    records_read: int
    rows: int
    rejects: list[Reject]
    recovered: int
    origins: Any
    is_encoded: bool
    _cursor: duckdb.DuckDBPyConnection
    _texts: dict[str, list[str]]
    ordered: Any = None

    def texts(self, column: str) -> list[str]:
        """Return the distinct texts of a dictionary column."""
        if column not in self._texts:
            self._texts[column] = distinct_texts(self._cursor, column)
        return self._texts[column]

    def encode(self, codes: Mapping[str, Mapping[str, int]]) -> None:
        """Make the relation `rows`: stored columns, texts replaced by codes.

        The relation is kept, for the rows and each roll-up are read from it.

        Args:
            codes: the codes of each dictionary column's texts.
        """
        if self.is_encoded:
            return
        selected, joins = coded_columns(self._cursor, self.dataset, codes)
        if self.dataset.is_numbered:
            selected.append(f"typed.{RECORD_COLUMN}")
        coded = f"SELECT {', '.join(selected)} FROM typed {joins} WHERE _ok"
        self._cursor.execute(f"CREATE TEMP TABLE rows AS {coded}")
        self._cursor.execute("DROP TABLE typed")

    def copy_rows(self, ingestion: int, block_bytes: int) -> tuple[str, Iterator[bytes]]:
        """Return the options of a COPY of the rows, and its stream in blocks of at least `block_bytes`.

        The columns are those of `copied_columns`, the order is that of `cluster`.
        """
        if self.ordered is not None and not self.dataset.keeps_originals:
            return "(FORMAT binary)", self._ordered_blocks(ingestion, block_bytes)
        order = f" ORDER BY {', '.join(self.dataset.cluster)}" if self.dataset.cluster else ""
        return self.stream_rows(self._rows(ingestion) + order, block_bytes)

    def stream_rows(self, sql: str, block_bytes: int) -> tuple[str, Iterator[bytes]]:
        """Return the options of a COPY of selected rows, and its stream."""
        if any(each.postgres_type in _TEXT_ONLY for each in self.dataset.fields):
            return "(FORMAT csv)", self._csv_blocks(sql, block_bytes)
        return "(FORMAT binary)", self.stream(sql, block_bytes)

    def _rows(self, ingestion: int) -> str:
        names = ", ".join(quote(each.name) for each in self.dataset.fields)
        sql = f"SELECT {names}, CAST({ingestion} AS INTEGER)"
        if self.dataset.keeps_originals:
            self._cursor.register("origins", self.origins)
            as_text = any(each.postgres_type in _TEXT_ONLY for each in self.dataset.fields)
            original = f"'\\x' || hex({ORIGINAL_COLUMN})" if as_text else ORIGINAL_COLUMN
            places = f"origins.{RECORD_COLUMN}, {LINE_COLUMN}, {original}"
            return f"{sql}, {places} FROM rows JOIN origins ON number = rows.{RECORD_COLUMN}"
        return f"{sql}, {RECORD_COLUMN} FROM rows" if self.dataset.is_staged else f"{sql} FROM rows"

    def copy_rollup(
        self, rollup: Rollup, ingestion: int, block_bytes: int
    ) -> tuple[str, Iterator[bytes]]:
        """Return the options of a COPY of the roll-up's part of this chunk, and its stream."""
        names = (*rollup.keys, *(name for name, _ in rollup.measures))
        types = dict(self.describe(rollup))
        casts = ", ".join(
            f"CAST({quote(name)} AS BIGINT)" if types[name] == "HUGEINT" else quote(name)
            for name in names
        )
        sql = f"SELECT {casts}, CAST({ingestion} AS INTEGER) FROM ({rollup.sql})"
        return "(FORMAT binary)", self.stream(sql, block_bytes)

    def describe(self, rollup: Rollup) -> list[tuple[str, str]]:
        """Return (column, DuckDB type) of a roll-up over the relation `rows`."""
        described = self._cursor.execute(f"DESCRIBE {rollup.sql}").fetchall()
        return [(name, kind) for name, kind, *_ in described]

    def stream(self, sql: str, block_bytes: int) -> Iterator[bytes]:
        """Yield what DuckDB selects as the stream of a binary COPY."""
        rows = min(_BATCH_ROWS, _BATCH_CELLS // len(self.dataset.fields))
        return _blocks(self._cursor.sql(sql).to_arrow_reader(rows), block_bytes)

    def _ordered_blocks(self, ingestion: int, block_bytes: int) -> Iterator[bytes]:
        import pyarrow as pa  # noqa: PLC0415

        ingestions = pa.repeat(pa.scalar(ingestion, pa.int32()), self.rows)
        whole = self.ordered.append_column(INGESTION_COLUMN, ingestions)
        table = whole.select(copied_columns(self.dataset))
        rows = min(_BATCH_ROWS, 1 + _BATCH_BYTES * len(table) // (table.nbytes + 1))
        return _blocks(table.to_reader(rows), block_bytes)

    def _csv_blocks(self, sql: str, block_bytes: int) -> Iterator[bytes]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.csv"  # DuckDB puts a new file in the place of an old one
            target = literal(str(path))
            self._cursor.execute(f"COPY ({sql}) TO {target} (FORMAT csv, HEADER false)")
            with path.open("rb") as file:
                while block := file.read(block_bytes):
                    yield block


def _blocks(reader: Any, block_bytes: int) -> Iterator[bytes]:  # a pyarrow RecordBatchReader
    """Yield rows as a binary COPY, in blocks of at least `block_bytes`."""
    import pgpq  # noqa: PLC0415

    encoder = pgpq.ArrowToPostgresBinaryEncoder(reader.schema)
    pieces = [encoder.write_header()]
    for batch in reader:
        pieces.append(encoder.write_batch(batch))
        if sum(map(len, pieces)) >= block_bytes:
            yield b"".join(pieces)
            pieces.clear()
    pieces.append(encoder.finish())
    yield b"".join(pieces)


def copy_rejects(rejects: Sequence[tuple[int, Reject]]) -> tuple[str, Iterator[bytes]]:
    """Return the options of a COPY of rejects, each with its ingestion, and its stream."""
    import pyarrow as pa  # noqa: PLC0415

    columns = {
        "ingestion": pa.array([ingestion for ingestion, _ in rejects], pa.int32()),
        "record": pa.array([each.record for _, each in rejects], pa.int64()),
        "line": pa.array([each.line for _, each in rejects], pa.int64()),
        "column_name": pa.array([each.column for _, each in rejects], pa.string()),
        "rule": pa.array([each.rule for _, each in rejects], pa.string()),
        "value": pa.array([each.value for _, each in rejects], pa.string()),
        "reason": pa.array([each.reason for _, each in rejects], pa.string()),
        "original": pa.array([each.original for _, each in rejects], pa.binary()),
    }
    return "(FORMAT binary)", _blocks(pa.table(columns).to_reader(), 1)


def copied_columns(dataset: Dataset) -> tuple[str, ...]:
    """Return the columns that `copy_rows` streams, in its order."""
    names = (*(each.name for each in dataset.fields), INGESTION_COLUMN)
    if dataset.keeps_originals:
        return (*names, RECORD_COLUMN, LINE_COLUMN, ORIGINAL_COLUMN)
    return (*names, RECORD_COLUMN) if dataset.is_staged else names


def origins_of(
    numbers: Sequence[int], records: Sequence[int], lines: Sequence[int], originals: Sequence[bytes]
) -> Any:  # a pyarrow Table
    """Return what to keep of rows that may yet be refused.

    Args:
        numbers: the numbers by which the parser knows the records.
        records: their numbers in the file or request, from 0.
        lines: the lines on which they begin, from 1.
        originals: their bytes as they came.
    """
    import pyarrow as pa  # noqa: PLC0415

    return pa.table(
        {
            "number": pa.array(numbers, pa.int64()),
            RECORD_COLUMN: pa.array(records, pa.int64()),
            LINE_COLUMN: pa.array(lines, pa.int64()),
            ORIGINAL_COLUMN: pa.array(originals, pa.large_binary()),
        }
    )


def copied_rollup_columns(rollup: Rollup) -> tuple[str, ...]:
    """Return the columns that `copy_rollup` streams, in its order."""
    return (*rollup.keys, *(name for name, _ in rollup.measures), INGESTION_COLUMN)


def check_account(records: int, rows: int, rejects: int, first_line: int) -> None:
    """Hold the records of a chunk, counted on its bytes, against what became of them.

    Raises:
        AccountImbalanceError: some are missing, or too many.
    """
    if records != rows + rejects:
        raise AccountImbalanceError(
            f"lines from {first_line}: {records} records gave {rows} rows and {rejects} rejects"
        )


def encoded(
    cursor: duckdb.DuckDBPyConnection,
    dataset: Dataset,
    codes: Mapping[str, Mapping[str, int]],
    typing: str,
) -> str:
    """Return the query of typed rows with codes for texts, and a flag `_known`: every text has a code."""
    selected, joins = coded_columns(cursor, dataset, codes)
    known = " AND ".join(
        f"(typed.{quote(each.name)} IS NULL OR codes_{number}.code IS NOT NULL)"
        for number, each in enumerate(dataset.fields)
        if each.dictionary
    )
    others = ", ".join(quote(each.name) for each in dataset.fields)
    flags = f"typed.* EXCLUDE ({others}), {known or 'true'} AS _known"
    return f"SELECT {', '.join(selected)}, {flags} FROM ({typing}) AS typed {joins}"


def coded_columns(
    cursor: duckdb.DuckDBPyConnection, dataset: Dataset, codes: Mapping[str, Mapping[str, int]]
) -> tuple[list[str], str]:
    """Return the select list of stored columns over `typed`, and the joins that give the codes."""
    import pyarrow as pa  # noqa: PLC0415

    selected, joins = [], []
    for number, each in enumerate(dataset.fields):
        name = quote(each.name)
        if not each.dictionary:
            selected.append(f"typed.{name}")
            continue
        table, pairs = f"codes_{number}", codes[each.name]
        columns = {
            "text": pa.array(pairs.keys(), pa.string()),
            "code": pa.array(pairs.values(), pa.int16()),
        }
        cursor.register(table, pa.table(columns))
        joins.append(f"LEFT JOIN {table} ON {table}.text = typed.{name}")
        selected.append(f"{table}.code AS {name}")
    return selected, " ".join(joins)
