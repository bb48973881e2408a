"""Rows in the order of `cluster`, by numbers packed into one word."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.parsing.sort_keys import key_expressions, order_of

numbers = st.none() | st.integers(-(2**20), 2**20)


@given(st.lists(st.tuples(numbers, numbers, numbers), max_size=30))
def test_rows_are_ordered_by_all_their_keys_and_nulls_come_last(
    rows: list[tuple[int | None, ...]],
) -> None:
    first, second, third = zip(*rows, strict=True) if rows else ((), (), ())
    keys = [
        pa.array(first, pa.int32()),
        pa.array(second, pa.float64()),
        pa.array(third, pa.int64()),
    ]
    order = order_of(keys)
    assert order is not None
    wanted = sorted(rows, key=lambda row: [(each is None, each or 0) for each in row])
    assert [rows[place] for place in order] == wanted


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param([], id="none"),
        pytest.param([pa.array([1.5])], id="fraction"),
        pytest.param([pa.array([float("inf"), 1.0])], id="infinity"),
        pytest.param([pa.array([2**60])], id="larger-than-a-double-holds"),
        pytest.param([pa.array([0, 2**50]), pa.array([0, 2**50])], id="too-many-pairs"),
        pytest.param([pa.array(["a"])], id="text"),
        pytest.param([pa.array([dt.date(2018, 5, 28)])], id="date"),
    ],
)
def test_keys_that_do_not_fit_are_left_to_the_database(keys: list[pa.Array]) -> None:
    assert order_of(keys) is None


def test_an_order_that_a_select_list_cannot_say_is_left_to_the_database() -> None:
    assert key_expressions(["region", "floor(lon * 50)"]) == ("region", "floor(lon * 50)")
    assert key_expressions(["region", "id DESC"]) == ()
    assert key_expressions(["id nulls first"]) == ()
