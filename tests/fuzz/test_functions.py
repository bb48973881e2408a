"""Fuzzing the functions as they are deployed: headers of requests, and the envelopes that Pub/Sub pushes."""

from __future__ import annotations

import base64
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from fuzzing import fuzz
from sqlalchemy import text
from werkzeug.datastructures import Headers

from sluice.gcloud.storage import CloudStorage
from sluice.postgres.connection import transaction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Serve
    from sqlalchemy import Engine

    from sluice.local.pubsub import PubsubServer
    from sluice.local.storage import Server

OUTPUT = b"id,name\n1,Ada\n2,Bob\n"
_READS = (
    ("query", "/v1/datasets/guests/rows?limit=2"),
    ("query", "/v1/datasets/guests/queries/named?name=Ada"),
    ("query", "/v1/datasets/guests/rows/1"),
    ("status", "/v1/ingestions/{ingestion}/output"),
    ("status", "/v1/ingestions/{ingestion}/events"),
    ("status", "/v1/ingestions?limit=1"),
)
_PUSHED = ("split", "load", "finish")
#: What the request is answered with if nothing is wrong, and what is wrong with others.
_STATUSES = {200, 206, 304, 400, 403, 404, 406, 409, 413, 416, 422}


@pytest.fixture
def output(engine: Engine, guests: int, storage: Server) -> int:
    """The ingestion of the guests, with an output."""
    written = CloudStorage("local").write_blocks("outbox", "outputs/guests.csv", iter((OUTPUT,)))
    document = {
        "bucket": "outbox",
        "object": written.name,
        "generation": str(written.generation),
        "size_bytes": len(OUTPUT),
    }
    with transaction(engine) as connection:
        connection.execute(
            text("UPDATE sluice.ingestions SET output = CAST(:output AS jsonb) WHERE id = :id"),
            {"output": json.dumps(document), "id": guests},
        )
    return guests


def test_any_headers_are_answered(serve: Serve, output: int) -> None:
    """An input is a path by its number, a cursor, and lines of headers."""
    clients = {name: serve(name, outbox="outbox") for name in ("query", "status")}

    def check(data: bytes) -> None:
        number, _, rest = data.partition(b"\n")
        cursor, _, lines = rest.partition(b"\n")
        function, path = _READS[sum(number) % len(_READS)]
        path = path.format(ingestion=output)
        if cursor:
            path += ("&" if "?" in path else "?") + "cursor=" + _quoted(cursor)
        response = clients[function].get(path, headers=_headers(lines))
        assert response.status_code in _STATUSES, (response.status_code, response.data[:200])
        if response.status_code >= 400:
            is_page = response.mimetype == "text/html"
            assert is_page or response.json["code"], response.data
        if response.status_code == 304:
            assert not response.data
            assert response.headers["ETag"]
        if response.status_code == 206:
            _check_range(response.headers["Content-Range"], response.data)

    tokens = (
        b"0\n",
        b"1\n",
        b"3\n",
        b"4\n",
        b"\n",
        b"If-None-Match: ",
        b'W/"',
        b'"',
        b"*",
        b"Accept: ",
        b"text/csv",
        b";q=",
        b"0.",
        b"application/json",
        b"text/event-stream",
        b", ",
        b"Range: bytes=",
        b"0-",
        b"-5",
        b"99999999999",
        b"-",
        b"If-Range: ",
        b"Last-Event-ID: ",
        b"9223372036854775808",
        b"W1siaWQiLFsiMSJdXQ",
        b"\xff",
        b"=",
        b"If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT",
        b"Accept-Encoding: gzip",
        b"application/vnd.apache.parquet",
    )
    assert fuzz("headers", check, tokens)


def _quoted(cursor: bytes) -> str:
    return "".join(f"%{each:02x}" for each in cursor)


def _headers(lines: bytes) -> Headers:
    """Return the headers that an HTTP server would pass on."""
    found = Headers()
    for line in lines.splitlines():
        name, _, value = line.decode("latin-1").partition(":")
        is_token = name and all(each.isascii() and (each.isalnum() or each == "-") for each in name)
        if is_token and not any(ord(each) < 32 for each in value):
            found.add(name, value.strip())
    for name in ("Content-Length", "Transfer-Encoding", "Host"):
        found.remove(name)
    return found


def _check_range(given: str, data: bytes) -> None:
    first, _, rest = given.removeprefix("bytes ").partition("-")
    last, _, size = rest.partition("/")
    assert int(size) == len(OUTPUT)
    assert data == OUTPUT[int(first) : int(last) + 1]


class _Errors(logging.Handler):
    """Keeps what was unexpected."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.records.append(record)


@pytest.fixture
def errors() -> Iterator[_Errors]:
    """The stack traces in the log."""
    found = _Errors()
    yield found
    logging.getLogger("sluice").removeHandler(found)


def test_any_push_is_acknowledged_or_refused(
    serve: Serve, guests: int, storage: Server, topics: PubsubServer, errors: _Errors
) -> None:
    """An input is an envelope, or the attributes and the body of a message, after a function's number."""
    clients = {name: serve(name, inbox="inbox", outbox="outbox") for name in _PUSHED}
    logging.getLogger("sluice").addHandler(errors)

    def check(data: bytes) -> None:
        errors.records.clear()
        function = _PUSHED[data[0] % len(_PUSHED)] if data else "split"
        response = clients[function].post(
            "/", data=_envelope(data[1:]), content_type="application/json"
        )
        assert not errors.records, (function, errors.records[0].exc_info)
        assert response.status_code in (204, 413), (function, response.status_code)

    tokens = (
        b"0",
        b"1",
        b"2",
        b'"1"',
        b"null",
        b"{}",
        b"[]",
        b'""',
        b"-1",
        b"1.5",
        b"99999999999999999999",
        b"true",
        b",",
        b":",
        b'"ingestion"',
        b'"dataset"',
        b'"state"',
        b'"publishing"',
        b'"done"',
        b'"observed"',
        b'"bucket"',
        b'"inbox"',
        b'"attributes"',
        b'"body"',
        b'"message"',
        b'"data"',
        b'"deliveryAttempt"',
        b'"objectId"',
        b'"objectGeneration"',
        b'"generation"',
        b'"size"',
        b'"first_byte"',
        b'"guests"',
        b'"guests/a.csv"',
        b"\\u0000",
        b'"OBJECT_FINALIZE"',
        b'"timeCreated"',
        b"\\ud800",
        b"inbox/",
        b"..",
        b"{",
        b"}",
        b"NaN",
    )
    assert fuzz("pushes", check, tokens)


def _envelope(data: bytes) -> bytes:
    """Return an envelope for attributes and a body, other bytes as they are."""
    try:
        given: Any = json.loads(data)
        attributes, body = given["attributes"], given["body"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return data
    encoded = base64.b64encode(json.dumps(body).encode()).decode()
    return json.dumps({"message": {"attributes": attributes, "data": encoded}}).encode()
