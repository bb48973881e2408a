"""Runs schemathesis against the API: requests that its OpenAPI document allows, and requests that it forbids.

All checks of schemathesis are on. JSON Schema cannot say everything about a request: `CORRECTIONS` makes
what it allows a request that the API takes, by operation, and says why.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request

from sluice.api.app import problem_response
from sluice.csv.dialects import KEYS
from sluice.errors import NotAllowedError
from sluice.routes import function_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from schemathesis import Case, Response
    from schemathesis.engine.recorder import ScenarioRecorder
    from werkzeug.test import Client

    Correct = Callable[[Case], None]

PHASES = ("examples", "coverage", "fuzzing", "stateful")
#: The dataset that paths name, and the one that is declared.
DATASET = "guests"
DECLARED = "declared"
#: Longer than any answer; a stream of events of an unfinished ingestion has no end.
_TIMEOUT_S = 90.0
_STREAMED_EVENTS = 1
_CSV = b"id,name,born,wage,active\n1,Ada,1815-12-10,1.5,true\n2,Bob,1999-01-02,2,false\n"
_BOUNDARY = "5cf2e7a1"


class Gateway:
    """A WSGI application that passes each request to the function of its route, as the load balancer does."""

    def __init__(self, functions: Mapping[str, Client]) -> None:
        self._functions = functions

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        try:
            function = function_for(request.method, request.path)
        except NotAllowedError as error:
            return problem_response(error)(environ, start_response)
        found: Iterable[bytes] = self._functions[function].application(environ, start_response)
        return found


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002  # werkzeug's name
        pass


@contextmanager
def served(app: Gateway) -> Iterator[str]:
    """Serve an application over HTTP and yield its address."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, name="gateway")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Tally:
    """What a run found.

    Attributes:
        cases: requests by phase.
        failures: by operation and check, an example of each.
    """

    cases: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        listed = ", ".join(f"{count:,} {phase}" for phase, count in sorted(self.cases.items()))
        return f"{self.cases.total():,} cases ({listed}), {len(self.failures)} failures"

    def add(self, label: str, phase: str, recorder: ScenarioRecorder) -> None:
        """Count the requests of a scenario, and keep what failed."""
        self.cases[phase] += len(recorder.interactions)
        for case, checks in recorder.checks.items():
            for each in checks:
                if each.failure_info is not None:
                    failure = each.failure_info.failure
                    sent = recorder.interactions.get(case)
                    status = sent.response.status_code if sent and sent.response else "none"
                    text = f"{failure.message}\n{_shown(sent)}"
                    self.failures.setdefault(f"{label}: {failure.title} ({status})", text)


def _shown(sent: Any) -> str:
    if sent is None:
        return ""
    body = (sent.request.body or b"")[:400]
    answer = (sent.response.content or b"")[:400] if sent.response else b""
    return f"{sent.request.method} {sent.request.uri}\n{body!r}\n{answer!r}"


def examine(
    address: str,
    key: str,
    known: Known,
    *,
    examples: int,
    phases: Sequence[str] = PHASES,
    operations: str = "",
    seed: int = 1,
) -> Tally:
    """Send requests of the OpenAPI document, and check the answers.

    Args:
        address: of the API.
        key: of the caller.
        known: what the paths name.
        examples: requests of each operation in the fuzzing phase, and sequences in the stateful one.
        phases: of schemathesis.
        operations: pattern of operationIds; empty for all.
        seed: of the random numbers.
    """
    headers = {"Authorization": f"Bearer {key}"}
    config = SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "continue-on-failure": True,
            "request-timeout": _TIMEOUT_S,
            "max-stream-events": _STREAMED_EVENTS,
            "base-url": address,
            "headers": headers,
            "generation": {"max-examples": examples, "no-shrink": True, "database": "none"},
            "phases": {name: {"enabled": name in phases} for name in PHASES},
            # 413 is how a limit is exceeded; schemathesis expects 400 or 422 of a number that is too large.
            "checks": {"negative_data_rejection": {"expected-statuses": _REJECTIONS}},
        }
    )
    schema = schemathesis.openapi.from_url(
        f"{address}/openapi.json", config=config, headers=headers
    )
    if operations:
        schema = schema.include(operation_id_regex=operations)
    tally = Tally()
    with _hooked(known):
        for event in from_schema(schema).execute():
            if isinstance(event, events.ScenarioFinished):
                tally.add(str(event.label), event.phase.value, event.recorder)
            elif isinstance(event, events.NonFatalError):
                name = f"{event.label}: {type(event.value).__name__}"
                tally.failures.setdefault(name, str(event.value))
            elif isinstance(event, events.FatalError):
                raise event.exception
    return tally


@contextmanager
def _hooked(known: Known) -> Iterator[None]:
    schemathesis.hook("before_call")(lambda context, case, kwargs: known.correct(case, kwargs))
    schemathesis.hook("after_call")(lambda context, case, response: known.learn(case, response))
    try:
        yield
    finally:
        schemathesis.hooks.unregister_all()


_REJECTIONS = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429"]


@dataclass
class Known:
    """What there is, so that requests are not all answered with 404.

    Attributes:
        ids: of what the variables of paths name.
    """

    ids: dict[str, list[str]]

    def learn(self, case: Case, response: Response) -> None:
        """Remember what a request made."""
        name = _CREATORS.get(_operation(case))
        if name and response.status_code in (200, 201):
            made = json.loads(response.content or b"{}")
            self.ids[name].append(str(made.get("id") or made.get("ingestion")))

    def correct(self, case: Case, kwargs: dict[str, Any]) -> None:
        """Make a request that JSON Schema allows one that the API takes."""
        if case.meta is None or not case.meta.generation.mode.is_positive:
            return
        for name in set(case.path_parameters or {}) & set(self.ids):
            listed = self.ids[name]
            if case.path_parameters[name] not in listed:
                case.path_parameters[name] = listed[
                    len(str(case.path_parameters[name])) % len(listed)
                ]
        operation = _operation(case)
        _without_later_ends(case)
        for prefix, correct in CORRECTIONS.items():
            if operation == prefix or operation.startswith(f"{prefix}_"):
                correct(case)
        if operation in _FILES:
            _without("table")(case)  # the name of the file names the dataset
            kwargs["data"] = _multipart(_FILES[operation])
            content_type = f"multipart/form-data; boundary={_BOUNDARY}"
            case.headers = {**(case.headers or {}), "Content-Type": content_type}


_CREATORS = {
    "createKey": "id",
    "makeBackup": "backup",
    "subscribe": "subscription",
    "postRows": "ingestion",
}
#: Files have names, which JSON Schema cannot describe.
_FILES = {"alias_post_upload": "jobs.csv", "alias_post_api_upload_file": "plays.csv"}


def _multipart(name: str) -> bytes:
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    )
    return head.encode() + b"id,job\n1,Baker\n" + f"\r\n--{_BOUNDARY}--\r\n".encode()


def _operation(case: Case) -> str:
    return str(case.operation.definition.raw.get("operationId", ""))


def _without(*names: str) -> Correct:
    def correct(case: Case) -> None:
        for name in names:
            (case.query or {}).pop(name, None)

    return correct


def _without_later_ends(case: Case) -> None:
    """The first of two days or years is not after the second."""
    _without(*(f"to_{unit}" for unit in ("day", "year") if f"from_{unit}" in (case.query or {})))(
        case
    )


def _rows_request(case: Case) -> None:
    """A cursor comes from an answer; groups have other columns to select and order by than rows."""
    query = case.query or {}
    query.pop("cursor", None)
    if (
        _operation(case) == "listRows"
    ):  # which columns there are is described by the dataset's own operation
        _without("select", "order", "group", "measure")(case)
    if query.get("group") or query.get("measure"):
        for name in ("select", "order"):
            query.pop(name, None)
    order = query.get("order") or []
    listed = order.split(",") if isinstance(order, str) else order
    if len({each.partition(".")[0] for each in listed}) < len(
        listed
    ):  # one column in two directions
        query["order"] = listed[0]


def _rows(case: Case) -> None:
    """A key of another request is refused with another body."""
    headers = case.headers or {}
    if "Idempotency-Key" in headers:
        headers["Idempotency-Key"] = str(uuid.uuid4())


def _rows_of_many(case: Case) -> None:
    """The members are names of datasets that there are."""
    _rows(case)
    if isinstance(case.body, dict):
        case.body = {DATASET: next(iter(case.body.values()), [{}])}


def _key(case: Case) -> None:
    """A key does not expire in the past; administrators have all datasets."""
    body = case.body if isinstance(case.body, dict) else {}
    body.pop("expires_at", None)
    if body.get("role") == "admin":
        body.pop("datasets", None)


def _restore(case: Case) -> None:
    """A copy has a suffix, a restore in place has none; a name has 48 characters at most."""
    body = case.body if isinstance(case.body, dict) else {}
    body.pop("suffix", None)
    body.pop("datasets", None)


def _subscription(case: Case) -> None:
    """An endpoint exists and agrees; that of the local cloud is not asked."""
    if isinstance(case.body, dict):
        case.body["endpoint"] = "http://localhost:9/events"
        if case.body.get("dataset") is not None:
            case.body["dataset"] = DATASET


def _upload(case: Case) -> None:
    """The options of a dialect have rules of their own."""
    if isinstance(case.body, dict):
        case.body.pop("dialect", None)


def _declaration(case: Case) -> None:
    """A declaration names its own columns, and contains SQL."""
    case.path_parameters["dataset"] = DECLARED
    case.body = {"columns": [{"name": "id", "type": "integer"}, {"name": "name", "type": "text"}]}


def _file(case: Case) -> None:
    """A file is a CSV; the options of a dialect have rules of their own."""
    case.body = _CSV
    _without("size_bytes", "sheet", *KEYS)(case)


def _asked(case: Case) -> None:
    """What a query takes is described by its own operation."""
    case.path_parameters["query"] = "named"
    case.query = {"name": "Ada"}


def _added_row(case: Case) -> None:
    """The rules of the columns apply to the row."""
    case.body = {
        "First": "Ada",
        "Last": "Lovelace",
        "Age": "36",
        "GithubAcct": "ada",
        "Date of 3rd Grade Graduation": "12/10/1823",
    }


def _area(case: Case) -> None:
    """A region or an area, which has four limits, the least one first."""
    _without("min_lat", "min_lon", "max_lat", "max_lon")(case)
    case.query = {**(case.query or {}), "region": "Prague"}


CORRECTIONS: Mapping[str, Correct] = {
    "listRows": _rows_request,
    "listIngestions": _without("cursor"),
    "listRejects": _without("cursor"),
    "listDuplicates": _without("cursor"),
    "listAudit": _without("cursor"),
    "postRows": _rows,
    "postRowsOfMany": _rows_of_many,
    "createKey": _key,
    "restoreBackup": _restore,
    "restoreTables": _restore,
    "subscribe": _subscription,
    "openUpload": _upload,
    "declareDataset": _declaration,
    "infer": _file,
    "askQuery": _asked,
    "alias_post_people_add": _added_row,
    "ask_trips_groups": _area,
    "ask_trips_weekly_average": _area,
}
