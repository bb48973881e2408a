"""Parquet parts of backups, and the binary COPY of a restored table. Imports Arrow."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sluice.backups.column_buffers import BATCH_BYTES, Numbers, Texts, Values, pieces
from sluice.backups.parquet_pages import check_footer, read_groups
from sluice.backups.type_mapping import TableColumn, shifted
from sluice.errors import DamagedBackupError

if TYPE_CHECKING:
    import pyarrow as pa

_COPY_ROWS = 65_536
_GROUP_ROWS = 131_072


def write_parquet(columns: Sequence[TableColumn], values: Sequence[Values]) -> bytes:
    """Return a Parquet file of the rows."""
    import pyarrow as pa  # noqa: PLC0415  # 0.1 s, paid where first used
    import pyarrow.parquet as pq  # noqa: PLC0415

    arrays = [_typed(column, each) for column, each in zip(columns, values, strict=True)]
    fields = [
        pa.field(column.name, array.type, nullable=column.nullable)
        for column, array in zip(columns, arrays, strict=True)
    ]
    file = io.BytesIO()
    table = pa.table(arrays, schema=pa.schema(fields))
    pq.write_table(table, file, compression="zstd", row_group_size=_GROUP_ROWS)
    return file.getvalue()


def read_parquet(data: bytes, columns: Sequence[TableColumn]) -> Iterator[list[Values]]:
    """Yield the columns of a file that `write_parquet` made, some rows at a time.

    Raises:
        DamagedBackupError: the file has other columns, is damaged, or takes more memory than such files do.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    check_footer(data)
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        if not file.schema_arrow.equals(_schema(columns)):
            raise DamagedBackupError("it has other columns")
        for index, group in enumerate(read_groups(data, file.metadata, _decompress)):
            width = group.longest + 16 * len(columns) + group.size_bytes // max(1, group.rows)
            rows = min(max(1, BATCH_BYTES // width), _GROUP_ROWS)
            for batch in file.iter_batches(rows, [index]):
                found = [_values(*each) for each in zip(columns, batch.columns, strict=True)]
                yield from pieces(found, BATCH_BYTES)
    except (pa.ArrowException, OSError) as error:
        raise DamagedBackupError(f"the Parquet file cannot be read: {error}") from error


def _decompress(data: bytes, codec: str, size_bytes: int) -> bytes:
    import pyarrow as pa  # noqa: PLC0415

    found: bytes = pa.Codec(codec.lower()).decompress(data, size_bytes, asbytes=True)
    return found


def _schema(columns: Sequence[TableColumn]) -> pa.Schema:
    """Return the schema of a file of these columns."""
    import pyarrow as pa  # noqa: PLC0415

    nothing = np.zeros(0, np.int64)
    fields = []
    for column in columns:
        fixed = column.fixed_width
        empty = (
            Texts(nothing.view(np.uint8), nothing, nothing)
            if fixed is None
            else Numbers(np.zeros(0, fixed.dtype))
        )
        fields.append(pa.field(column.name, _typed(column, empty).type, nullable=column.nullable))
    return pa.schema(fields)


def _typed(column: TableColumn, values: Values) -> pa.Array:
    import pyarrow as pa  # noqa: PLC0415

    array = _array(values)
    if column.fixed_width is None or column.stored is None:
        return array
    if column.type == "boolean":
        return array.cast(pa.bool_())
    if column.stored.time_zone:
        return array.view(pa.timestamp("us", column.stored.time_zone))
    return array.view(pa.type_for_alias(column.stored.arrow))


def _array(values: Values) -> pa.Array:
    """Return values as an Arrow array, without copying where possible."""
    import pyarrow as pa  # noqa: PLC0415

    mask = None if values.present is None else ~values.present
    if isinstance(values, Numbers):
        return pa.array(values.values, mask=mask)
    data, ends = values.packed()
    validity = None if mask is None else pa.array(values.present).buffers()[1]
    buffers = [validity, pa.py_buffer(ends), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_string(), len(values), buffers)


def _values(column: TableColumn, array: pa.Array) -> Values:
    import pyarrow as pa  # noqa: PLC0415

    present = np.asarray(array.is_valid()) if column.nullable else None
    fixed = column.fixed_width
    if fixed is None:
        return _texts(array, present)
    if column.type == "boolean":
        array = array.cast(pa.uint8())
    plain = pa.from_numpy_dtype(np.dtype(fixed.dtype))
    filled = array.view(plain).fill_null(0) if column.nullable else array.view(plain)
    return Numbers(filled.to_numpy(zero_copy_only=False), present)


def _texts(array: Any, present: Any) -> Texts:
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    text = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    return Texts(text, ends[:-1], np.diff(ends), present)


def distinct_texts(values: Texts) -> list[str]:
    """Return the distinct texts."""
    found: list[str | None] = _array(values).unique().to_pylist()
    return [text for text in found if text is not None]


def coded(values: Texts, codes: Mapping[str, int]) -> Numbers:
    """Return the codes of texts; `codes` has all of them."""
    encoded = _array(values).dictionary_encode()
    by_index = np.array([codes[text] for text in encoded.dictionary.to_pylist()] or [0], np.int16)
    indices = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)
    return Numbers(by_index[indices], values.present)


def copy_blocks(
    columns: Sequence[TableColumn], values: Sequence[Values], block_bytes: int
) -> Iterator[bytes]:
    """Yield the rows as a binary COPY stream.

    Args:
        columns: of the table; dictionary columns as codes.
        values: of each column, with the same number of rows.
        block_bytes: size of a block; the last one may be smaller or larger.
    """
    import pgpq  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    arrays = [_stored(column, each) for column, each in zip(columns, values, strict=True)]
    batch = pa.record_batch(arrays, names=[column.name for column in columns])
    encoder = pgpq.ArrowToPostgresBinaryEncoder(batch.schema)
    block = bytearray(encoder.write_header())
    for first in range(0, len(batch), _COPY_ROWS):
        block += encoder.write_batch(batch.slice(first, _COPY_ROWS))
        for at in range(0, len(block) - block_bytes + 1, block_bytes):
            yield bytes(block[at : at + block_bytes])
        del block[: len(block) // block_bytes * block_bytes]
    block += encoder.finish()
    yield bytes(block)


def _stored(column: TableColumn, values: Values) -> pa.Array:
    """Return values as binary COPY has them: dates and timestamps as integers since 2000-01-01."""
    import pyarrow as pa  # noqa: PLC0415

    if isinstance(values, Texts) or column.fixed_width is None:
        return _array(values)
    numbers = values.values.astype(column.fixed_width.dtype, copy=False)
    array = _array(Numbers(shifted(numbers, -column.fixed_width.epoch_offset), values.present))
    return array.cast(pa.bool_()) if column.type == "boolean" else array
