"""Parts of backups that are forged to take more memory than a restore has."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flow import HEADER, Flow, lines
from test_backups import Backups

from sluice.backups import restore as restore_module
from sluice.backups.manifest import Format
from sluice.errors import DamagedBackupError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1024 * 1024
TEXT = pa.schema([pa.field("t", pa.large_string(), nullable=False)])
#: Reads a part of one column, and prints its rows, or the problem, and by how much memory grew, in MiB.
READ = """
import json, resource, sys
import pgpq, pyarrow.parquet
from sluice.backups.avro import read_avro
from sluice.backups.parquet import read_parquet
from sluice.backups.type_mapping import TableColumn
from sluice.errors import DamagedBackupError
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
data = open(sys.argv[1], "rb").read()
column, before, rows, detail = TableColumn("t", sys.argv[2], sys.argv[2] != "text"), peak(), 0, ""
try:
    read = read_parquet(data, [column]) if data[:4] == b"PAR1" else read_avro(data, [column.field])
    for values in read:
        rows += len(values[0])
except DamagedBackupError as error:
    detail = error.detail
print(json.dumps([rows, detail, peak() - before]))
"""


def parquet(groups: int, texts: int, size_bytes: int, **options: object) -> bytes:
    """A Parquet file whose rows all have the same text."""
    file = io.BytesIO()
    table = pa.table([pa.array(["a" * size_bytes] * texts, pa.large_string())], schema=TEXT)
    with pq.ParquetWriter(file, TEXT, **{"compression": "zstd", **options}) as writer:
        for _ in range(groups):
            writer.write_table(table)
    return file.getvalue()


def nulls(rows: int) -> bytes:
    file = io.BytesIO()
    column = pa.table({"t": pa.nulls(rows, pa.int64())})
    pq.write_table(column, file, compression="zstd", row_group_size=rows)
    return file.getvalue()


def avro(rows: int, blocks_of_a_mib: int, codec: str = "deflate") -> bytes:
    """An Avro file of one block of zeros, which are empty texts."""
    schema = {"type": "record", "name": "r", "fields": [{"name": "t", "type": "string"}]}
    file, deflate = io.BytesIO(), zlib.compressobj(9, zlib.DEFLATED, -15)
    fastavro.writer(file, schema, [], codec=codec, sync_marker=b"0" * 16)
    block = b"".join(deflate.compress(bytes(MIB)) for _ in range(blocks_of_a_mib)) + deflate.flush()
    for number in (rows, len(block)):
        fastavro.schemaless_writer(file, "long", number)
    file.write(block + b"0" * 16)
    return file.getvalue()


#: The part, the type of its column, and what is read of it: rows, or the beginning of the problem.
FORGED: dict[str, tuple[Callable[[], bytes], str, int | str]] = {
    "dictionary": (lambda: parquet(40, 64, MIB // 2), "text", 40 * 64),
    "zstd": (lambda: parquet(20, 64, MIB, use_dictionary=False), "text", 20 * 64),
    "snappy": (
        lambda: parquet(20, 64, MIB, use_dictionary=False, compression="snappy"),
        "text",
        20 * 64,
    ),
    "one large page": (
        lambda: parquet(1, 300, MIB, use_dictionary=False),
        "text",
        "a row group has more than 268,435,456 bytes",
    ),
    "repeated beginnings": (
        lambda: parquet(1, 64, MIB, use_dictionary=False, column_encoding="DELTA_BYTE_ARRAY"),
        "text",
        "a page has an encoding that Sluice does not write",
    ),
    "nulls": (lambda: nulls(50_000_000), "bigint", 50_000_000),
    "deflate": (
        lambda: avro(1, 600),
        "text",
        "the Avro file cannot be read: a block has more than",
    ),
    "empty texts": (lambda: avro(2 * MIB, 2), "text", 2 * MIB),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_part_is_read_in_bounded_memory(case: str, tmp_path: Path) -> None:
    forge, kind, expected = FORGED[case]
    (tmp_path / "part").write_bytes(forge())
    told = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path / "part"), kind],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    rows, detail, peak_mib = json.loads(told.stdout)
    assert peak_mib < 400
    assert (
        detail.startswith(expected)
        if isinstance(expected, str)
        else (rows, detail) == (expected, "")
    )


@pytest.fixture
def backups(flow: Flow) -> Backups:
    flow.run(HEADER + lines(1, 5))
    return Backups(flow)


def replace_part(backups: Backups, backup: str, change: Callable[[bytes], bytes]) -> str:
    """Replace the part with the rows of a backup, in the manifest too; return its name."""
    name = f"backups/{backup}/manifest.json"
    document = json.loads(backups.store.objects[name])
    part = document["datasets"][0]["tables"][0]["parts"][0]
    data = change(backups.store.objects[part["object"]])
    part |= {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    backups.store.objects[part["object"]] = data
    backups.store.objects[name] = json.dumps(document).encode()
    return str(part["object"])


def swollen(data: bytes) -> bytes:
    """The same Parquet file with names of 1 MiB."""
    table = pq.read_table(io.BytesIO(data))
    at = table.schema.get_field_index("name")
    names = pa.array(["a" * MIB] * len(table), pa.large_string())
    file = io.BytesIO()
    pq.write_table(table.set_column(at, table.schema.field(at), names), file, compression="zstd")
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "change", "why"),
    [
        (Format.PARQUET, swollen, "more than 1,048,576 bytes of values"),
        (Format.PARQUET, lambda _: parquet(1, 5, 1), "it has other columns"),
        (Format.PARQUET, lambda data: data[:-8] + b"\xff\xff\xff\x7fPAR1", "its metadata have more"),
        (Format.PARQUET, lambda data: b"PAR1" + bytes(9) + b"PAR1", "cannot be read"),
        (Format.AVRO, lambda data: data.replace(b"\x0edeflate", b"\x0esnappy?"), "another codec"),
        (Format.AVRO, lambda data: data[:-40], "cannot be read"),
    ],
    ids=["texts", "columns", "metadata", "cut parquet", "codec", "cut avro"],
)  # fmt: skip
def test_a_restore_refuses_a_forged_part_by_its_name(
    backups: Backups,
    monkeypatch: pytest.MonkeyPatch,
    kind: Format,
    change: Callable[[bytes], bytes],
    why: str,
) -> None:
    monkeypatch.setattr(restore_module, "MAX_DECODED_BYTES", MIB)
    saved = backups.save(kind=kind)
    name = replace_part(backups, saved.id, change)
    before = backups.state()
    with pytest.raises(DamagedBackupError, match=why) as raised:
        backups.restore(backups.repository.manifest(saved.id), suffix="2")
    assert raised.value.detail.startswith(name)
    assert backups.state() == before
