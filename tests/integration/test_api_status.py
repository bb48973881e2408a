"""Ingestions, rejects, live events and subscriptions, as the function `status` serves them."""

from __future__ import annotations

import csv
import io
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from problems import assert_problem
from serving import advance, receive
from sqlalchemy import text

from sluice.api import sse as streams
from sluice.documents.ingestions import State
from sluice.ingestion.ingestions import move
from sluice.local.functions import FUNCTIONS
from sluice.postgres.connection import transaction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Serve
    from sqlalchemy import Engine
    from werkzeug.test import Client, TestResponse

    from sluice.local.pubsub import PubsubServer

LIVE = {"Accept": "text/event-stream"}
WORKING = (State.SPLITTING, State.LOADING, State.PUBLISHING)


@pytest.fixture
def status(serve: Serve) -> Client:
    return serve("status")


class Stream:
    """A server-sent event stream, read message by message."""

    def __init__(self, client: Client, path: str, **headers: str) -> None:
        self.answer = client.get(path, headers={**LIVE, **headers}, buffered=False)
        assert self.answer.content_type in {"text/event-stream; charset=utf-8", "text/event-stream"}
        self._blocks = iter(self.answer.response)
        self._text = ""

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for block in self._blocks:
            self._text += block.decode() if isinstance(block, bytes) else block
            while "\n\n" in self._text:
                message, self._text = self._text.split("\n\n", 1)
                if not message.startswith(":"):
                    lines = dict(line.split(": ", 1) for line in message.splitlines())
                    event = json.loads(lines["data"])
                    assert lines["event"] == event["type"]
                    yield lines["id"], event

    def open(self) -> None:
        """Read the comment that opens the stream."""
        next(self._blocks)

    def close(self) -> None:
        self.answer.close()


def ids(answer: TestResponse) -> list[int]:
    return [each["id"] for each in answer.json["ingestions"]]  # type: ignore[index]


def test_ingestions_are_listed_newest_first_in_pages(status: Client, engine: Engine) -> None:
    numbers = [receive(engine, "trips", f"{n}.csv") for n in range(5)]
    first = status.get("/v1/ingestions?limit=3")
    second = status.get(f"/v1/ingestions?limit=3&cursor={first.json['next']}")
    assert ids(first) + ids(second) == numbers[::-1]
    assert second.json["next"] is None


def test_ingestions_are_filtered_by_dataset_and_state(status: Client, engine: Engine) -> None:
    trips, other = receive(engine, "trips"), receive(engine, "plays")
    advance(engine, trips, State.SPLITTING)
    assert ids(status.get("/v1/ingestions?dataset=plays")) == [other]
    assert ids(status.get("/v1/ingestions?state=splitting,loading")) == [trips]
    assert_problem(status.get("/v1/ingestions?state=finished"), "API301", 400)
    assert_problem(status.get("/v1/ingestions?colour=red"), "API301", 400)
    assert_problem(status.get("/v1/ingestions?cursor=WyJh"), "API301", 400)


def test_an_ingestion_shows_its_account(status: Client, engine: Engine, guests: int) -> None:
    found = status.get(f"/v1/ingestions/{guests}").json
    assert (found["state"], found["account"]["loaded"]) == ("done", 8)
    for wrong in ("99", "x", "-1", "99999999999999"):
        assert_problem(status.get(f"/v1/ingestions/{wrong}"), "API305", 404)


@pytest.fixture
def refused(engine: Engine) -> int:
    number = receive(engine, "trips")
    sql = text(
        "INSERT INTO sluice.rejects VALUES (:ingestion, :line, :record, 'age', 'whole number',"
        " 'old', '\"old\" is not a whole number', :original)"
    )
    with engine.begin() as connection:
        for record in range(5):
            original = f"Zoë,{record},\xe9\n".encode("latin-1" if record == 4 else "utf-8")
            values = {
                "ingestion": number,
                "line": record + 2,
                "record": record,
                "original": original,
            }
            connection.execute(sql, values)
    return number


def test_rejects_are_paged_with_position_and_reason(status: Client, refused: int) -> None:
    path = f"/v1/ingestions/{refused}/rejects"
    first = status.get(f"{path}?limit=3").json
    second = status.get(f"{path}?limit=3&cursor={first['next']}").json
    assert [each["line"] for each in first["rejects"] + second["rejects"]] == [2, 3, 4, 5, 6]
    assert second["next"] is None
    assert first["rejects"][0] == {
        "line": 2,
        "column": "age",
        "rule": "whole number",
        "value": "old",
        "reason": '"old" is not a whole number',
        "original": "Zoë,0,é\n",
    }


def test_csv_and_ndjson_have_all_rejects(status: Client, refused: int) -> None:
    path = f"/v1/ingestions/{refused}/rejects"
    data = status.get(f"{path}?format=csv").data
    assert data.splitlines()[::2][:2] == ["Zoë,0,é".encode(), "Zoë,1,é".encode()]
    assert b"Zo\xeb,4,\xe9" in data
    table = list(csv.DictReader(io.StringIO(status.get(f"{path}?format=reasons").text)))
    assert [(row["line"], row["record"]) for row in table][:2] == [("2", "1"), ("3", "2")]
    lines = status.get(path, headers={"Accept": "application/x-ndjson"}).text.splitlines()
    assert [json.loads(line)["line"] for line in lines] == [2, 3, 4, 5, 6]
    assert len(status.get(f"{path}?format=ndjson&limit=2").text.splitlines()) == 2
    assert_problem(status.get("/v1/ingestions/99/rejects"), "API305", 404)


def test_json_has_the_first_kilobytes_of_a_long_reject_and_its_size(
    status: Client, engine: Engine, refused: int
) -> None:
    original = "x" + "é" * 40_000  # 64 KiB end within a character
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE sluice.rejects SET value = repeat('v', 70000), reason = repeat('r', 70000),"
                " original = CAST(:original AS bytea) WHERE ingestion = :ingestion AND line = 3"
            ),
            {"ingestion": refused, "original": original.encode()},
        )
    path = f"/v1/ingestions/{refused}/rejects"
    _, page, *_ = status.get(path).json["rejects"]
    _, line, *_ = status.get(f"{path}?format=ndjson").text.splitlines()
    assert page == json.loads(line)
    assert page["original"] == original[: 1 + 32_767]
    assert page["size_bytes"] == len(original.encode())
    assert (len(page["value"]), len(page["reason"])) == (65_536, 65_536)
    _, reason, *_ = csv.reader(
        io.StringIO(status.get(f"{path}?format=reasons").text.partition("\n")[2])
    )
    assert (reason[4], reason[5]) == ("v" * 65_536, "r" * 65_536)
    assert original.encode() in status.get(f"{path}?format=csv").data


def test_events_so_far_are_a_list_for_json(status: Client, guests: int) -> None:
    path = f"/v1/ingestions/{guests}/events"
    found = status.get(path, headers={"Accept": "application/json"}).json["events"]
    assert [each["sequence"] for each in found] == [1, 2, 3, 4, 5]
    assert_problem(status.get("/v1/ingestions/99/events", headers=LIVE), "API305", 404)


def test_the_events_of_a_finished_ingestion_are_replayed_and_end(
    status: Client, guests: int
) -> None:
    messages = list(Stream(status, f"/v1/ingestions/{guests}/events"))
    assert [number for number, _ in messages] == ["1", "2", "3", "4", "5"]
    assert messages[-1][1]["type"] == "sluice.ingestion.done"


def test_a_stream_resumes_after_the_last_event_id(status: Client, guests: int) -> None:
    path = f"/v1/ingestions/{guests}/events"
    messages = list(Stream(status, path, **{"Last-Event-ID": "3"}))
    assert [number for number, _ in messages] == ["4", "5"]
    for last in ("5", "9" * 18):
        assert list(Stream(status, path, **{"Last-Event-ID": last})) == []


def test_events_arrive_live(status: Client, engine: Engine) -> None:
    number = receive(engine, "trips")
    messages = iter(Stream(status, f"/v1/ingestions/{number}/events"))
    assert next(messages)[0] == "1"
    for state in (*WORKING, State.DONE):
        advance(engine, number, state)
        assert next(messages)[1]["data"]["state"] == state
    assert next(messages, None) is None


def test_a_burst_of_events_arrives_completely_and_in_order(status: Client, engine: Engine) -> None:
    numbers = [receive(engine, "trips", f"{n}.csv") for n in range(40)]
    feeds = [Stream(status, f"/v1/ingestions/{number}/events") for number in numbers[:3]]
    for feed in feeds:
        feed.open()
    for number in numbers:
        advance(engine, number, *WORKING, State.DONE)
    for feed in feeds:
        assert [number for number, _ in feed] == ["1", "2", "3", "4", "5"]


def test_one_stream_has_the_events_of_all_ingestions(status: Client, engine: Engine) -> None:
    receive(engine, "trips", "before.csv")
    stream = Stream(status, "/v1/ingestions")
    stream.open()
    first = receive(engine, "trips", "1.csv")
    second = receive(engine, None, "2.csv")
    messages = iter(stream)
    assert [next(messages)[0] for _ in range(2)] == [f"{first}:1", f"{second}:1"]
    stream.close()
    advance(engine, first, State.SPLITTING)
    messages = iter(Stream(status, "/v1/ingestions", **{"Last-Event-ID": f"{second}:1"}))
    assert next(messages)[0] == f"{first}:2"


def test_a_resumed_stream_has_an_event_that_was_written_before_the_last_seen_one_and_committed_later(
    status: Client, engine: Engine
) -> None:
    slow, quick = receive(engine, "trips", "slow.csv"), receive(engine, "trips", "quick.csv")
    stream = Stream(status, "/v1/ingestions")
    stream.open()
    messages = iter(stream)
    with transaction(engine) as connection:
        move(connection, slow, State.SPLITTING, "local")
        advance(engine, quick, State.SPLITTING)
        assert next(messages)[0] == f"{quick}:2"
        stream.close()
    resumed = iter(Stream(status, "/v1/ingestions", **{"Last-Event-ID": f"{quick}:2"}))
    assert next(resumed)[0] == f"{slow}:2"
    advance(engine, slow, State.LOADING)
    assert next(resumed)[0] == f"{slow}:3"


def test_a_resumed_stream_has_the_later_events_of_a_transaction(
    status: Client, engine: Engine
) -> None:
    number = receive(engine, "trips")
    with transaction(engine) as connection:
        for state in WORKING:
            move(connection, number, state, "local")
    resumed = iter(Stream(status, "/v1/ingestions", **{"Last-Event-ID": f"{number}:2"}))
    assert [next(resumed)[0] for _ in range(2)] == [f"{number}:3", f"{number}:4"]


@pytest.mark.parametrize(
    "identifier",
    ["last", "1", "1:", ":1", "-1:1", "²:1", "1:1:1", "9" * 30 + ":1", "1:" + "9" * 30],
)
def test_a_malformed_last_event_id_is_refused(status: Client, identifier: str) -> None:
    headers = {**LIVE, "Last-Event-ID": identifier}
    assert_problem(status.get("/v1/ingestions", headers=headers), "API301", 400)


def test_an_unknown_last_event_id_begins_now(status: Client, engine: Engine) -> None:
    stream = Stream(status, "/v1/ingestions", **{"Last-Event-ID": "9" * 18 + ":1"})
    messages = iter(stream)
    stream.open()
    number = receive(engine, "trips")
    assert next(messages)[0] == f"{number}:1"


@pytest.mark.parametrize("identifier", ["last", "-1", "²", "1:1", "9" * 30])
def test_a_malformed_sequence_is_refused(status: Client, guests: int, identifier: str) -> None:
    path = f"/v1/ingestions/{guests}/events"
    headers = {**LIVE, "Last-Event-ID": identifier}
    assert_problem(status.get(path, headers=headers), "API301", 400)


def test_a_stream_survives_the_loss_of_its_database_connection(
    status: Client, engine: Engine, superuser: Engine
) -> None:
    number = receive(engine, "trips")
    messages = iter(Stream(status, f"/v1/ingestions/{number}/events"))
    feed = Stream(status, "/v1/ingestions")
    feed.open()
    assert next(messages)[0] == "1"
    with superuser.begin() as connection:
        lost = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE query LIKE 'LISTEN%' AND datname = current_database()"
        )
        assert connection.execute(text(lost)).scalars().all() == [True]
    advance(engine, number, State.SPLITTING)  # committed while the connection is lost
    assert next(messages)[0] == "2"
    followed = iter(feed)
    while next(followed)[0] != f"{number}:2":
        pass


def test_idle_streams_leave_threads_for_other_requests(status: Client, engine: Engine) -> None:
    (threads,) = (each.concurrency for each in FUNCTIONS if each.name == "status")
    assert threads - streams.MAX_STREAMS >= 16
    number = receive(engine, "trips")
    paths = (f"/v1/ingestions/{number}/events", "/v1/ingestions")
    opened = [Stream(status, paths[each % 2]) for each in range(streams.MAX_STREAMS)]
    for path in paths:
        answer = status.get(path, headers=LIVE)
        assert_problem(answer, "SYS930", 503)
        assert "Retry-After" in answer.headers
    assert status.get("/v1/ingestions").status_code == 200
    for each in opened:
        each.close()
    Stream(status, paths[0]).close()


def test_all_streams_share_one_listening_connection(
    status: Client, engine: Engine, superuser: Engine
) -> None:
    def listening() -> int:
        with superuser.begin() as connection:
            sql = (
                "SELECT count(*) FROM pg_stat_activity WHERE query IN ('LISTEN sluice_events', '')"
            )
            return int(
                connection.execute(
                    text(sql + " AND datname = current_database() AND backend_type LIKE 'client%'")
                ).scalar_one()
            )

    number = receive(engine, "trips")
    opened = [Stream(status, f"/v1/ingestions/{number}/events") for _ in range(5)]
    for each in opened:
        each.open()
    assert listening() == 1
    for each in opened:
        each.close()
    deadline = time.monotonic() + 5
    while listening() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert listening() == 0
    assert not [t for t in threading.enumerate() if t.name == "sluice-listener" and t.is_alive()]


def test_an_idle_stream_has_heartbeats(
    status: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.05)
    number = receive(engine, "trips")
    answer = status.get(f"/v1/ingestions/{number}/events", headers=LIVE, buffered=False)
    blocks = iter(answer.response)
    assert [next(blocks)[:1] for _ in range(4)] == [b":", b"i", b":", b":"]
    answer.close()


def test_a_subscription_is_created_shown_and_deleted(
    status: Client, topics: PubsubServer, guests: int
) -> None:
    request_body = {"endpoint": "http://localhost:9/hook", "dataset": "guests", "states": ["done"]}
    made = status.post("/v1/subscriptions", json=request_body)
    assert made.status_code == 201, made.text
    path = made.headers["Location"]
    shown = status.get(path).json
    assert {name: shown[name] for name in request_body} == request_body
    assert status.get("/v1/subscriptions").json["subscriptions"] == [shown]
    assert status.delete(path).status_code == 204
    assert_problem(status.get(path), "API305", 404)
    assert_problem(status.delete(path), "API305", 404)


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"endpoint": 5},
        {"endpoint": "http://example.com"},
        {"endpoint": "https://example.com", "states": "done"},
        {"endpoint": "https://example.com", "states": ["over"]},
        {"endpoint": "https://example.com", "colour": "red"},
    ],
    ids=str,
)
def test_a_wrong_subscription_is_a_problem(status: Client, body: object) -> None:
    assert_problem(status.post("/v1/subscriptions", json=body), "API303", 400)


def test_a_subscription_to_an_unknown_dataset_is_a_problem(status: Client) -> None:
    request_body = {"endpoint": "https://example.com", "dataset": "pets"}
    assert_problem(status.post("/v1/subscriptions", json=request_body), "API305", 404)


def test_without_pubsub_no_subscription_is_created(
    status: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:9")
    monkeypatch.setattr("sluice.gcloud.push_subscriptions._TIMEOUT_S", 0.5)
    answer = status.post("/v1/subscriptions", json={"endpoint": "http://localhost:9/"})
    assert_problem(answer, "SYS905", 503)
    assert status.get("/v1/subscriptions").json["subscriptions"] == []
