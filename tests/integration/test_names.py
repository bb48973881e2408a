"""Names that mean something elsewhere, to PostgreSQL or to the rows route, can be names of columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest
from problems import assert_problem

from sluice.datasets.model import SYSTEM_COLUMNS

if TYPE_CHECKING:
    from flow import Flow
    from serving import Serve

ROWS = "/v1/datasets/things/rows"
#: Words of SQL, parameters of the rows route, and names that the engine's own SQL uses.
WORDS = (
    "user", "table", "offset", "select", "order", "limit", "format", "cursor", "group", "measure",
    "end", "from", "where", "analyze", "all", "filter", "like", "in", "desc", "answer", "rows",
    "stored", "cells", "counted", "grouped", "s", "m", "o", "made", "top", "code", "text", "name",
    "owners", "part", "side", "found", "picked", "surpluses", "value", "record",
    "line", "original", "segment", "count",
)  # fmt: skip

pytestmark = pytest.mark.flow(declared=None)


def _declare(flow: Flow, *names: str, **more: object) -> None:
    columns = [{"name": name, "type": "text"} for name in names]
    flow.declare({"name": "things", "columns": columns, **more})


def words(*, has_key: bool) -> dict[str, Any]:
    """Return a declaration of a dataset with all these names."""
    columns = [
        {"name": name, "type": "text", "required": number == 0, "dictionary": number % 3 == 1}
        for number, name in enumerate(WORDS)
    ]
    key = {"key": [WORDS[0]], "duplicates": "update"} if has_key else {}
    return {"name": "words", "columns": columns, **key}


def _load(flow: Flow, data: bytes) -> None:
    ingestion = flow.run(data)
    flow.deliver()
    assert flow.state(ingestion) == "done"


@pytest.mark.parametrize("has_key", [False, True], ids=["plain", "with a key"])
def test_words_of_sql_and_of_the_route_are_names(flow: Flow, serve: Serve, has_key: bool) -> None:
    flow.declare({**words(has_key=has_key), "name": "things"})
    values = {name: f"{name} 1" for name in WORDS}
    header = ",".join(WORDS)
    for number in (1, 2):
        cells = ",".join(f"{name} {number}" for name in WORDS)
        _load(flow, f"{header}\n{cells}\n".encode())
    client = serve("query")
    for name in WORDS:
        found = client.get(f"{ROWS}?{urlencode({f'filter.{name}': f'eq.{name} 1'})}").json["rows"]
        assert [{key: row[key] for key in WORDS} for row in found] == [values]
    asked = {"order": "order.desc,limit", "select": "format,answer", "limit": "1"}
    page = client.get(f"{ROWS}?{urlencode(asked)}").json
    assert page["rows"] == [{"format": "format 2", "answer": "answer 2"}]
    page = client.get(f"{ROWS}?{urlencode({**asked, 'cursor': page['next']})}").json
    assert page["rows"] == [{"format": "format 1", "answer": "answer 1"}]
    grouped = client.get(f"{ROWS}?group=group,table&measure=count(order),max(end)&limit=9").json
    assert [row["max_end"] for row in grouped["rows"]] == ["end 1", "end 2"]


@pytest.mark.parametrize("name", SYSTEM_COLUMNS)
def test_a_system_column_of_postgresql_needs_another_name(
    flow: Flow, serve: Serve, name: str
) -> None:
    columns = [{"name": "id", "type": "integer"}, {"name": name, "type": "float"}]
    answer = serve("intake").put("/v1/datasets/things", json={"columns": columns})
    problem = assert_problem(answer, "API320", 422)
    assert problem["key"] == "columns[1].name"
    assert f'header = "{name}"' in problem["detail"]
    columns[1] = {"name": f"{name}_value", "header": name, "type": "float"}
    flow.declare({"name": "things", "columns": columns})
    _load(flow, f"id,{name}\n1,2.5\n".encode())
    found = serve("query").get(f"{ROWS}?{name}_value=eq.2.5").json["rows"]
    assert found == [{"id": 1, f"{name}_value": 2.5, "ingestion": 1}]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("order", "gt.1"),
        ("limit", "gt.10"),
        ("format", "eq.A4"),
        ("select", "is.null"),
        ("cursor", "eq.a"),
        ("group", "in.(a,b)"),
        ("measure", "like.a*"),
    ],
)
def test_a_parameter_used_as_a_filter_names_the_spelling_of_the_filter(
    flow: Flow, serve: Serve, name: str, text: str
) -> None:
    _declare(flow, name)
    answer = serve("query").get(f"{ROWS}?{name}={text}")
    assert f"filter.{name}={text}" in assert_problem(answer, "API301", 400)["detail"]


def test_an_order_by_a_column_called_like_an_operator_is_an_order(flow: Flow, serve: Serve) -> None:
    _declare(flow, "order", "eq")
    _load(flow, b"order,eq\n1,a\n2,b\n")
    found = serve("query").get(f"{ROWS}?order=eq.desc").json["rows"]
    assert [row["eq"] for row in found] == ["b", "a"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"like.100\%", ["100%"]),
        (r"like.a\_b", ["a_b"]),
        (r"like.a\*b", ["a*b"]),
        (r"like.a\\b", ["a\\b"]),
        (r"like.a\\*", ["a\\b"]),
        ("like.a*b", ["a*b", "a\\b", "a_b", "axb"]),
        ("like.a_b", ["a*b", "a\\b", "a_b", "axb"]),
    ],
)
def test_a_pattern_escapes_with_a_backslash(
    flow: Flow, serve: Serve, pattern: str, expected: list[str]
) -> None:
    _declare(flow, "name")
    _load(flow, b"name\n100%\n1000\na_b\na*b\naxb\na\\b\n")
    found = serve("query").get(f"{ROWS}?name={quote(pattern)}").json["rows"]
    assert sorted(row["name"] for row in found) == expected


def test_a_bare_plus_in_a_query_string_is_explained(flow: Flow, serve: Serve) -> None:
    flow.declare({"name": "things", "columns": [{"name": "at", "type": "instant"}]})
    client = serve("query")
    detail = assert_problem(client.get(f"{ROWS}?at=eq.2024-01-01T00:00:00+02:00"), "API302", 400)[
        "detail"
    ]
    assert "%2B" in detail
    assert client.get(f"{ROWS}?at=eq.2024-01-01T00:00:00%2B02:00").status_code == 200
