"""Chunks start and end at record boundaries, for any content and any block size."""

from __future__ import annotations

import csv
import io
from dataclasses import astuple
from typing import TYPE_CHECKING

import csv_automaton
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from real_files import DATA, needs_real_files, of_each_real_file
from sluice.csv import scanning, splitting
from sluice.csv.cuts import Cut
from sluice.csv.dialects import Dialect
from sluice.csv.records import index_records
from sluice.csv.splitting import BOM, MAX_HEADER_BYTES, Splitter
from sluice.errors import HeaderMismatchError

if TYPE_CHECKING:
    from pathlib import Path

WITH_HEADER, WITHOUT_HEADER = Dialect(), Dialect(header=False)
a_property = settings(max_examples=60)
csv_like = st.lists(
    st.sampled_from(
        [b"a", b",", b'"', b'"', b'a"', b'""', b'","', b"\n", b"\r", b"\r\n", b'"\n",z\n']
    ),
    max_size=30,
).map(b"".join)
files = st.builds(bytes.__add__, st.sampled_from([b"", b"", BOM, BOM[:2]]), csv_like)


def split(
    data: bytes, dialect: Dialect = WITHOUT_HEADER, chunk_bytes: int = 1, block_bytes: int = 1 << 20
) -> list[Cut]:
    return feed(Splitter(dialect, chunk_bytes), data, block_bytes)


def feed(splitter: Splitter, data: bytes, block_bytes: int = 1 << 20) -> list[Cut]:
    cuts = []
    for start in range(0, len(data), block_bytes):
        cuts += splitter.feed(data[start : start + block_bytes])
    return cuts + splitter.finish()


def pieces(data: bytes, cuts: list[Cut]) -> list[bytes]:
    return [data[cut.first_byte : cut.end_byte] for cut in cuts]


def records(data: bytes) -> list[bytes]:
    index = index_records(data, WITHOUT_HEADER)
    return [data[start:end] for start, end in zip(index.starts, index.ends, strict=True)]


@given(
    data=files,
    header=st.booleans(),
    chunk_bytes=st.integers(1, 40),
    block_bytes=st.integers(1, 40),
    tile_bytes=st.sampled_from([1, 2, 3, 7, 64, 4096]),
    max_guesses=st.sampled_from([0, 3]),
)
@example(data=b"", header=True, chunk_bytes=1, block_bytes=1, tile_bytes=1, max_guesses=0)
@example(data=b"\n\n", header=True, chunk_bytes=1, block_bytes=1, tile_bytes=1, max_guesses=0)
@a_property
def test_chunks_are_those_of_the_automaton_run_byte_by_byte(
    data: bytes, header: bool, chunk_bytes: int, block_bytes: int, tile_bytes: int, max_guesses: int
) -> None:
    expected = csv_automaton.split(data, header=header, chunk_bytes=chunk_bytes)
    splitter = Splitter(Dialect(header=header), chunk_bytes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "TILE_BYTES", tile_bytes)
        patch.setattr(scanning, "_MAX_GUESSES", max_guesses)
        cuts = feed(splitter, data, block_bytes)
    assert [astuple(cut)[1:] for cut in cuts] == expected.chunks
    assert [cut.number for cut in cuts] == list(range(len(cuts)))
    assert (splitter.header, splitter.header_end) == (expected.header, expected.header_end)
    assert splitter.position == len(data)
    assert splitter.records == sum(cut.records for cut in cuts)


@given(data=files, chunk_bytes=st.integers(1, 40))
@a_property
def test_splitting_and_joining_is_the_identity(data: bytes, chunk_bytes: int) -> None:
    splitter = Splitter(WITH_HEADER, chunk_bytes)
    cuts = feed(splitter, data)
    assert data[: splitter.header_end] + b"".join(pieces(data, cuts)) == data


@given(data=csv_like, chunk_bytes=st.integers(1, 40))
@a_property
def test_parsing_chunks_gives_the_rows_of_the_file(data: bytes, chunk_bytes: int) -> None:
    cuts = split(data, chunk_bytes=chunk_bytes)
    by_chunk = [
        (cut.first_byte + start, cut.first_byte + end, cut.first_line + line)
        for cut in cuts
        for start, end, line in csv_automaton.index(data[cut.first_byte : cut.end_byte]).records
    ]
    assert by_chunk == [(s, e, line + 1) for s, e, line in csv_automaton.index(data).records]


@given(data=files, chunk_bytes=st.integers(1, 9), known=st.integers(0, 40), header=st.booleans())
@a_property
def test_a_split_resumed_after_any_chunk_finds_the_same_chunks(
    data: bytes, chunk_bytes: int, known: int, header: bool
) -> None:
    dialect = Dialect(header=header)
    cuts = split(data, dialect, chunk_bytes)
    if cuts:
        last = cuts[known % len(cuts)]
        resumed = Splitter.resume(dialect, last, chunk_bytes)
        assert feed(resumed, data[last.end_byte :], 3) == cuts[last.number + 1 :]
        assert resumed.records == sum(cut.records for cut in cuts)


@given(
    rows=st.lists(st.lists(st.text('ab,"\r\n é', max_size=6), min_size=2, max_size=3), max_size=8),
    newline=st.sampled_from(["\n", "\r", "\r\n"]),
    chunk_bytes=st.integers(1, 60),
)
@a_property
def test_the_csv_module_reads_the_same_rows_and_lines(
    rows: list[list[str]], newline: str, chunk_bytes: int
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=newline, quoting=csv.QUOTE_ALL).writerows(rows)
    data = text.getvalue().encode()
    lines = []
    reader = csv.reader(io.StringIO(text.getvalue(), newline=""))
    for _ in rows:
        lines.append(reader.line_num + 1)
        next(reader)
    cuts = split(data, chunk_bytes=chunk_bytes)
    parsed, starts = [], []
    for cut, piece in zip(cuts, pieces(data, cuts), strict=True):
        parsed += csv.reader(io.StringIO(piece.decode(), newline=""))
        starts += [
            cut.first_line + int(line) for line in index_records(piece, WITHOUT_HEADER).lines
        ]
    assert parsed == rows
    assert starts == lines


def test_a_quoted_newline_stays_in_one_record() -> None:
    data = b'1,"two\nlines"\n2,b\n'
    assert pieces(data, split(data)) == [b'1,"two\nlines"\n', b"2,b\n"]


def test_a_doubled_quote_before_a_newline_does_not_end_the_field() -> None:
    data = b'1,"say ""yes""\nor no"\n2,b\n'
    assert pieces(data, split(data)) == [b'1,"say ""yes""\nor no"\n', b"2,b\n"]


def test_a_stray_quote_does_not_join_records() -> None:
    data = b'1,5" pipe\n2,b\n3,c\n'
    assert pieces(data, split(data)) == [b'1,5" pipe\n', b"2,b\n", b"3,c\n"]


def test_many_stray_quotes_in_one_tile_do_not_join_records() -> None:
    lines = [b'%d,5" pipe,"a\nb",""\n' % number for number in range(50)]
    assert pieces(b"".join(lines), split(b"".join(lines))) == lines


def test_a_quote_in_junk_after_a_quoted_field_does_not_reopen_it() -> None:
    data = b'"a"b"c\nd\n'
    assert pieces(data, split(data)) == [b'"a"b"c\n', b"d\n"]


@pytest.mark.parametrize("newline", [b"\n", b"\r", b"\r\n"], ids=["lf", "cr", "crlf"])
def test_each_line_end_ends_a_record(newline: bytes) -> None:
    data = newline.join([b"a,b", b"c,d", b""])
    assert pieces(data, split(data)) == [b"a,b" + newline, b"c,d" + newline]


def test_line_ends_may_be_mixed_in_one_file() -> None:
    data = b"a\nb\rc\r\nd\n\r\ne"
    cuts = split(data)
    assert pieces(data, cuts) == [b"a\n", b"b\r", b"c\r\n", b"d\n", b"\r\n", b"e"]
    assert [cut.first_line for cut in cuts] == [1, 2, 3, 4, 5, 6]
    assert [cut.records for cut in cuts] == [1, 1, 1, 1, 0, 1]


def test_crlf_across_two_blocks_is_one_line_end() -> None:
    splitter = Splitter(WITHOUT_HEADER, 1)
    cuts = splitter.feed(b"a\r") + splitter.feed(b"\nb\r") + splitter.feed(b"c") + splitter.finish()
    assert [(cut.first_byte, cut.end_byte, cut.first_line) for cut in cuts] == [
        (0, 3, 1),
        (3, 5, 2),
        (5, 6, 3),
    ]


@pytest.mark.parametrize("block_bytes", [1, 2, 3, 100])
def test_the_bom_belongs_to_no_record(block_bytes: int) -> None:
    data = BOM + b'"a\nb",c\n1,2\n'
    splitter = Splitter(WITH_HEADER)
    (cut,) = feed(splitter, data, block_bytes)
    assert splitter.header == b'"a\nb",c'
    assert pieces(data, [cut]) == [b"1,2\n"]


def test_without_a_header_the_first_chunk_starts_after_the_bom() -> None:
    splitter = Splitter(WITHOUT_HEADER)
    (cut,) = feed(splitter, BOM + b"1,2\n")
    assert cut.first_byte == splitter.header_end == len(BOM)


def test_the_last_record_needs_no_line_end() -> None:
    (cut,) = split(b"a,b\n1,2", WITH_HEADER, 100)
    assert (cut.end_byte, cut.records, cut.lines) == (7, 1, 1)


def test_blank_lines_count_as_lines_but_not_as_records() -> None:
    splitter = Splitter(WITH_HEADER)
    (cut,) = feed(splitter, b"\n\na,b\n\n\n1,2\n\r\n3,4\n\n")
    assert splitter.header == b"a,b"
    assert (cut.first_line, cut.records, cut.lines) == (4, 2, 6)


def test_a_resumed_split_continues_numbers_lines_and_records() -> None:
    cuts = split(b'h\n1,"a\nb"\n2,c\n', WITH_HEADER)
    resumed = Splitter.resume(WITH_HEADER, cuts[0], 1)
    assert feed(resumed, b"2,c\n") == [cuts[1]] == [Cut(1, 10, 14, 4, 1, 1, 1)]


def test_after_an_unclosed_quote_the_rest_is_one_record() -> None:
    data = b'1,a\n2,"b\n3,c\n4,d\n'
    cuts = split(data)
    assert pieces(data, cuts) == [b"1,a\n", b'2,"b\n3,c\n4,d\n']
    assert (cuts[1].records, cuts[1].lines) == (1, 3)


@pytest.mark.parametrize(
    ("chunk_bytes", "sizes"),
    [(3, [4, 4, 4]), (4, [4, 4, 4]), (7, [4, 4, 4]), (8, [8, 4]), (11, [8, 4]), (12, [12])],
)
def test_a_chunk_ends_at_the_last_record_end_within_its_size(
    chunk_bytes: int, sizes: list[int]
) -> None:
    cuts = split(b"1,a\n2,b\n3,c\n", chunk_bytes=chunk_bytes)
    assert [cut.end_byte - cut.first_byte for cut in cuts] == sizes


def test_a_record_larger_than_a_chunk_makes_a_larger_chunk() -> None:
    data = b"1,a\n2," + b"x" * 100 + b"\n3,c\n"
    assert [len(piece) for piece in pieces(data, split(data, chunk_bytes=8))] == [4, 103, 4]


def test_the_first_chunk_is_known_while_the_file_is_being_read() -> None:
    splitter = Splitter(WITH_HEADER, 8)
    assert splitter.feed(b"a,b\n1,2\n3,4\n") == []
    assert splitter.header == b"a,b"
    (first,) = splitter.feed(b"5,6\n")
    assert (first.first_byte, first.end_byte, first.first_line) == (4, 12, 2)


def test_lines_inside_quotes_count() -> None:
    data = b'h\n"a\r\nb\rc\nd"\ne\n'
    assert [cut.first_line for cut in split(data, WITH_HEADER)] == [2, 6]


@pytest.mark.parametrize(
    ("data", "header", "header_end"),
    [(b"", None, 0), (BOM, None, 3), (b"\n\r\n", None, 3), (b"a,b", b"a,b", 3), (b"a\n", b"a", 2)],
    ids=["empty", "bom", "blank", "no line end", "header"],
)
def test_a_file_without_rows_has_no_chunks(
    data: bytes, header: bytes | None, header_end: int
) -> None:
    splitter = Splitter(WITH_HEADER)
    assert feed(splitter, data) == []
    assert (splitter.header, splitter.header_end) == (header, header_end)


def test_the_dialect_sets_delimiter_and_quote() -> None:
    data = b"1;'a\nb';\"\n2;c,'d\n"
    dialect = Dialect(delimiter=";", quote="'", header=False)
    assert pieces(data, split(data, dialect)) == [b"1;'a\nb';\"\n", b"2;c,'d\n"]


def test_an_endless_header_is_refused_without_being_buffered() -> None:
    splitter = Splitter(WITH_HEADER)
    splitter.feed(b'"' + b"a\n" * (MAX_HEADER_BYTES // 2 - 1))
    with pytest.raises(HeaderMismatchError, match=r"line 1: the header is longer .* unclosed"):
        splitter.feed(b"a\n")


@pytest.mark.parametrize("block_bytes", [1, 7, 100, 10_000])
@pytest.mark.parametrize("chunk_bytes", [1, 50, 500, 10_000])
def test_a_quote_open_for_too_long_ends_its_record_and_a_chunk(
    block_bytes: int, chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splitting, "MAX_RECORD_BYTES", 300)
    lines = [b"%d,plain\r\n" % number for number in range(60)]
    lines[7] = b'7,"open\r\n'
    lines[8] = b'8,""\r\n'
    lines[45] = b'45,"two\r\nlines","open\r\n'
    data = b"".join(lines)
    splitter = Splitter(WITHOUT_HEADER, chunk_bytes)
    cuts = feed(splitter, data, block_bytes)
    chunks = pieces(data, cuts)
    assert b"".join(chunks) == data
    indexes = [index_records(each, WITHOUT_HEADER) for each in chunks]
    assert [cut.records for cut in cuts] == [len(each) - each.recovered for each in indexes]
    assert splitter.records == sum(map(len, indexes)) - sum(each.recovered for each in indexes)
    found = [
        (cut.first_line + int(line), each[start:end])
        for cut, each, index in zip(cuts, chunks, indexes, strict=True)
        for start, end, line in zip(index.starts, index.ends, index.lines, strict=True)
    ]
    assert [record for _, record in found] == [line[:-2] for line in lines]
    assert [line for line, _ in found] == [*range(1, 47), *range(48, 62)]
    flaws = [each.kind for index in indexes for each in index.malformed]
    assert flaws == ["unclosed_quote", "unclosed_quote"]
    assert all(len(each) <= max(chunk_bytes, 300) for each in chunks)


def test_a_split_resumed_after_an_unclosed_quote_finds_the_same_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(splitting, "MAX_RECORD_BYTES", 100)
    data = b"1,a\n" + b'2,"open\n' + b"3,c\n" * 100
    cuts = split(data, chunk_bytes=40)
    for known in cuts:
        resumed = Splitter.resume(WITHOUT_HEADER, known, 40)
        assert feed(resumed, data[known.end_byte :], 10) == cuts[known.number + 1 :]


def test_a_chunk_size_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Splitter(WITH_HEADER, 0)


@needs_real_files
def test_the_titles_have_fewer_records_than_lines() -> None:
    data = (DATA / "titles" / "netflix_titles.csv").read_bytes()
    cuts = split(data, WITH_HEADER, 100_000)
    assert sum(cut.records for cut in cuts) == 8_807
    assert cuts[-1].first_line + cuts[-1].lines - 1 == 8_810
    assert len(cuts) == 35


@of_each_real_file
def test_a_real_file_gives_the_same_records_at_any_size(path: Path) -> None:
    data = path.read_bytes()
    whole = records(data.removeprefix(BOM))
    for chunk_bytes, block_bytes in ((len(data) // 50 + 1, 65_521), (1_000_003, 999_983)):
        cuts = split(data, WITHOUT_HEADER, chunk_bytes, block_bytes)
        assert [record for piece in pieces(data, cuts) for record in records(piece)] == whole
        assert [cut.first_record for cut in cuts[1:]] == [
            cut.first_record + cut.records for cut in cuts[:-1]
        ]


@pytest.mark.parametrize("block_bytes", [1, 3, 7, 1 << 20])
@pytest.mark.parametrize("line", [b"1\n", b"\n1\n", b'"1"\n'], ids=["plain", "blank", "quoted"])
def test_a_chunk_has_no_more_records_than_a_loader_has_memory_for(
    line: bytes, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splitting, "MAX_CHUNK_RECORDS", 4)
    cuts = split(line * 10, chunk_bytes=1000, block_bytes=block_bytes)
    assert [cut.records for cut in cuts] == [4, 4, 2]
    assert b"".join(pieces(line * 10, cuts)) == line * 10


def test_a_chunk_ends_at_its_last_byte_before_its_last_record() -> None:
    assert [cut.records for cut in split(b"1\n" * 10, chunk_bytes=6)] == [3, 3, 3, 1]
