"""With any size of chunks, a file gives the same rows, rejects and lines as in one chunk."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from real_files import DATA, needs_real_files

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flow import Flow

CASES = Path(__file__).parents[1] / "cases"
#: Sizes for the small samples: a few bytes up to more than the whole.
SIZES = (1, 13, 34, 80)
COLUMNS = ("id", "name", "note")

pytestmark = pytest.mark.flow(declared=None)


def declare_texts(flow: Flow, columns: tuple[str, ...], **changes: Any) -> None:
    """A dataset `texts` that keeps every cell as it is; `note` may not hold the word BAD."""
    check = {"sql": "note NOT LIKE '%BAD%' OR note IS NULL", "message": "is bad"}
    declared: list[dict[str, Any]] = [
        {"name": name.lower(), "header": name, "type": "text", "trim": False} for name in columns
    ]
    for each in declared:
        if each["name"] == "note":
            each["checks"] = [check]
    flow.declare({"name": "texts", "description": "Texts.", "columns": declared}, **changes)


def load(flow: Flow, data: bytes, chunk_bytes: int, name: str) -> tuple[list[Any], list[Any], int]:
    """Load a file in chunks of a size; return its rows, its rejects and the number of chunks."""
    cutter = flow.twin(chunk_bytes=chunk_bytes)
    ingestion = cutter.run(data, f"texts/{name}")
    chunks = "SELECT count(*) AS n FROM sluice.chunks WHERE ingestion = :id"
    count = int(flow.one(chunks, id=ingestion).n)
    assert flow.state(ingestion) == "done", flow.ingestion(ingestion).problem
    sql = "SELECT to_jsonb(t) - 'ingestion' AS row FROM store.texts AS t WHERE ingestion = :id"
    rows = flow.all(sql, id=ingestion)
    rejects = [
        (
            each.line,
            each.record,
            each.column_name,
            each.rule,
            each.value,
            each.reason,
            bytes(each.original),
        )
        for each in flow.rejects(ingestion)
    ]
    flow.undo(ingestion)  # so that the same content is not skipped
    return _ordered(each.row for each in rows), rejects, count


def parsed_whole(
    data: bytes, columns: tuple[str, ...]
) -> tuple[list[dict[str, str | None]], list[int]]:
    """Read a file with the csv module: its good rows, and the lines of the others."""
    text = data.decode("utf-8-sig")
    reader = csv.reader(io.StringIO(text, newline=""))
    rows, rejects, line = [], [], 1
    names: list[str] | None = None
    for record in reader:
        start, line = line, 1 + reader.line_num
        if not record:
            continue
        if names is None:
            names = record
            continue
        row = dict(zip(names, (cell or None for cell in record), strict=False))
        if len(record) != len(names) or "BAD" in (row.get("note") or ""):
            rejects.append(start)
        else:
            rows.append({name.lower(): row[name] for name in columns})
    return _ordered(rows), rejects


def _ordered(rows: Iterable[dict[str, str | None]]) -> list[dict[str, str | None]]:
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


@pytest.mark.parametrize("path", sorted(CASES.glob("*.csv")), ids=lambda path: path.stem)
def test_a_sample_in_chunks_of_any_size_equals_the_sample_whole(flow: Flow, path: Path) -> None:
    declare_texts(flow, COLUMNS)
    data = path.read_bytes()
    rows, rejects, count = load(flow, data, 1_000_000, path.name)
    assert count == 1
    assert (rows, [each[0] for each in rejects]) == parsed_whole(data, COLUMNS)
    counts = []
    for size in SIZES:
        again, rejected, count = load(flow, data, size, path.name)
        assert (again, rejected) == (rows, rejects), f"in chunks of {size} bytes"
        counts.append(count)
    assert counts == sorted(counts, reverse=True)
    assert counts[0] >= len(rows) + len(rejects)


REPORT = (
    b"Report of today\n\n"
    b"id||name||note||\n"
    b"1||'it''s' || ' x ' ||\n"
    b"# no record: '\n"
    b"2||two\\\r\nlines||a\\||b||\n"
    b"3||three||BAD||\r\n"
    b"4||short\n"
    b"5||too||many||cells||\n"
    b"6||'open||x||\n"
    b"7||\\N||'# '||\n"
    b"Total||7\n"
)


@pytest.mark.parametrize(
    ("data", "dialect"),
    [
        pytest.param(REPORT, {"escape": "\\"}, id="with an escape and rejects"),
        pytest.param(b"\n\nid||name||note\n1||a||b\n# x\n2||c||d\n\n", {}, id="small and plain"),
        pytest.param("T\n\nid¦name¦note\n1¦a¦é\nend".encode(), {"delimiter": "¦"}, id="not ASCII"),
    ],
)
def test_a_file_of_another_dialect_in_chunks_of_any_size_equals_the_whole(
    flow: Flow, data: bytes, dialect: dict[str, str]
) -> None:
    declare_texts(
        flow,
        COLUMNS,
        **{
            "delimiter": "||",
            "quote": "'",
            "comment": "#",
            "skip_lines": 2,
            "footer_lines": 1,
            "spaces_around_quotes": True,
            "trailing_delimiter": True,
            **dialect,
        },
    )
    rows, rejects, count = load(flow, data, 1_000_000, "report.csv")
    assert count == 1
    if data == REPORT:
        assert [(row["id"], row["name"], row["note"]) for row in rows] == [
            ("1", "it's", " x "),
            ("2", "two\r\nlines", "a||b"),
            ("7", None, "# "),
        ]
        assert [(each[0], each[3]) for each in rejects] == [
            (8, "check"),
            (9, "columns"),
            (10, "columns"),
            (11, "unclosed_quote"),
        ]
    for size in SIZES:
        again, rejected, _ = load(flow, data, size, "report.csv")
        assert (again, rejected) == (rows, rejects), f"in chunks of {size} bytes"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'id,name,note\n1,a,b\n2,"open,c\n3,d,e\n4,"f",g\n5,h,i\n', id="unclosed"),
        pytest.param(b'id,name,note\n1,a"b,c\n2,"d"e,f\n3,g,"h\n"\n4,i,""""\n', id="stray"),
        pytest.param(
            b"id,name,note\n1,a\n2,a,b,c\n3,\xff,c\n4,d\0,e\n5,e,f\n\n\n6,g,h", id="ragged"
        ),
    ],
)
def test_malformed_records_cost_themselves_alone_at_any_size(flow: Flow, data: bytes) -> None:
    declare_texts(flow, COLUMNS)
    whole = load(flow, data, 1_000_000, "a.csv")
    assert whole[1]
    for size in (1, 4, 9, 16, 25):
        assert load(flow, data, size, "a.csv")[:2] == whole[:2], f"in chunks of {size} bytes"


@needs_real_files
@pytest.mark.parametrize(
    ("file", "sizes"),
    [
        ("titles/netflix_titles.csv", (100_000, 1_000_003)),
        ("people/people.csv", (1, 40, 100)),
        ("trips/trips.csv", (1000,)),
        ("plays/spotify_us_2days.csv", (500, 5000)),
        ("any/csv-spectrum/csvs/newlines_crlf.csv", (1, 5)),
        ("any/csv-spectrum/csvs/quotes_and_newlines.csv", (1, 5)),
    ],
)
def test_a_real_file_in_chunks_equals_the_file_whole(
    flow: Flow, file: str, sizes: tuple[int, ...]
) -> None:
    data = (DATA / file).read_bytes()
    reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    header = next(reader)
    columns = [re.sub(r"\W+", "_", name).lower() for name in header]
    declared = [
        {"name": name, "header": title, "type": "text", "trim": False}
        for name, title in zip(columns, header, strict=True)
    ]
    flow.declare({"name": "texts", "description": "Texts.", "columns": declared})
    expected = _ordered(
        dict(zip(columns, (cell or None for cell in record), strict=True))
        for record in reader
        if record
    )
    for size in (10**9, *sizes):
        rows, rejects, count = load(flow, data, size, Path(file).name)
        assert (size == 10**9) == (count == 1)
        assert rejects == []
        assert rows == expected
