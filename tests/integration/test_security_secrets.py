"""No log has values of rows, parameters or credentials: failures are provoked with a marker."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
import traceback
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner
from faults import Pubsub, SqlFault, age_attempts, before_named, injected, newest_ingestion
from flow import THINGS, Flow
from problems import assert_problem
from requests import RequestException, Session
from serving import GUESTS
from sqlalchemy import text
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from sluice.access.secrets import new_id, new_key
from sluice.cli.main import sluice
from sluice.documents.access import Role
from sluice.gcloud.storage import CloudStorage
from sluice.ingestion.ack_policy import Caller, answer_call
from sluice.logs import configure_logging, mask_secrets
from sluice.postgres.connection import transaction
from sluice.postgres.declare import declare
from sluice.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keyring import Keyring
    from serving import Serve
    from sqlalchemy import Engine

MARKER = "Zanzibar4711"
NOBODY = Caller("", Settings(authentication="none"))


class Log:
    """What the functions of this process log, as Cloud Logging reads it."""

    def __init__(self) -> None:
        self._stream = io.StringIO()

    def attach(self) -> None:
        """Receive what is logged, after a function has configured it."""
        configure_logging("test", Settings(log_level="DEBUG"))
        (handler,) = logging.getLogger("sluice").handlers
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(self._stream)

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def traces(self) -> list[str]:
        return [each["stack_trace"] for each in self.entries if "stack_trace" in each]


@pytest.fixture
def log() -> Iterator[Log]:
    root = logging.getLogger("sluice")
    before = root.handlers[:], root.level, root.propagate
    made = Log()
    made.attach()
    yield made
    root.handlers[:], root.level, root.propagate = before


@pytest.mark.usefixtures("guests")
def test_a_failed_request_is_logged_without_its_parameters(
    serve: Serve, engine: Engine, log: Log
) -> None:
    query = serve("query")
    log.attach()
    with transaction(engine) as connection:
        connection.execute(text("DROP VIEW public.guests"))
    answer = query.get(f"/v1/datasets/guests/rows?name=eq.{MARKER}")
    assert_problem(answer, "SYS900", 500)
    assert MARKER not in answer.text + log.text
    assert answer.json["reference"] in answer.json["detail"]
    assert log.entries[-1]["reference"] == answer.json["reference"]
    assert "unexpected error DBAPIError" in answer.json["detail"]
    (trace,) = log.traces
    assert 'SQLSTATE 42P01, relation "public.guests" does not exist' in trace
    assert trace.startswith("Traceback (most recent call last):\n  File ")


def test_a_refused_value_is_in_no_stack_trace(engine: Engine, log: Log) -> None:
    with transaction(engine) as connection:
        connection.execute(
            text("CREATE TABLE public.names (name text CONSTRAINT names_pk PRIMARY KEY)")
        )
    logger = logging.getLogger("sluice.test")
    statements = {
        "22P02": "SELECT CAST(:value AS integer)",
        "23505": "INSERT INTO public.names SELECT :value FROM generate_series(1, 2)",
        "P0001": f"DO $$BEGIN RAISE 'about {MARKER}'; END$$",
    }
    for state, statement in statements.items():

        def work(sql: str = statement) -> None:
            values = {"value": MARKER} if ":value" in sql else {}
            with transaction(engine) as connection:
                connection.execute(text(sql), values)

        assert answer_call(NOBODY, work, logger)[1] == 503
        assert f"SQLSTATE {state}" in log.traces[-1]
    assert "constraint names_pk, schema public, table names" in log.traces[1]
    assert MARKER not in log.text


@pytest.mark.parametrize(
    "error",
    [
        ValueError(MARKER),
        KeyError(MARKER),
        OSError(2, "No such file", MARKER),
        RuntimeError(MARKER),
    ],
    ids=lambda each: type(each).__name__,
)
def test_an_unexpected_error_is_logged_by_its_kind_and_place(log: Log, error: Exception) -> None:
    def work() -> None:
        try:
            raise error  # noqa: TRY301  # one frame is enough
        except Exception as cause:
            raise TypeError("takes 1 positional argument but 2 were given") from cause

    assert answer_call(NOBODY, work, logging.getLogger("sluice.test"))[1] == 503
    (trace,) = log.traces
    assert MARKER not in log.text
    assert type(error).__name__ in trace
    assert trace.endswith("TypeError: takes 1 positional argument but 2 were given")
    assert trace.count("in work") == 2


#: SQL that fails in finish, and what the problem says of it.
FAILING = {
    f"SELECT CAST('{MARKER}' AS integer)": "sqlalchemy.exc.ProgrammingError: SQLSTATE 22P02",
    f"DO $$BEGIN RAISE 'about {MARKER}'; END$$": "sqlalchemy.exc.ProgrammingError: SQLSTATE P0001",
    "SELECT 1 / 0": "SQLSTATE 22012, division by zero",
    "SELECT * FROM public.nowhere": 'relation "public.nowhere" does not exist',
    "INSERT INTO store.things SELECT FROM generate_series(1, 1)": 'null value in column "ingestion"',
}


@pytest.mark.flow(declared=THINGS, chunk_bytes=64)
@pytest.mark.parametrize("sql", FAILING)
def test_an_unexpected_error_of_a_step_is_shown_without_values_and_refers_to_the_log(
    flow: Flow, log: Log, sql: str
) -> None:
    pubsub = Pubsub(flow)
    pubsub.pass_time = lambda: age_attempts(flow)
    header = ",".join(each["name"] for each in THINGS["columns"])
    with injected(flow, before_named("publish"), SqlFault(KeyError(), sql=sql)):
        pubsub.upload(f"{header}\n1,a,b\n".encode() + 20 * b"2,b,c\n", "things/a.csv")
    found = newest_ingestion(flow)
    assert (str(found.state), found.problem["code"]) == ("failed", "CSV121")
    assert FAILING[sql] in found.problem["detail"]
    shown = json.dumps([found.problem, *flow.events(found.id)])
    assert MARKER not in shown + log.text
    references = {each["reference"] for each in log.entries if "reference" in each}
    assert any(each in found.problem["detail"] for each in references)


@pytest.mark.flow(declared=THINGS)
@pytest.mark.parametrize("chunk_bytes", [1024, 16], ids=["group commit", "chunks"])
def test_a_failed_load_is_logged_without_its_rows(flow: Flow, log: Log, chunk_bytes: int) -> None:
    flow.settings = type(flow.settings)(chunk_bytes=chunk_bytes)
    flow.run_sql("ALTER TABLE store.things ADD CONSTRAINT short CHECK (length(name) < 9)")
    header = ",".join(each["name"] for each in THINGS["columns"])
    ingestion = flow.run(f"{header}\n1,{MARKER}\n".encode())
    assert flow.state(ingestion) == "failed"
    assert MARKER not in log.text
    assert MARKER not in json.dumps(flow.ingestion(ingestion).problem)
    assert MARKER not in json.dumps(flow.events(ingestion))


def test_an_answer_that_breaks_off_is_logged_without_its_rows(
    serve: Serve, engine: Engine, guests: int, log: Log
) -> None:
    assert guests
    sql = (
        "-- Breaks at the last row.\n-- param word text!: A word.\nSELECT CAST(CASE WHEN n < 90000 THEN '1'"
        " ELSE :word END AS integer) AS n FROM generate_series(1, 90000) AS n"
    )
    declare(engine, {**GUESTS, "queries": {"breaking": sql}}, origin="api")
    query = serve("query")
    log.attach()
    answer = query.get(f"/v1/datasets/guests/queries/breaking?word={MARKER}&format=ndjson")
    assert answer.status_code == 200
    with pytest.raises(Exception) as raised:  # noqa: PT011  # what the HTTP server logs
        b"".join(answer.response)
    answer.close()  # as the HTTP server does
    assert MARKER not in "".join(traceback.format_exception(raised.value))
    assert "SQLSTATE 22P02" in log.traces[0]
    assert MARKER not in log.text


def test_an_upload_session_is_in_no_error(
    storage: str, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    send = Session.request

    def lose(self: Session, method: str, url: str, *others: Any, **options: Any) -> Any:
        if method == "PUT":
            raise RequestException(f"Max retries exceeded with url: {url}&upload_id={MARKER}")
        return send(self, method, url, *others, **options)

    monkeypatch.setattr(Session, "request", lose)

    def work() -> None:
        CloudStorage("local").write_blocks("inbox", "things/a.csv", [b"id\n1\n"])

    assert answer_call(NOBODY, work, logging.getLogger("sluice.test"))[1] == 503
    assert "gs://inbox/things/a.csv" in log.text
    assert MARKER not in log.text
    assert storage


def test_credentials_are_masked_wherever_they_are(log: Log) -> None:
    key, token = new_key(new_id()), "eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl"
    session = "https://storage.googleapis.com/upload?uploadType=resumable&upload_id=ABPt-x_y"
    logging.getLogger("sluice.test").warning(
        "%s %s %s Bearer hunter2hunter2", str(key), token, session
    )
    (line,) = log.text.splitlines()
    for secret in (key.secret, "eyJzdWIiOi", "c2lnbmF0dXJl", "ABPt-x_y", "hunter2"):
        assert secret not in line
    assert key.id in json.loads(line)["message"]
    assert mask_secrets("a bearer of news") == "a bearer of news"


def _options(command: click.Command, path: str = "sluice") -> Iterator[tuple[str, str]]:
    for each in command.params:
        yield path, f"{each.name} {' '.join(each.opts)}"
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _options(inner, f"{path} {name}")


def test_no_command_takes_a_secret_as_an_argument() -> None:
    found = list(_options(sluice))
    assert ("sluice keys create", "name name") in found
    secret = re.compile(r"token|secret|password|credential|bearer|authorization", re.IGNORECASE)
    assert [each for each in found if secret.search(each[1])] == []


def test_the_command_line_reads_its_key_from_a_file(
    callers: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, file = callers.key(Role.READER), tmp_path / "key"
    file.write_text(f"{key}\n")
    seen: list[str | None] = []

    @Request.application
    def app(request: Request) -> Response:
        seen.append(request.headers.get("Authorization"))
        return Response('{"datasets": []}', content_type="application/json")

    server = make_server("127.0.0.1", 0, app)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.delenv("SLUICE_TOKEN", raising=False)
    monkeypatch.setenv("SLUICE_TOKEN_FILE", str(file))
    arguments = ["--url", f"http://127.0.0.1:{server.port}", "datasets", "--json"]
    assert CliRunner().invoke(sluice, arguments).exit_code == 0
    monkeypatch.setenv("SLUICE_TOKEN_FILE", str(tmp_path / "none"))
    missing = CliRunner().invoke(sluice, arguments)
    server.shutdown()
    assert seen == [f"Bearer {key}"]
    assert missing.exit_code == 2
    assert "SLUICE_TOKEN_FILE" in missing.stderr
