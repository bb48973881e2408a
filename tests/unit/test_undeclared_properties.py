"""A file that nobody declared is read as it was written, or what is ambiguous is reported."""

from __future__ import annotations

import os
import random
import resource
import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from undeclared_files import KINDS, TEXTS, Table, as_read, infer, random_form, random_table, read

from sluice.errors import SluiceError
from sluice.inference.dry_run import DryRun

#: Examples of each property; `SLUICE_EXAMPLES` raises it for a thorough run.
few = settings(
    max_examples=int(os.environ.get("SLUICE_EXAMPLES", "25")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
SEEDS = st.integers(0, 2**32)
#: What a file of a few kilobytes may need.
MAX_SECONDS, MAX_BYTES = 5.0, 256 * 1024**2
#: Bytes that mean something to a reader of CSV.
MARKS = [
    b",", b";", b"\t", b"|", b'"', b"'", b"\\", b"\n", b"\r", b"\r\n", b"\0", b"#", b" ", b"1", b"x", b"-",
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xff", b"\x80", b"\xe2\x82", b"sep=;\n", b"\x1f\x8b", b"(\xb5/\xfd",
    b"PK\x03\x04", b'""', b'",', b',"', b"\\N", b"\x1a", b"\xc2\xa0", b"NULL", b"2017-01-01",
]  # fmt: skip


@few
@given(SEEDS)
def test_a_file_is_read_as_it_was_written_or_a_warning_says_what_is_ambiguous(seed: int) -> None:
    chance = random.Random(seed)
    table, form = random_table(chance), random_form(chance)
    data = form.write(table)
    found = infer(data)
    was_read = read(data, found)
    assert found.detection is not None
    if was_read.cells != as_read(table, form):
        assert found.detection.warnings
        return
    assert was_read.lines == []
    if form.dialect.header:
        assert found.detection.header == table.names
    assert_values(table, found, was_read.values)


def assert_values(table: Table, found: DryRun, rows: list[dict[str, Any]]) -> None:
    """Each column has the values that were written, or their texts, and a null only where a cell is empty."""
    for at, (kind, column) in enumerate(zip(table.kinds, found.dataset.columns, strict=True)):
        values = [row[column.name] for row in rows]
        written = [row[at] for row in table.rows]
        if kind in TEXTS:
            assert [value is None for value in values] == [value is None for value in written]
        elif column.type == "text":
            texts = [None if each is None else KINDS[kind].write(each) for each in written]
            assert values == texts
        elif column.type == "numeric":
            assert [each and Decimal(each) for each in values] == written
        else:
            assert values == written


@few
@given(SEEDS, st.integers(1, 200))
@example(0, 1)
def test_any_split_gives_the_same_rows_lines_and_types(seed: int, chunk_bytes: int) -> None:
    chance = random.Random(seed)
    data = _with_flaws(chance, random_form(chance).write(random_table(chance)))
    try:
        found = infer(data)
    except SluiceError:
        return
    assert read(data, found, chunk_bytes) == read(data, found)


def _with_flaws(chance: random.Random, data: bytes) -> bytes:
    """Replace, insert or remove a few bytes."""
    for _ in range(chance.choice((0, 0, 1, 2, 5))):
        at = chance.randrange(len(data) + 1)
        data = data[:at] + chance.choice([*MARKS, b""]) + data[at + chance.randint(0, 2) :]
    return data


def check(data: bytes, *, is_complete: bool = True) -> None:
    """Check that a file ends in a balanced account or a clear error, soon, and in bounded memory."""
    started, before = time.monotonic(), _peak_bytes()
    error = _load(data, is_complete=is_complete)
    assert error is None or (error.status < 500 and len(error.detail) > 10)
    assert _peak_bytes() - before < MAX_BYTES
    assert time.monotonic() - started < MAX_SECONDS


def _peak_bytes() -> int:
    """Return the most memory that the process had: what native code allocates counts too."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _load(data: bytes, *, is_complete: bool) -> SluiceError | None:
    """Infer and read a file; return why it is refused."""
    try:
        found = infer(data, is_complete=is_complete)
    except SluiceError as error:
        return error
    assert found.records == found.rows + found.rejected
    if is_complete and _is_plain(data):
        split, parsed = read(data, found).records
        assert split == parsed
    return None


def _is_plain(data: bytes) -> bool:
    """Whether the file is not converted before it is split."""
    return not data.startswith((b"\x1f\x8b", b"(\xb5/\xfd", b"\xff\xfe", b"\xfe\xff")) and (
        b"\0" not in data[:4096]
    )


@few
@given(st.lists(st.sampled_from(MARKS), max_size=60).map(b"".join))
@example(b"")
@example(b"\n")
@example(b'"')
@example(b"\xef\xbb\xbf")
def test_any_marks_end_in_an_account_or_an_error(data: bytes) -> None:
    check(data)


@few
@given(st.binary(max_size=400))
def test_any_bytes_end_in_an_account_or_an_error(data: bytes) -> None:
    check(data)


@few
@given(SEEDS, st.booleans())
def test_a_damaged_file_ends_in_an_account_or_an_error(seed: int, is_complete: bool) -> None:
    chance = random.Random(seed)
    data = random_form(chance).write(random_table(chance))
    data = _with_flaws(chance, _with_flaws(chance, data))
    check(data[: chance.randint(0, len(data))], is_complete=is_complete)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(['5" pipe,1', '5"" pipe,2', 'the "old",3'], id="nothing is quoted"),
        pytest.param(['"5"" pipe, a",1', '5" pipe,2', "b,3"], id="others are quoted"),
        pytest.param([r'5" pipe\, a,1', r"a\,b,2", "b,3"], id="delimiters are escaped"),
    ],
)
def test_a_quote_inside_an_unquoted_field_is_text(lines: list[str]) -> None:
    data = "".join(f"{line}\n" for line in ["name,size", *lines * 5]).encode()
    found = infer(data)
    assert found.rejected == 0
    first = lines[0].replace('"5""', '5"').replace('a"', "a").replace("\\", "")
    assert ",".join(read(data, found).cells[0]) == first
