"""Files of every dialect are split and indexed as the automaton reads them, for any content and any size."""

from __future__ import annotations

import json
from dataclasses import astuple, replace
from typing import TYPE_CHECKING, Any

import csv_automaton
import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from sluice.csv import masking, scanning, splitting
from sluice.csv.dialects import Dialect
from sluice.csv.records import count_clean, index_records
from sluice.csv.splitting import BOM, Splitter
from sluice.csv.writing import RecordWriter, UnwritableError
from sluice.datasets.declarations import parse_document
from sluice.errors import RecordTooLongError
from sluice.parsing.layout import lay_out
from sluice.parsing.parser import parse_chunk

if TYPE_CHECKING:
    from sluice.csv.rejects import Reject

a_property = settings(max_examples=100)
dialects = st.builds(
    Dialect,
    delimiter=st.sampled_from([",", "||", "|~|", ", ", "\t", " ", "¦", "aa-"]),
    quote=st.sampled_from(['"', '"', '"', "'", ""]),
    escape=st.sampled_from(["", "\\", "!"]),
    comment=st.sampled_from(["", "#", "//"]),
    skip_lines=st.sampled_from([0, 0, 1, 3]),
    footer_lines=st.sampled_from([0, 0, 1, 2]),
    header=st.just(True),
    header_lines=st.sampled_from([1, 1, 2, 3]),
    spaces_around_quotes=st.booleans(),
    trailing_delimiter=st.booleans(),
)
CONTROLS = [b"\x00", b"\x01", b"\x02", b"\x03", b"\x04", b"\x05"]
LINE_ENDS = [b"\n", b"\r", b"\r\n"]


@st.composite
def files(draw: st.DrawFn, dialect: Dialect) -> bytes:
    """Bytes of a file that has many marks of a dialect."""
    quote, escape = dialect.quote_byte or b'"', dialect.escape_byte or b"\\"
    delimiter = dialect.delimiter_byte
    tokens = [
        *(b"a", delimiter, delimiter, quote, quote, escape, escape + b"N", b" ", b"\t", b"  "),
        *(quote + delimiter + quote, quote + quote, delimiter + b" " + quote, delimiter[:1]),
        *(b"#", b"//", b"\n#", BOM, b"\n" + BOM, b"\n", *LINE_ENDS, *CONTROLS),
        *(escape + end for end in LINE_ENDS),
    ]
    return b"".join(draw(st.lists(st.sampled_from(tokens), max_size=30)))


def feed(splitter: Splitter, data: bytes, block_bytes: int) -> list[tuple[int, ...]]:
    cuts = []
    for start in range(0, len(data), block_bytes):
        cuts += splitter.feed(data[start : start + block_bytes])
    return [astuple(cut)[1:] for cut in cuts + splitter.finish()]


@given(
    data=st.data(),
    dialect=dialects,
    width=st.sampled_from([None, 1, 2, 3]),
    tile_bytes=st.sampled_from([1, 2, 3, 7, 64, 4096]),
)
@a_property
def test_the_index_is_that_of_the_automaton(
    data: st.DataObject, dialect: Dialect, width: int | None, tile_bytes: int
) -> None:
    content = data.draw(files(dialect))
    expected = csv_automaton.index(content, width, dialect)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "TILE_BYTES", tile_bytes)
        patch.setattr(masking, "_WINDOW_BYTES", tile_bytes)
        index = index_records(content, dialect, width)
        clean = count_clean(content, dialect)
    found = zip(index.starts.tolist(), index.ends.tolist(), index.lines.tolist(), strict=True)
    assert list(found) == expected.records
    assert list(map(tuple, index.malformed)) == expected.malformed
    assert index.recovered == expected.recovered
    parsed = csv_automaton.parse(content, dialect)
    counts = (len(parsed.records), parsed.delimiters)
    assert clean == (None if parsed.malformed else counts)


@given(
    data=st.data(),
    dialect=dialects,
    header=st.booleans(),
    chunk_bytes=st.integers(1, 40),
    block_bytes=st.integers(1, 40),
    tile_bytes=st.sampled_from([1, 2, 3, 7, 64, 4096]),
)
@a_property
def test_the_chunks_are_those_of_the_automaton(
    data: st.DataObject,
    dialect: Dialect,
    header: bool,
    chunk_bytes: int,
    block_bytes: int,
    tile_bytes: int,
) -> None:
    content = data.draw(files(dialect))
    dialect = replace(dialect, header=header, header_lines=dialect.header_lines if header else 1)
    expected = csv_automaton.split(content, header=header, chunk_bytes=chunk_bytes, dialect=dialect)
    splitter = Splitter(dialect, chunk_bytes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "TILE_BYTES", tile_bytes)
        patch.setattr(masking, "_WINDOW_BYTES", tile_bytes)
        chunks = feed(splitter, content, block_bytes)
    assert chunks == expected.chunks
    assert (splitter.header, splitter.header_end) == (expected.header, expected.header_end)
    skipped = splitter.skipped
    assert splitter.position + skipped.footer_bytes == len(content)


@given(data=st.data(), dialect=dialects, chunk_bytes=st.integers(1, 40))
@a_property
def test_chunks_hold_the_records_and_lines_of_the_file(
    data: st.DataObject, dialect: Dialect, chunk_bytes: int
) -> None:
    content = data.draw(files(dialect))
    dialect = replace(dialect, header=False, header_lines=1, skip_lines=0, footer_lines=0)
    while content.startswith(BOM):
        content = content.removeprefix(BOM)
    whole = index_records(content, dialect)
    splitter = Splitter(dialect, chunk_bytes)
    places = []
    for cut in [*splitter.feed(content), *splitter.finish()]:
        index = index_records(content[cut.first_byte : cut.end_byte], dialect)
        assert cut.records == len(index) - index.recovered
        places += [
            (cut.first_byte + s, cut.first_line + n)
            for s, n in zip(index.starts, index.lines, strict=True)
        ]
    assert places == [(s, n + 1) for s, n in zip(whole.starts, whole.lines, strict=True)]


texts = st.text(
    st.sampled_from(list("ab1N|~,;\t '\"\\!#/¦é-\ufeff\r\n\x01\x02\x03\x04\x05\x1e\x1f")),
    max_size=6,
)
tables = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(texts, min_size=width, max_size=width), max_size=6)
)


@given(table=tables, dialect=dialects, header=st.booleans(), chunk_bytes=st.integers(1, 60))
@a_property
def test_a_table_of_any_text_is_read_back_equal(
    table: list[list[str]], dialect: Dialect, header: bool, chunk_bytes: int
) -> None:
    assume(table)
    dialect = replace(dialect, header=header, header_lines=dialect.header_lines if header else 1)
    names = [f"c{number}" for number in range(len(table[0]))]
    writer = RecordWriter(dialect)
    try:
        content = (
            writer.head(names if header else None) + writer.records(table) + writer.foot()
        ).encode()
    except UnwritableError:
        reject()
    rows, rejects = read(content, dialect, names, chunk_bytes)
    assert rejects == []
    assert rows == [[cell or None for cell in row] for row in table]


@given(
    table=st.lists(st.lists(texts, min_size=1, max_size=5), min_size=1, max_size=6),
    width=st.integers(1, 3),
    dialect=dialects,
    chunk_bytes=st.integers(1, 60),
)
@a_property
def test_no_field_of_a_ragged_table_is_lost_where_they_are_rescued(
    table: list[list[str]], width: int, dialect: Dialect, chunk_bytes: int
) -> None:
    dialect = replace(dialect, header_lines=1)
    assume(dialect.quote or width > 1)  # else an empty field alone is a blank line
    names = [f"c{number}" for number in range(width)]
    writer = RecordWriter(dialect)
    try:
        content = (writer.head(names) + writer.records(table) + writer.foot()).encode()
    except UnwritableError:
        reject()
    rows, rejects = read(content, dialect, names, chunk_bytes, rescue=True, ragged="rescue")
    assert rejects == []
    for row, cells in zip(rows, table, strict=True):
        padded = [*cells, *[""] * (width - len(cells))]
        assert row[:width] == [cell or None for cell in padded[:width]]
        extra = {f"column_{n}": cell for n, cell in enumerate(padded, 1) if n > width and cell}
        assert (json.loads(row[width]) if row[width] else {}) == extra


@given(data=st.data(), dialect=dialects, width=st.sampled_from([1, 2, 3]))
@a_property
def test_the_values_are_those_of_the_automaton(
    data: st.DataObject, dialect: Dialect, width: int
) -> None:
    dialect = replace(dialect, header=False, header_lines=1, skip_lines=0, footer_lines=0)
    content = data.draw(files(dialect)).replace(BOM, b"").decode("utf-8", "ignore").encode()
    names = [f"c{number}" for number in range(width)]
    rows, rejects = read(content, dialect, names, 1 << 20)
    reference = csv_automaton.index(content, width, dialect)
    bad = {number for number, *_ in reference.malformed}
    expected, refused = [], []
    for number, (start, end, line) in enumerate(reference.records):
        record = content[start:end]
        cells = csv_automaton.fields(record, dialect)
        if dialect.trailing_delimiter and len(cells) == width + 1 and not cells[-1]:
            cells = cells[:-1] if record.endswith(dialect.delimiter_byte) else cells
        if number in bad or len(cells) != width or b"\0" in record:
            refused.append((record, line + 1))
        else:
            expected.append([(cell or b"").decode() or None for cell in cells])
    assert rows == expected
    assert [(each.original, each.line) for each in rejects] == refused


def read(
    content: bytes, dialect: Dialect, names: list[str], chunk_bytes: int, **policies: Any
) -> tuple[list[list[str | None]], list[Reject]]:
    """Return the rows and the rejects of a file, split and parsed."""
    columns = [{"name": name, "type": "text", "trim": False} for name in names]
    dataset = parse_document(
        {"name": "things", "columns": columns, **dialect.to_json(), **policies}
    )
    splitter = Splitter(dialect, chunk_bytes)
    cuts = [*splitter.feed(content), *splitter.finish()]
    layout = lay_out(dataset, splitter.header)
    rows: list[list[str | None]] = []
    rejects: list[Reject] = []
    for cut in cuts:
        piece = content[cut.first_byte : cut.end_byte]
        with parse_chunk(
            piece, dataset, layout, first_line=cut.first_line, first_record=cut.first_record
        ) as chunk:
            rows += [list(row.values()) for row in chunk.rows.to_pylist()]
            rejects += chunk.rejects
            assert chunk.records_read == cut.records + chunk.recovered
    return rows, rejects


def test_a_chunk_that_has_every_control_character_is_read_too() -> None:
    controls = "".join(map(chr, [*range(1, 10), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F]))
    content = f'a||{controls}||\\N\n"b""||"||c\\\nd||e\\||f\n'.encode()
    rows, rejects = read(
        content, Dialect("||", header=False, escape="\\"), ["x", "y", "z"], 1 << 20
    )
    assert rejects == []
    assert rows == [["a", controls, None], ['b"||', "c\nd", "e||f"]]


def test_a_pattern_of_comments_inside_and_outside_quotes_is_decided_line_by_line() -> None:
    lines = [
        b"# it's \"quoted\n1,a\n",
        b'2,"b\n# inside\n"\n',
        b'3,c\n#"\n#"\n4,"d\n#\n#"\n# \\\n',
    ]
    content = b"".join(lines) * 50
    splitter = Splitter(Dialect(header=False, comment="#"), 100)
    rows, rejects = read(content, Dialect(header=False, comment="#"), ["n", "text"], 100)
    assert rejects == []
    assert rows == [["1", "a"], ["2", "b\n# inside\n"], ["3", "c"], ["4", "d\n#\n#"]] * 50
    feed(splitter, content, 64)
    assert splitter.skipped.comment_bytes == 50 * len(b'# it\'s "quoted\n#"\n#"\n# \\\n')


def test_what_is_skipped_header_and_chunks_tile_the_file() -> None:
    content = BOM + b"Title\n\na,b\n1,2\n# note\n3,4\nTotal,2\n\n"
    splitter = Splitter(Dialect(skip_lines=2, footer_lines=2, comment="#"))
    (cut,) = [*splitter.feed(content), *splitter.finish()]
    assert splitter.header == b"a,b"
    assert splitter.skipped == (len(b"Title\n\n"), len(b"# note\n"), len(b"Total,2\n\n"))
    assert (cut.first_byte, cut.first_line, cut.records, cut.lines) == (
        splitter.header_end,
        4,
        2,
        3,
    )
    assert cut.end_byte == splitter.position == len(content) - splitter.skipped.footer_bytes


def test_a_file_shorter_than_its_preamble_and_footer_has_no_header() -> None:
    splitter = Splitter(Dialect(skip_lines=3, footer_lines=1))
    assert [*splitter.feed(b"a\nb"), *splitter.finish()] == []
    assert splitter.header is None


def test_the_lines_of_a_footer_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "MAX_RECORD_BYTES", 100)
    splitter = Splitter(Dialect(footer_lines=1))
    with pytest.raises(RecordTooLongError, match="the last 1 lines are longer than"):
        splitter.feed(b"a\n" + b"x" * 200)


@pytest.mark.parametrize(
    ("content", "dialect", "value"),
    [
        (b'1,"a\n\xef\xbb\xbfb"\n', Dialect(header=False), "a\n\ufeffb"),
        (b'1,"a""\n\xef\xbb\xbfb"\n', Dialect(header=False), 'a"\n\ufeffb'),
        (b"1,a\\\n\xef\xbb\xbfb\n", Dialect(header=False, escape="\\"), "a\n\ufeffb"),
        (b"1,\\N\\a\\\n\xef\xbb\xbfb\n", Dialect(header=False, escape="\\"), "Na\n\ufeffb"),
        (b"1,a\\\r\n\xef\xbb\xbfb\n", Dialect(header=False, escape="\\"), "a\r\n\ufeffb"),
    ],
)
def test_only_a_mark_before_a_record_is_dropped(
    content: bytes, dialect: Dialect, value: str
) -> None:
    joined = BOM + content + BOM + content + b'2,"' + BOM + b'"\n'
    rows, rejects = read(joined, dialect, ["n", "text"], 1 << 20)
    assert rejects == []
    assert rows == [["1", value], ["1", value], ["2", "\ufeff"]]
