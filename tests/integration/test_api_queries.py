"""Datasets, named queries, errors, tokens and documentation of the function `query`."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from problems import assert_problem
from sqlalchemy import text

from sluice.api.routes import documentation

if TYPE_CHECKING:
    from serving import Serve
    from sqlalchemy import Engine
    from werkzeug.test import Client

QUERIES = "/v1/datasets/guests/queries"


@pytest.fixture
def query(serve: Serve, guests: int) -> Client:
    return serve("query")


def test_datasets_are_listed_with_their_published_rows(query: Client) -> None:
    found = {each["name"]: each for each in query.get("/v1/datasets").json["datasets"]}
    assert found["guests"]["rows"] == 8
    assert found["guests"]["freshness"]["ingestion"] == 1
    assert found["trips"]["rows"] == 0


def test_a_dataset_describes_itself(query: Client) -> None:
    found = query.get("/v1/datasets/guests").json
    assert found["key"] == ["id"]
    assert found["columns"][3]["fields"] == [{"name": "wage", "type": "numeric", "nullable": True}]
    assert found["declaration"]["name"] == "guests"
    assert_problem(query.get("/v1/datasets/pets"), "API305", 404)


def test_queries_are_listed_with_their_parameters(query: Client) -> None:
    found = {each["name"]: each for each in query.get(QUERIES).json["queries"]}
    assert found["named"]["summary"] == "The guest with a name."
    assert found["named"]["parameters"][0]["required"] is True


def test_a_query_for_one_returns_the_object_itself(query: Client) -> None:
    assert query.get(f"{QUERIES}/named?name=Cy").json == {"id": 5, "name": "Cy"}
    assert query.get(f"{QUERIES}/named?name=Cy&format=csv").text == "id,name\r\n5,Cy\r\n"
    assert_problem(query.get(f"{QUERIES}/named?name=Nobody"), "API305", 404)


@pytest.mark.parametrize("arguments", ["", "name=a&name=b", "name=a&age=3"])
def test_wrong_parameters_are_a_problem(query: Client, arguments: str) -> None:
    assert_problem(query.get(f"{QUERIES}/named?{arguments}"), "API301", 400)


def test_an_unknown_query_is_refused_with_the_known_ones(query: Client) -> None:
    document = assert_problem(query.get(f"{QUERIES}/oldest"), "API305", 404)
    assert "guests has no query oldest; it has " in document["detail"]
    assert "named" in document["detail"]


def test_a_query_that_takes_too_long_is_cancelled(serve: Serve, guests: int) -> None:
    client = serve("query", statement_timeout_s="0.2")
    assert_problem(client.get(f"{QUERIES}/slow"), "API309", 422)


def test_a_value_that_postgresql_refuses_is_the_clients_error(query: Client) -> None:
    assert (
        "division by zero"
        in assert_problem(query.get(f"{QUERIES}/broken"), "API301", 400)["detail"]
    )


def test_a_failed_answer_releases_its_connection(query: Client) -> None:
    for _ in range(10):  # more than the pool has connections
        assert query.get(f"{QUERIES}/broken").status_code == 400


def test_connections_that_were_lost_while_idle_are_replaced(
    query: Client, superuser: Engine
) -> None:
    assert query.get(f"{QUERIES}/named?name=Ada").status_code == 200
    with superuser.begin() as connection:
        ended = connection.execute(
            text(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
        assert ended.scalar_one() > 0
    assert query.get(f"{QUERIES}/named?name=Ada").status_code == 200


def test_a_connection_that_is_lost_during_a_query_is_a_problem(
    query: Client, superuser: Engine
) -> None:
    for _ in range(3):
        with ThreadPoolExecutor() as threads:
            asked = threads.submit(query.get, f"{QUERIES}/slow")
            end_session_that_never_ends(superuser)
            answer = asked.result()
        assert_problem(answer, "SYS903", 503)
        assert answer.headers["Retry-After"] == "1"
    assert query.get(f"{QUERIES}/named?name=Ada").status_code == 200


def end_session_that_never_ends(superuser: Engine) -> None:
    sql = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND state = 'active' AND query LIKE 'FETCH%'"
    )
    for _ in range(1000):
        with superuser.begin() as connection:
            if connection.scalar(text(sql)):
                return
        time.sleep(0.01)
    raise AssertionError("no session runs a query")


def test_a_query_cannot_write(query: Client, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION public.spoil() RETURNS int LANGUAGE sql AS"
                " 'DELETE FROM store.guests RETURNING 1'"
            )
        )
        connection.execute(
            text(
                "UPDATE sluice.datasets SET version = 2, declaration = jsonb_set(declaration,"
                " '{queries,broken}', to_jsonb(CAST('-- Spoils.\nSELECT spoil() AS x' AS text)))"
            )
        )
    assert_problem(query.get(f"{QUERIES}/broken"), "SYS900", 500)
    assert query.get("/v1/datasets/guests").json["rows"] == 8


def test_an_unexpected_error_does_not_reveal_internals(
    query: Client,
    engine: Engine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP VIEW public.guests"))
    document = assert_problem(query.get("/v1/datasets/guests/rows"), "SYS900", 500)
    assert "guests" not in document["detail"]
    assert 'relation "public.guests" does not exist' in caplog.text


def test_unknown_routes_and_methods_are_problems(query: Client) -> None:
    assert_problem(query.get("/v2"), "API305", 404)
    assert_problem(query.get("/v1/subscriptions"), "API305", 404)  # another function's
    answer = query.post("/v1/datasets")
    assert_problem(answer, "API306", 405)
    assert answer.headers["Allow"] == "GET, HEAD"


def test_a_token_is_required_when_one_is_set(serve: Serve) -> None:
    client = serve("query", token="s3cret")
    answer = client.get("/v1/datasets")
    assert_problem(answer, "API304", 401)
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    for wrong in ("Bearer nope", "Basic s3cret", "s3cret", "Bearer ", "Bearer é"):
        answer = client.get("/v1/datasets", headers={"Authorization": wrong})
        assert answer.status_code == 401, wrong
    assert client.get("/v1/datasets", headers={"Authorization": "Bearer s3cret"}).status_code == 200


def test_the_openapi_document_is_valid_and_names_each_query(query: Client) -> None:
    document = query.get("/openapi.json").json
    OpenAPIV31SpecValidator(document).validate()
    operation = document["paths"]["/v1/datasets/trips/queries/weekly_average"]["get"]
    by = next(each for each in operation["parameters"] if each["name"] == "by")
    assert by["schema"] == {
        "type": "string",
        "enum": ["origin", "destination", "both", "either"],
        "default": "origin",
    }


def test_the_openapi_document_has_the_rows_of_each_dataset_with_their_types(query: Client) -> None:
    document = query.get("/openapi.json").json
    rows = document["paths"]["/v1/datasets/guests/rows"]["get"]
    assert {"born", "order", "cursor", "measure", "format"} <= {
        p["name"] for p in rows["parameters"]
    }
    patterns = {p["name"]: p["schema"].get("pattern") for p in rows["parameters"]}
    for right in ("eq.2020-02-29", "in.(2020-01-01,2021-12-31)", "is.null", "is.not_null"):
        assert re.search(patterns["born"], right), right
    for wrong in ("2020-02-29", "eq.", "eq.2021-02-29", "like.2020%", "in.()", "is.true"):
        assert not re.search(patterns["born"], wrong), wrong
    for right in ("eq.", "ne.A, B", "like.A%", 'in.("A, B",C)', "is.null"):
        assert re.search(patterns["name"], right), right
    for wrong in ("A", "has.A", "eq.\0", "like.A\\", "in.(A"):
        assert not re.search(patterns["name"], wrong), wrong
    assert "/v1/datasets/guests/rows/{key}" in document["paths"]
    assert "/v1/datasets/trips/rows/{key}" not in document["paths"]
    row = document["components"]["schemas"]["Row_guests"]["properties"]
    bounds = {"minimum": -(2**31), "maximum": 2**31 - 1}
    assert row["id"] == {"type": "integer", "format": "int32", **bounds, "examples": [42]}
    born = {"type": "string", "format": "date", "examples": ["2018-05-28"]}
    assert row["born"] == {"anyOf": [born, {"type": "null"}]}


def test_the_documentation_is_one_page_without_external_resources(query: Client) -> None:
    answer = query.get("/docs")
    assert answer.content_type == "text/html; charset=utf-8"
    assert not re.search(r'(?:src|href)="(?:https?:)?//', answer.text)
    for operation in documentation.operations():
        assert f'id="{operation.route.name}"' in answer.text


def test_names_in_the_documentation_are_escaped(serve: Serve, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE sluice.datasets SET version = 2, declaration = jsonb_set(declaration,"
                " '{description}', '\"<script>alert(1)</script>\"')"
            )
        )
    assert "<script" not in serve("query").get("/docs").text
