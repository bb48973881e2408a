"""The function `backup` over HTTP: backups, restores, comparisons, and the legacy routes."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from serving import Serve
    from werkzeug.test import Client

    from sluice.local.storage import Server


@pytest.fixture
def client(serve: Serve, guests: int, topics: Any, storage: Server) -> Client:
    bucket = f"outbox-{uuid.uuid4().hex[:8]}"
    storage.create_bucket(bucket)
    return serve("backup", outbox=bucket)


def test_a_backup_is_made_listed_restored_and_compared(client: Client, serve: Serve) -> None:
    made = client.post("/v1/backups", json={})  # as the scheduled job sends it
    assert made.status_code == 201
    backup = made.json["id"]
    assert (made.json["state"], made.json["format"]) == ("done", "avro")
    assert {each["name"]: each["rows"] for each in made.json["datasets"]}["guests"] == 8
    assert client.get("/v1/backups").json == {"backups": [made.json]}
    assert client.get(f"/v1/backups/{backup}").json == made.json
    restored = client.post(f"/v1/backups/{backup}/restore", json={"datasets": ["guests"]})
    (found,) = restored.json["restored"]
    assert (found["into"], found["rows"]) == ("guests2", 8)
    compared = client.get(f"/v1/backups/{backup}/compare").json
    assert compared["equal"]
    query = serve("query")
    rows = query.get("/v1/datasets/guests2/rows?order=id").json["rows"]
    assert [row["id"] for row in rows] == list(range(1, 9))
    assert rows[0]["wage"] == 1.10
    assert query.get("/v1/datasets/guests2/rows/3").json["id"] == 3
    assert query.get("/v1/datasets/guests2").json["origin"] == "restored"


def test_a_request_ends_with_its_work_although_its_client_has_gone(client: Client) -> None:
    backup = client.post("/v1/backups", json={"datasets": ["guests"]}).json["id"]
    path, lines = f"/v1/backups/{backup}/restore", {"Accept": "application/x-ndjson"}
    answer = client.post(path, json={}, headers=lines, buffered=False)
    next(iter(answer.response))
    answer.close()
    assert client.get(f"/v1/backups/{backup}/compare").json["equal"]


def test_lines_report_the_progress(client: Client) -> None:
    lines = {"Accept": "application/x-ndjson"}
    answer = client.post("/v1/backups", json={"format": "parquet"}, headers=lines)
    *steps, last = [json.loads(line) for line in answer.text.splitlines()]
    assert steps
    assert [*last] == ["done"]
    path = f"/v1/backups/{last['done']['id']}/restore"
    answer = client.post(path, json={"datasets": ["guests", "guests3"]}, headers=lines)
    (line,) = [json.loads(line) for line in answer.text.splitlines()]
    assert line["problem"]["code"] == "API305"


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/backups", {"format": "csv"}, 400, "API303"),
        ("/v1/backups", {"datasets": []}, 400, "API303"),
        ("/v1/backups", {"datasets": ["gone"]}, 404, "API305"),
        ("/v1/backups", {"tables": ["guests"]}, 400, "API303"),
        ("/v1/backups/20260101T000000Z-abcdef/restore", {}, 404, "API305"),
        ("/v1/backups/..%2Fx/restore", {}, 404, "API305"),
        ("/v1/backups/%00/restore", {}, 404, "API305"),
        ("/restore", {}, 404, "API305"),
    ],
)
def test_a_wrong_request_is_refused_with_its_reason(
    client: Client, path: str, body: dict[str, Any], status: int, code: str
) -> None:
    answer = client.post(path, json=body)
    assert (answer.status_code, answer.json["code"]) == (status, code)


def test_in_place_takes_no_suffix(client: Client) -> None:
    backup = client.post("/v1/backups", json={"datasets": ["guests"]}).json["id"]
    for body in ({"in_place": True, "suffix": "2"}, {"in_place": "yes"}, {"suffix": ""}):
        answer = client.post(f"/v1/backups/{backup}/restore", json=body)
        assert (answer.status_code, answer.json["code"]) == (400, "API303")


def test_the_legacy_routes_back_up_every_table_or_one_and_restore_with_a_2(client: Client) -> None:
    answer = client.post("/backup")  # as `curl --request POST` sends it, without a body
    assert answer.json["response"] == "backups were taken sucessfully"
    assert answer.json["backup"]["format"] == "avro"
    for _ in range(2):
        answer = client.post("/restore", json={"table": "guests"})
        (found,) = answer.json["restored"]
        assert (answer.status_code, found["into"], found["rows"]) == (200, "guests2", 8)
    one = client.post("/backup?table=guests").json["backup"]
    assert [each["name"] for each in one["datasets"]] == ["guests"]
    assert client.post("/restore", json={"in_place": True}).json["restored"][0]["into"] == "guests"
