"""The records of a chunk are found with their lines, and malformed ones with their flaw."""

from __future__ import annotations

import csv
import io
import time
from typing import TYPE_CHECKING

import csv_automaton
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from real_files import of_each_real_file
from sluice.csv import records, scanning
from sluice.csv.dialects import Dialect
from sluice.csv.records import Malformed, RecordIndex, count_clean, index_records
from sluice.csv.splitting import Splitter
from sluice.errors import RecordTooLongError

if TYPE_CHECKING:
    from pathlib import Path

DIALECT = Dialect(header=False)

a_property = settings(max_examples=60)
csv_like = st.lists(
    st.sampled_from(
        [b"a", b",", b'"', b'"', b'a"', b'""', b'","', b"\n", b"\r", b"\r\n", b'"\n",z\n']
    ),
    max_size=30,
).map(b"".join)
tile_sizes = st.sampled_from([1, 2, 3, 7, 64, 4096])


def texts(data: bytes, index: RecordIndex) -> list[bytes]:
    return [data[start:end] for start, end in zip(index.starts, index.ends, strict=True)]


@given(data=csv_like, tile_bytes=tile_sizes, max_guesses=st.sampled_from([0, 3]))
@a_property
def test_the_index_is_that_of_the_automaton_run_byte_by_byte(
    data: bytes, tile_bytes: int, max_guesses: int
) -> None:
    expected = csv_automaton.index(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "TILE_BYTES", tile_bytes)
        patch.setattr(scanning, "_MAX_GUESSES", max_guesses)
        index = index_records(data, DIALECT)
    found = zip(index.starts.tolist(), index.ends.tolist(), index.lines.tolist(), strict=True)
    assert list(found) == expected.records
    assert list(map(tuple, index.malformed)) == expected.malformed
    assert index.recovered == expected.recovered


@given(data=csv_like, tile_bytes=tile_sizes, max_guesses=st.sampled_from([0, 3]))
@a_property
def test_well_formed_records_are_counted_and_malformed_ones_refused(
    data: bytes, tile_bytes: int, max_guesses: int
) -> None:
    expected = csv_automaton.index(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "TILE_BYTES", tile_bytes)
        patch.setattr(scanning, "_MAX_GUESSES", max_guesses)
        count = count_clean(data, DIALECT)
    found = (len(expected.records), expected.delimiters)
    assert count == (None if expected.malformed else found)


@given(data=csv_like, chunk_bytes=st.integers(1, 40))
@a_property
def test_the_splitter_counts_what_the_index_did_not_recover(data: bytes, chunk_bytes: int) -> None:
    splitter = Splitter(DIALECT, chunk_bytes)
    for cut in splitter.feed(data) + splitter.finish():
        index = index_records(data[cut.first_byte : cut.end_byte], DIALECT)
        assert cut.records == len(index) - index.recovered


@given(
    rows=st.lists(
        st.lists(st.tuples(st.text('ab,"\r\n é', max_size=6), st.booleans()), min_size=2),
        max_size=9,
    ),
    newlines=st.lists(st.sampled_from(["\n", "\r", "\r\n", "\n\n"]), min_size=9, max_size=9),
)
@a_property
def test_the_csv_module_reads_each_record_as_its_row(
    rows: list[list[tuple[str, bool]]], newlines: list[str]
) -> None:
    lines = [",".join(map(written, row)) for row in rows]
    data = "".join(map(str.__add__, lines, newlines)).encode()
    index = index_records(data, DIALECT)
    parsed = [
        row
        for text in texts(data, index)
        for row in csv.reader(io.StringIO(text.decode(), newline=""), strict=True)
    ]
    assert parsed == [[text for text, _ in row] for row in rows]
    assert index.malformed == ()


def written(field: tuple[str, bool]) -> str:
    text, is_quoted = field
    if is_quoted or set(text) & set(',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def test_records_are_found_without_their_line_ends() -> None:
    data = b'a,1\r\n"b\nc",2\n\n d,3'
    index = index_records(data, DIALECT)
    assert texts(data, index) == [b"a,1", b'"b\nc",2', b" d,3"]
    assert index.lines.tolist() == [0, 1, 4]


@pytest.mark.parametrize(
    ("record", "kind", "offset"),
    [
        (b'5" pipe,b', "stray_quote", 1),
        (b'a, "b"', "stray_quote", 3),
        (b'a,b"', "stray_quote", 3),
        (b'"a" ,b', "junk_after_quote", 3),
        (b'"a"b"c",d', "junk_after_quote", 3),
        (b'5" x,"a"b', "stray_quote", 1),
        (b'a,"b', "unclosed_quote", 2),
        (b'a,"b"",c', "unclosed_quote", 2),
        (b'5" x,"a', "unclosed_quote", 5),
    ],
)
def test_a_malformed_record_is_named_by_its_flaw(record: bytes, kind: str, offset: int) -> None:
    data = b"a,b\n" + record
    assert index_records(data, DIALECT).malformed == (Malformed(1, kind, 4 + offset),)
    assert count_clean(data, DIALECT) is None


@pytest.mark.parametrize(
    "record",
    [b'""', b'"",', b'"a""b"', b'""""', b'"\n"', b'"a","b"', b"'a' b"],
    ids=repr,
)
def test_a_well_formed_record_has_no_flaw(record: bytes) -> None:
    assert index_records(record + b"\n", DIALECT).malformed == ()
    count = count_clean(record + b"\n", DIALECT)
    assert count is not None
    assert count.records == 1


def test_an_unclosed_quote_costs_only_its_own_record() -> None:
    data = b'1,a\n2,"b\n3,c\r\n4,""\n5,5""\n'
    index = index_records(data, DIALECT)
    assert texts(data, index) == [b"1,a", b'2,"b', b"3,c", b'4,""', b'5,5""']
    assert index.lines.tolist() == [0, 1, 2, 3, 4]
    assert [each.kind for each in index.malformed] == ["unclosed_quote", "stray_quote"]
    assert index.recovered == 3


def test_lines_quoted_before_the_unclosed_quote_stay_in_its_record() -> None:
    data = b'"1\n2","a\n3,b\n'
    index = index_records(data, DIALECT)
    assert texts(data, index) == [b'"1\n2","a', b"3,b"]
    assert index.lines.tolist() == [0, 2]


@pytest.mark.parametrize("tile_bytes", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("max_guesses", [0, 3])
@pytest.mark.parametrize(
    "data",
    [
        b'a""b"\n"c""d"\n',
        b'"a""",b"\n"c"',
        b'a",""\nb"""\n"',
        b'"a\r\nb"\r\nc\r\n\r\n',
        b'"a"""b"",c\r',
        b'"aaaaa""b"c"\n',
        b"ab\n\rc",
    ],
    ids=repr,
)
def test_the_position_of_tiles_does_not_change_the_result(
    data: bytes, max_guesses: int, tile_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = index_records(data, DIALECT)
    monkeypatch.setattr(scanning, "TILE_BYTES", tile_bytes)
    monkeypatch.setattr(scanning, "_MAX_GUESSES", max_guesses)
    index = index_records(data, DIALECT)
    assert texts(data, index) == texts(data, whole)
    assert index.malformed == whole.malformed


def test_empty_data_has_no_records() -> None:
    index = index_records(b"", DIALECT)
    assert (len(index), index.malformed, index.recovered) == (0, (), 0)
    assert count_clean(b"", DIALECT) == (0, 0)


def test_the_dialect_sets_delimiter_and_quote() -> None:
    dialect = Dialect(delimiter="|", quote="'", header=False)
    data = b"'a|\nb'|\"\n|'c\n"
    index = index_records(data, dialect)
    assert texts(data, index) == [b"'a|\nb'|\"", b"|'c"]
    assert index.malformed == (Malformed(1, "unclosed_quote", 10),)


@of_each_real_file
def test_a_real_file_has_the_rows_that_the_csv_module_reads(path: Path) -> None:
    data = path.read_bytes()
    splitter = Splitter(DIALECT, chunk_bytes=250_000)
    first, *_ = splitter.feed(data) + splitter.finish()
    chunk = data[first.first_byte : first.end_byte]
    rows = [row for row in csv.reader(io.StringIO(chunk.decode("latin-1"), newline="")) if row]
    assert [
        row
        for text in texts(chunk, index_records(chunk, DIALECT))
        for row in csv.reader(io.StringIO(text.decode("latin-1"), newline=""))
    ] == rows


def test_very_many_lines_after_an_unclosed_quote_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(records, "MAX_CHUNK_RECORDS", 3)
    assert len(index_records(b'"a\n' + b"1\n" * 3, Dialect(header=False))) == 4
    with pytest.raises(RecordTooLongError, match="a quote is not closed, and more than 3 lines"):
        index_records(b'"a\n' + b"1\n" * 4, Dialect(header=False))


@pytest.mark.parametrize(
    "line", [b"#\n", b"\xef\xbb\xbf" * 9 + b"#\n", b"#\\\n"], ids=["short", "marked", "escaped"]
)
def test_comments_are_found_in_linear_time(line: bytes) -> None:
    dialect = Dialect(header=False, comment="#", escape="\\")
    began = time.monotonic()
    assert len(index_records(line * 100_000 + b"1,2\n", dialect)) == 1
    assert time.monotonic() - began < 5


def test_comments_inside_of_quotes_are_found_in_linear_time() -> None:
    data = b'1,"\n#"\n#\n' * 50_000
    began = time.monotonic()
    assert len(index_records(data, Dialect(header=False, comment="#"))) == 50_000
    assert time.monotonic() - began < 5


def test_marks_before_a_record_are_found_in_linear_time() -> None:
    began = time.monotonic()
    assert len(index_records(b"\xef\xbb\xbf" * 300_000 + b'"1"\n', Dialect(header=False))) == 1
    assert time.monotonic() - began < 5
