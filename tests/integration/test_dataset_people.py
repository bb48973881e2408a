"""The dataset `people`: ids that stay unique, two-digit years, unknown ages, names of the file's header."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from flow import Flow
from sqlalchemy import create_engine

from real_files import DATA, expected_json, needs_real_files

if TYPE_CHECKING:
    from serving import Serve

    from sluice.local.pubsub import PubsubServer

SAMPLE = (Path(__file__).parents[1] / "cases" / "datasets" / "people.csv").read_bytes()
KEYS = ("First", "Last", "Age", "GithubAcct", "Date of 3rd Grade Graduation")
ZOE = dict(zip(KEYS, ("Zoe", "Robiner", 20, None, "6/24/40"), strict=True))

pytestmark = pytest.mark.flow(chunk_bytes=100, declared=None)


def test_people_are_loaded_by_their_rules(flow: Flow) -> None:
    ingestion = flow.run(SAMPLE, "people/a.csv")
    found = flow.ask("people", "all")
    assert [(each["id"], each["first"], each["graduated_on"]) for each in found] == [
        (1, "Ada", "2015-12-10"),
        (2, "Bo", None),
        (4, "Cy", "2012-06-01"),
        (5, "Ed", "1940-02-29"),
    ]
    row = flow.ingestion(ingestion)
    assert (row.records_read, row.rows_loaded, row.rows_rejected, row.duplicates) == (7, 4, 2, 1)
    not_number, short = flow.rejects(ingestion)
    assert (not_number.line, not_number.reason) == (7, '"x" is not a whole number')
    assert (short.line, short.reason) == (8, "has 2 columns instead of 6")
    assert bytes(short.original) == b"7,Gil"
    (warning,) = row.warnings
    assert (warning["rule"], warning["rows"]) == ("key", 1)


def test_the_youngest_come_first_and_unknown_ages_last(flow: Flow) -> None:
    flow.run(SAMPLE, "people/a.csv")
    assert [each["id"] for each in flow.ask("people", "youngest_first")] == [4, 1, 2, 5]


def test_ids_are_found_by_last_name(flow: Flow) -> None:
    flow.run(SAMPLE, "people/a.csv")
    assert flow.ask("people", "ids_by_lastname", lastname="Coe") == [{"id": 4}, {"id": 5}]
    assert flow.ask("people", "ids_by_lastname", lastname="") == [{"id": 2}]
    assert flow.ask("people", "ids_by_lastname", lastname="Nobody") == []


@needs_real_files
def test_the_real_people_are_served_as_their_old_clients_know_them(
    database: str, serve: Serve, topics: PubsubServer
) -> None:
    flow = Flow(database)
    data = (DATA / "people" / "people.csv").read_bytes()
    ingestion = flow.run(data, "people/people.csv")
    assert flow.account(ingestion) == (7, 7, 0)
    client = serve("intake")
    assert client.get("/ping").text == "pong"
    assert client.get("/people").json == expected_json("people/people_GET_people.json")
    ages = client.get("/people/age").json
    assert ages == expected_json("people/people_GET_people_age_nulls_last.json")
    assert [each["ID"] for each in ages] == [3, 1, 6, 5, 7, 2, 4]
    for name, ids in expected_json("people/people_GET_ids_by_lastname.json").items():
        if name:
            assert client.get(f"/ids/lastname/{name}").json == ids
    flow.close()


@needs_real_files
def test_a_person_is_added_under_the_next_free_id(
    database: str, serve: Serve, topics: PubsubServer
) -> None:
    flow = Flow(database)
    flow.run((DATA / "people" / "people.csv").read_bytes(), "people/people.csv")
    client = serve("intake")
    found = client.post("/people/add", json=ZOE).json
    assert len(found) == 8
    assert found[-1] == {"ID": 8, **ZOE, KEYS[-1]: "1940-06-24"}
    assert client.get("/ids/lastname/Robiner").json == [3, 6, 7, 8]
    flow.close()


def test_people_begin_empty(serve: Serve, topics: PubsubServer) -> None:
    client = serve("intake")
    assert client.get("/people").json == []
    assert client.post("/people/add", json=ZOE).json[0]["ID"] == 1


@pytest.mark.parametrize("key", KEYS)
def test_a_person_without_a_key_is_refused_by_its_name(
    serve: Serve, topics: PubsubServer, key: str
) -> None:
    client = serve("intake")
    answer = client.post("/people/add", json={k: v for k, v in ZOE.items() if k != key})
    assert answer.status_code == 400
    assert key in answer.json["detail"]
    assert client.get("/people").json == []


def test_an_age_that_is_no_whole_number_is_refused(serve: Serve, topics: PubsubServer) -> None:
    answer = serve("intake").post("/people/add", json={**ZOE, "Age": "old"})
    assert answer.status_code == 400
    assert "Age" in answer.json["detail"]


def test_an_id_that_is_taken_is_not_given_again(
    database: str, serve: Serve, topics: PubsubServer
) -> None:
    client = serve("intake")
    client.post("/people/add", json={**ZOE, "ID": 3})
    again = client.post("/people/add", json={**ZOE, "ID": 3, "First": "Other"})
    assert again.status_code in (200, 409)
    assert [each["First"] for each in client.get("/people").json] == ["Zoe"]
    assert client.post("/people/add", json=ZOE).json[-1]["ID"] == 4
    create_engine(database).dispose()
