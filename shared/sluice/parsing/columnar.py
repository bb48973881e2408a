"""The way by columns through a chunk: Arrow reads it and types what is written plainly, DuckDB the rest.

Arrow splits records four times as fast as DuckDB and types whole columns at once, but knows neither
our rules nor all the ways in which a value may be written, and it takes or refuses a column whole.
So a column of a few thousand cells is Arrow's only where Arrow and the thorough way are known to
agree on each of its cells; any other is typed thoroughly, by DuckDB.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from sluice.csv.records import RecordIndex, index_records
from sluice.csv.rejects import Reject, rejects_of
from sluice.csv.splitting import BOM
from sluice.datasets.identifiers import quote
from sluice.datasets.model import RECORD_COLUMN, Column
from sluice.datasets.types import ColumnType
from sluice.parsing.casts import ARROW_TYPES, HOUR_ALONE
from sluice.parsing.chunk import ParsedChunk, check_account
from sluice.parsing.duckdb_session import memory_file
from sluice.parsing.plan import WHITE_SPACE

if TYPE_CHECKING:
    from sluice.parsing.parser import Parser

#: Cells of so many bytes are in hand at once, as texts and as values.
_BLOCK_BYTES = 4 * 1024 * 1024
_WHOLE = (ColumnType.INTEGER, ColumnType.BIGINT)


class ByColumns:
    """Types a chunk of well-formed records column by column, into the relation `rows`."""

    def __init__(self, parser: Parser) -> None:
        self._parser = parser
        self._dataset = parser.dataset
        self._plan = parser.plan
        self._cursor = parser.cursor
        self._seen = 0
        self._refused: list[int] = []

    def parse(self, data: bytes, plain: bytes, records: int, first_line: int) -> ParsedChunk | None:
        """Parse well-formed records; None where Arrow cannot, or another way is the faster one."""
        import pyarrow as pa  # noqa: PLC0415

        if not records or not self._plan.by_columns or plain.startswith(BOM):
            return None
        try:
            batches = [self._typed(each) for each in self._cells(plain)]
        except (
            pa.ArrowInvalid
        ):  # too long a record for a block, or too many or too few cells in one
            return None
        if self._seen != records:
            return None
        rejects, index = self._look_again(data, batches, first_line)
        rows = sum(map(len, batches))
        check_account(records, rows, len(rejects), first_line)
        origins = self._parser.origins(data, index, first_line)
        table = pa.Table.from_batches(batches)
        self._cursor.register("rows", table)
        ordered = None if self._dataset.cluster else table
        return ParsedChunk(
            self._dataset, records, rows, rejects, 0, origins, True, self._cursor, {}, ordered
        )

    def _cells(self, plain: bytes) -> Iterator[Any]:
        """Yield batches of the declared columns' cells as texts; an empty cell is null."""
        import pyarrow as pa  # noqa: PLC0415
        from pyarrow import csv  # noqa: PLC0415

        parser, dialect = self._parser, self._parser.dialect
        names = [f"f{at}" for at in range(parser.width)]
        return csv.open_csv(  # type: ignore[no-any-return]
            pa.BufferReader(plain),
            csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES, column_names=names),
            csv.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char=dialect.quote,
                newlines_in_values=dialect.quote.encode() in plain,
            ),
            csv.ConvertOptions(
                check_utf8=False,
                include_columns=[f"f{at}" for at in parser.order if at is not None],
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )

    def _typed(self, batch: Any) -> Any:
        """Return the batch of the rows that break no rule, and remember which do."""
        import pyarrow as pa  # noqa: PLC0415

        absent = pa.nulls(len(batch), pa.string())
        cells = [absent if at is None else batch.column(f"f{at}") for at in self._parser.order]
        typed: dict[str, Any] = {}
        for number, column in enumerate(self._dataset.columns):
            values = self._values(column, cells[number]) if self._plan.plain[number] else None
            if values is not None:
                typed[column.name] = values
        is_good = self._settle(cells, typed)
        numbers = np.arange(self._seen, self._seen + len(batch))
        self._seen += len(batch)
        names = list(self._plan.stored)
        if self._plan.numbered:
            typed[RECORD_COLUMN] = pa.array(numbers + self._parser.first_record)
            names.append(RECORD_COLUMN)
        rows = pa.record_batch([typed[name] for name in names], names)
        if is_good is None or is_good.true_count == len(batch):
            return rows
        is_bad = ~is_good.to_numpy(zero_copy_only=False)
        self._refused += numbers[is_bad].tolist()
        return rows.filter(is_good)

    def _values(self, column: Column, cells: Any) -> Any:
        """Return the values of plain cells, or None where Arrow might see another than we do."""
        if column.type is ColumnType.TEXT:
            return _trimmed(cells) if column.trim else cells
        if column.type in _WHOLE and _has_hexadecimals(cells):
            return None
        values = _cast(cells, column.type)
        if values is None:
            cells = _trimmed(cells)
            values = _cast(cells, column.type)
        is_certain = values is not None and _is_certain(column.type, cells, values)
        return values if is_certain else None

    def _settle(self, cells: list[Any], typed: dict[str, Any]) -> Any:
        """Type the other columns thoroughly, and try the rules; return which rows break none."""
        import pyarrow as pa  # noqa: PLC0415

        full = {name for name, values in typed.items() if not values.null_count}
        sql = self._plan.settling("cells", typed.keys(), full)
        if sql is None:
            return None
        rest = {
            f"_{number}": cells[number]
            for number, column in enumerate(self._dataset.columns)
            if column.name not in typed
        }
        self._cursor.register("cells", pa.table({**typed, **rest}))
        found = self._cursor.sql(sql).to_arrow_table().combine_chunks()
        self._cursor.unregister("cells")
        for name in self._plan.stored:
            if name not in typed:
                typed[name] = found[name].chunk(0)
        return found["_ok"].chunk(0)

    def _look_again(
        self, data: bytes, batches: list[Any], first_line: int
    ) -> tuple[list[Reject], RecordIndex | None]:
        """Explain the refused records; a row that is good after all joins the batches."""
        if not self._refused:
            return [], None
        parser, cursor = self._parser, self._cursor
        index = index_records(data, parser.dialect)
        with memory_file(b"") as path:
            typing = self._plan.typing(parser.source(path, "\\n"), thorough=True)
            cursor.execute(f"CREATE OR REPLACE TEMP TABLE typed AS {typing} WITH NO DATA")
        found = parser.look_again(
            data, index, self._refused, "INSERT INTO typed", lambda typing: typing
        )
        names = ", ".join(map(quote, batches[0].schema.names))
        sql = f"SELECT {names} FROM typed WHERE _ok"
        batches += cursor.sql(sql).to_arrow_table().cast(batches[0].schema).to_batches()
        return rejects_of(data, index, found, first_line, parser.first_record), index


def _cast(texts: Any, kind: ColumnType) -> Any:
    """Return the values of texts, or None where Arrow takes one of them for none."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import compute  # noqa: PLC0415

    try:
        return compute.cast(texts, ARROW_TYPES[kind])
    except pa.ArrowInvalid:
        return None


def _trimmed(cells: Any) -> Any:
    from pyarrow import compute  # noqa: PLC0415

    texts = compute.utf8_trim(cells, WHITE_SPACE)
    is_empty = compute.equal(compute.binary_length(texts), 0)
    return compute.if_else(is_empty, None, texts) if is_empty.true_count else texts


def _has_hexadecimals(cells: Any) -> bool:
    """Whether Arrow may take some text for a whole number that is none: 0x1F."""
    texts = bytes(cells.buffers()[2] or b"")
    return b"x" in texts or b"X" in texts


def _is_certain(kind: ColumnType, cells: Any, values: Any) -> bool:
    """Whether each value that Arrow made of a cell is what the cell means to us."""
    from pyarrow import compute  # noqa: PLC0415

    if kind is ColumnType.FLOAT:
        return not compute.is_finite(values).false_count  # nan(1) is a number to Arrow
    if kind is ColumnType.TIMESTAMP:
        return not compute.equal(compute.binary_length(cells), HOUR_ALONE).true_count
    return True
