"""What a small hostile file may cost: memory is measured in a process of its own."""

from __future__ import annotations

import gzip
import random
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from backports import zstd

from sluice.csv.dialects import Dialect
from sluice.datasets.declarations import parse_document
from sluice.datasets.model import MAX_COLUMNS
from sluice.errors import DeclarationError
from sluice.inference.typing.observations import (
    MAX_DISTINCT,
    MAX_DISTINCT_LENGTH,
    Observations,
    merge_all,
)
from sluice.inference.typing.records import observe_records
from sluice.parsing.parser import try_rules
from sluice.parsing.plan import compile_dataset

if TYPE_CHECKING:
    from pathlib import Path

MILLION = 1_000_000
MAX_MEGABYTES, MAX_SECONDS = 300, 30
#: Infers a file, and prints its error and by how many megabytes the peak of memory grew.
INFER = """
import resource, sys
import duckdb, pyarrow.compute
from sluice.errors import SluiceError
from sluice.inference.dry_run import Sample, dry_run
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
small = b"a,b\\n1,2\\n"
dry_run(Sample(small, "small.csv", True, len(small)), "box", None, {})
data = open(sys.argv[1], "rb").read()
before = peak()
try:
    found = dry_run(Sample(data, "box.csv", True, len(data)), "box", None, {})
    print("rows", found.records, peak() - before)
except SluiceError as error:
    print(error.code, 0, peak() - before)
"""


def frame(size_bytes: int) -> bytes:
    """Return a frame of zstd that expands to a size: blocks of a repeated byte (RFC 8878, section 3.1.1)."""
    block_bytes = 128 * 1024
    header = b"\x28\xb5\x2f\xfd" + b"\x00" + b"\x38"  # no content size, a window of 128 KiB
    block = (block_bytes << 3 | 0b010).to_bytes(3, "little") + b"1"
    last = (block_bytes << 3 | 0b011).to_bytes(3, "little") + b"\n"
    return header + block * (size_bytes // block_bytes - 1) + last


FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a million names": (lambda: b",".join(b"%x" % n for n in range(MILLION)) + b"\n1\n", "CSV"),
    "a million equal names": (lambda: b"a," * MILLION + b"\n" + b"1," * MILLION + b"\n", "CSV"),
    "64 KB of zstd": (lambda: zstd.compress(b"a,b\n1,2\n") + frame(2 * 1024**3), "rows"),
    "gzip": (lambda: gzip.compress(b"1,2\n" * MILLION) * 256, "rows"),
    "an unclosed quote": (lambda: b'a,b\n1,"x\n' + b"1,2\n" * MILLION, "rows"),
    "unclosed quotes": (lambda: b"a,b\n" + b'1,"x\n' * MILLION, "rows"),
}


@pytest.mark.parametrize(("make", "outcome"), FILES.values(), ids=list(FILES))
def test_a_dry_run_needs_bounded_memory_and_time(
    tmp_path: Path, make: Callable[[], bytes], outcome: str
) -> None:
    path = tmp_path / "box.csv"
    path.write_bytes(make())
    command = [sys.executable, "-c", INFER, str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=MAX_SECONDS)
    found, records, megabytes = ran.stdout.split()
    assert found.startswith(outcome)
    assert (int(records) >= 1) == (outcome == "rows")
    assert int(megabytes) < MAX_MEGABYTES


def test_a_bomb_is_as_small_as_its_name_says() -> None:
    assert len(frame(2 * 1024**3)) < 66_000
    assert zstd.decompress(frame(1024**2)).count(b"1") == 7 * 128 * 1024


def wide(columns: int, rows: int, seed: int = 1) -> list[bytes]:
    """Return records whose cells have few and long values in each column."""
    chance = random.Random(seed)
    values = [f"{n:03}".ljust(MAX_DISTINCT_LENGTH, "x") for n in range(MAX_DISTINCT - 6)]
    return [",".join(chance.choices(values, k=columns)).encode() + b"\n" for _ in range(rows)]


def observed(records: list[bytes], columns: int, first: int = 0) -> Observations:
    return observe_records(b"".join(records), Dialect(header=False), columns, first, {})


@pytest.mark.parametrize("columns", [10, MAX_COLUMNS])
def test_the_report_of_a_chunk_has_a_few_megabytes(columns: int) -> None:
    found = observed(wide(columns, 150), columns)
    assert len(found.to_json()) < 4 * 1024**2
    assert (found.columns[0].distinct is None) == (columns == MAX_COLUMNS)


def test_few_values_of_a_wide_table_are_kept_however_it_is_split() -> None:
    columns, records = 400, wide(400, 100)
    whole = observed(records, columns)
    parts = [observed(records[at : at + 30], columns, at) for at in range(0, 100, 30)]
    assert merge_all(parts) == whole
    assert merge_all(Observations.from_json(each.to_json()) for each in parts) == whole


def test_a_dataset_has_no_more_columns_than_a_table() -> None:
    columns = [{"name": f"c{n}", "type": "integer"} for n in range(MAX_COLUMNS + 1)]
    assert len(parse_document({"name": "box", "columns": columns[:-1]}).columns) == MAX_COLUMNS
    with pytest.raises(DeclarationError, match="1,501 columns"):
        parse_document({"name": "box", "columns": columns})


def test_the_time_of_a_rule_does_not_grow_with_other_columns() -> None:
    columns = [{"name": f"c{n}", "type": "integer"} for n in range(MAX_COLUMNS)]
    plan = compile_dataset(parse_document({"name": "box", "columns": columns}))
    started = time.monotonic()
    try_rules(plan, plan.rules[:64])
    assert time.monotonic() - started < 5
