"""NaN, infinities, nulls and the bounds of dates are read, filtered and paged over like other values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlencode

import pytest
from problems import assert_problem

if TYPE_CHECKING:
    from flow import Flow
    from serving import Serve

ROWS = "/v1/datasets/measured/rows"
COLUMNS = [
    {"name": "name", "type": "text"},
    {"name": "num", "type": "float"},
    {"name": "day", "type": "date"},
]
FILE = (
    b"name,num,day\nten,10,2020-01-01\nmost,Inf,0044-03-15\nhalf,0.5,\nnothing,,9999-12-31\n"
    b"least,-inf,2020-01-01\nnan,NaN,2021-01-01\nnan too,NaN,\n"
)
BY_NUM = ["least", "half", "ten", "most", "nan", "nan too", "nothing"]

pytestmark = pytest.mark.flow(declared=None)


@pytest.fixture
def measured(flow: Flow) -> None:
    flow.declare({"name": "measured", "columns": COLUMNS})
    ingestion = flow.run(FILE, "measured/a.csv")
    flow.deliver()
    assert flow.state(ingestion) == "done"


def strict(text: str) -> dict[str, list[dict[str, object]]]:
    """Read JSON as the standard has it."""

    def refuse(name: str) -> NoReturn:
        raise ValueError(name)

    found: dict[str, list[dict[str, object]]] = json.loads(text, parse_constant=refuse)
    return found


@pytest.mark.usefixtures("measured")
def test_json_has_numbers_that_are_not_finite_as_texts(serve: Serve) -> None:
    answer = strict(serve("query").get(f"{ROWS}?order=num&select=num").text)
    assert [row["num"] for row in answer["rows"]] == [
        "-Infinity", 0.5, 10, "Infinity", "NaN", "NaN", None,
    ]  # fmt: skip


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("order", ["num", "num.desc", "day", "day.desc", "num,day.desc"])
@pytest.mark.parametrize("limit", [1, 2])
def test_pages_have_each_row_once_in_order(serve: Serve, order: str, limit: int) -> None:
    client = serve("query")
    names: list[str] = []
    cursor = ""
    while cursor is not None:
        given = {"order": order, "limit": limit, **({"cursor": cursor} if cursor else {})}
        page = client.get(f"{ROWS}?{urlencode(given)}").json
        names += [row["name"] for row in page["rows"]]
        cursor = page["next"]
    whole = client.get(f"{ROWS}?order={order}").json["rows"]
    assert names == [row["name"] for row in whole]
    assert sorted(names) == sorted(BY_NUM)
    if order == "num":
        assert names == BY_NUM


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("eq.Infinity", ["most"]),
        ("eq.inf", ["most"]),
        ("eq.-Infinity", ["least"]),
        ("eq.NaN", ["nan", "nan too"]),
        ("in.(NaN,Infinity)", ["most", "nan", "nan too"]),
        ("lt.0", ["least"]),
        ("gt.10", ["most", "nan", "nan too"]),
        ("is.null", ["nothing"]),
    ],
)
def test_filters_take_them(serve: Serve, text: str, expected: list[str]) -> None:
    found = serve("query").get(f"{ROWS}?num={text}").json["rows"]
    assert sorted(row["name"] for row in found) == expected


@pytest.mark.usefixtures("measured")
def test_a_number_beyond_the_type_is_refused(serve: Serve) -> None:
    assert_problem(serve("query").get(f"{ROWS}?num=eq.1e999"), "API301", 400)


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("kind", ["csv", "ndjson", "parquet", "arrow"])
def test_every_format_has_them(serve: Serve, kind: str) -> None:
    answer = serve("query").get(f"{ROWS}?format={kind}&order=num")
    assert answer.status_code == 200
    if kind == "csv":
        assert [line.split(",")[1] for line in answer.text.split()[1:5]] == [
            "-inf", "0.5", "10.0", "inf",
        ]  # fmt: skip
