"""Pushes captured from a running local cloud: how they are read and answered."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import functions_framework
import pytest
from flask.testing import FlaskClient

from sluice.errors import BodyError
from sluice.gcloud.pubsub import read_push
from sluice.ingestion.chunks import Chunk
from sluice.ingestion.notifications import read_notification
from sluice.ports import StoredObject

EVENTS = Path(__file__).parents[1] / "events"
FUNCTIONS = Path(__file__).parents[2] / "functions"
Serve = Callable[[str], FlaskClient]


def captured(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text())


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """An entry point under functions-framework with an unreachable database."""
    monkeypatch.setenv("SLUICE_DATABASE_URL", "postgresql+pg8000://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("SLUICE_PROJECT", "local")
    monkeypatch.setenv("SLUICE_AUTHENTICATION", "none")

    def make(function: str) -> FlaskClient:
        source = str(FUNCTIONS / function / "main.py")
        client: FlaskClient = functions_framework.create_app(function, source).test_client()
        return client

    return make


def test_the_notification_of_a_finished_upload_is_read_as_its_object() -> None:
    message = read_push(captured("object_finalize"))
    assert read_notification(message.attributes, message.json(), "inbox") == StoredObject(
        bucket="inbox",
        name="trips/may.csv",
        generation=1795264599899885,
        size_bytes=286,
        crc32c="qmzrWw==",
        uploaded_at=datetime(2026, 11, 21, 12, 36, 39, 899878, UTC),
    )


@pytest.mark.parametrize("name", ["object_finalize_empty", "object_finalize_part"])
def test_notifications_of_empty_objects_and_parts_are_ignored(name: str) -> None:
    message = read_push(captured(name))
    assert read_notification(message.attributes, message.json(), "inbox") is None


@pytest.mark.parametrize("missing", ["objectId", "bucketId", "objectGeneration"])
def test_a_notification_with_a_missing_attribute_is_refused(missing: str) -> None:
    message = read_push(captured("object_finalize"))
    attributes = {key: value for key, value in message.attributes.items() if key != missing}
    with pytest.raises(BodyError, match="not a notification of Cloud Storage"):
        read_notification(attributes, message.json(), "inbox")


def test_a_chunk_is_equal_after_reading_and_writing_its_message() -> None:
    message = read_push(captured("chunk"))
    chunk = Chunk.from_message(message.json())
    assert (chunk.ingestion, chunk.number, chunk.first_line, chunk.records) == (1, 0, 2, 3)
    assert (chunk.object, chunk.size_bytes) == ("trips/may.csv", 286 - 58)
    assert chunk.message() == (message.data, message.attributes)


@pytest.mark.parametrize("name", ["publishing", "done"])
def test_an_event_is_a_cloudevent_with_attributes_to_filter_by(name: str) -> None:
    message = read_push(captured(name))
    event = message.json()
    assert event["specversion"] == "1.0"
    assert event["type"] == f"sluice.ingestion.{name}"
    assert event["id"] == f"1-{event['sequence']}"
    assert message.attributes == {
        "ingestion": "1",
        "dataset": "trips",
        "state": name,
        "severity": "INFO",
    }


# The entry points


@pytest.mark.parametrize("name", ["object_finalize_empty", "object_finalize_part"])
def test_split_acknowledges_what_it_ignores(serve: Serve, name: str) -> None:
    assert serve("split").post("/", json=captured(name)).status_code == 204


def test_finish_acknowledges_events_that_need_no_work(serve: Serve) -> None:
    push = captured("done")
    push["message"]["attributes"]["state"] = "loading"
    assert serve("finish").post("/", json=push).status_code == 204


@pytest.mark.parametrize(
    ("function", "name"),
    [
        ("split", "object_finalize"),
        ("load", "chunk"),
        ("finish", "publishing"),
        ("finish", "done"),
    ],
)
def test_a_push_is_not_acknowledged_while_the_database_is_unreachable(
    serve: Serve, function: str, name: str
) -> None:
    assert serve(function).post("/", json=captured(name)).status_code == 503


@pytest.mark.parametrize("function", ["split", "load", "finish"])
@pytest.mark.parametrize(
    "envelope",
    [
        pytest.param({}, id="no-message"),
        pytest.param([], id="a-list"),
        pytest.param({"message": {"data": "%%"}}, id="not-base64"),
        pytest.param({"message": {"data": base64.b64encode(b"[1]").decode()}}, id="not-an-object"),
    ],
)
def test_a_malformed_push_is_logged_and_acknowledged(
    serve: Serve, capfd: pytest.CaptureFixture[str], function: str, envelope: Any
) -> None:
    if function == "finish" and envelope and "message" in envelope:
        envelope["message"]["attributes"] = {"state": "publishing"}
    assert serve(function).post("/", json=envelope).status_code == 204


@pytest.mark.parametrize(
    "attributes", [["a"], "a", {"a": 1}, {"a": {}}, {"a": "\0"}, {"a": "\ud800"}]
)
def test_attributes_that_are_no_texts_are_refused(attributes: Any) -> None:
    with pytest.raises(BodyError, match="`attributes` are not texts"):
        read_push({"message": {"data": "", "attributes": attributes}})


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("objectId", "trips/" + "x" * 1024),
        ("objectId", "trips/\0.csv"),
        ("objectGeneration", "9" * 19),
        ("objectGeneration", "9" * 5_000),
    ],
    ids=["long-name", "NUL", "large", "digits"],
)
def test_a_notification_of_an_object_that_cannot_be_is_refused(attribute: str, value: str) -> None:
    message = read_push(captured("object_finalize"))
    with pytest.raises(BodyError, match="not a notification of Cloud Storage"):
        read_notification({**message.attributes, attribute: value}, message.json(), "inbox")


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("ingestion", 2**31),
        ("ingestion", -1),
        ("number", "0"),
        ("end_byte", 2**63),
        ("bucket", 1),
        ("dataset", "\ud800"),
        ("object", "a\0.csv"),
    ],
)
def test_a_chunk_with_a_member_of_another_range_or_type_is_refused(
    member: str, value: object
) -> None:
    body = read_push(captured("chunk")).json()
    with pytest.raises(BodyError, match=f"not the message of a chunk: {member}"):
        Chunk.from_message({**body, member: value})


@pytest.mark.parametrize("ingestion", ["0", "-1", "2147483648", "9" * 5_000, "x", None])
def test_finish_acknowledges_an_ingestion_that_cannot_be(
    serve: Serve, ingestion: str | None
) -> None:
    attributes = {"state": "publishing"} | ({} if ingestion is None else {"ingestion": ingestion})
    envelope = {"message": {"data": "e30=", "attributes": attributes}}
    assert serve("finish").post("/", json=envelope).status_code == 204


def test_a_chunk_with_unknown_members_is_refused() -> None:
    with pytest.raises(BodyError, match="not the message of a chunk"):
        Chunk.from_message({"ingestion": 1, "colour": "red"})


@pytest.mark.parametrize(("given", "delivery"), [({}, 1), ({"deliveryAttempt": 3}, 3)])
def test_a_push_says_how_often_its_message_was_delivered(
    given: dict[str, int], delivery: int
) -> None:
    assert read_push({**captured("chunk"), **given}).delivery == delivery


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("size", None),
        ("timeCreated", 1),
        ("crc32c", 1),
        ("contentEncoding", ["gzip"]),
        ("metadata", [1]),
        ("metadata", "sluice-header"),
        ("metadata", {"sluice-header": 1}),
    ],
)
def test_a_notification_of_other_types_is_refused(member: str, value: object) -> None:
    message = read_push(captured("object_finalize"))
    with pytest.raises(BodyError, match="not a notification of Cloud Storage"):
        read_notification(message.attributes, {**message.json(), member: value}, "inbox")


def test_an_encoding_that_cannot_be_stored_is_escaped() -> None:
    message = read_push(captured("object_finalize"))
    file = read_notification(
        message.attributes, {**message.json(), "contentEncoding": "gz\0ip"}, "inbox"
    )
    assert file is not None
    assert file.content_encoding == "gz\\u0000ip"
