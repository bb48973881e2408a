"""A small file parsed in a batch gives the rows and rejects that it gives alone."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.datasets.declarations import parse_document
from sluice.datasets.model import Dataset
from sluice.parsing.batch import parse_files
from sluice.parsing.parser import parse_chunk
from sluice.parsing.small_file import SmallFile, read_small_file

DOCUMENT: dict[str, Any] = {
    "name": "things",
    "description": "Things.",
    "columns": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "name", "type": "text"},
        {"name": "first", "type": "text", "dictionary": True},
    ],
    "cluster": ["first"],
    "rollups": {
        "names": "-- Rows of each first.\n-- key: first\n-- measure value: sum\n"
        "WITH texts AS (SELECT first FROM rows)\nSELECT first, count(*) AS value FROM texts GROUP BY ALL"
    },
}
THINGS = parse_document(DOCUMENT)
PLAIN = {**DOCUMENT, "columns": [*DOCUMENT["columns"][:2], {"name": "first", "type": "text"}]}
DATASETS = {
    "with a dictionary": THINGS,
    "without": parse_document(PLAIN),
    "unordered": parse_document({**PLAIN, "cluster": []}),
}
HEADER = b"id,name,first\n"
USUAL = HEADER + b"1,one,a\n2,two,b\n"
FILES = {
    "usual": USUAL,
    "no line end at the end": USUAL[:-1],
    "byte order mark": b"\xef\xbb\xbf" + USUAL,
    "line end in quotes": HEADER + b'1,"two\nlines",a\nx,"two\nlines",a\n3,three,a\n',
    "quotes in quotes": HEADER + b'1,"one ""two""",a\n2,two,b\n',
    "utf-8": HEADER + "1,\u017di\u017ekov,\u00e4\n".encode(),
    "rejects at both ends": HEADER + b"x,one,a\n2,two,b\ny,three,c\n",
    "rows that make up for each other": HEADER + b"1,one\n2,two,b,c\n3,three,c\n",
    "rejects alone": HEADER + b"x,one,a\n",
    "nothing in a dictionary": HEADER + b"1,one,\n2,,\n",
}
COPY_HEADER_BYTES = 19
#: Files that cannot be parsed in a batch.
UNUSUAL = {
    "cr": USUAL.replace(b"\n", b"\r"),
    "blank line at the end": USUAL + b"\n",
    "blank line first": HEADER + b"\n1,one,a\n",
    "stray quote": HEADER + b'1,so"so,a\n',
    "junk after a quote": HEADER + b'1,"so"so,a\n',
    "open quote": HEADER + b'1,"open,a\n2,two,b\n',
    "short row": HEADER + b"1,one\n2,two,b\n",
    "nul": HEADER + b"1,nul\0,a\n",
    "cp1252": HEADER + "1,\u017di\u017ekov,\u00e4\n".encode("cp1252"),
    "not utf-8": HEADER + b"1,\xff,a\n" + "2,\u017e,a\n".encode(),
    "header alone": HEADER,
}


def small_file(data: bytes, dataset: Dataset) -> SmallFile:
    found = read_small_file(data, dataset)
    assert found is not None
    return found


def tuples(stream: bytes) -> list[list[bytes | None]]:
    """Return the rows of a binary COPY, sorted: the order does not say how equal rows follow each other."""
    at, rows = COPY_HEADER_BYTES, []
    while (count := int.from_bytes(stream[at : at + 2], signed=True)) >= 0:
        at += 2
        row: list[bytes | None] = []
        for _ in range(count):
            size = int.from_bytes(stream[at : at + 4], signed=True)
            at += 4
            row.append(stream[at : at + size] if size >= 0 else None)
            at += max(size, 0)
        rows.append(row)
    return sorted(rows, key=str)


@pytest.mark.parametrize("data", FILES.values(), ids=FILES.keys())
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS.keys())
def test_a_file_in_a_batch_gives_what_it_gives_alone(
    data: bytes, line_end: bytes, dataset: Dataset
) -> None:
    others = (USUAL, HEADER + b"7,seven,g\nz,eight,h\n", HEADER + b"9,nine,i\n")
    before, between, after, own = (
        small_file(each.replace(b"\n", line_end), dataset) for each in (*others, data)
    )
    rollup = dataset.rollups[0]
    with parse_files([before, own, between, own, after], dataset) as parsed:
        codes = {
            each.name: {text: number for number, text in enumerate(parsed.chunk.texts(each.name))}
            for each in dataset.dictionaries
        }
        counted = parsed.encode(codes)
        parsed.assign([None, 1, None, None, None])
        rows = b"".join(parsed.copy_rows(1024)[1])
        part = b"".join(parsed.copy_rollup(rollup, 1024)[1])
    place = {"first_line": own.cut.first_line, "first_record": own.cut.first_record}
    with parse_chunk(own.data, dataset, own.layout, **place) as alone:
        alone.encode(codes)
        assert counted[1] == counted[3]
        assert (counted[1].rows, counted[1].rejects) == (len(alone.rows), alone.rejects)
        assert tuples(rows) == tuples(b"".join(alone.copy_rows(1, 1024)[1]))
        assert tuples(part) == tuples(b"".join(alone.copy_rollup(rollup, 1, 1024)[1]))


@pytest.mark.parametrize("data", UNUSUAL.values(), ids=UNUSUAL.keys())
def test_a_file_with_malformed_records_is_not_parsed_in_a_batch(data: bytes) -> None:
    assert read_small_file(data, THINGS) is None
