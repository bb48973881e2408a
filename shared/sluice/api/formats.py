"""The formats of answers: negotiation, and rows as a stream of bytes."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sluice.csv.dialects import Dialect
from sluice.csv.writing import LINE_END, RecordWriter, UnwritableError, is_csv_of_python
from sluice.datasets.cells import is_plain, write_cell
from sluice.datasets.types import STORED_BY_OID
from sluice.errors import NotAcceptableError, ParameterError

if TYPE_CHECKING:
    import pyarrow as pa
    from werkzeug.wrappers import Request

    from sluice.datasets.model import Column, Dataset, Query
    from sluice.querying.reading import ResultColumn

Batches = Iterable[Sequence[Sequence[Any]]]

#: Media type of each format.
FORMATS = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "spreadsheet": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}
#: Media type of each format that presents the answer of a query to a reader.
SHOWN_FORMATS = {"html": "text/html; charset=utf-8", "svg": "image/svg+xml"}
#: Formats of the rows of a dataset.
ROW_FORMATS = (*FORMATS, "html")
#: Formats whose rows PostgreSQL writes, as JSON texts.
JSON_FORMATS = ("json", "ndjson")
#: Formats that fix the types of all columns before the first row.
COLUMNAR_FORMATS = ("parquet", "arrow")
#: Precision and scale of decimals: the first that has room for all values of a column is its type.
DECIMALS = ((38, 9), (76, 38))
MEDIA_TYPES = {**FORMATS, **SHOWN_FORMATS, "reasons": "text/csv; charset=utf-8"}
ROW_GROUP_ROWS = 64 * 1024
_ROW_GROUP_BYTES = 16 * 1024 * 1024
#: Signs at which a spreadsheet takes a cell for a formula (OWASP, "CSV Injection"), also in full width.
_FORMULA = re.compile(r"\s*[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]|[\t\r\n]")
_NUMBER = re.compile(r"[+-]?\d[\d.,]*(?:[Ee][+-]?\d+)?%?")


def formats_of(query: Query) -> tuple[str, ...]:
    """Return the formats in which a query answers: a picture only where it declares one."""
    shown = [name for name in SHOWN_FORMATS if name != "svg" or query.drawing is not None]
    return (*FORMATS, *shown)


#: Error handler of text in which bytes that are not UTF-8 stay what they are.
AS_BYTES = "surrogateescape"


def negotiate(request: Request, offered: Sequence[str] = tuple(FORMATS)) -> str:
    """Return the format that the client requests: by `format=`, else by `Accept`.

    Raises:
        ParameterError: `format` is not offered.
        NotAcceptableError: `Accept` lists no format that is offered.
    """
    wanted = request.args.get("format")
    if wanted is not None:
        if wanted not in offered:
            raise ParameterError(
                f'format: "{wanted}" is not one of {", ".join(offered)}', parameter="format"
            )
        return wanted
    types: dict[str, str] = {}
    for name in offered:
        types.setdefault(MEDIA_TYPES[name].split(";")[0], name)
    if not request.accept_mimetypes:
        return offered[0]
    best = request.accept_mimetypes.best_match(list(types))
    if best is None:
        raise NotAcceptableError(f"Accept: offered are {', '.join(types)}", offered=list(types))
    return types[best]


def write_file(
    dataset: Dataset, columns: Sequence[ResultColumn], batches: Batches
) -> Iterator[bytes]:
    """Yield rows of a dataset as the bytes of a CSV file that the dataset loads as equal rows.

    Args:
        dataset: delimiter, quote and encoding of the file, the forms of numbers and times, and the
            header of a column whose stored name is also a header.
        columns: some of its stored columns.
        batches: lists of rows.
    """
    stored = _columns_by_field(dataset)
    names = [_name_in_file(dataset, each.name, stored.get(each.name)) for each in columns]
    return _csv_file(names, _in_forms(dataset, columns, batches), dataset.dialect)


def write_headerless_file(
    dataset: Dataset, columns: Sequence[ResultColumn], batches: Batches
) -> Iterator[bytes]:
    """Yield rows as `write_file` does for a dataset whose files have no header.

    Args:
        dataset: as of `write_file`.
        columns: all of its stored columns in order.
        batches: lists of rows.
    """
    rows = _in_forms(dataset, columns, batches)
    if any(each.definition.is_compound for each in dataset.columns):
        rows = _with_points(dataset.columns, rows)
    return _csv_file(None, rows, dataset.dialect)


def _columns_by_field(dataset: Dataset) -> dict[str, Column]:
    return {each.name: column for column in dataset.columns for each in column.fields}


def _name_in_file(dataset: Dataset, name: str, column: Column | None) -> str:
    """Return the name of a stored column, or its header where the name is another column's header."""
    if column is None or column.definition.is_compound:
        return name
    others = (each for each in dataset.columns if each is not column)
    is_taken = any(name == header.casefold() for each in others for header in each.headers)
    return column.headers[0] if is_taken else name


def _in_forms(dataset: Dataset, columns: Sequence[ResultColumn], batches: Batches) -> Batches:
    """Return batches with the values of columns that declare a form as cells."""
    stored = _columns_by_field(dataset)
    formed = {
        place: column
        for place, each in enumerate(columns)
        if (column := stored.get(each.name)) and not is_plain(column)
    }
    return _formed(formed, batches) if formed else batches


def _formed(columns: Mapping[int, Column], batches: Batches) -> Batches:
    for batch in batches:
        rows = [list(row) for row in batch]
        for place, column in columns.items():
            for row in rows:
                row[place] = None if row[place] is None else write_cell(column, row[place])
        yield rows


def _with_points(columns: Sequence[Column], batches: Batches) -> Batches:
    """Yield batches with the two stored values of each point as one cell."""
    for batch in batches:
        yield [_join_points(columns, iter(row)) for row in batch]


def _join_points(columns: Sequence[Column], values: Iterator[Any]) -> list[Any]:
    return [
        _point(next(values), next(values)) if each.definition.is_compound else next(values)
        for each in columns
    ]


def _point(lon: object, lat: object) -> str | None:
    return None if lon is None or lat is None else f"POINT ({lon} {lat})"


def write(name: str, columns: Sequence[ResultColumn], batches: Batches) -> Iterator[bytes]:
    """Yield rows as the bytes of a format.

    Args:
        name: one of `FORMATS`.
        columns: the columns; one of JSON texts for `json` and `ndjson`.
        batches: lists of rows.
    """
    if name == "json":
        return _json(batches, "rows", lambda: "}")
    writers: dict[str, Callable[[Sequence[ResultColumn], Batches], Iterator[bytes]]] = {
        "ndjson": _ndjson,
        "csv": _csv,
        "spreadsheet": _spreadsheet,
        "parquet": _parquet,
        "arrow": _arrow,
    }
    return writers[name](columns, batches)


def write_page(batches: Batches, name: str, cursor: Callable[[], str | None]) -> Iterator[bytes]:
    """Yield `{"<name>": [...], "next": cursor or null}` of rows that are JSON texts.

    Args:
        batches: lists of rows.
        name: what the rows are.
        cursor: returns that of the following page, after the last row.
    """
    return _json(batches, name, lambda: f',"next":{json.dumps(cursor())}}}')


def _json(batches: Batches, name: str, end: Callable[[], str]) -> Iterator[bytes]:
    """Yield an object with an array of rows that are JSON texts, and its end."""
    yield f'{{"{name}":['.encode()
    separator = ""
    for batch in batches:
        yield (separator + ",\n".join(row[0] for row in batch)).encode()
        separator = ",\n"
    yield f"]{end()}\n".encode()


def _ndjson(_: Sequence[ResultColumn], batches: Batches) -> Iterator[bytes]:
    for batch in batches:
        yield "".join(f"{row[0]}\n" for row in batch).encode()


def _csv(columns: Sequence[ResultColumn], batches: Batches) -> Iterator[bytes]:
    return _csv_file([column.name for column in columns], batches, Dialect())


def _spreadsheet(columns: Sequence[ResultColumn], batches: Batches) -> Iterator[bytes]:
    """Yield a CSV to be opened in a spreadsheet: with a byte order mark, and without formulas."""
    yield codecs.BOM_UTF8
    names = [_harmless(column.name) for column in columns]
    cells = ([[_harmless(_cell(value)) for value in row] for row in batch] for batch in batches)
    yield from _csv_file([str(each) for each in names], cells, Dialect())


def _harmless(cell: object) -> object:
    """Return a cell that a spreadsheet shows as it is: a text that it would execute gets an apostrophe."""
    is_formula = isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell)
    return f"'{cell}" if is_formula else cell


def _csv_file(names: Sequence[str] | None, batches: Batches, dialect: Dialect) -> Iterator[bytes]:
    writer = _plain_text if is_csv_of_python(dialect) else _text
    try:
        for text in writer(names, batches, dialect):
            yield text.encode(dialect.encoding, AS_BYTES)
    except (csv.Error, UnwritableError, UnicodeEncodeError) as error:
        raise ParameterError(
            f"format: the dataset's files cannot have one of the values: {error}; use another format",
            parameter="format",
        ) from None


def _plain_text(names: Sequence[str] | None, batches: Batches, dialect: Dialect) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(
        buffer,
        delimiter=dialect.delimiter,
        quotechar=dialect.quote or None,
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        lineterminator=LINE_END,
    )
    if names is not None:
        writer.writerow(names)
    for batch in batches:
        writer.writerows([_cell(value) for value in row] for row in batch)
        yield _take(buffer)
    yield _take(buffer)


def _text(names: Sequence[str] | None, batches: Batches, dialect: Dialect) -> Iterator[str]:
    writer = RecordWriter(dialect)
    yield writer.head(names)
    for batch in batches:
        yield writer.records([_text_cell(value) for value in row] for row in batch)
    yield writer.foot()


def _take(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text


def _text_cell(value: object) -> str | None:
    cell = _cell(value)
    return None if cell is None else str(cell)


def _cell(value: object) -> object:
    """Return a value as a cell that Sluice can load again."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, dict | list):
        return json.dumps(value, default=str)
    if isinstance(value, Decimal):
        return format(value, "f")
    return value


def _arrow_type(column: ResultColumn) -> pa.DataType:
    import pyarrow as pa  # noqa: PLC0415  # 0.2 s, paid where first used

    stored = STORED_BY_OID.get(column.oid)
    if stored is None:
        return pa.string()
    if stored.name == "numeric":
        return _decimal_type(column.digits)
    if stored.time_zone:
        return pa.timestamp("us", stored.time_zone)
    return pa.type_for_alias(stored.arrow)


def _decimal_type(digits: tuple[int, int] | None) -> pa.DataType:
    """Return the first decimal with room for digits before and after the point, or else text."""
    import pyarrow as pa  # noqa: PLC0415  # 0.2 s, paid where first used

    for precision, scale in DECIMALS:
        if digits is not None and digits[0] <= precision - scale and digits[1] <= scale:
            make = pa.decimal128 if precision <= DECIMALS[0][0] else pa.decimal256
            return make(precision, scale)
    return pa.string()


def _record_batches(schema: pa.Schema, batches: Batches) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa  # noqa: PLC0415  # 0.2 s, paid where first used

    for batch in batches:
        arrays = [
            pa.array([_native(row[place], each.type) for row in batch], each.type)
            for place, each in enumerate(schema)
        ]
        yield pa.record_batch(arrays, schema=schema)


def _native(value: object, kind: pa.DataType) -> object:
    if value is None:
        return None
    if str(kind) == "string":
        return value if isinstance(value, str) else str(_cell(value))
    return value


def _schema(columns: Sequence[ResultColumn]) -> pa.Schema:
    import pyarrow as pa  # noqa: PLC0415  # 0.2 s, paid where first used

    return pa.schema([pa.field(each.name, _arrow_type(each)) for each in columns])


class _Buffer(io.RawIOBase):
    """A writable file whose bytes are taken as they are written."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, block: Any) -> int:  # any buffer
        self._blocks.append(bytes(block))
        return len(block)

    def take(self) -> bytes:
        blocks, self._blocks = self._blocks, []
        return b"".join(blocks)


def _arrow(columns: Sequence[ResultColumn], batches: Batches) -> Iterator[bytes]:
    import pyarrow as pa  # noqa: PLC0415  # 0.2 s, paid where first used

    buffer = _Buffer()
    schema = _schema(columns)
    with pa.ipc.new_stream(pa.PythonFile(buffer, mode="w"), schema) as writer:
        for batch in _record_batches(schema, batches):
            writer.write_batch(batch)
            yield buffer.take()
    yield buffer.take()


def _parquet(columns: Sequence[ResultColumn], batches: Batches) -> Iterator[bytes]:
    import pyarrow as pa  # noqa: PLC0415  # 0.2 s, paid where first used
    import pyarrow.parquet as pq  # noqa: PLC0415

    buffer = _Buffer()
    schema = _schema(columns)
    with pq.ParquetWriter(pa.PythonFile(buffer, mode="w"), schema, compression="zstd") as writer:
        for table in _row_groups(schema, batches):
            writer.write_table(table)
            yield buffer.take()
    yield buffer.take()


def _row_groups(schema: pa.Schema, batches: Batches) -> Iterator[pa.Table]:
    import pyarrow as pa  # noqa: PLC0415  # 0.2 s, paid where first used

    held: list[pa.RecordBatch] = []
    for batch in _record_batches(schema, batches):
        held.append(batch)
        is_full = sum(each.nbytes for each in held) >= _ROW_GROUP_BYTES
        if is_full or sum(each.num_rows for each in held) >= ROW_GROUP_ROWS:
            yield pa.Table.from_batches(held, schema)
            held = []
    if held:
        yield pa.Table.from_batches(held, schema)
