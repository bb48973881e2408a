"""A stored value is written as a cell that its column reads back as an equal value."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from test_grammars import COLUMNS, NUMBERS, TIMES, by_columnar_reader, declared, inside

from sluice.datasets.cells import reads_as_other, write_cell, write_number, write_time

SWAPPED = {"type": "date", "formats": ["%Y-%d-%m"]}


def assert_reads_back(texts: list[str], column: dict[str, Any]) -> None:
    dataset = declared(column)
    values = [
        each for each in by_columnar_reader(texts, dataset) if each is not None and each != "reject"
    ]
    cells = [write_cell(dataset.columns[1], _stored(each)) for each in values]
    found = by_columnar_reader(cells, dataset)
    assert [each for each in zip(values, cells, found, strict=True) if each[0] != each[2]] == []


def _stored(value: object) -> object:
    return math.nan if value == "nan" else value


@pytest.mark.parametrize(
    "column", [*COLUMNS.values(), SWAPPED], ids=[*COLUMNS.keys(), "day before month"]
)
def test_a_value_is_read_back(column: dict[str, Any]) -> None:
    assert_reads_back(NUMBERS + TIMES, column)

    @given(st.lists(inside(column), min_size=10, max_size=20))
    @settings(deadline=None, max_examples=4, phases=[Phase.generate])  # a list shows enough
    def check(texts: list[str]) -> None:
        assert_reads_back(texts, column)

    check()


@pytest.mark.parametrize(
    ("formats", "value", "cell"),
    [
        (["%m/%d/%y", "%m/%d/%Y", "%Y-%m-%d"], dt.date(1940, 6, 24), "1940-06-24"),
        (["%m/%d/%y", "%m/%d/%Y"], dt.date(1940, 6, 24), "06/24/1940"),
        (["%m/%d/%y"], dt.date(1999, 6, 24), "06/24/99"),
        (["%m/%d/%y"], dt.date(2040, 6, 24), "06/24/40"),
        (["%m/%d/%y"], dt.date(1940, 6, 24), "1940-06-24"),
        (["%Y-%d-%m"], dt.date(2018, 5, 6), "2018-06-05"),
        (["%B %d, %Y"], dt.date(91, 4, 15), "April 15, 0091"),
    ],
)
def test_a_date_has_the_first_form_that_keeps_it(
    formats: list[str], value: dt.date, cell: str
) -> None:
    column = declared({"type": "date", "formats": formats}).columns[1]
    assert write_time(column, value) == cell


def test_a_time_keeps_its_seconds_or_is_no_cell_of_the_column() -> None:
    column = declared({"type": "timestamp", "formats": ["%d.%m.%Y %H:%M"]}).columns[1]
    assert write_time(column, dt.datetime(2018, 5, 6, 7, 8)) == "06.05.2018 07:08"  # noqa: DTZ001
    assert write_time(column, dt.datetime(2018, 5, 6, 7, 8, 9)) == "2018-05-06 07:08:09"  # noqa: DTZ001


def test_an_ambiguous_local_time_is_not_written() -> None:
    column = declared(
        {"type": "instant", "formats": ["%d.%m.%Y %H:%M"], "time_zone": "Europe/Prague"}
    ).columns[1]
    assert write_time(column, dt.datetime(2018, 5, 28, 7, 3, tzinfo=dt.UTC)) == "28.05.2018 09:03"
    at = dt.datetime(2018, 10, 28, 0, 30, tzinfo=dt.UTC)
    assert write_time(column, at) == "2018-10-28 00:30:00+00:00"


def test_a_percentage_keeps_every_digit() -> None:
    column = declared({"type": "numeric", "percent": True}).columns[1]
    number = Decimal("1234567890123456789012345678.12345678901")
    assert write_number(column, number) == "123456789012345678901234567812.345678901%"


def test_a_text_that_means_another_date_is_known() -> None:
    column = declared(SWAPPED).columns[1]
    assert reads_as_other(column, "2018-05-06", dt.date(2018, 5, 6))
    assert not reads_as_other(column, "2018-06-05", dt.date(2018, 5, 6))
    assert not reads_as_other(column, "2018-05-28", dt.date(2018, 5, 28))
