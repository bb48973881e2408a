"""Avro object container files of flat records, column by column (Avro 1.11, "Object Container Files").

The libraries take and return a dictionary for each row, at five microseconds a row. Here numpy handles a
whole column at a time. Writing is simple: the offset of every row follows from the lengths of the fields
before it. In reading, the offset of a row is known only after the row before it was read. So the blocks of a
file, whose offsets are known, are read in lock step: the first row of each, then the second row of each.
Blocks are therefore many and small. Tests compare both directions with fastavro.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sluice.backups.column_buffers import Bytes, Numbers, Offsets, Texts, Values, offsets_of
from sluice.errors import DamagedBackupError

_MAGIC = b"Obj\x01"
_SYNC_BYTES = 16
_MIN_BLOCK_ROWS = 64
_VARINT_BYTES = 10
#: zlib's fastest level: a third of the time of the default, for a tenth more bytes.
_LEVEL = 1

_DTYPES: dict[str, str] = {
    "int": "<i4",
    "long": "<i8",
    "float": "<f4",
    "double": "<f8",
    "boolean": "u1",
}


@dataclass(frozen=True)
class Field:
    """A field of the record.

    Attributes:
        type: `int`, `long`, `float`, `double`, `boolean` or `string`.
        logical: the logical type, or empty.
        nullable: a union of null and the type.
    """

    name: str
    type: str
    logical: str = ""
    nullable: bool = False

    @property
    def schema(self) -> dict[str, Any]:
        """The field in an Avro schema."""
        kind: Any = {"type": self.type, "logicalType": self.logical} if self.logical else self.type
        if self.nullable:
            return {"name": self.name, "type": ["null", kind], "default": None}
        return {"name": self.name, "type": kind}


def schema_of(record: str, fields: Sequence[Field]) -> str:
    """Return the schema of a record as JSON."""
    listed = [each.schema for each in fields]
    return json.dumps({"type": "record", "name": record, "fields": listed})


def write_avro(record: str, fields: Sequence[Field], columns: Sequence[Values]) -> bytes:
    """Return a file of the rows, compressed with deflate, which every Avro reader supports.

    Args:
        record: name of the record.
        fields: one for each column.
        columns: values of each field, with the same number of rows.
    """
    schema = schema_of(record, fields).encode()
    sync = hashlib.sha256(schema).digest()[:_SYNC_BYTES]
    metadata = {"avro.schema": schema, "avro.codec": b"deflate"}
    entries = b"".join(_sized(name.encode()) + _sized(value) for name, value in metadata.items())
    head = _MAGIC + _varint(len(metadata)) + entries + b"\x00" + sync
    return b"".join((head, *_blocks(fields, columns, sync)))


def _sized(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _varint(number: int) -> bytes:
    """Return a non-negative number encoded as an Avro long."""
    left, out = number << 1, bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


def _blocks(fields: Sequence[Field], columns: Sequence[Values], sync: bytes) -> Iterator[bytes]:
    body, ends = _encode(fields, columns)
    rows = len(ends) - 1
    step = max(_MIN_BLOCK_ROWS, math.isqrt(rows))
    for first in range(0, rows, step):
        last = min(first + step, rows)
        deflated = _deflate(body[ends[first] : ends[last]])
        yield _varint(last - first) + _varint(len(deflated)) + deflated + sync


def _deflate(data: Bytes) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data.data) + packer.flush()


# Writing: the bytes of each field, then their offsets


@dataclass(frozen=True)
class _Run:
    """What one field adds to each row: a range of `data`."""

    data: Bytes
    starts: Offsets
    lengths: Offsets


def _encode(fields: Sequence[Field], columns: Sequence[Values]) -> tuple[Bytes, Offsets]:
    """Return all rows encoded, the offset of each, and the end of the last."""
    runs = [run for each in zip(fields, columns, strict=True) for run in _runs(*each)]
    widths = np.add.reduce([run.lengths for run in runs]) if runs else np.zeros(0, np.int64)
    ends = np.concatenate(([0], np.cumsum(widths)))
    body = np.empty(ends[-1], np.uint8)
    places = ends[:-1].copy()
    for run in runs:
        _put(body, places, run)
        places += run.lengths
    return body, ends


def _runs(field: Field, values: Values) -> Iterator[_Run]:
    present = values.present
    if field.nullable:
        flags = np.ones(len(values), np.bool_) if present is None else present
        yield _fixed(flags.astype(np.uint8) * np.uint8(2))  # the union's branch: 0 null, 1 the type
    for run in _plain(field, values):
        kept = run.lengths if present is None else np.where(present, run.lengths, 0)
        yield _Run(run.data, run.starts, kept)


def _plain(field: Field, values: Values) -> Iterator[_Run]:
    if isinstance(values, Texts):
        yield _varints(values.lengths)
        yield _Run(values.data, values.starts, values.lengths)
    elif field.type in ("int", "long"):
        yield _varints(values.values.astype(np.int64))
    else:
        yield _fixed(values.values.astype(_DTYPES[field.type]))


def _fixed(values: Any) -> _Run:  # a numpy array
    width = values.dtype.itemsize
    places = np.arange(len(values), dtype=np.int64) * width
    return _Run(values.view(np.uint8), places, np.full(len(values), width))


def _varints(values: Offsets) -> _Run:
    """Return numbers zigzag encoded, seven bits a byte, the lowest first."""
    zigzag = ((values << 1) ^ (values >> 63)).view(np.uint64)
    lengths = np.ones(len(values), np.int64)
    top = int(zigzag.max()) if len(values) else 0
    width = max(1, -(-top.bit_length() // 7))
    matrix = np.empty((len(values), width), np.uint8)
    for at in range(width):
        left = zigzag >> np.uint64(7 * at)
        more = left > 0x7F
        matrix[:, at] = (left & np.uint64(0x7F)) | (more.astype(np.uint64) << np.uint64(7))
        lengths += more
    starts = np.arange(len(values), dtype=np.int64) * width
    return _Run(matrix.reshape(-1), starts, lengths)


def _put(body: Bytes, places: Offsets, run: _Run) -> None:
    """Copy the ranges of a run to their offsets."""
    if not len(places):
        return
    low, high = int(run.lengths.min()), int(run.lengths.max())
    if high > 2 * _VARINT_BYTES:
        body[offsets_of(places, run.lengths)] = run.data[offsets_of(run.starts, run.lengths)]
    elif low == high == 8:
        _words(body)[places] = _words(run.data)[run.starts]
    else:
        for at in range(high):
            if at < low:
                body[places + at] = run.data[run.starts + at]
            else:
                longer = run.lengths > at
                body[places[longer] + at] = run.data[run.starts[longer] + at]


def _words(data: Bytes) -> Any:  # a numpy array
    """Return a view of the eight bytes that begin at each offset."""
    return np.ndarray((max(0, len(data) - 7),), "<u8", data, strides=(1,))


# Reading: all blocks in lock step


def read_avro(data: bytes, fields: Sequence[Field]) -> list[Values]:
    """Return the columns of a file that `write_avro` wrote.

    Args:
        data: the file.
        fields: as they were written.

    Raises:
        DamagedBackupError: the file is not of this schema, or is damaged.
    """
    try:
        body, begins, counts = _open(data, fields)
        return _Reader(body, begins, counts).read(fields)
    except (IndexError, ValueError, zlib.error, KeyError) as error:
        raise DamagedBackupError(f"the Avro file cannot be read: {error}") from error


def _open(data: bytes, fields: Sequence[Field]) -> tuple[Bytes, Offsets, Offsets]:
    """Return the content of all blocks concatenated, the offset of each, and its number of rows."""
    if not data.startswith(_MAGIC):
        raise ValueError("it does not begin like an Avro file")
    metadata, at = _metadata(data, len(_MAGIC))
    written = json.loads(metadata["avro.schema"])["fields"]
    if written != [each.schema for each in fields]:
        raise ValueError("it has another schema")
    if metadata["avro.codec"] != b"deflate":
        raise ValueError("it has another codec")
    sync, at = data[at : at + _SYNC_BYTES], at + _SYNC_BYTES
    blocks, counts = [], []
    while at < len(data):
        count, at = _read_varint(data, at)
        size, at = _read_varint(data, at)
        blocks.append(zlib.decompress(data[at : at + size], -zlib.MAX_WBITS))
        counts.append(count)
        at += size + _SYNC_BYTES
        if data[at - _SYNC_BYTES : at] != sync:
            raise ValueError("a block has the wrong length")
    begins = np.cumsum([0, *map(len, blocks)])[:-1]
    body = np.frombuffer(b"".join((*blocks, bytes(8))), np.uint8)  # words may extend beyond the end
    return body, begins.astype(np.int64), np.array(counts, np.int64)


def _metadata(data: bytes, at: int) -> tuple[dict[str, bytes], int]:
    found: dict[str, bytes] = {}
    while True:
        count, at = _read_varint(data, at)
        if not count:
            return found, at
        for _ in range(count):
            size, at = _read_varint(data, at)
            name, at = data[at : at + size].decode(), at + size
            size, at = _read_varint(data, at)
            found[name], at = data[at : at + size], at + size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number >> 1, at


class _Reader:
    """Reads the first row of every block, then the second of every block, and so on."""

    def __init__(self, body: Bytes, begins: Offsets, counts: Offsets) -> None:
        order = np.argsort(-counts, kind="stable")  # the shortest blocks last
        self.body = body
        self.words = _words(body)
        self.counts = counts[order]
        self.firsts = (np.cumsum(counts) - counts)[order]
        self.at = begins[order]

    def read(self, fields: Sequence[Field]) -> list[Values]:
        rows = int(self.counts.sum())
        columns = [_Column(each, rows) for each in fields]
        for step in range(int(self.counts.max(initial=0))):
            active = int(np.searchsorted(-self.counts, -step, side="left"))
            self.at, self.firsts = self.at[:active], self.firsts[:active]
            rows_now = self.firsts + step
            for column in columns:
                self._take(column, rows_now)
        return [column.values(self.body) for column in columns]

    def _take(self, column: _Column, rows: Offsets) -> None:
        if column.present is None:
            self.at = self._take_values(column, rows, self.at)
            return
        is_there = self.body[self.at] == 2
        self.at = self.at + 1
        column.present[rows] = is_there
        if is_there.all():
            self.at = self._take_values(column, rows, self.at)
        elif is_there.any():
            self.at[is_there] = self._take_values(column, rows[is_there], self.at[is_there])

    def _take_values(self, column: _Column, rows: Offsets, at: Offsets) -> Offsets:
        if column.kind == "string":
            lengths, at = self._varints(at)
            column.starts[rows] = at
            column.lengths[rows] = lengths
            return at + lengths
        if column.kind in ("int", "long"):
            column.store[rows], at = self._varints(at)
            return at
        width = column.store.dtype.itemsize
        column.store.view(f"<u{width}")[rows] = self.words[at].astype(f"<u{width}")
        return at + width

    def _varints(self, at: Offsets) -> tuple[Offsets, Offsets]:
        byte = self.body[at]
        number = (byte & 0x7F).astype(np.uint64)
        at = at + 1
        more = np.flatnonzero(byte & 0x80)
        shift = 7
        while len(more):
            byte = self.body[at[more]]
            number[more] |= (byte & 0x7F).astype(np.uint64) << np.uint64(shift)
            at[more] += 1
            more = more[byte >= 0x80]
            shift += 7
        signed = (number >> np.uint64(1)).view(np.int64)
        return signed ^ -(number & np.uint64(1)).view(np.int64), at


class _Column:
    """Collects the values of a field."""

    def __init__(self, field: Field, rows: int) -> None:
        self.kind = field.type
        self.present = np.zeros(rows, np.bool_) if field.nullable else None
        self.store = np.zeros(0 if self.kind == "string" else rows, _DTYPES.get(self.kind, "u1"))
        self.starts = np.zeros(rows if self.kind == "string" else 0, np.int64)
        self.lengths = np.zeros_like(self.starts)

    def values(self, body: Bytes) -> Values:
        if self.kind == "string":
            return Texts(body, self.starts, self.lengths, self.present)
        return Numbers(self.store, self.present)
