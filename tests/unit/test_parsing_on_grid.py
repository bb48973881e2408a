"""The way on the grid gives the rows and rejects of the thorough way, whatever cells hold."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.csv.rejects import Reject
from sluice.datasets.declarations import parse_document
from sluice.datasets.model import Dataset
from sluice.parsing import casts, parsing_on_grid
from sluice.parsing.column_mapping import lay_out
from sluice.parsing.parser import parse_chunk
from sluice.parsing.parsing_at_once import AtOnce

KINDS = ("text", "integer", "bigint", "float", "date", "timestamp", "point")
CODES = {"region": {"Turin": 1, "Prague": 2, "ä ö": 3}}

#: One cell a line, and what a line of a text cannot hold.
AWKWARD = [
    *(Path(__file__).parents[1] / "cases" / "cells.txt").read_text("utf-8").splitlines(),
    *("", " ", "\u00a0", " a", "a ", "\u00a0a", "\ta", "\x7f", "\x1fa", "\u0661"),
    *("POINT (1\t2)", "POINT (1\u00a02)"),
]

digits = st.text("0123456789", min_size=1, max_size=25)
decimals = st.builds("{}{}.{}".format, st.sampled_from(["", "-"]), digits, digits)
floats = st.one_of(
    st.floats().map(repr), decimals, st.builds("{}e{}".format, decimals, st.integers(-340, 330))
)
points = st.builds("POINT ({} {})".format, floats, floats)
moments = st.datetimes().map(lambda each: each.isoformat(" "))
cells = st.one_of(
    st.sampled_from(AWKWARD),
    floats,
    points,
    moments,
    moments.map(lambda each: each[:10]),
    st.integers(-(2**65), 2**65).map(str),
    st.text("0123456789.-+eExX :T()_aP\t\u00a0é", max_size=20),
)


@pytest.fixture(autouse=True, scope="module")
def _on_the_grid_or_thoroughly() -> Iterator[None]:
    """Any share of the cells may be odd, and there is no third way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsing_on_grid, "_ODD_SHARE", 1.0)
        patch.setattr(AtOnce, "parse", lambda *_: None)
        yield


def dataset_of(*columns: dict[str, Any], **document: Any) -> Dataset:
    """With a point behind, for which this way is: other plain columns go by columns."""
    point = {"name": "at", "type": "point"}
    whole = {"name": "things", "header": False, "columns": [*columns, point], **document}
    return parse_document(whole)


def parsed(
    data: bytes, dataset: Dataset, codes: Mapping[str, Mapping[str, int]] | None
) -> tuple[bool, list[str], list[Reject]]:
    """Return whether it went on the grid, the rows as texts, for NaN is not itself, and the rejects."""
    layout = lay_out(dataset, None)
    with parse_chunk(data, dataset, layout, first_line=3, first_record=2, codes=codes) as chunk:
        went_on_grid = chunk.is_encoded
        if not went_on_grid:
            chunk.encode({name: CODES[name] for name in CODES})
        rows = chunk._cursor.execute("SELECT * FROM rows").fetchall()
        return went_on_grid, sorted(map(repr, rows)), chunk.rejects


ALL_KINDS = dataset_of(
    {"name": "number", "type": "integer"},
    {"name": "region", "type": "text", "dictionary": True},
    *({"name": f"a_{each}", "type": each} for each in KINDS),
)


def lines(cells: list[str], end: str = "\n") -> bytes:
    """Each cell in a column of each kind, the others empty."""
    texts = (
        f"{number},Turin{',' * kind},{cell}{',' * (len(KINDS) - kind)}{end}"
        for number, cell in enumerate(cells)
        for kind in range(len(KINDS))
    )
    return "".join(texts).encode()


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_awkward_cells_give_what_they_give_thoroughly(end: str) -> None:
    data = lines(AWKWARD, end)
    quick, thorough = parsed(data, ALL_KINDS, CODES), parsed(data, ALL_KINDS, None)
    assert quick[0]
    assert quick[1:] == thorough[1:]


@given(found=st.lists(cells, min_size=50, max_size=200))
@settings(deadline=None, max_examples=10)  # DuckDB takes longer to plan than to read
def test_any_cells_give_what_they_give_thoroughly(found: list[str]) -> None:
    data = lines(found)
    quick, thorough = parsed(data, ALL_KINDS, CODES), parsed(data, ALL_KINDS, None)
    assert quick[0]
    assert quick[1:] == thorough[1:]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=50, max_size=200))
@settings(deadline=None, max_examples=20)
def test_a_double_is_the_one_nearest_to_its_text(numbers: list[float]) -> None:
    dataset = dataset_of({"name": "a", "type": "float"}, {"name": "b", "type": "float"})
    data = "".join(f"{each!r},{each:.25e},\n" for each in numbers).encode()
    assert parsed(data, dataset, {}) == (
        True,
        sorted(repr((each, float(f"{each:.25e}"), None, None)) for each in numbers),
        [],
    )


def test_texts_get_their_codes_and_odd_ones_a_trim() -> None:
    data = b"1,Turin,,,,,,,,\n2, Prague ,,,,,,,,\n3,,,,,,,,,\n4,\xc3\xa4 \xc3\xb6,,,,,,,,\n"
    on_grid, rows, rejects = parsed(data, ALL_KINDS, CODES)
    assert on_grid
    assert not rejects
    assert [row.split(", ")[1] for row in rows] == ["1", "2", "None", "3"]


def test_a_text_without_a_code_goes_another_way() -> None:
    assert not parsed_way(b"1,Turin,,,,,,,,\n2,Oslo,,,,,,,,\n")


def parsed_way(data: bytes) -> bool:
    with parse_chunk(
        data, ALL_KINDS, lay_out(ALL_KINDS, None), first_line=1, first_record=0, codes=CODES
    ) as chunk:
        return chunk.is_encoded


@pytest.mark.parametrize(
    "key",
    [
        {"type": "integer", "minimum": 3, "maximum": 5},
        {"type": "integer", "required": True},
        {"type": "text", "pattern": "[0-9]+"},
        {"type": "text", "one_of": ["3", "5"]},
        {"type": "text", "max_length": 1},
        {"type": "text", "trim": False},
        {"type": "float", "checks": [{"sql": "a * 2 < 9", "message": "too much"}]},
    ],
    ids=str,
)
def test_rules_refuse_what_they_refuse_thoroughly(key: dict[str, Any]) -> None:
    dataset = dataset_of({"name": "a", **key}, {"name": "b", "type": "text"})
    data = "".join(
        f"{each},x,\n" for each in ("", " ", "1", "3", "5", "7", " 4", "10", "x")
    ).encode()
    quick, thorough = parsed(data, dataset, {}), parsed(data, dataset, None)
    assert quick[0]
    assert quick[1:] == thorough[1:]
    assert quick[1]


def test_a_column_that_the_file_lacks_is_null() -> None:
    dataset = parse_document(
        {
            "name": "things",
            "columns": [
                {"name": "a", "type": "integer"},
                {"name": "b", "type": "point"},
                {"name": "region", "type": "text", "dictionary": True},
                {"name": "c", "type": "text"},
            ],
        }
    )
    layout = lay_out(dataset, b"c,a\n")
    with parse_chunk(
        b"x,1\ny,2\n", dataset, layout, first_line=2, first_record=0, codes=CODES
    ) as chunk:
        assert chunk.is_encoded
        rows = chunk._cursor.execute("SELECT * FROM rows").fetchall()
    assert rows == [(1, None, None, None, "x"), (2, None, None, None, "y")]


@pytest.mark.parametrize(
    ("column", "document"),
    [
        ({"type": "numeric"}, {}),
        ({"type": "uuid"}, {}),
        ({"type": "date", "formats": ["%d.%m.%Y"]}, {}),
        ({"type": "text", "nulls": ["n/a"]}, {}),
        ({"type": "integer", "default": "7"}, {}),
        ({"type": "float", "decimal_separator": ","}, {}),
        ({"type": "text", "required": True}, {"key": ["a"]}),
    ],
    ids=str,
)
def test_what_is_not_known_here_goes_another_way(
    column: dict[str, Any], document: dict[str, Any]
) -> None:
    dataset = dataset_of({"name": "a", **column}, {"name": "b", "type": "text"}, **document)
    with parse_chunk(
        b",x,\n", dataset, lay_out(dataset, None), first_line=1, first_record=0, codes={}
    ) as chunk:
        assert not chunk.is_encoded


def test_more_odd_cells_than_pay_go_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(casts, "_MOST_REFUSED", 1)
    dataset = dataset_of({"name": "a", "type": "float"}, {"name": "b", "type": "text"})
    assert parsed(b"1,x,\ny,x,\n", dataset, {})[0]
    assert not parsed(b"y,x,\ny,x,\n", dataset, {})[0]
    monkeypatch.setattr(parsing_on_grid, "_ODD_SHARE", 0.01)
    assert not parsed(b"1,x,\ny,x,\n", dataset, {})[0]


def test_an_odd_cell_of_many_megabytes_is_read() -> None:
    dataset = dataset_of({"name": "a", "type": "text"}, {"name": "b", "type": "integer"})
    body = "a" * 5_000_000
    assert parsed(f"x,1,\n {body},2,\n".encode(), dataset, {}) == (
        True,
        sorted(map(repr, [("x", 1, None, None), (body, 2, None, None)])),
        [],
    )


def test_a_parsed_chunk_does_not_keep_the_bytes_that_it_came_from() -> None:
    data = lines(AWKWARD)
    before = sys.getrefcount(data)
    with parse_chunk(
        data, ALL_KINDS, lay_out(ALL_KINDS, None), first_line=1, first_record=0, codes=CODES
    ) as chunk:
        assert chunk.is_encoded
        assert sys.getrefcount(data) == before
