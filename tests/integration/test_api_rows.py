"""The rows route over real PostgreSQL: filters, pages, aggregates, formats, freshness, limits."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from problems import assert_problem
from serving import GUESTS, publish

from sluice.postgres.declare import declare

if TYPE_CHECKING:
    from serving import Serve
    from sqlalchemy import Engine
    from werkzeug.test import Client

ROWS = "/v1/datasets/guests/rows"


@pytest.fixture
def query(serve: Serve, guests: int) -> Client:
    return serve("query")


def ids(client: Client, **arguments: str) -> list[int]:
    answer = client.get(f"{ROWS}?{urlencode({'order': 'id', **arguments})}")
    assert answer.status_code == 200, answer.text
    return [row["id"] for row in answer.json["rows"]]


def walk(client: Client, path: str, **arguments: str) -> list[dict[str, Any]]:
    """Follow `next` from page to page."""
    rows: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        given = {name: text for name, text in {**arguments, "cursor": cursor}.items() if text}
        page = client.get(f"{path}?{urlencode(given)}").json
        rows += page["rows"]
        cursor = page["next"]
    return rows


def test_a_row_shows_each_type_as_json(query: Client) -> None:
    assert query.get(f"{ROWS}?limit=1&id=eq.1").json["rows"] == [
        {
            "id": 1,
            "name": "Ada",
            "born": "1991-01-02",
            "wage": 1.1,
            "active": False,
            "ingestion": 1,
        }
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"id": "eq.3"}, [3]),
        ({"id": "ne.3"}, [1, 2, 4, 5, 6, 7, 8]),
        ({"id": "in.(2,3,99)"}, [2, 3]),
        ({"id": "gt.6"}, [7, 8]),
        ({"name": "eq.Ada"}, [1, 4, 8]),
        ({"name": "ilike.a*"}, [1, 4, 8]),
        ({"name": "like.a*"}, []),
        ({"name": "is.null"}, [3, 6]),
        ({"name": "is.not_null", "id": "le.2"}, [1, 2]),
        ({"active": "is.true"}, [2, 4, 6, 8]),
        ({"born": "ge.1997-01-01"}, [7, 8]),
        ({"wage": "lt.2.1"}, [1]),
        ({"name": "eq.' OR true --"}, []),
    ],
    ids=str,
)
def test_a_filter_keeps_the_rows_that_match(
    query: Client, arguments: dict[str, str], expected: list[int]
) -> None:
    assert ids(query, **arguments) == expected


@pytest.mark.parametrize("limit", ["1", "2", "3", "8", "9"])
@pytest.mark.parametrize(
    "order", ["", "id.desc", "name", "name.desc", "active,name.desc", "name.desc,born,wage.desc"]
)
def test_pages_together_are_all_rows(query: Client, order: str, limit: str) -> None:
    whole = query.get(f"{ROWS}?order={order}" if order else ROWS).json["rows"]
    assert walk(query, ROWS, order=order, limit=limit) == whole
    assert sorted(row["id"] for row in whole) == list(range(1, 9))


def test_equal_rows_of_a_dataset_without_a_key_are_all_paged(
    serve: Serve,
    engine: Engine,
) -> None:
    document = {key: value for key, value in GUESTS.items() if key not in ("key", "queries")}
    declare(engine, {**document, "name": "visits"}, origin="api")
    publish(engine, "visits", [{"id": number // 4, "name": "same"} for number in range(10)])
    found = walk(serve("query"), "/v1/datasets/visits/rows", limit="3")
    assert sorted(row["id"] for row in found) == [number // 4 for number in range(10)]


def test_a_page_of_any_format_links_to_the_next(query: Client) -> None:
    answer = query.get(f"{ROWS}?limit=5&format=csv")
    url = answer.headers["Link"].split(">")[0][1:]
    assert query.get(url).text.count("\r\n") == 1 + 3
    assert "Link" not in query.get(url).headers


def test_select_returns_the_columns_it_names(query: Client) -> None:
    assert query.get(f"{ROWS}?select=name,id&id=eq.2").json["rows"] == [{"name": "Bob", "id": 2}]


def test_groups_are_measured(query: Client) -> None:
    path = f"{ROWS}?group=name&measure=count,sum(wage),avg(id),min(born),count_distinct(active)"
    assert query.get(f"{path}&name=eq.Ada").json["rows"] == [
        {
            "name": "Ada",
            "count": 3,
            "sum_wage": 13.3,
            "avg_id": 13 / 3,
            "min_born": "1991-01-02",
            "count_distinct_active": 2,
        }
    ]
    counts = walk(query, ROWS, group="name", measure="count", order="count.desc", limit="1")
    assert [(row["name"], row["count"]) for row in counts] == [
        ("Ada", 3),
        (None, 2),
        ("Bob", 2),
        ("Cy", 1),
    ]


def test_a_measure_without_a_group_is_one_row(query: Client) -> None:
    assert query.get(f"{ROWS}?measure=count").json == {"rows": [{"count": 8}], "next": None}


def test_the_row_of_a_key_is_returned_itself(query: Client) -> None:
    assert query.get(f"{ROWS}/2").json["name"] == "Bob"
    assert_problem(query.get(f"{ROWS}/99"), "API305", 404)
    assert_problem(query.get(f"{ROWS}/two"), "API301", 400)


@pytest.mark.parametrize("by", ["format", "accept"])
def test_every_format_has_the_same_rows(query: Client, by: str) -> None:
    types = {
        "ndjson": "application/x-ndjson",
        "csv": "text/csv",
        "parquet": "application/vnd.apache.parquet",
        "arrow": "application/vnd.apache.arrow.stream",
    }
    readers = {
        "ndjson": lambda body: [json.loads(line)["id"] for line in body.splitlines()],
        "csv": lambda body: [int(r["id"]) for r in csv.DictReader(io.StringIO(body.decode()))],
        "parquet": lambda body: pq.read_table(io.BytesIO(body))["id"].to_pylist(),
        "arrow": lambda body: pa.ipc.open_stream(body).read_all()["id"].to_pylist(),
    }
    for name, media_type in types.items():
        given = {"format": name} if by == "format" else {}
        headers = {"Accept": media_type} if by == "accept" else {}
        answer = query.get(f"{ROWS}?{urlencode({'order': 'id', **given})}", headers=headers)
        assert answer.content_type.startswith(media_type)
        assert readers[name](answer.data) == list(range(1, 9))


def test_parquet_keeps_types_and_nulls(query: Client) -> None:
    table = pq.read_table(io.BytesIO(query.get(f"{ROWS}?format=parquet&order=id").data))
    assert [str(each) for each in table.schema.types] == [
        "int32", "string", "date32[day]", "decimal128(38, 9)", "bool", "int32",
    ]  # fmt: skip
    assert table["name"].to_pylist() == ["Ada", "Bob", None, "Ada", "Cy", None, "Bob", "Ada"]


def test_many_rows_are_streamed_in_blocks(
    serve: Serve,
    engine: Engine,
) -> None:
    declare(engine, GUESTS, origin="api")
    publish(engine, "guests", [{"id": number} for number in range(5000)])
    answer = serve("query").get(f"{ROWS}?format=ndjson", buffered=False)
    assert len(list(answer.response)) >= 3
    answer.close()


@pytest.mark.parametrize("name", ["csv", "ndjson", "parquet", "arrow"])
def test_more_rows_than_an_answer_may_have_are_refused_not_truncated(
    serve: Serve,
    guests: int,
    name: str,
) -> None:
    client = serve("query", max_rows="5")
    document = assert_problem(client.get(f"{ROWS}?format={name}"), "API310", 413)
    assert "page with limit= and cursor=" in document["detail"]
    assert client.get(f"{ROWS}?format={name}&limit=5").status_code == 200
    assert client.get(f"{ROWS}?format={name}&id=le.5").status_code == 200


def test_json_without_a_limit_links_to_the_next_page(serve: Serve, guests: int) -> None:
    page = serve("query", max_rows="5").get(ROWS).json
    assert (len(page["rows"]), bool(page["next"])) == (5, True)


@pytest.mark.parametrize(
    ("arguments", "code", "status"),
    [
        ("town=eq.x", "API302", 400),
        ("id=eq.x", "API302", 400),
        ("limit=0", "API301", 400),
        ("cursor=x", "API301", 400),
        ("format=xml", "API301", 400),
        ("limit=2000000", "API310", 413),
    ],
)
def test_a_wrong_request_is_a_problem(
    query: Client, arguments: str, code: str, status: int
) -> None:
    assert_problem(query.get(f"{ROWS}?{arguments}"), code, status)


def test_a_format_that_is_not_offered_is_a_problem(query: Client) -> None:
    assert_problem(query.get(ROWS, headers={"Accept": "image/png"}), "API307", 406)


def test_a_response_has_an_etag_and_the_newest_ingestion(
    query: Client,
    engine: Engine,
    guests: int,
) -> None:
    first = query.get(ROWS)
    assert first.headers["Sluice-Ingestion"] == str(guests)
    etag = {"If-None-Match": first.headers["ETag"]}
    known = query.get(ROWS, headers=etag)
    assert (known.status_code, known.data) == (304, b"")
    assert query.get(f"{ROWS}?format=csv", headers=etag).status_code == 200
    newer = publish(engine, "guests", [{"id": 9}], "b.csv")
    again = query.get(ROWS, headers=etag)
    assert (again.status_code, again.headers["Sluice-Ingestion"]) == (200, str(newer))


def test_head_releases_the_connection(query: Client) -> None:
    for _ in range(10):  # more than the pool has connections
        assert query.head(ROWS).status_code == 200
        assert query.head(f"{ROWS}?format=csv").data == b""


def links(page: str) -> dict[str, str]:
    """Return the links of a page by their text."""
    found = re.findall(r'<a href="([^"]+)"[^>]*>([^<]+)</a>', page)
    return {text.strip(): html.unescape(link) for link, text in found}


def test_a_browser_gets_the_rows_as_a_table_with_types(query: Client) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    answer = query.get(ROWS, headers=browser)
    assert answer.content_type == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["ETag"]
    assert answer.text.count("<tr>") == 1 + 8
    assert re.search(r'>born</a><span class="type">date</span>', answer.text)
    assert '<td class="text">Ada</td>' in answer.text
    assert '<td class="number">1.10</td>' in answer.text
    assert "8 rows" in answer.text
    assert query.get(ROWS, headers={"Accept": "*/*"}).content_type == "application/json"


def test_the_pages_of_a_browser_together_have_all_rows(query: Client) -> None:
    link, seen = f"{ROWS}?format=html&limit=3&order=name.desc&id=gt.1", 0
    while link:
        page = query.get(link).text
        seen += page.count("<tr>") - 1
        assert links(page)["spreadsheet"] == f"{ROWS}?order=name.desc&id=gt.1&format=spreadsheet"
        link = links(page).get("Next page", "")
    assert seen == 7
    assert "The last 1 row" in page
    first = query.get(links(page)["First page"])
    assert "The first 3 rows" in first.text


def test_a_page_of_rows_links_to_other_orders(query: Client) -> None:
    page = query.get(f"{ROWS}?format=html&order=name").text
    assert 'aria-sort="ascending"' in page
    assert links(page)["name ↑"] == f"{ROWS}?order=name.desc&format=html"
    assert links(page)["born"] == f"{ROWS}?order=born&format=html"
    groups = query.get(f"{ROWS}?format=html&group=name&measure=count").text
    assert '<td class="number">3</td>' in groups


def test_a_page_of_rows_escapes_values_and_cuts_long_ones(query: Client, engine: Engine) -> None:
    evil = "<script>alert(1)</script>"
    publish(engine, "guests", [{"id": 20, "name": evil}, {"id": 21, "name": "x" * 5000}], "b.csv")
    page = query.get(f"{ROWS}?id=ge.20&format=html").text
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "x" * 2000 + "…" in page
    assert "x" * 2001 not in page
    assert "No rows" in query.get(f"{ROWS}?id=eq.99&format=html").text
