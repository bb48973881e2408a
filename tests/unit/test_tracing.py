"""Log lines and messages belong to the trace of the request or message that caused them."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request, Response

from sluice import tracing
from sluice.api.app import App
from sluice.errors import PubsubUnavailableError
from sluice.gcloud import pubsub
from sluice.ingestion.ack_policy import Caller, answer_push
from sluice.logs import configure_logging
from sluice.settings import Settings
from sluice.span_export import export_spans

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sluice.api.operations import Call
    from sluice.gcloud.pubsub import Message

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OTHER = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
SETTINGS = Settings(project="films", authentication="none")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger("sluice")
    before = list(root.handlers), root.level, root.propagate
    configure_logging("test", SETTINGS)
    stream = io.StringIO()
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    yield stream
    root.handlers[:], root.level, root.propagate = before


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The attributes of the messages that are published."""
    found: list[dict[str, str]] = []

    class Client:
        def publish(self, request: Any, timeout: float) -> None:
            found.extend(each["attributes"] for each in request["messages"])

    monkeypatch.setattr(pubsub, "_client", lambda _emulator: Client())
    return found


def push(**attributes: str) -> dict[str, Any]:
    data = base64.b64encode(b"{}").decode()
    return {"message": {"data": data, "attributes": attributes, "messageId": "1"}}


def publish(_message: Message | None = None) -> None:
    pubsub.PubsubPublisher("films").publish("chunks", [(b"{}", {"dataset": "titles"})])


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(each) for each in log.getvalue().splitlines()]


def test_a_message_carries_the_trace_on(published: list[dict[str, str]]) -> None:
    caller = Caller.of({tracing.HEADER: f"00-{OTHER}-00f067aa0ba902b7-01"}, SETTINGS)
    envelope = push(**{tracing.ATTRIBUTE: PARENT})
    assert answer_push(caller, lambda: envelope, publish, logging.getLogger("sluice"))[1] == 204
    (attributes,) = published
    assert attributes["dataset"] == "titles"
    version, trace, span, flags = attributes[tracing.ATTRIBUTE].split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert span not in PARENT


def test_a_message_without_a_trace_belongs_to_that_of_its_request(
    published: list[dict[str, str]],
) -> None:
    caller = Caller.of({tracing.HEADER: PARENT}, SETTINGS)
    answer_push(caller, push, publish, logging.getLogger("sluice"))
    assert published[0][tracing.ATTRIBUTE].split("-")[1] == TRACE


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "nonsense",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
        f"00-{TRACE}-00f067aa0ba902b7-01\n",
        PARENT + "x",
    ],
)
def test_a_malformed_parent_begins_a_new_trace(
    published: list[dict[str, str]], parent: str
) -> None:
    answer_push(Caller.of({tracing.HEADER: parent}, SETTINGS), push, publish, logging.getLogger())
    made = published[0][tracing.ATTRIBUTE]
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", made)
    assert TRACE not in made


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    span = tracing.child_of(f"cc-{TRACE}-00f067aa0ba902b7-01-what-the-future-will-be-like")
    assert (span.trace, span.parent, span.is_sampled) == (TRACE, "00f067aa0ba902b7", True)


def test_lines_of_a_message_have_its_trace_as_cloud_logging_reads_it(log: io.StringIO) -> None:
    logger = logging.getLogger("sluice.test")

    def fail(_message: Message) -> None:
        logger.warning("at work")
        raise PubsubUnavailableError("away")

    logger.warning("before")
    envelope = push(**{tracing.ATTRIBUTE: PARENT})
    answer_push(Caller.of({}, SETTINGS), lambda: envelope, fail, logger)
    logger.warning("after")
    before, at_work, failed, after = lines(log)
    for each in (before, after):
        assert not [name for name in each if name.startswith("logging.googleapis.com")]
    for each in (at_work, failed):
        assert each["logging.googleapis.com/trace"] == f"projects/films/traces/{TRACE}"
        assert each["logging.googleapis.com/trace_sampled"] is True
    spans = {each["logging.googleapis.com/spanId"] for each in (at_work, failed)}
    assert len(spans) == 1
    assert spans.pop() not in PARENT


def test_a_request_to_the_api_is_traced(published: list[dict[str, str]]) -> None:
    def answer(_call: Call) -> Response:
        publish()
        return Response()

    app = App(SETTINGS, "query", (), others=answer)
    environ = EnvironBuilder("/", headers={tracing.HEADER: PARENT}).get_environ()
    app.answer(Request(environ))
    assert published[0][tracing.ATTRIBUTE].split("-")[1] == TRACE


class Collector(BaseHTTPRequestHandler):
    """A collector of OpenTelemetry."""

    received: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        self.received.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[str]:
    Collector.received.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/traces"
        server.shutdown()
    tracing.export_to(lambda _span, _what: None)


def test_sampled_spans_are_sent_to_a_collector(collector: str) -> None:
    export_spans("load", Settings(traces_endpoint=collector))
    logger = logging.getLogger("sluice.load")
    for parent in (PARENT, PARENT[:-1] + "0"):  # the second one is not sampled
        envelope = push(**{tracing.ATTRIBUTE: parent})
        answer_push(Caller.of({}, SETTINGS), lambda sent=envelope: sent, lambda _: None, logger)
    (body,) = Collector.received
    (spans,) = ExportTraceServiceRequest.FromString(body).resource_spans
    (span,) = spans.scope_spans[0].spans
    assert span.trace_id.hex() == TRACE
    assert span.parent_span_id.hex() == "00f067aa0ba902b7"
    assert span.name == "sluice.load"
    assert 0 <= span.end_time_unix_nano - span.start_time_unix_nano < 60e9
    names = {each.key: each.value.string_value for each in spans.resource.attributes}
    assert (names["service.name"], names["service.namespace"]) == ("load", "sluice")


def test_a_collector_that_does_not_answer_fails_nothing(log: io.StringIO) -> None:
    export_spans("load", Settings(traces_endpoint="http://127.0.0.1:9/v1/traces"))
    envelope = push(**{tracing.ATTRIBUTE: PARENT})
    answer = answer_push(
        Caller.of({}, SETTINGS), lambda: envelope, lambda _: None, logging.getLogger("sluice.load")
    )
    assert answer[1] == 204
    tracing.export_to(lambda _span, _what: None)


def test_nothing_is_added_outside_of_requests(published: list[dict[str, str]]) -> None:
    publish()
    assert published == [{"dataset": "titles"}]
