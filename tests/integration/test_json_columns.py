"""Columns of JSON over real PostgreSQL: filters, pages, posted rows, declarations, widening."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from problems import assert_problem

from sluice.errors import DeclarationError

if TYPE_CHECKING:
    from flow import Flow
    from serving import Serve
    from werkzeug.test import Client

ROWS = "/v1/datasets/things/rows"
COLUMNS = [{"name": "n", "type": "integer"}, {"name": "x", "type": "json"}]
FILE = b'''n,x
1,"{""b"": 1.0, ""a"": [1, 2]}"
2,[]
3,
4,"""text"""
5,null
'''

pytestmark = [pytest.mark.flow(declared=None), pytest.mark.usefixtures("topics")]


@pytest.fixture
def query(flow: Flow, serve: Serve) -> Client:
    flow.declare({"name": "things", "columns": COLUMNS})
    flow.run(FILE, "things/a.csv")
    flow.deliver()
    return serve("query")


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("is.null", [3]),
        ("is.not_null", [1, 2, 4, 5]),
        ('eq.{"a":[1,2],"b":1}', [1]),
        ('eq."text"', [4]),
        ("ne.[]", [1, 4, 5]),
        ('in.([],"null")', [2, 5]),
    ],
)
def test_a_filter_compares_values_of_json(query: Client, condition: str, found: list[int]) -> None:
    rows = query.get(ROWS, query_string={"x": condition, "order": "n"}).json["rows"]
    assert [row["n"] for row in rows] == found


@pytest.mark.parametrize(
    ("arguments", "code", "detail"),
    [
        ({"x": "gt.1"}, "API302", "jsonb has no order; this column takes eq, ne, in, is"),
        ({"x": "eq.text"}, "API302", '"text" is not a JSON value'),
        ({"x": 'eq.{"a":1,"a":2}'}, "API302", "is not a JSON value"),
        ({"x": "like.*a*"}, "API302", "like is for text columns"),
        ({"order": "x"}, "API301", "the column is jsonb, which has no order"),
        ({"group": "x"}, "API301", "the column is jsonb, which cannot be grouped by"),
        ({"measure": "max(x)"}, "API301", "the column is jsonb, which has no max"),
    ],
)
def test_what_json_does_not_have_is_a_problem(
    query: Client, arguments: dict[str, str], code: str, detail: str
) -> None:
    answer = query.get(ROWS, query_string=arguments)
    assert detail in assert_problem(answer, code, 400)["detail"]


def test_pages_have_every_row_with_its_value(query: Client) -> None:
    rows: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        given = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        page = query.get(ROWS, query_string=given).json
        rows, cursor = rows + page["rows"], page["next"]
    assert [row["x"] for row in rows] == [{"a": [1, 2], "b": 1.0}, [], None, "text", None]


def test_a_csv_and_a_page_show_the_text_of_json(query: Client) -> None:
    csv = query.get(f"{ROWS}?format=csv&order=n&select=x").text
    assert csv.splitlines()[1:5] == ['"{""a"": [1, 2], ""b"": 1.0}"', "[]", '""', '"""text"""']
    assert "&#34;b&#34;: 1.0" in query.get(f"{ROWS}?format=html").text


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ('{"b": 1.50, "a": [12345678901234567890.5, null]}', None),
        ("[1, []]", None),
        ("[true]", None),
        ("1.50", None),
        ("true", None),
        (r'"{\"a\": 1}"', '{"a": 1}'),
        (r'"\"text\""', '"text"'),
        (r'{"a": "\ud83d\ude00 \\u0000"}', None),
        ("[" * 60 + "]" * 60, None),
        (f'"{"[" * 100}{"]" * 100}"', "[" * 100 + "]" * 100),
    ],
)  # fmt: skip
def test_a_posted_value_is_its_json_text(
    flow: Flow, serve: Serve, query: Client, sent: str, stored: str | None
) -> None:
    body = f'[{{"n": 9, "x": {sent}}}]'
    answer = serve("intake").post(ROWS, data=body, content_type="application/json")
    assert answer.json["account"]["loaded"] == 1, answer.text
    same = "SELECT x = CAST(:value AS jsonb) AS same FROM things WHERE n = 9"
    assert flow.one(same, value=stored or sent).same


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        ('"text"', '"text" is not JSON'),
        ('{"a": 1, "a": 2}', "has a member name twice in one object"),
        ('[{"a": {"b": 1, "b": 1}}]', "has a member name twice in one object"),
        (r'["\u0000"]', "has the escape \\u0000"),
        (r'{"\ud800": 1}', "has half of a surrogate pair"),
        ("[1e200000]", "has a number beyond"),
        (f'"{"[" * 101}{"]" * 101}"', "nested more than 100 deep"),
    ],
)
def test_a_posted_value_that_cannot_be_stored_is_rejected(
    serve: Serve, query: Client, sent: str, problem: str
) -> None:
    body = f'[{{"n": 9, "x": {sent}}}, {{"n": 10}}]'
    answer = serve("intake").post(ROWS, data=body, content_type="application/json")
    (found,) = [each for each in answer.json["rows"] if each["outcome"] == "rejected"]
    assert (found["column"], found["rule"]) == ("x", "type")
    assert problem in found["reason"]


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"minimum": 1}, "minimum"),
        ({"maximum": 1}, "maximum"),
        ({"max_length": 1}, "max_length"),
        ({"pattern": "x"}, "pattern"),
        ({"one_of": ["[]"]}, "one_of"),
        ({"dictionary": True}, "dictionary"),
        ({"formats": ["%Y"]}, "formats"),
        ({"time_zone": "UTC"}, "time_zone"),
        ({"percent": True}, "percent"),
        ({"references": "posts"}, "references"),
        ({"absent": "next"}, "absent"),
    ],
)
def test_a_key_that_json_does_not_have_is_refused(
    flow: Flow, keys: dict[str, object], key: str
) -> None:
    columns = [{"name": "x", "type": "json", **keys}]
    with pytest.raises(DeclarationError, match=rf"columns\[0\]\.{key}"):
        flow.declare({"name": "things", "columns": columns})


def test_json_is_no_key(flow: Flow) -> None:
    columns = [{"name": "x", "type": "json", "required": True}]
    with pytest.raises(DeclarationError, match="'x' is json, which identifies no row"):
        flow.declare({"name": "things", "columns": columns, "key": ["x"]})


def test_json_of_an_undeclared_file_is_json_and_is_widened_to_text(
    flow: Flow, serve: Serve
) -> None:
    flow.run(b'n,x\n1,"{""a"": 1}"\n2,\n3,[2]\n', "boxes/a.csv")
    flow.deliver()
    rows = serve("query").get("/v1/datasets/boxes/rows?order=n").json["rows"]
    assert [row["x"] for row in rows] == [{"a": 1}, None, [2]]
    ingestion = flow.run(b"n,x\n4,none at all\n", "boxes/b.csv")
    flow.deliver()
    assert flow.state(ingestion) == "done"
    rows = serve("query").get("/v1/datasets/boxes/rows?order=n").json["rows"]
    assert [row["x"] for row in rows] == ['{"a": 1}', None, "[2]", "none at all"]


def test_the_document_of_the_api_has_any_json(query: Client) -> None:
    schemas = query.get("/openapi.json").json["components"]["schemas"]
    found = json.dumps(schemas["Row_things"]["properties"]["x"])
    assert "Any JSON value." in found
    assert '"type": "string"' not in found


def test_a_wrong_cell_that_is_personal_data_is_not_repeated(flow: Flow) -> None:
    columns = [{"name": "x", "type": "json", "pii": True}]
    flow.declare({"name": "things", "columns": columns})
    ingestion = flow.run(b'x\n"{""Ada"": 1, ""Ada"": 2}"\n', "things/a.csv")
    flow.deliver()
    (found,) = flow.rejects(ingestion)
    assert "Ada" not in f"{found.value} {found.reason}"
    assert "has a member name twice in one object" in found.reason
