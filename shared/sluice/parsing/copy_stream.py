"""Arrow tables as streams for COPY: binary where pgpq encodes every type, CSV elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from sluice.csv.rejects import Reject
from sluice.datasets.types import STORED_TYPES
from sluice.escaping import escape

if TYPE_CHECKING:
    import pyarrow as pa

    from sluice.datasets.model import Dataset

#: What is encoded in one step: larger batches cost new memory each, smaller ones a call for each column.
_BATCH_ROWS = 16 * 1024
_BATCH_BYTES = 1024 * 1024


#: The columns of `sluice.rejects` that `stream_rejects` writes, in order.
REJECT_COLUMNS = (
    "ingestion", "record", "line", "column_name", "rule", "value", "reason", "original", "line_end"
)  # fmt: skip


class CopyStream(NamedTuple):
    """The options of a COPY, and the blocks of bytes to send."""

    options: str
    blocks: Iterator[bytes]


def stream(table: pa.Table, dataset: Dataset | None, block_bytes: int) -> CopyStream:
    """Return a table as a stream.

    Args:
        table: the columns in the order of the COPY.
        dataset: the dataset whose stored columns are among them; None where pgpq encodes all.
        block_bytes: least size of a block.
    """
    rows = min(_BATCH_ROWS, 1 + _BATCH_BYTES * len(table) // (table.nbytes + 1))
    fields = dataset.fields if dataset else ()
    if not all(STORED_TYPES[each.postgres_type].has_binary_copy for each in fields):
        return CopyStream("(FORMAT csv)", _csv_blocks(table, rows, block_bytes))
    return CopyStream("(FORMAT binary)", _binary_blocks(table, rows, block_bytes))


def stream_rejects(rejects: Sequence[tuple[int, Reject]]) -> CopyStream:
    """Return rejects, each with its ingestion, as a stream."""
    import pyarrow as pa  # noqa: PLC0415

    columns = {
        "ingestion": pa.array([ingestion for ingestion, _ in rejects], pa.int32()),
        "record": pa.array([each.record for _, each in rejects], pa.int64()),
        "line": pa.array([each.line for _, each in rejects], pa.int64()),
        "column_name": _texts(each.column for _, each in rejects),
        "rule": pa.array([each.rule for _, each in rejects], pa.string()),
        "value": _texts(each.value for _, each in rejects),
        "reason": _texts(each.reason for _, each in rejects),
        "original": pa.array([each.original for _, each in rejects], pa.binary()),
        "line_end": pa.array([each.line_end for _, each in rejects], pa.binary()),
    }
    return stream(pa.table(columns), None, 1)


def _texts(values: Iterable[str | None]) -> pa.Array:
    """Return texts as PostgreSQL can store them."""
    import pyarrow as pa  # noqa: PLC0415

    return pa.array([each and escape(each) for each in values], pa.string())


def _binary_blocks(table: pa.Table, batch_rows: int, block_bytes: int) -> Iterator[bytes]:
    import pgpq  # noqa: PLC0415

    encoder = pgpq.ArrowToPostgresBinaryEncoder(table.schema)
    pieces = [encoder.write_header()]
    for batch in table.to_reader(batch_rows):
        pieces.append(encoder.write_batch(batch))
        if sum(map(len, pieces)) >= block_bytes:
            yield b"".join(pieces)
            pieces.clear()
    pieces.append(encoder.finish())
    yield b"".join(pieces)


def _csv_blocks(table: pa.Table, batch_rows: int, block_bytes: int) -> Iterator[bytes]:
    """Yield rows as CSV: texts are quoted and nulls are not, so an empty text stays one."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import csv  # noqa: PLC0415

    sink = pa.BufferOutputStream()
    options = csv.WriteOptions(include_header=False)
    for batch in table.to_reader(batch_rows):
        csv.write_csv(_printable(batch), sink, options)
        if sink.tell() >= block_bytes:
            yield sink.getvalue().to_pybytes()
            sink = pa.BufferOutputStream()
    yield sink.getvalue().to_pybytes()


def _printable(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch with bytes as PostgreSQL reads them in a text: hexadecimal."""
    import pyarrow as pa  # noqa: PLC0415

    for number, field in enumerate(batch.schema):
        if pa.types.is_large_binary(field.type):
            texts = [
                None if each is None else f"\\x{each.hex()}" for each in batch[number].to_pylist()
            ]
            batch = batch.set_column(number, field.name, pa.array(texts, pa.string()))
    return batch
