"""The rows route without a database: orders, cursors, aggregates, keys, limits."""

from __future__ import annotations

import re

import pytest

from sluice.datasets.model import Column, Dataset, Field
from sluice.datasets.types import ColumnType
from sluice.errors import NotFoundError, ParameterError, SluiceError, TooLargeError
from sluice.querying.filters import Bindings
from sluice.querying.keysets import parse_order
from sluice.querying.rows import parse_rows_request, row_by_key

COLUMNS = tuple(
    Column(name, kind, (name,), required=name != "age")
    for name, kind in (
        ("town", ColumnType.TEXT),
        ("name", ColumnType.TEXT),
        ("age", ColumnType.INTEGER),
    )
)
PEOPLE = Dataset("people", "People.", COLUMNS, key=("town", "name"))
FIELDS = {
    "a": Field("a", "integer", nullable=False),
    "b": Field("b", "text", nullable=True),
    "id": Field("id", "integer", nullable=False),
}


def after(order: str, *values: str | None) -> str:
    return parse_order(order, FIELDS, [FIELDS["id"]]).after(values, Bindings())


def request(**arguments: str) -> object:
    return parse_rows_request(PEOPLE, arguments.items(), 1000)


def test_an_order_ends_with_what_tells_rows_apart() -> None:
    assert parse_order("a.desc,b", FIELDS, [FIELDS["id"]]).sql == '"a" DESC, "b", "id"'


def test_terms_of_one_direction_without_nulls_are_one_row_comparison() -> None:
    assert after("a", "1", "2") == '("a", "id") > (CAST(:p0 AS integer), CAST(:p1 AS integer))'
    assert after("a.desc", "1", "2").startswith('("a", "id") <')


def test_behind_a_null_come_no_values_in_ascending_order() -> None:
    assert after("b", None, "2") == (
        '((FALSE) OR ("b" IS NULL AND ("id" > CAST(:p0 AS integer) OR "id" IS NULL)))'
    )


def test_a_cursor_gives_its_values_back() -> None:
    order = parse_order("a.desc,b", FIELDS, [FIELDS["id"]])
    assert order.read_cursor(order.cursor('["1", null, "3"]')) == ("1", None, "3")


@pytest.mark.parametrize(
    "cursor", ["x", "WyJhIl0", "bnVsbA", "WyJhLGlkIixbIngiLCIxIl1d", "é"], ids=str
)
def test_a_made_up_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(ParameterError, match="cursor"):
        parse_order("a", FIELDS, [FIELDS["id"]]).read_cursor(cursor)


def test_a_cursor_of_another_order_is_refused() -> None:
    cursor = parse_order("a", FIELDS, [FIELDS["id"]]).cursor('["1", "2"]')
    with pytest.raises(ParameterError, match="is for the order a,id"):
        parse_order("b", FIELDS, [FIELDS["id"]]).read_cursor(cursor)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": "height"}, "order: height: no such column"),
        ({"order": "age.up"}, "write age.asc or age.desc"),
        ({"order": "age,age.desc"}, "a column is named twice"),
        ({"select": "height"}, "select: height: no such column"),
        ({"limit": "0"}, "limit: "),
        ({"limit": "²"}, "limit: "),
        ({"limit": "-1"}, "limit: "),
        ({"measure": "median(age)"}, "write count or one of sum(column)"),
        ({"measure": "sum"}, "name a column: write sum(column)"),
        ({"measure": "sum(town)"}, "the column is text, which has no sum"),
        ({"group": "height"}, "group: height: no such column"),
        ({"group": "town,town"}, "a column twice"),
        ({"group": "town", "order": "age"}, "columns are town, count"),
    ],
    ids=str,
)
def test_a_wrong_request_is_refused_with_what_to_write(
    arguments: dict[str, str], message: str
) -> None:
    with pytest.raises(ParameterError, match=re.escape(message)):
        request(**arguments)


def test_a_limit_above_what_an_answer_holds_is_refused() -> None:
    with pytest.raises(TooLargeError, match="1,000 rows"):
        request(limit="1001")


def test_a_reserved_parameter_may_be_given_once() -> None:
    with pytest.raises(ParameterError, match="limit: given more than once"):
        parse_rows_request(PEOPLE, [("limit", "1"), ("limit", "2")], 1000)


def test_a_key_of_several_columns_is_a_list() -> None:
    assert list(row_by_key(PEOPLE, '"Ústí, nad Labem",Eva').values.values()) == [
        "Ústí, nad Labem",
        "Eva",
    ]


@pytest.mark.parametrize(
    ("dataset", "key", "error"),
    [
        (PEOPLE, "Eva", ParameterError),
        (PEOPLE, "a,b,c", ParameterError),
        (Dataset("events", "", COLUMNS), "1", NotFoundError),
        (Dataset("ages", "", COLUMNS, key=("age",)), "old", ParameterError),
    ],
    ids=["too few parts", "too many parts", "no key", "wrong type"],
)
def test_what_is_no_key_is_refused(dataset: Dataset, key: str, error: type[SluiceError]) -> None:
    with pytest.raises(error):
        row_by_key(dataset, key)
