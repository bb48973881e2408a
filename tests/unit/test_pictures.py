"""What a chart shows of an answer: which places and series, in which order, and the note on the rest."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from sluice.charts.chart import MAX_BARS, MAX_PLACES, Caption, Cells, Chart, make_picture
from sluice.datasets.sql_headers import parse_query
from sluice.errors import DeclarationError, NotDrawableError

CAPTION = Caption("Plays", "plays")


def chart(draw: str, rows: list[dict[str, Any]]) -> Chart:
    made = make_picture(
        parse_query("q", f"-- Plays.\n-- draw: {draw}\nSELECT 1"), CAPTION, rows, {}
    )
    assert isinstance(made, Chart)
    return made


def cells(draw: str, rows: list[dict[str, Any]], **values: object) -> Cells:
    query = parse_query("q", f"-- Plays.\n-- draw: {draw}\nSELECT 1")
    made = make_picture(query, CAPTION, rows, values)
    assert isinstance(made, Cells)
    return made


def test_bars_keep_the_order_of_the_answer() -> None:
    made = chart(
        "bar x=song y=plays", [{"song": "b", "plays": 1}, {"song": "a", "plays": Decimal(2)}]
    )
    assert made.places == ("b", "a")
    assert made.series[0].values == (1.0, 2.0)
    assert made.is_named


def test_rows_of_the_same_place_are_added_up_with_a_note() -> None:
    rows = [{"d": "x", "q1": 1, "q2": 2}, {"d": "x", "q1": 3, "q2": None}]
    made = chart("bar x=d y=q1,q2 label=employees_hired", rows)
    assert [(each.name, each.values) for each in made.series] == [("q1", (4.0,)), ("q2", (2.0,))]
    assert made.value_label == "employees hired"
    assert made.caption.notes == ("rows of the same d are added up",)


def test_of_too_many_bars_the_largest_stay_with_a_note() -> None:
    made = chart("bar x=song y=plays", [{"song": f"s{n}", "plays": n} for n in range(900)])
    assert made.places == tuple(f"s{n}" for n in range(900 - MAX_BARS, 900))
    assert made.caption.notes == ("the 40 largest of 900 by song; 860 omitted, 369,370 in all",)


def test_a_line_over_time_keeps_its_low_points() -> None:
    first = date(2017, 1, 1)
    rows = [{"day": first + timedelta(n), "plays": 1 if n % 2 else 1000} for n in range(1860)]
    made = chart("line x=day y=plays", rows)
    assert len(made.places) == len(rows)
    assert made.caption.notes == ()
    assert set(made.series[0].values) == {1, 1000}
    assert len(chart("bar x=day y=plays", rows).places) == MAX_PLACES


@pytest.mark.parametrize(
    ("values", "places"),
    [
        (
            [date(2020, 1, 2), date(2020, 1, 1)],
            (datetime.fromisoformat("2020-01-01"), datetime.fromisoformat("2020-01-02")),
        ),
        (
            ["2020-01-02", "2020-01-01"],
            (datetime.fromisoformat("2020-01-01"), datetime.fromisoformat("2020-01-02")),
        ),
        ([2021, 2020], (2020.0, 2021.0)),
        ([2021, None], ("2021", "(none)")),
        (["2021", "b"], ("2021", "b")),
    ],
    ids=["dates", "dates as texts", "numbers", "a null among numbers", "names"],
)
def test_places_stand_on_a_scale_where_all_of_them_have_one(
    values: list[object], places: tuple[object, ...]
) -> None:
    made = chart("bar x=at y=n", [{"at": value, "n": 1} for value in values])
    assert made.places == places
    assert made.series[0].values == (1.0, 1.0)


def test_a_line_for_each_value_of_a_column_leaves_out_where_it_has_none() -> None:
    rows = [
        {"day": "2020-01-01", "song": "a", "n": 1},
        {"day": "2020-01-02", "song": "b", "n": 2},
    ]
    made = chart("line x=day y=n series=song", rows)
    assert [(each.name, each.values) for each in made.series] == [
        ("a", (1.0, None)),
        ("b", (None, 2.0)),
    ]


def test_rows_may_lie_in_a_list_of_the_answer() -> None:
    made = chart("line x=week y=n rows=per_week", [{"per_week": [{"week": "2018-W18", "n": 3}]}])
    assert made.places == (datetime.fromisoformat("2018-04-30"),)


def test_cells_of_a_map_are_added_up_and_as_wide_as_the_parameter_says() -> None:
    rows = [{"x": 1.0, "y": 2.0, "n": 3}, {"x": 1.0, "y": 2.0, "n": 4}, {"x": 1.5, "y": 2, "n": 1}]
    made = cells("map x=x y=y size=n cell=side", rows, side=0.25)
    assert made.points == ((1.5, 2.0, 1.0), (1.0, 2.0, 7.0))
    assert made.size == (0.25, 0.25)
    assert cells("map x=x y=y size=n", rows).size == (0.5, 0.01)


def test_no_rows_are_a_picture_too() -> None:
    assert chart("bar x=song y=plays", []).series == ()
    assert cells("map x=x y=y size=n", []).points == ()


def test_a_drawing_of_a_missing_column_is_refused_with_the_columns_there_are() -> None:
    with pytest.raises(NotDrawableError, match="song: the result has title, plays"):
        chart("bar x=song y=plays", [{"title": "a", "plays": 1}])
    with pytest.raises(NotDrawableError, match="'many' is not a number"):
        chart("bar x=song y=plays", [{"song": "a", "plays": "many"}])


@pytest.mark.parametrize(
    ("draw", "detail"),
    [
        ("pie x=a y=b", "'pie' is not one of bar, line, map"),
        ("bar x=a", "bar needs y=COLUMN"),
        ("map x=a y=b size=c series=d", "series: map takes x, y, size, cell, rows, label"),
    ],
)
def test_a_wrong_drawing_is_refused_where_it_is_declared(draw: str, detail: str) -> None:
    with pytest.raises(DeclarationError, match=detail):
        parse_query("q", f"-- Plays.\n-- draw: {draw}\nSELECT 1")
