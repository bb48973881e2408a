"""The limits of requests and answers: long bodies, deep JSON, many questions, wide rows."""

from __future__ import annotations

import io
import json
import threading
from typing import TYPE_CHECKING

import pytest
from serving import GUESTS, publish

from sluice.api import bodies
from sluice.api.conditional import ResponseCache
from sluice.parsing import json_rows
from sluice.postgres.declare import declare

if TYPE_CHECKING:
    from serving import Serve
    from sqlalchemy import Engine

ROWS = "/v1/datasets/guests/rows"
MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("function", "method", "path"),
    [
        ("intake", "PUT", "/v1/datasets/things"),
        ("intake", "POST", ROWS),
        ("intake", "POST", "/v1/uploads"),
        ("intake", "POST", "/people"),
        ("query", "POST", "/v1/infer"),
        ("query", "GET", "/v1/datasets"),
        ("status", "POST", "/v1/subscriptions"),
    ],
)
@pytest.mark.parametrize("is_chunked", [False, True], ids=["with length", "chunked"])
def test_a_body_that_is_too_long_is_refused(
    serve: Serve, guests: int, function: str, method: str, path: str, is_chunked: bool
) -> None:
    given = {"data": b" " * (17 * MIB)}
    if is_chunked:
        given = {
            "input_stream": io.BytesIO(given["data"]),
            "headers": {"Transfer-Encoding": "chunked"},
            "environ_overrides": {"wsgi.input_terminated": True},
        }
    answer = serve(function).open(path, method=method, **given)
    # The alias allows GET alone.
    expected = (405, "API306") if path == "/people" else (413, "API310")
    assert (answer.status_code, answer.json["code"]) == expected


def test_a_query_string_that_is_too_long_is_refused(serve: Serve, guests: int) -> None:
    answer = serve("query").get(f"{ROWS}?name=eq.{'x' * 20_000}")
    assert (answer.status_code, answer.json["code"]) == (413, "API310")


@pytest.mark.parametrize("text", ["[" * 2000 + "]" * 2000, "[" * 1_000_000], ids=["whole", "cut"])
def test_json_that_is_nested_too_deep_is_refused(serve: Serve, guests: int, text: str) -> None:
    intake = serve("intake")
    for method, path in (("PUT", "/v1/datasets/things"), ("POST", ROWS)):
        body = f'{{"columns": {text}}}' if method == "PUT" else text
        answer = intake.open(path, method=method, data=body)
        assert (answer.status_code, answer.json["code"]) == (400, "API303")


def test_json_with_too_many_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "_LARGE_BYTES", 10)
    monkeypatch.setattr(json_rows, "_MAX_TOKENS", 20)
    few = [{"id": 1, "name": 'a "quoted" [text], with {marks}: ' * 10}]
    assert json_rows.read_json(json.dumps(few)) == [{"id": "1", "name": few[0]["name"]}]
    with pytest.raises(ValueError, match="too many values"):
        json_rows.read_json(json.dumps([{"id": n} for n in range(10)]))
    with pytest.raises(ValueError, match="Unterminated string"):
        json_rows.read_json('["' + '\\"' * 1000)


def test_large_bodies_wait_for_each_other_and_small_ones_do_not(
    serve: Serve, guests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "_SLOTS", threading.BoundedSemaphore(1))
    monkeypatch.setattr(bodies, "_WAIT_S", 0.1)
    intake, large = serve("intake"), b"[]" + b" " * MIB
    with bodies._slot():
        answer = intake.post(ROWS, data=large)
        assert (answer.status_code, answer.json["code"]) == (503, "SYS918")
        assert intake.post(ROWS, data=b"[]").status_code == 400
    assert intake.post(ROWS, data=large).status_code == 400


@pytest.mark.parametrize(
    "path",
    ["/v1/ingestions?limit={}", "/v1/ingestions/1/rejects?limit={}", "/v1/ingestions/{}"],
)
def test_numbers_of_thousands_of_digits_are_no_errors_of_the_server(
    serve: Serve, guests: int, path: str
) -> None:
    assert serve("status").get(path.format("9" * 5000)).status_code in (404, 413)


def test_a_page_of_ingestions_is_limited(serve: Serve, guests: int) -> None:
    assert serve("status").get("/v1/ingestions?limit=10001").status_code == 413


def test_the_cache_holds_so_many_responses_however_small() -> None:
    cache = ResponseCache(60, MIB)
    for number in range(3000):
        cache.store(number, b"", {})
    assert sum(cache.find(number) is not None for number in range(3000)) == 2048


@pytest.mark.parametrize("kind", ["json", "ndjson", "csv", "parquet", "arrow", "html"])
def test_wide_rows_are_answered_in_small_batches(
    serve: Serve, engine: Engine, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    columns = [*GUESTS["columns"]]
    declare(engine, {"name": "wide", "description": "W.", "columns": columns}, origin="api")
    rows = [{"id": n, "name": "a"} for n in range(600)]
    rows += [{"id": 1000 + n, "name": "x" * MIB} for n in range(12)]
    publish(engine, "wide", rows)
    answer = serve("query").get(f"/v1/datasets/wide/rows?limit=1000&format={kind}")
    assert answer.status_code == 200
    assert len(answer.get_data()) > (1000 if kind in ("html", "parquet") else 12 * MIB)
    if kind == "json":
        assert len(answer.json["rows"]) == 612


@pytest.mark.parametrize("function", ["intake", "query", "status", "backup"])
def test_what_functions_framework_does_not_pass_on_is_answered_with_a_problem(
    serve: Serve, function: str
) -> None:
    client = serve(function)
    for method, path in (("GET", "/v1/datasets/a%0Ab"), ("POST", "/v1/keys/%0A/rotate")):
        answer = client.open(path, method=method)
        assert answer.mimetype == "application/problem+json", (path, answer.text)
        assert (answer.status_code, answer.json["code"]) == (404, "API305")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["select", "order", "group", "measure"])
def test_an_empty_list_of_names_is_refused(serve: Serve, guests: int, name: str) -> None:
    answer = serve("query").get(f"{ROWS}?{name}=")
    assert (answer.status_code, answer.json["parameter"]) == (400, name)
    assert "is empty; leave it out" in answer.json["detail"]


def test_a_state_is_named_once(serve: Serve, guests: int) -> None:
    answer = serve("status").get("/v1/ingestions?state=done,done")
    assert (answer.status_code, answer.json["parameter"]) == (400, "state")
