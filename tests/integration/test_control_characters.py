"""NUL, lone surrogates and control characters by HTTP: refused or rejected with a reason, never a failure."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from serving import GUESTS

from sluice.postgres.declare import declare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Serve
    from sqlalchemy import Engine
    from werkzeug.test import Client

    from sluice.local.pubsub import PubsubServer

NUL, HALF = "\0", "\ud83d"
BAD = {"NUL": f"a{NUL}b", "half a pair": f"a{HALF}b"}


@pytest.fixture
def intake(serve: Serve, topics: PubsubServer, guests: int) -> Client:
    return serve("intake")


def post(client: Client, body: object, path: str = "/v1/datasets/guests/rows", **more: Any) -> Any:
    return client.post(path, data=json.dumps(body), content_type="application/json", **more)


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_a_row_with_such_a_text_is_rejected_and_the_others_load(
    intake: Client, serve: Serve, text: str
) -> None:
    rows = [
        {"id": 11, "name": "ok \x01\x1f\x7f\U0001f600"},
        {"id": 12, "name": text},
        {"id": 13, text: "x"},
        {"id": text, "name": "x"},
        {"id": 14, "born": text},
    ]
    answer = post(intake, {"rows": rows})
    assert answer.status_code == 200, answer.text
    outcomes = answer.json["rows"]
    assert [each["outcome"] for each in outcomes] == ["loaded", *["rejected"] * 4]
    assert all(each["reason"] for each in outcomes[1:])
    status = serve("status")
    path = f"/v1/ingestions/{answer.json['ingestion']}/rejects"
    assert len(status.get(path).json["rejects"]) == 4
    for kind in ("json", "ndjson", "reasons"):
        assert status.get(f"{path}?format={kind}").status_code == 200


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_such_names_in_a_body_of_several_datasets_are_a_problem(intake: Client, text: str) -> None:
    bodies: list[Any] = [
        {text: [{"id": 1}]},
        {"datasets": {text: [{"id": 1}]}},
        {"guests": [{text: 1}], text: []},
        {"rows": [text], text: 1},
        text,
        [text],
        {"rows": text},
    ]
    for body in bodies:
        for path in ("/v1/rows", "/v1/datasets/guests/rows"):
            assert post(intake, body, path).status_code < 500, (path, body)


def _places(document: Any, text: str) -> Iterator[Any]:
    """Yield copies of a document, each with the text as another value or name of a member."""
    if isinstance(document, dict):
        yield {**document, text: 1}
        for name, value in document.items():
            for each in _places(value, text):
                yield {**document, name: each}
    elif isinstance(document, list):
        for number, value in enumerate(document):
            for each in _places(value, text):
                yield [*document[:number], each, *document[number + 1 :]]
    elif isinstance(document, str):
        yield text


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_such_a_text_anywhere_in_a_declaration_is_a_problem(
    engine: Engine, intake: Client, text: str
) -> None:
    document = copy.deepcopy(
        {**GUESTS, "name": "others", "queries": {}, "rollups": {"x": "SELECT 1"}}
    )
    for each in _places(document, text):
        answer = intake.put(
            "/v1/datasets/others", data=json.dumps(each), content_type="application/json"
        )
        assert 400 <= answer.status_code < 500, (answer.text, each)
    declare(engine, {**GUESTS, "name": "others", "queries": {}}, origin="api")


@pytest.mark.parametrize("text", ["a%00b", "a%ED%A0%BDb", "%FF", "%01"])
def test_such_a_text_in_an_address_is_no_failure(intake: Client, serve: Serve, text: str) -> None:
    paths = {
        "query": [
            f"/v1/datasets/{text}/rows",
            f"/v1/datasets/guests/rows?name=eq.{text}",
            f"/v1/datasets/guests/rows?name=like.{text}",
            f"/v1/datasets/guests/rows?name=in.(x,{text})",
            f"/v1/datasets/guests/rows?born=eq.{text}",
            f"/v1/datasets/guests/rows?{text}=eq.1",
            f"/v1/datasets/guests/rows?order={text}&select={text}",
            f"/v1/datasets/guests/rows?cursor={text}",
            f"/v1/datasets/guests/rows/{text}",
            f"/v1/datasets/guests/queries/named?name={text}",
            f"/v1/datasets/guests/queries/{text}",
        ],
        "status": [
            f"/v1/ingestions?dataset={text}&state={text}",
            f"/v1/ingestions?cursor={text}",
            f"/v1/ingestions/{text}",
        ],
    }
    for function, listed in paths.items():
        client = serve(function)
        for path in listed:
            assert client.get(path).status_code < 500, path
    body = {"dataset": "guests", "name": f"{text}.csv", "size_bytes": 1}
    assert post(intake, {**body, "name": BAD["NUL"]}, "/v1/uploads").status_code < 500
    headers = {"Idempotency-Key": text}
    assert post(intake, {"rows": []}, headers=headers).status_code < 500
