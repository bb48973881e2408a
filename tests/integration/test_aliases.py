"""Routes of other systems: declared by a dataset, answered in the shape that their clients expect."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from problems import assert_problem

from real_files import ROOT
from sluice.datasets.declarations import read_folders
from sluice.errors import DeclarationError
from sluice.postgres.declare import declare

if TYPE_CHECKING:
    from collections.abc import Mapping

    from serving import Serve
    from sqlalchemy import Engine
    from werkzeug.test import Client

    from sluice.local.pubsub import PubsubServer

GUESTS: Mapping[str, Any] = {
    "name": "guests",
    "description": "Guests.",
    "columns": [
        {"name": "id", "type": "integer", "header": "ID", "required": True},
        {"name": "first", "type": "text", "header": "First"},
        {"name": "last", "type": "text", "header": "Last"},
        {"name": "age", "type": "integer", "header": "Age"},
        {"name": "left_on", "type": "date", "header": "Date of Leaving", "formats": ["%m/%d/%y"]},
    ],
    "queries": {
        "all": "-- All guests.\nSELECT id, first, last, age, left_on FROM guests ORDER BY id",
        "youngest": "-- The youngest first.\nSELECT id, age FROM guests ORDER BY age NULLS LAST",
        "ids": "-- Ids by name.\n-- param last text!: The name.\n"
        "SELECT id FROM guests WHERE last = :last ORDER BY id",
        "count": "-- How many of an age.\n-- param age integer = 40: The age.\n"
        "SELECT count(*) AS guests FROM guests WHERE age = :age",
    },
    "aliases": {
        "GET /hello": {"kind": "text", "text": "pong"},
        "GET /guests": {"kind": "query", "query": "all", "names": "headers"},
        "GET /guests/age": {"kind": "query", "query": "youngest"},
        "GET /guests/{last}": {"kind": "query", "query": "ids", "shape": "list"},
        "POST /count": {"kind": "query", "query": "count", "shape": "object"},
        "GET /count": {"kind": "query", "query": "count", "shape": "text"},
        "POST /guests/add": {
            "kind": "row",
            "query": "all",
            "names": "headers",
            "needs": ["First", "Last", "Age", "Date of Leaving"],
            "next_key": "id",
        },
    },
}
ADA = {"First": "Ada", "Last": "Byron", "Age": 36, "Date of Leaving": "11/27/52"}


@pytest.fixture
def intake(serve: Serve, engine: Engine, topics: PubsubServer) -> Client:
    declare(engine, GUESTS, origin="api")
    client = serve("intake")
    rows = [[1, "Cy", "Coe", 40, None], [2, "Bo", "Coe", None, None], [7, "Al", "Bo", 5, "1/2/03"]]
    assert client.post("/v1/datasets/guests/rows", json=rows).status_code == 200
    return client


def test_a_text_is_answered(intake: Client) -> None:
    answer = intake.get("/hello")
    assert (answer.text, answer.content_type) == ("pong", "text/plain; charset=utf-8")
    assert intake.head("/hello").status_code == 200


def test_all_rows_have_the_headers_of_the_file(intake: Client) -> None:
    answer = intake.get("/guests")
    assert answer.content_type == "application/json"
    assert answer.json[0] == {
        "ID": 1,
        "First": "Cy",
        "Last": "Coe",
        "Age": 40,
        "Date of Leaving": None,
    }
    assert [each["ID"] for each in answer.json] == [1, 2, 7]


def test_rows_have_the_names_of_the_query(intake: Client) -> None:
    assert intake.get("/guests/age").json == [
        {"id": 7, "age": 5},
        {"id": 1, "age": 40},
        {"id": 2, "age": None},
    ]


def test_a_list_is_flat_and_may_be_empty(intake: Client) -> None:
    assert intake.get("/guests/Coe").json == [1, 2]
    assert intake.get("/guests/Nobody").json == []


def test_a_query_takes_its_parameters_from_query_string_json_and_form(intake: Client) -> None:
    assert intake.get("/count?age=5").text == "1"
    assert intake.post("/count").json == {"guests": 1}
    assert intake.post("/count", json={"age": 5}).json == {"guests": 1}
    assert intake.post("/count", data={"age": "99"}).json == {"guests": 0}
    by_curl = {"content_type": "application/x-www-form-urlencoded"}
    assert intake.post("/count", data='{"age": 5}', **by_curl).json == {"guests": 1}
    assert_problem(intake.post("/count", json={"age": "old"}), "API301", 400)
    assert_problem(intake.post("/count", json=[5]), "API303", 400)


def test_a_response_that_the_client_has_is_not_sent_again(intake: Client) -> None:
    etag = intake.get("/guests").headers["ETag"]
    assert intake.get("/guests", headers={"If-None-Match": etag}).status_code == 304
    intake.post("/guests/add", json=ADA)
    assert intake.get("/guests", headers={"If-None-Match": etag}).status_code == 200


def test_an_added_row_gets_the_next_free_id_and_is_visible(intake: Client) -> None:
    answer = intake.post("/guests/add", json=ADA)
    assert answer.status_code == 200, answer.text
    assert [each["ID"] for each in answer.json] == [1, 2, 7, 8]
    assert answer.json[3] == {**ADA, "ID": 8, "Date of Leaving": "2052-11-27"}
    assert intake.get("/guests").json == answer.json
    with_id = intake.post("/guests/add", data={**ADA, "ID": "5", "Age": ""})
    assert [(each["ID"], each["Age"]) for each in with_id.json][2] == (5, None)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"Age": "old"}, "Age"),
        ({"Age": 1.5}, "Age"),
        ({"Date of Leaving": "tomorrow"}, "Date of Leaving"),
        ({"ID": "x"}, "ID"),
        ({"Nose": "long"}, "Nose"),
    ],
)
def test_a_wrong_value_names_its_field(
    intake: Client, change: Mapping[str, object], field: str
) -> None:
    problem = assert_problem(intake.post("/guests/add", json=ADA | change), "API303", 400)
    assert problem["detail"].startswith(f"{field}: ")
    assert len(intake.get("/guests").json) == 3


@pytest.mark.parametrize("name", list(ADA))
def test_a_missing_key_is_named(intake: Client, name: str) -> None:
    row = {key: value for key, value in ADA.items() if key != name}
    problem = assert_problem(intake.post("/guests/add", json=row), "API303", 400)
    assert problem["detail"].startswith(f"{name}: missing")


def test_concurrently_added_rows_get_different_ids(intake: Client) -> None:
    answers: list[Any] = []

    def add() -> None:
        answer = intake.post("/guests/add", json=ADA)
        answers.append((answer.status_code, answer.json[-1]["ID"]))

    threads = [threading.Thread(target=add) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert {status for status, _ in answers} == {200}
    assert [each["ID"] for each in intake.get("/guests").json] == [1, 2, 7, *range(8, 16)]


def test_aliases_are_in_the_openapi_document(serve: Serve, intake: Client) -> None:
    document = serve("query").get("/openapi.json").json
    OpenAPIV31SpecValidator(document).validate()
    paths = document["paths"]
    for alias in GUESTS["aliases"]:
        method, path = alias.split()
        assert method.lower() in paths[path], alias
    added = paths["/guests/add"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert added["required"] == ["First", "Last", "Age", "Date of Leaving"]
    assert [each["name"] for each in paths["/guests/{last}"]["get"]["parameters"]] == ["last"]
    assert paths["/guests/age"]["get"]["summary"] == "The youngest first."


def test_the_routes_of_every_dataset_are_in_the_openapi_document(serve: Serve) -> None:
    paths = serve("query").get("/openapi.json").json["paths"]
    for dataset in read_folders(ROOT / "sql" / "datasets"):
        for alias in dataset.aliases:
            assert alias.method.lower() in paths[alias.path], alias
    assert list(paths["/upload"]["post"]["requestBody"]["content"]) == ["multipart/form-data"]


def test_an_unknown_path_or_method_is_a_problem(intake: Client) -> None:
    assert_problem(intake.get("/nothing/here"), "API305", 404)
    assert_problem(intake.get("/v2/datasets"), "API305", 404)
    assert_problem(intake.delete("/hello"), "API306", 405)
    assert_problem(intake.delete("/v1/datasets"), "API306", 405)


def test_an_alias_requires_the_token(serve: Serve, engine: Engine, intake: Client) -> None:
    guarded = serve("intake", token="secret")
    assert_problem(guarded.get("/hello"), "API304", 401)
    assert guarded.get("/hello", headers={"Authorization": "Bearer secret"}).text == "pong"


def test_two_datasets_cannot_serve_one_route(engine: Engine, intake: Client) -> None:
    other = {**GUESTS, "name": "others", "queries": {}, "aliases": {}}
    declare(engine, other, origin="api")
    taken = {"aliases": {"GET /hello": {"kind": "text", "text": "no"}}}
    with pytest.raises(DeclarationError, match="dataset guests serves this route"):
        declare(engine, other | taken, origin="api")
