"""Rows of a request: counted, rejected, repeated and undone like those of a file."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from problems import assert_problem

from sluice.postgres.declare import declare

if TYPE_CHECKING:
    from collections.abc import Mapping

    from serving import Serve
    from sqlalchemy import Engine
    from werkzeug.test import Client

    from sluice.local.pubsub import PubsubServer

VISITS: Mapping[str, Any] = {
    "name": "visits",
    "description": "Visits.",
    "columns": [
        {"name": "id", "type": "integer", "required": True, "header": ["ID", "number"]},
        {"name": "guest", "type": "text", "max_length": 20},
        {"name": "wage", "type": "numeric", "decimal_separator": ",", "thousands_separator": "."},
        {"name": "kind", "type": "text", "dictionary": True},
        {"name": "place", "type": "point"},
        {"name": "is_member", "type": "boolean"},
    ],
    "rollups": {
        "kinds": "-- Visits of each kind.\n-- key: kind\n-- measure visits: sum\n"
        "SELECT kind, count(*) AS visits FROM rows GROUP BY ALL"
    },
}
DOORS: Mapping[str, Any] = {
    "name": "doors",
    "description": "Doors.",
    "header": False,
    "load": "all_or_nothing",
    "columns": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "colour", "type": "text", "required": True},
    ],
}
#: Clubs and those who are in them, by different policies of duplicates.
CLUBS: Mapping[str, Any] = {
    "name": "clubs",
    "key": ["id"],
    "duplicates": "update",
    "columns": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "title", "type": "text"},
    ],
}
ATHLETES: Mapping[str, Any] = {
    "name": "athletes",
    "key": ["id"],
    "duplicates": "ignore",
    "columns": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "club", "type": "integer", "references": "clubs", "dangling": "reject"},
    ],
}
ROUTE = "/v1/datasets/visits/rows"


@pytest.fixture
def intake(serve: Serve, engine: Engine, topics: PubsubServer) -> Client:
    for each in (VISITS, DOORS, CLUBS, ATHLETES):
        declare(engine, each, origin="api")
    return serve("intake")


@pytest.fixture
def query(serve: Serve, intake: Client) -> Client:
    return serve("query")


def outcomes(answer: Any) -> list[str]:
    return [each["outcome"] for each in answer["rows"]]


def rows(query: Client, dataset: str = "visits") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = query.get(f"/v1/datasets/{dataset}/rows").json["rows"]
    return found


def test_rows_are_published_before_the_answer(intake: Client, query: Client) -> None:
    answer = intake.post(ROUTE, json=[{"id": 1, "guest": " Ada "}, {"ID": "2", "kind": "b"}])
    assert answer.status_code == 200, answer.text
    assert answer.json["state"] == "done"
    assert outcomes(answer.json) == ["loaded", "loaded"]
    assert [(each["id"], each["guest"], each["kind"]) for each in rows(query)] == [
        (1, "Ada", None),
        (2, None, "b"),
    ]


def test_a_json_value_is_typed_like_the_cell_of_a_file(intake: Client, query: Client) -> None:
    body = (
        '{"rows": [{"id": 1.0, "guest": 23.590, "wage": 12345678901234567.123456789,'
        ' "place_lon": 7.5, "place_lat": -45, "is_member": true},'
        ' {"id": 2e0, "guest": "comma, \\"quote\\"\\r\\nline", "wage": "1.234,5",'
        ' "place": "POINT (1 2)", "is_member": "no"}, [3, null, -1.5e-3, "c", null, false]]}'
    )
    answer = intake.post(ROUTE, data=body)
    assert outcomes(answer.json) == ["loaded"] * 3, answer.text
    text = query.get(f"{ROUTE}?order=id").text
    assert '"wage":12345678901234567.123456789' in text
    first, second, third = rows(query)
    assert (first["guest"], first["place_lon"], first["place_lat"]) == ("23.590", 7.5, -45)
    assert (second["guest"], second["wage"], second["is_member"]) == (
        'comma, "quote"\r\nline',
        1234.5,
        False,
    )
    assert (third["wage"], third["kind"], third["is_member"]) == (-0.0015, "c", False)


@pytest.mark.parametrize(
    ("row", "column", "rule", "reason"),
    [
        ('{"id": "x"}', "id", "type", '"x" is not a whole number'),
        ('{"id": 1.5}', "id", "type", '"1.5" is not a whole number'),
        ('{"id": true}', "id", "type", '"true" is not a whole number'),
        ("{}", "id", "required", "a value is required"),
        ('{"id": 1, "guest": "a\\u0000b"}', "guest", "nul", "NUL byte"),
        ('{"id": 1, "guest": "\\ud800"}', "guest", "encoding", "surrogate"),
        ('{"id": 1, "guest": {"first": "Ada"}}', "guest", "type", "an object is no value"),
        ('{"id": 1, "guest": [1]}', "guest", "type", "a list is no value"),
        ('{"id": 1, "gest": "Ada"}', "gest", "columns", "no such column"),
        ('{"id": 1, "number": 2}', "id", "columns", "a second time"),
        ('{"id": 1, "place": "POINT (1 2)", "place_lon": 1}', "place", "columns", "halves"),
        ('[1, "Ada"]', None, "columns", "has 2 columns instead of 6"),
        ('"Ada"', None, "type", "a text is no row"),
        ("null", None, "type", "null is no row"),
    ],
)
def test_a_rejected_row_has_column_rule_and_reason(
    intake: Client, serve: Serve, row: str, column: str | None, rule: str, reason: str
) -> None:
    answer = intake.post(ROUTE, data=f'[{{"id": 7}}, {row}]')
    assert outcomes(answer.json) == ["loaded", "rejected"], answer.text
    reject = answer.json["rows"][1]
    assert (reject["column"], reject["rule"]) == (column, rule)
    assert reason in reject["reason"]
    assert answer.json["account"] == {"read": 2, "loaded": 1, "rejected": 1, "duplicates": 0}
    kept = serve("status").get(f"/v1/ingestions/{answer.json['ingestion']}/rejects").json
    (reject,) = kept["rejects"]
    assert (reject["line"], reject["original"]) == (2, row)


@pytest.mark.parametrize("count", [1, 1000])
def test_one_to_a_thousand_rows_are_loaded(intake: Client, query: Client, count: int) -> None:
    answer = intake.post(ROUTE, json=[{"id": number} for number in range(count)])
    assert outcomes(answer.json) == ["loaded"] * count
    assert len(rows(query)) == count


@pytest.mark.parametrize("count", [0, 1001])
def test_zero_and_1001_rows_are_refused(intake: Client, query: Client, count: int) -> None:
    wanted = [{"id": number} for number in range(count)]
    assert_problem(intake.post(ROUTE, json=wanted), "API303", 400)
    assert_problem(intake.post("/v1/rows", json={"visits": wanted}), "API303", 400)
    assert rows(query) == []


DEEP = [f'[{{"id": 1, "guest": {"[" * depth}{"]" * depth}}}]' for depth in (70, 500, 9999)]


@pytest.mark.parametrize(
    "body",
    ["", "{", "7", '{"lines": []}', '{"rows": {"id": 1}}', '[{"id": NaN}]', "[" * 9999, *DEEP],
    ids=lambda body: body[:20],
)
def test_a_body_without_rows_is_refused(intake: Client, body: str) -> None:
    assert_problem(intake.post(ROUTE, data=body), "API303", 400)


def test_a_body_that_is_too_long_is_refused(intake: Client) -> None:
    body = b'[{"id": 1, "guest": "' + b"a" * 17 * 1024**2 + b'"}]'
    assert_problem(intake.post(ROUTE, data=body), "API310", 413)


def test_rows_of_an_unknown_dataset_are_refused(intake: Client) -> None:
    assert_problem(intake.post("/v1/datasets/nothing/rows", json=[{}]), "API305", 404)
    mixed = {"visits": [{"id": 1}], "nothing": [{}]}
    assert_problem(intake.post("/v1/rows", json=mixed), "API305", 404)


def test_rows_of_several_datasets_are_loaded_by_one_request(intake: Client, query: Client) -> None:
    body = {"visits": [{"id": 1}, {"id": "x"}], "doors": [[1, "red"], [2, "blue"]]}
    answer = intake.post("/v1/rows", data=json.dumps(body))
    visits, doors = answer.json["ingestions"]
    assert (visits["dataset"], outcomes(visits)) == ("visits", ["loaded", "rejected"])
    assert (doors["dataset"], outcomes(doors)) == ("doors", ["loaded", "loaded"])
    assert [each["colour"] for each in rows(query, "doors")] == ["red", "blue"]


def test_all_or_nothing_loads_no_row_and_keeps_the_rejects(
    intake: Client, query: Client, serve: Serve
) -> None:
    answer = intake.post("/v1/datasets/doors/rows", json=[[1, "red"], [2, None]])
    problem = assert_problem(answer, "CSV113", 422)
    assert outcomes(problem) == ["not_loaded", "rejected"]
    assert rows(query, "doors") == []
    status = serve("status")
    assert status.get(f"/v1/ingestions/{problem['ingestion']}").json["state"] == "failed"
    kept = status.get(f"/v1/ingestions/{problem['ingestion']}/rejects").json["rejects"]
    assert [each["original"] for each in kept] == ["[2, null]"]


def test_an_ingestion_of_rows_has_events_and_is_undone(
    intake: Client, query: Client, serve: Serve
) -> None:
    number = intake.post(ROUTE, json=[{"id": 1, "kind": "a"}]).json["ingestion"]
    streamed = serve("status").get(f"/v1/ingestions/{number}/events").text
    states = [line.rpartition(".")[2] for line in streamed.splitlines() if "event: " in line]
    assert states == ["received", "splitting", "loading", "progress", "publishing", "done"]
    assert_problem(intake.post(f"/v1/ingestions/{number}/retry"), "API308", 409)
    assert intake.post(f"/v1/ingestions/{number}/undo").json["state"] == "undone"
    assert rows(query) == []


def test_the_same_key_answers_the_same_and_loads_once(intake: Client, query: Client) -> None:
    headers = {"Idempotency-Key": "order-1"}
    first = intake.post(ROUTE, data='[{"id": 1, "kind": "a"}]', headers=headers)
    again = intake.post(ROUTE, data='[ {"kind": "a", "id": 1} ]', headers=headers)
    assert again.json == first.json
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(rows(query)) == 1


def test_another_body_under_the_same_key_is_refused(intake: Client, query: Client) -> None:
    headers = {"Idempotency-Key": "order-1"}
    intake.post(ROUTE, json=[{"id": 1}], headers=headers)
    assert_problem(intake.post(ROUTE, json=[{"id": 2}], headers=headers), "API315", 422)
    other = intake.post("/v1/rows", json=[{"id": 1}], headers=headers)
    assert other.status_code == 400
    assert len(rows(query)) == 1


def test_concurrent_repeats_of_a_key_load_once(intake: Client, query: Client) -> None:
    answers = []

    def send(number: int) -> None:
        body = [{"id": number % 4, "kind": f"kind {number % 4}"}]
        headers = {"Idempotency-Key": f"key {number % 4}"}
        answers.append(intake.post(ROUTE, json=body, headers=headers))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(16)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert {each.status_code for each in answers} == {200}, [each.text for each in answers]
    assert sorted(each["id"] for each in rows(query)) == [0, 1, 2, 3]
    assert len({each.text for each in answers}) == 4


def test_rows_with_a_known_key_are_duplicates(intake: Client, query: Client) -> None:
    route = "/v1/datasets/athletes/rows"
    assert outcomes(intake.post(route, json=[[1, None], [2, None]]).json) == ["loaded"] * 2
    answer = intake.post(route, json=[[3, None], [2, None], [3, None], ["x", None], [4, None]]).json
    assert outcomes(answer) == ["loaded", "duplicate", "duplicate", "rejected", "loaded"]
    assert answer["account"] == {"read": 5, "loaded": 2, "rejected": 1, "duplicates": 2}
    assert [each["id"] for each in rows(query, "athletes")] == [1, 2, 3, 4]


def test_the_last_row_of_a_key_counts_where_rows_are_updated(intake: Client, query: Client) -> None:
    route = "/v1/datasets/clubs/rows"
    assert outcomes(intake.post(route, json=[[1, "a"]]).json) == ["loaded"]
    answer = intake.post(route, json=[[1, "b"], [2, "c"], [1, "d"]]).json
    assert outcomes(answer) == ["duplicate", "loaded", "loaded"]
    assert answer["account"] == {"read": 3, "loaded": 2, "rejected": 0, "duplicates": 1}
    assert [(each["id"], each["title"]) for each in rows(query, "clubs")] == [(1, "d"), (2, "c")]
    assert intake.post(f"/v1/ingestions/{answer['ingestion']}/undo").json["state"] == "undone"
    assert [(each["id"], each["title"]) for each in rows(query, "clubs")] == [(1, "a")]


def test_rows_can_refer_to_rows_of_the_same_request(intake: Client) -> None:
    body = {"athletes": [[1, 7], [2, 8], [2, 7]], "clubs": [[7, "a"]]}
    athletes, clubs = intake.post("/v1/rows", data=json.dumps(body)).json["ingestions"]
    assert outcomes(clubs) == ["loaded"]
    assert outcomes(athletes) == ["loaded", "rejected", "loaded"]
    reject = athletes["rows"][1]
    assert (reject["column"], reject["rule"]) == ("club", "references")
