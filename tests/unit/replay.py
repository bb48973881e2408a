"""An HTTP server that replays responses of the API and accepts uploads as Cloud Storage does."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

GENERATION = 1_700_000_000_000_001
SESSION = "/upload/session"


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> object:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stream:
    """One connection of server-sent events: texts, then the end, a broken end, or silence."""

    texts: tuple[str, ...]
    after: threading.Event | None = None
    end: str = "silence"


@dataclass
class Inbox:
    """A resumable session that stores what arrives; `faults` fail the PUT of that number."""

    faults: dict[int, tuple[int, int]] = field(default_factory=dict)
    content: bytearray = field(default_factory=bytearray)
    ranges: list[str] = field(default_factory=list)
    is_complete: threading.Event = field(default_factory=threading.Event)
    object: str = "trips/trips.csv"

    def put(self, request: Request) -> Answer:
        """Store a piece; a fault (status, bytes kept) stores a part of it and fails."""
        number = len(self.ranges)
        content_range = request.headers["content-range"]
        self.ranges.append(content_range)
        match = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)", content_range)
        kept = request.body
        status = 0
        if number in self.faults:
            status, keep_bytes = self.faults[number]
            kept = kept[:keep_bytes]
        if match[1] is not None:
            assert int(match[1]) == len(self.content), "a piece begins where the last one ended"
            self.content += kept
        if status:
            return Answer(b"", status)
        if len(self.content) < int(match[3]):
            held = {"Range": f"bytes=0-{len(self.content) - 1}"} if self.content else {}
            return Answer(b"", 308, held)
        self.is_complete.set()
        made = {"bucket": "inbox", "name": self.object, "generation": str(GENERATION)}
        return Answer(json.dumps(made | {"size": match[3]}).encode())


class Replay:
    """The responses of an API by route, and the requests that it received."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.inbox = Inbox()
        self.closing = threading.Event()
        self.url = ""
        self._answers: dict[str, Callable[[Request], Answer | Stream]] = {}
        self._streams: dict[str, list[Stream]] = {}

    def answer(self, route: str, document: object, status: int = 200) -> None:
        kind = "application/json" if status < 400 else "application/problem+json"
        body = json.dumps(document).encode()
        self._answers[route] = lambda _: Answer(body, status, {"Content-Type": kind})

    def answer_bytes(self, route: str, body: bytes, kind: str) -> None:
        self._answers[route] = lambda _: Answer(body, 200, {"Content-Type": kind})

    def refuse(self, route: str, status: int, code: str, detail: str) -> None:
        problem = {"title": "Refused", "status": status, "code": code, "detail": detail}
        self.answer(route, problem, status)

    def stream(self, route: str, *streams: Stream) -> None:
        """Give each connection the next stream; the last one repeats."""
        self._streams[route] = list(streams)

    def respond(self, request: Request) -> Answer | Stream:
        route = f"{request.method} {request.path}"
        is_live = request.headers.get("accept") == "text/event-stream"
        if is_live and route in self._streams:
            waiting = self._streams[route]
            return waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if route in self._answers:
            return self._answers[route](request)
        if route == f"PUT {SESSION}":
            return self.inbox.put(request)
        if route == "POST /v1/uploads":
            session = {"url": self.url + SESSION, "bucket": "inbox", "object": self.inbox.object}
            return Answer(json.dumps(session).encode(), 201)
        problem = {"title": "Not found", "status": 404, "code": "API305", "detail": route}
        return Answer(json.dumps(problem).encode(), 404)

    def seen(self, method: str, path: str) -> list[Request]:
        return [each for each in self.requests if (each.method, each.path) == (method, path)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    replay: Replay

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        request = Request(
            method=self.command,
            path=parts.path,
            query=dict(parse_qsl(parts.query)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(int(self.headers.get("Content-Length") or 0)),
        )
        self.replay.requests.append(request)
        found = self.replay.respond(request)
        if isinstance(found, Stream):
            self._stream(found)
        else:
            self._answer(found)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

    def _answer(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def _stream(self, stream: Stream) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        if stream.after is not None:
            stream.after.wait(10)
        for text in stream.texts:
            body = text.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))
        if stream.end == "silence":
            self.replay.closing.wait(30)
        elif stream.end == "end":
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        return


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Ignore clients that disconnect during a stream."""


@contextmanager
def serve() -> Iterator[Replay]:
    replay = Replay()
    handler = type("Handler", (_Handler,), {"replay": replay})
    with _Server(("127.0.0.1", 0), handler) as server:
        replay.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield replay
        replay.closing.set()
        server.shutdown()
        thread.join()


def ingestion(state: str = "done", **members: object) -> dict[str, object]:
    """An ingestion document of a file of 100 rows."""
    return {
        "id": 7,
        "dataset": "trips",
        "state": state,
        "bucket": "inbox",
        "object": "trips/trips.csv",
        "generation": str(GENERATION),
        "size_bytes": 1000,
        "bytes_loaded": 1000,
        "chunks": {"total": 1, "loaded": 1, "observed": 0},
        "account": {"read": 100, "loaded": 100, "rejected": 0, "duplicates": 0},
        "fixes": None,
        "fixed": 0,
        "warnings": [],
        "rejects": None,
        "output": None,
        "problem": None,
        "sequence": 1,
        "declaration_version": None,
        "replaced_by": None,
        "received_at": "2026-11-21T12:00:00Z",
        "started_at": "2026-11-21T12:00:00Z",
        "updated_at": "2026-11-21T12:00:01.500000Z",
        "finished_at": "2026-11-21T12:00:01.500000Z",
    } | members


def query(name: str, **members: object) -> dict[str, object]:
    """A named query of the dataset `titles`."""
    return {
        "dataset": "titles",
        "name": name,
        "summary": "",
        "description": "",
        "parameters": [],
        "needs": [],
        "returns": "many",
        "drawing": None,
        "verb": "",
        "output": "",
        "near": None,
        "formats": ["json"],
        "url": f"/v1/datasets/titles/queries/{name}",
    } | members


def event(sequence: int, kind: str, **members: object) -> dict[str, object]:
    """A CloudEvent of ingestion 7."""
    state = "loading" if kind == "progress" else kind
    data = ingestion(state, sequence=sequence, **members)
    data["ingestion"] = data.pop("id")
    return {
        "specversion": "1.0",
        "id": f"{data['ingestion']}-{sequence}",
        "source": "//sluice/local",
        "type": f"sluice.ingestion.{kind}",
        "subject": data["object"],
        "time": "2026-11-21T12:00:00Z",
        "sequence": sequence,
        "data": data,
    }


def sse(document: dict[str, object], *, of_all: bool = False) -> str:
    """The event as the API sends it; in the stream of all ingestions its id contains the ingestion."""
    number = f"{document['data']['ingestion']}:" if of_all else ""
    return (
        f"id: {number}{document['sequence']}\nevent: {document['type']}\n"
        f"data: {json.dumps(document)}\n\n"
    )
