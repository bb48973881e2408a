"""Uploads, declarations and commands, as the function `intake` serves them."""

from __future__ import annotations

import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

import httpx
import pytest
from problems import assert_problem
from serving import GUESTS, advance, receive

from sluice.documents.document import decode
from sluice.documents.ingestions import Ingestion, State
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import composed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Serve
    from sqlalchemy import Engine
    from werkzeug.test import Client

    from sluice.local.pubsub import PubsubServer
    from sluice.local.storage import Server


@pytest.fixture
def intake(serve: Serve) -> Client:
    return serve("intake")


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".csv.zst"])
def test_a_file_goes_directly_to_the_inbox_by_a_single_put(
    intake: Client, storage: Server, suffix: str
) -> None:
    name = f"{uuid.uuid4()}/day 1 é{suffix}"
    body = b"region\nPrague\n" * 1000
    request_body = {"dataset": "trips", "name": name, "size": len(body)}
    answer = intake.post("/v1/uploads", json=request_body)
    assert answer.status_code == 201, answer.text
    assert answer.json["object"] == f"trips/{name}"
    assert httpx.put(answer.json["url"], content=body).is_success
    listed = httpx.get(f"{storage.url}/storage/v1/b/inbox/o").json()["items"]
    assert next(int(o["size"]) for o in listed if o["name"] == f"trips/{name}") == len(body)


class Refusing(BaseHTTPRequestHandler):
    """Cloud Storage with the object: fake-gcs-server ignores the condition."""

    asked: ClassVar[list[str]] = []
    origins: ClassVar[list[str | None]] = []

    def do_POST(self) -> None:
        self.asked.append(self.path)
        self.origins.append(self.headers["Origin"])
        self.send_response(412)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Refusing]]:
    Refusing.asked.clear()
    Refusing.origins.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever).start()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        yield Refusing
        server.shutdown()


def test_an_upload_that_must_not_overwrite_is_refused(
    intake: Client, refusing: type[Refusing]
) -> None:
    request_body = {"dataset": "trips", "name": "a.csv", "create_only": True}
    assert_problem(intake.post("/v1/uploads", json=request_body), "API312", 412)
    assert "ifGenerationMatch=0" in refusing.asked[0]


@pytest.mark.parametrize("origin", ["https://console.example.org", None])
def test_a_session_is_for_the_origin_of_the_page_that_asks(
    intake: Client, refusing: type[Refusing], origin: str | None
) -> None:
    headers = {"Origin": origin} if origin else {}
    intake.post("/v1/uploads", json={"dataset": "trips", "name": "a.csv"}, headers=headers)
    assert refusing.origins == [origin]


@pytest.mark.parametrize(
    ("body", "code", "status"),
    [
        ({"dataset": "My Pets", "name": "a.csv"}, "API303", 400),
        ({"dataset": "trips"}, "API303", 400),
        ({"dataset": "trips", "name": "a.xls"}, "API303", 400),
        ({"dataset": "trips", "name": "../plays/a.csv"}, "API303", 400),
        ({"dataset": "trips", "name": "/a.csv"}, "API303", 400),
        ({"dataset": "trips", "name": "a\n.csv"}, "API303", 400),
        ({"dataset": "trips", "name": "a" * 1024 + ".csv"}, "API303", 400),
        ({"dataset": "trips", "name": "a.csv", "size": -1}, "API303", 400),
        ({"dataset": "trips", "name": "a.csv", "size": True}, "API303", 400),
        ({"dataset": 5, "name": "a.csv"}, "API303", 400),
        ({"dataset": "trips", "name": "a.csv", "colour": "red"}, "API303", 400),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_wrong_upload_is_a_problem(
    intake: Client, body: dict[str, Any], code: str, status: int
) -> None:
    assert_problem(intake.post("/v1/uploads", json=body), code, status)


def test_a_body_that_is_not_json_is_a_problem(intake: Client) -> None:
    answer = intake.post("/v1/uploads", data=b"{", content_type="application/json")
    assert_problem(answer, "API303", 400)


def test_a_dataset_is_declared_and_changed(intake: Client) -> None:
    path = "/v1/datasets/guests"
    assert intake.put(path, json=GUESTS).json == {"name": "guests", "version": 1, "changed": True}
    assert intake.put(path, json=GUESTS).json["changed"] is False
    changed = {**GUESTS, "description": "All guests."}
    assert intake.put(path, json=changed).json == {"name": "guests", "version": 2, "changed": True}


def test_a_wrong_declaration_is_reported_by_key(intake: Client) -> None:
    document = {**GUESTS, "columns": [{"name": "id", "type": "number"}]}
    problem = assert_problem(intake.put("/v1/datasets/guests", json=document), "API320", 422)
    assert problem["detail"].startswith("columns[0].type: ")
    other = intake.put("/v1/datasets/pets", json=GUESTS)
    assert_problem(other, "API303", 400)


def test_an_ingestion_is_cancelled_and_retried(
    intake: Client, engine: Engine, topics: PubsubServer
) -> None:
    number = receive(engine, "trips")
    advance(engine, number, State.SPLITTING)
    assert intake.post(f"/v1/ingestions/{number}/cancel").json["state"] == "cancelled"
    assert_problem(intake.post(f"/v1/ingestions/{number}/cancel"), "API308", 409)
    assert intake.post(f"/v1/ingestions/{number}/retry").json["state"] == "received"


def test_the_time_of_a_retried_ingestion_counts_from_the_retry(
    intake: Client, engine: Engine, topics: PubsubServer
) -> None:
    number = receive(engine, "trips")
    with transaction(engine) as connection:
        aged = "UPDATE sluice.ingestions SET received_at = received_at - interval '1 day'"
        connection.execute(composed(aged))
    first = decode(intake.post(f"/v1/ingestions/{number}/cancel").data, Ingestion)
    assert first.started_at == first.received_at
    assert first.took_s
    assert first.took_s > 86_000
    restarted = decode(intake.post(f"/v1/ingestions/{number}/retry").data, Ingestion)
    assert (restarted.finished_at, restarted.took_s) == (None, None)
    second = decode(intake.post(f"/v1/ingestions/{number}/cancel").data, Ingestion)
    assert second.received_at == first.received_at
    assert second.took_s is not None
    assert 0 <= second.took_s < 60


def test_a_published_ingestion_is_undone(
    intake: Client, serve: Serve, topics: PubsubServer, guests: int
) -> None:
    assert intake.post(f"/v1/ingestions/{guests}/undo").json["state"] == "undone"
    assert serve("query").get("/v1/datasets/guests/rows").json["rows"] == []


@pytest.mark.parametrize("command", ["cancel", "retry", "undo"])
def test_a_command_to_an_unknown_ingestion_is_a_problem(intake: Client, command: str) -> None:
    assert_problem(intake.post(f"/v1/ingestions/99/{command}"), "API305", 404)
    assert_problem(intake.get(f"/v1/ingestions/1/{command}"), "API306", 405)
