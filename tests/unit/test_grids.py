"""Where the fields of a regular chunk are, and what is not regular."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.csv.dialects import Dialect
from sluice.csv.records import index_records
from sluice.parsing import grids
from sluice.parsing.grids import Grid, find_grid

DIALECT = Dialect(header=False)


def fields(data: bytes, grid: Grid) -> list[list[bytes]]:
    pairs = zip(grid.starts.tolist(), grid.ends.tolist(), strict=True)
    return [[data[start:end] for start, end in zip(*each, strict=True)] for each in pairs]


@given(
    records=st.lists(
        st.lists(st.text("ab é\x7f", max_size=4), min_size=3, max_size=3), min_size=1, max_size=9
    ),
    end=st.sampled_from([b"\n", b"\r\n"]),
    is_cut=st.booleans(),
    tile_bytes=st.sampled_from([1, 3, 64]),
)
def test_every_field_is_found(
    records: list[list[str]], end: bytes, is_cut: bool, tile_bytes: int
) -> None:
    lines = [",".join(each).encode() for each in records]
    data = end.join(lines) + (b"" if is_cut else end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grids, "_TILE_BYTES", tile_bytes)
        grid = find_grid(data, DIALECT, 3)
    assert grid is not None
    assert fields(data, grid) == [[each.encode() for each in record] for record in records]
    ours, theirs = grid.index(), index_records(data, DIALECT)
    assert ours.starts.tolist() == theirs.starts.tolist()
    assert ours.ends.tolist() == theirs.ends.tolist()
    assert ours.lines.tolist() == theirs.lines.tolist()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"a,b\nc\n", id="short"),
        pytest.param(b"a,b\nc,d,e\n", id="long"),
        pytest.param(b"a\nb,c,d\n", id="short-then-long"),
        pytest.param(b"a,b,c\nd\n", id="long-then-short"),
        pytest.param(b"a,b\n\nc,d\n", id="blank-line"),
        pytest.param(b'a,"b"\n', id="quoted"),
        pytest.param(b'a,b"\n', id="stray-quote"),
        pytest.param(b"a,b\0\n", id="nul"),
        pytest.param(b"a,b\rc,d\r", id="CR"),
        pytest.param(b"a,b\r\nc,d\n", id="CRLF-then-LF"),
        pytest.param(b"a,b\nc,d\r\n", id="LF-then-CRLF"),
        pytest.param(b"a,b\r\nc\r,d\r\n", id="CR-within"),
        pytest.param(b"a\r,b\nc,d\r\n", id="CR-misplaced"),
        pytest.param(b"a,b\r\nc,d\r", id="CR-at-the-end"),
    ],
)
def test_a_chunk_that_is_not_regular_has_no_grid(data: bytes) -> None:
    assert find_grid(data, DIALECT, 2) is None


@pytest.mark.parametrize("data", [b"a\n\nb\n", b"\na\r", b"\r\n", b"\n", b"a\r\n\r\n"])
def test_a_blank_line_is_no_record_of_one_empty_field(data: bytes) -> None:
    assert find_grid(data, DIALECT, 1) is None


def test_the_dialect_says_what_sets_fields_apart() -> None:
    grid = find_grid(b"a,b;c\n", Dialect(delimiter=";", quote="'"), 2)
    assert grid is not None
    assert fields(b"a,b;c\n", grid) == [[b"a,b", b"c"]]
