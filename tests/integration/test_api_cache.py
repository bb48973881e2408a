"""Responses cached here and by clients: never older than an acknowledged write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from serving import publish
from sqlalchemy import event

from sluice.postgres.connection import open_database
from sluice.postgres.declare import declare
from sluice.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serving import Serve
    from sqlalchemy import Engine
    from werkzeug.test import Client

JOBS: dict[str, Any] = {
    "name": "trades",
    "columns": [{"name": "job", "type": "text"}],
    "queries": {
        "pairs": "-- Guests and trades.\nSELECT guests.name, trades.job FROM guests, trades ORDER BY 1, 2",
        "moment": "-- The time.\nSELECT CAST(statement_timestamp() AS text) AS moment FROM trades",
    },
}
ROWS = "/v1/datasets/guests/rows"
PAIRS = "/v1/datasets/trades/queries/pairs"


@pytest.fixture
def query(serve: Serve, guests: int, engine: Engine) -> Client:
    declare(engine, JOBS, origin="api")
    publish(engine, "trades", [{"job": "cook"}])
    return serve("query")


@pytest.fixture
def selects(query: Client) -> list[str]:
    """The statements that read rows, as they are sent."""
    return reads_of(open_database(read_settings()))


def reads_of(database: Engine) -> list[str]:
    """Return a list that grows by each statement that reads rows."""
    seen: list[str] = []

    def watch(connection: Any, *_: object) -> None:  # a pg8000 connection
        if "send_PARSE" not in vars(connection):
            send = connection.send_PARSE

            def note(name: bytes, statement: str, oids: Sequence[int] = ()) -> None:
                if "DECLARE" in statement or "row_to_json" in statement:
                    seen.append(statement)
                send(name, statement, oids)

            connection.send_PARSE = note

    event.listen(database, "checkout", watch)
    return seen


@pytest.mark.parametrize(
    "path", [f"{ROWS}?order=id", f"{ROWS}?format=csv", f"{ROWS}/2", PAIRS, f"{PAIRS}?format=html"]
)
def test_a_repeated_request_is_answered_from_the_cache(
    query: Client, selects: list[str], path: str
) -> None:
    first = query.get(path)
    body = first.data  # a response is cached when all of it was read
    second = query.get(path)
    assert (second.data, second.status_code) == (body, first.status_code)
    assert len(selects) == 1
    headers = {name: value for name, value in first.headers.items() if name != "Content-Length"}
    assert headers == {n: v for n, v in second.headers.items() if n != "Content-Length"}


@pytest.mark.parametrize("dataset", ["guests", "trades"])
def test_a_query_over_several_datasets_changes_with_each_of_them(
    query: Client, engine: Engine, dataset: str
) -> None:
    before = query.get(PAIRS)
    known = {"If-None-Match": before.headers["ETag"]}
    assert query.get(PAIRS, headers=known).status_code == 304
    row = {"guests": {"id": 99, "name": "Zoe"}, "trades": {"job": "pilot"}}[dataset]
    publish(engine, dataset, [row], "b.csv")
    after = query.get(PAIRS, headers=known)
    assert after.status_code == 200
    assert len(after.json["rows"]) > len(before.json["rows"])


def test_a_changed_declaration_takes_effect_immediately(query: Client, engine: Engine) -> None:
    assert "job" in query.get(PAIRS).json["rows"][0]
    sql = "-- Guests.\nSELECT guests.name FROM guests"
    declare(engine, {**JOBS, "queries": {"pairs": sql}}, origin="api")
    assert "job" not in query.get(PAIRS).json["rows"][0]


def test_a_writer_sees_its_own_write(serve: Serve, query: Client, topics: object) -> None:
    intake = serve("intake")
    for number in range(20, 30):
        assert len(query.get(ROWS).json["rows"]) == 8 + number - 20
        answer = intake.post(ROWS, json=[{"id": number, "name": "new"}])
        assert answer.status_code < 300, answer.text
        assert query.get(f"{ROWS}/{number}").json["name"] == "new"


def test_an_answer_that_depends_on_time_is_not_cached(query: Client) -> None:
    path = "/v1/datasets/trades/queries/moment"
    first = query.get(path)
    assert "ETag" not in first.headers
    assert first.headers["Cache-Control"] == "no-store"
    assert query.get(path).json != first.json


def test_the_cache_can_be_switched_off(serve: Serve, query: Client, engine: Engine) -> None:
    client = serve("query", cache_s="0")
    seen = reads_of(open_database(read_settings()))
    for _ in range(2):
        assert client.get(ROWS).json
    assert len(seen) == 2
