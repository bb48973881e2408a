"""Avro object container files of flat records, from and to columns. Imports fastavro.

Values of logical types stay integers, because Python has no infinite dates and times.
"""

from __future__ import annotations

import io
import itertools
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import fastavro
import numpy as np

from sluice.backups.column_buffers import (
    BATCH_BYTES,
    MAX_ROW_BYTES,
    Numbers,
    Texts,
    Values,
    concatenate,
    size_of,
)
from sluice.backups.type_mapping import Field
from sluice.errors import DamagedBackupError

#: zlib's fastest level: a third of the time of the default, for a tenth more bytes.
_LEVEL = 1
#: Rows that are Python objects at one time, and their values.
_SLICE_ROWS = 8192
_SLICE_VALUES = 1_000_000
#: Decompressed bytes of a block: one row, which a backup limits, and the small ones before it.
_MAX_BLOCK_BYTES = MAX_ROW_BYTES + 64 * 1024
_SYNC_BYTES = 16
#: Avro 1.11, "Object Container Files".
_HEADER = fastavro.parse_schema({
    "type": "record", "name": "Header", "fields": [
        {"name": "magic", "type": {"type": "fixed", "name": "magic", "size": 4}},
        {"name": "meta", "type": {"type": "map", "values": "bytes"}},
        {"name": "sync", "type": {"type": "fixed", "name": "sync", "size": 16}},
    ],
})  # fmt: skip
_DTYPES = {"int": "i4", "long": "i8", "float": "f4", "double": "f8", "boolean": "?"}


def write_avro(record: str, fields: Sequence[Field], columns: Sequence[Values]) -> bytes:
    """Return a file of the rows, compressed with deflate, which every Avro reader supports.

    Args:
        record: name of the record.
        fields: one for each column.
        columns: values of each field, with the same number of rows.
    """
    file = io.BytesIO()
    rows = _rows(fields, columns)
    fastavro.writer(
        file, _schema(record, fields), rows, codec="deflate", codec_compression_level=_LEVEL
    )
    return file.getvalue()


def read_avro(data: bytes, fields: Sequence[Field]) -> Iterator[list[Values]]:
    """Yield the columns of a file that `write_avro` wrote, some rows at a time.

    Args:
        data: the file.
        fields: as they were written.

    Raises:
        DamagedBackupError: the file is not of this schema, is damaged, or has a block that takes more memory
            than those of such files.
    """
    held: list[list[Values]] = []
    held_bytes = 0
    try:
        for rows in _slices(data, fields):
            held.append(_columns(fields, rows))
            held_bytes += size_of(held[-1])
            if held_bytes >= BATCH_BYTES:
                yield _joined(held)
                held, held_bytes = [], 0
    except (EOFError, IndexError, KeyError, TypeError, ValueError, zlib.error) as error:
        raise DamagedBackupError(f"the Avro file cannot be read: {error}") from error
    if held:
        yield _joined(held)


def _joined(parts: Sequence[list[Values]]) -> list[Values]:
    return [concatenate(list(each)) for each in zip(*parts, strict=True)]


def _slices(data: bytes, fields: Sequence[Field]) -> Iterator[list[Mapping[str, Any]]]:
    """Yield some rows of a block at a time: a row of few bytes takes a hundred times as many as objects."""
    size = max(1, min(_SLICE_ROWS, _SLICE_VALUES // len(fields)))
    for block in _blocks(data, fields):
        rows = iter(block)
        while found := list(itertools.islice(rows, size)):
            yield found


def _check_blocks(file: io.BytesIO, codec: bytes) -> None:
    """Check what the blocks take when they are decompressed; fastavro does not."""
    if codec != b"deflate":
        raise ValueError("it has another codec")
    at, end = file.tell(), file.seek(0, io.SEEK_END)
    file.seek(at)
    while file.tell() < end:
        _, size = (fastavro.schemaless_reader(file, "long", None) for _ in range(2))
        if not isinstance(size, int) or size < 0:
            raise ValueError("a block has no size")
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        found = len(inflate.decompress(file.read(size), _MAX_BLOCK_BYTES + 1))
        if found > _MAX_BLOCK_BYTES:
            raise ValueError(f"a block has more than {_MAX_BLOCK_BYTES:,} bytes when decompressed")
        file.seek(_SYNC_BYTES, io.SEEK_CUR)
    file.seek(at)


def _blocks(data: bytes, fields: Sequence[Field]) -> Iterator[Any]:
    """Yield the blocks of rows, read with a schema that has no logical types."""
    file = io.BytesIO(data)
    header: Any = fastavro.schemaless_reader(file, _HEADER, None)
    if json.loads(header["meta"]["avro.schema"])["fields"] != _schema("", fields)["fields"]:
        raise ValueError("it has another schema")
    _check_blocks(file, header["meta"]["avro.codec"])
    plain_schema = _schema("plain", [replace(each, logical="") for each in fields])
    header["meta"]["avro.schema"] = json.dumps(plain_schema).encode()
    plain = io.BytesIO()
    fastavro.schemaless_writer(plain, _HEADER, header)
    plain.write(file.read())
    plain.seek(0)
    return fastavro.block_reader(plain)


def _schema(record: str, fields: Sequence[Field]) -> dict[str, Any]:
    return {"type": "record", "name": record, "fields": [each.schema for each in fields]}


def _rows(fields: Sequence[Field], columns: Sequence[Values]) -> Iterator[dict[str, Any]]:
    names = [each.name for each in fields]
    for first in range(0, len(columns[0]), _SLICE_ROWS):
        rows = slice(first, first + _SLICE_ROWS)
        values = [_objects(*each, rows) for each in zip(fields, columns, strict=True)]
        yield from (dict(zip(names, row, strict=True)) for row in zip(*values, strict=True))


def _objects(field: Field, values: Values, rows: slice) -> list[Any]:
    """Return the values of some rows as Python objects."""
    if isinstance(values, Texts):
        ranges = zip(values.starts[rows].tolist(), values.lengths[rows].tolist(), strict=True)
        found = [str(values.data.data[start : start + size], "utf-8") for start, size in ranges]
    else:
        found = values.values[rows].astype(_DTYPES[field.type]).tolist()
    if values.present is None:
        return found
    present = values.present[rows].tolist()
    return [each if is_there else None for each, is_there in zip(found, present, strict=True)]


def _columns(fields: Sequence[Field], rows: Sequence[Mapping[str, Any]]) -> list[Values]:
    return [_values(each, [row[each.name] for row in rows]) for each in fields]


def _values(field: Field, found: list[Any]) -> Values:
    present = np.array([each is not None for each in found], np.bool_) if field.nullable else None
    if field.type == "string":
        texts = [(each or "").encode() for each in found]
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        data = np.frombuffer(b"".join(texts), np.uint8)
        return Texts(data, np.cumsum(lengths) - lengths, lengths, present)
    numbers = [0 if each is None else each for each in found] if field.nullable else found
    return Numbers(np.array(numbers, _DTYPES[field.type]), present)
