"""Avro files from and to columns, compared with plain fastavro."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime

import fastavro
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.backups.avro import read_avro, write_avro
from sluice.backups.column_buffers import Numbers, Texts, Values, concatenate
from sluice.backups.type_mapping import Field
from sluice.errors import DamagedBackupError

FIELDS = (
    Field("whole", "long"),
    Field("small", "int", nullable=True),
    Field("real", "double"),
    Field("text", "string"),
    Field("maybe", "string", nullable=True),
    Field("flag", "boolean"),
)
ROWS = st.lists(
    st.tuples(
        st.integers(-(2**63), 2**63 - 1),
        st.none() | st.integers(-(2**31), 2**31 - 1),
        st.floats(allow_nan=False),
        st.text(max_size=40),
        st.none() | st.text(max_size=300),
        st.booleans(),
    ),
    max_size=300,
)


def texts(values: list[str | None], *, nullable: bool = False) -> Texts:
    written = [(value or "").encode() for value in values]
    lengths = np.array([len(each) for each in written], np.int64)
    data = np.frombuffer(b"".join(written), np.uint8)
    present = np.array([value is not None for value in values], np.bool_) if nullable else None
    return Texts(data, np.cumsum(lengths) - lengths, lengths, present)


def numbers(values: list[object], dtype: str, *, nullable: bool = False) -> Numbers:
    present = np.array([value is not None for value in values], np.bool_) if nullable else None
    return Numbers(np.array([value or 0 for value in values], dtype), present)


def columns_of(rows: list[tuple]) -> list[Values]:
    whole, small, real, text, maybe, flag = (list(c) for c in zip(*rows, strict=True)) if rows else (
        [], [], [], [], [], [])  # fmt: skip
    return [
        numbers(whole, "i8"),
        numbers(small, "i4", nullable=True),
        numbers(real, "f8"),
        texts(text),
        texts(maybe, nullable=True),
        numbers(flag, "u1"),
    ]


def rows_of(columns: list[Values]) -> list[tuple]:
    return list(zip(*(list(_listed(each)) for each in columns), strict=True))


def _listed(values: Values):
    present = values.present if values.present is not None else np.ones(len(values), np.bool_)
    for at in range(len(values)):
        if not present[at]:
            yield None
        elif isinstance(values, Numbers):
            yield values.values[at].item()
        else:
            start = values.starts[at]
            yield bytes(values.data[start : start + values.lengths[at]]).decode()


def read(data: bytes, fields: tuple[Field, ...]) -> list[Values]:
    """All rows of a file."""
    return [concatenate(list(each)) for each in zip(*read_avro(data, fields), strict=True)]


@settings(max_examples=60)
@given(ROWS)
def test_fastavro_reads_what_was_written(rows: list[tuple]) -> None:
    data = write_avro("things", FIELDS, columns_of(rows))
    found = list(fastavro.reader(io.BytesIO(data)))
    names = [each.name for each in FIELDS]
    assert found == [dict(zip(names, row, strict=True)) for row in rows]


@settings(max_examples=60)
@given(ROWS)
def test_rows_survive_a_round_trip(rows: list[tuple]) -> None:
    data = write_avro("things", FIELDS, columns_of(rows))
    assert rows_of(read(data, FIELDS)) == rows


@settings(max_examples=30)
@given(ROWS, st.integers(1, 500))
def test_files_of_fastavro_are_read_with_any_size_of_blocks(rows: list[tuple], block: int) -> None:
    schema = {"type": "record", "name": "things", "fields": [each.schema for each in FIELDS]}
    file = io.BytesIO()
    names = [each.name for each in FIELDS]
    records = [dict(zip(names, row, strict=True)) for row in rows]
    fastavro.writer(file, schema, records, codec="deflate", sync_interval=block)
    assert rows_of(read(file.getvalue(), FIELDS)) == rows


def test_other_readers_understand_the_logical_types() -> None:
    fields = (Field("day", "int", "date"), Field("at", "long", "timestamp-micros"))
    data = write_avro(
        "r", fields, [numbers([17_682], "i4"), numbers([1_527_757_423_000_001], "i8")]
    )
    (found,) = fastavro.reader(io.BytesIO(data))
    assert found["day"] == date(2018, 5, 31)
    assert found["at"] == datetime(2018, 5, 31, 9, 3, 43, 1, UTC)


def test_many_rows_survive_a_round_trip() -> None:
    values = np.arange(50_000)
    (found,) = read(
        write_avro("r", (Field("n", "long"),), [Numbers(values)]), (Field("n", "long"),)
    )
    assert np.array_equal(found.values, values)


def test_the_limits_of_dates_and_timestamps_are_kept() -> None:
    fields = (Field("day", "int", "date"), Field("at", "long", "timestamp-micros", nullable=True))
    rows = [(2**31 - 1, 2**63 - 1), (-(2**31), -(2**63)), (0, None)]
    days, times = zip(*rows, strict=True)
    columns = [numbers(list(days), "i4"), numbers(list(times), "i8", nullable=True)]
    assert rows_of(read(write_avro("r", fields, columns), fields)) == rows


def test_a_negative_zero_keeps_its_sign() -> None:
    fields = (Field("real", "double", nullable=True),)
    values = Numbers(np.array([-0.0]), np.array([True]))
    (found,) = read(write_avro("r", fields, [values]), fields)
    assert np.signbit(found.values).all()


@pytest.mark.parametrize("cut", [3, 40, -1], ids=["magic", "schema", "end"])
def test_a_cut_file_is_damaged(cut: int) -> None:
    data = write_avro("r", (Field("n", "long"),), [Numbers(np.arange(100))])
    with pytest.raises(DamagedBackupError):
        read(data[:cut], (Field("n", "long"),))


def test_another_schema_is_refused() -> None:
    data = write_avro("r", (Field("n", "long"),), [Numbers(np.arange(3))])
    with pytest.raises(DamagedBackupError, match="it has another schema"):
        read(data, (Field("m", "long"),))


def test_blocks_of_rows_are_concatenated() -> None:
    one, two = texts(["a", None], nullable=True), texts([None, "bc"], nullable=True)
    assert rows_of([concatenate([one, two])]) == [("a",), (None,), (None,), ("bc",)]
    assert rows_of([concatenate([one, one])]) == [("a",), (None,), ("a",), (None,)]
