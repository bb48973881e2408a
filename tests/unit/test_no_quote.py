"""A dataset may declare that there is no quote character: then every quote is part of a value."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sluice.csv.dialects import Dialect
from sluice.csv.splitting import Splitter
from sluice.datasets.declarations import parse_document
from sluice.parsing.layout import lay_out
from sluice.parsing.parser import parse_chunk

DATASET = parse_document(
    {
        "name": "notes",
        "delimiter": "\t",
        "quote": "",
        "columns": [
            {"name": "who", "type": "text"},
            {"name": "note", "type": "text", "trim": False},
        ],
    }
)
LAYOUT = lay_out(DATASET, b"who\tnote")


def rows_of(data: bytes) -> tuple[list[tuple[str | None, str | None]], int]:
    with parse_chunk(data, DATASET, LAYOUT, first_line=2, first_record=0) as parsed:
        rows = [(row["who"], row["note"]) for row in parsed.rows.to_pylist()]
        return rows, len(parsed.rejects)


def test_quotes_are_text_wherever_they_are() -> None:
    lines = ['ann\t"x', 'bob\t"quoted"', 'cat\t5" pipe', 'dan\t""', 'eve\t"a""b" c', '"\tplain']
    rows, rejects = rows_of("\n".join(lines).encode())
    assert rejects == 0
    assert rows == [tuple(line.split("\t")) for line in lines]


def test_only_the_record_with_too_many_fields_is_rejected() -> None:
    rows, rejects = rows_of(b'ann\t"a\tb"\nbob\t"c\n')
    assert (rows, rejects) == ([("bob", '"c')], 1)


@given(st.lists(st.text('"a \\\r\n\t,\ufeffé', max_size=6), max_size=12), st.integers(1, 20))
def test_lines_are_split_at_line_ends_only(cells: list[str], chunk_bytes: int) -> None:
    data = "\t".join(cells).encode()
    splitter = Splitter(Dialect("\t", "", header=False), chunk_bytes)
    cuts = [*splitter.feed(data), *splitter.finish()]
    ends = {0, *(cut.end_byte for cut in cuts)}
    assert not cuts or cuts[-1].end_byte == len(data)
    assert all(data[end - 1 : end] in (b"\r", b"\n", b"") or end in (len(data), 3) for end in ends)
    text = data.decode().replace("\r\n", "\n").replace("\r", "\n")
    records = [line for line in text.removeprefix("\ufeff").split("\n") if line.strip("\ufeff")]
    assert sum(cut.records for cut in cuts) >= len(records)
