"""Common upload tools with the local cloud: each loads the real files with the same results."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

import grpc
import httpx
import pytest
from google.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

import real_files
from real_files import needs_real_files
from sluice.local import postgres
from sluice.local.cloud import Cloud
from sluice.local.environment import for_tools, write_tool_settings
from sluice.local.state import Ports, State

pytestmark = pytest.mark.xdist_group("tools_cloud")

TRIPS = real_files.DATA / "trips"
EXPECTED = real_files.EXPECTED / "trips"
WAIT_S = 60
HEADER = "region,origin_coord,destination_coord,datetime,datasource\n"
PARTS_OF_DAY = {0: "night", 6: "morning", 12: "afternoon", 18: "evening"}

Upload = Callable[["Cloud", Path, str], None]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A local cloud of these tests' own: they count all rows of a dataset."""
    state = State(tmp_path_factory.mktemp("tools"))
    made = Cloud(state, Ports.free(), loaders=2, flags=postgres.TEST_FLAGS)
    made.up()
    yield made
    made.down()


@pytest.fixture
def http(cloud: Cloud) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=cloud.url, timeout=30) as client:
        yield client


def tool(cloud: Cloud, *command: str) -> None:
    write_tool_settings(cloud)
    environment = {**os.environ, **for_tools(cloud)}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)


def by_gcloud(cloud: Cloud, path: Path, name: str) -> None:
    tool(cloud, "gcloud", "storage", "cp", str(path), f"gs://inbox/{name}")


def by_gsutil(cloud: Cloud, path: Path, name: str) -> None:
    tool(cloud, "gsutil", "cp", str(path), f"gs://inbox/{name}")


def by_sluice(cloud: Cloud, path: Path, name: str) -> None:
    renamed = path.parent / Path(name).name
    path.rename(renamed)
    tool(cloud, sys.executable, "-m", "sluice.cli.main", "load", str(renamed), "--dataset", "trips")


def by_client_library(cloud: Cloud, path: Path, name: str) -> None:
    program = (
        "import sys; from google.auth.credentials import AnonymousCredentials\n"
        "from google.cloud import storage\n"
        "client = storage.Client(project='local', credentials=AnonymousCredentials())\n"
        "client.bucket('inbox').blob(sys.argv[2]).upload_from_filename(sys.argv[1])"
    )
    tool(cloud, sys.executable, "-c", program, str(path), name)


def by_curl(cloud: Cloud, path: Path, name: str) -> None:
    body = {"dataset": "trips", "name": name.removeprefix("trips/")}
    opened = httpx.post(f"{cloud.url}/v1/uploads", json=body, timeout=30)
    assert opened.status_code == 201, opened.text
    httpx.put(opened.json()["url"], content=path.read_bytes(), timeout=60).raise_for_status()


def needs(program: str) -> list[Any]:
    found = shutil.which(program)
    absent = pytest.mark.skipif(not found, reason=f"{program} of the Cloud SDK is not installed")
    return [pytest.mark.cloud_sdk, absent]


TOOLS = [
    pytest.param(by_gcloud, id="gcloud", marks=needs("gcloud")),
    pytest.param(by_gsutil, id="gsutil", marks=needs("gsutil")),
    pytest.param(by_sluice, id="sluice-load"),
    pytest.param(by_client_library, id="client-library"),
    pytest.param(by_curl, id="curl"),
]


def wait_for_object(http: httpx.Client, name: str) -> dict[str, Any]:
    """Return the ingestion of an object, once it has ended."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        found = http.get("/v1/ingestions", params={"limit": 100}).json()["ingestions"]
        for each in found:
            if each["object"] == name and each["state"] in ("done", "failed", "skipped"):
                ended: dict[str, Any] = each
                return ended
        time.sleep(0.05)
    raise AssertionError(f"{name} did not end: {found}")


def query(http: httpx.Client, name: str, **parameters: object) -> Any:
    answer = http.get(f"/v1/datasets/trips/queries/{name}", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
def bring(
    cloud: Cloud, http: httpx.Client, tmp_path: Path
) -> Iterator[Callable[[Path, Upload], dict[str, Any]]]:
    """Upload a file under a name of its own, alone in its dataset; undo it after the test."""
    ingestions: list[int] = []

    def upload(path: Path, way: Upload) -> dict[str, Any]:
        for each in http.get("/v1/ingestions", params={"state": "done", "limit": 1000}).json()[
            "ingestions"
        ]:
            http.post(f"/v1/ingestions/{each['id']}/undo").raise_for_status()
        name = f"trips/{uuid.uuid4().hex}.csv"
        copy = tmp_path / path.name
        shutil.copy(path, copy)
        way(cloud, copy, name)
        ended = wait_for_object(http, name)
        ingestions.append(ended["id"])
        assert ended["state"] == "done", ended
        return ended

    yield upload
    for each in ingestions:
        http.post(f"/v1/ingestions/{each}/undo").raise_for_status()


def assert_weekly(answer: dict[str, Any], figures: dict[str, Any]) -> None:
    assert answer["trips"] == figures["total_trips"]
    assert answer["weeks_observed"] == figures["observed_weeks"]
    assert answer["weekly_average"] == figures["weekly_average_observed"]
    assert answer["weeks_spanned"] == figures.get("span_weeks", 0)
    per_week = {each["week"]: each["trips"] for each in answer["per_week"]}
    assert per_week == figures.get("per_week", {})


def assert_trips_answers(http: httpx.Client) -> None:
    summary = json.loads((EXPECTED / "summary.json").read_text())
    for region, figures in summary["weekly_by_region"].items():
        assert_weekly(query(http, "weekly_average", region=region), figures)
        spanned = query(http, "weekly_average", region=region, weeks="spanned")
        assert spanned["weekly_average"] == figures["weekly_average_over_span"]
    assert len(summary["weekly_by_bbox"]) == 6
    for box in summary["weekly_by_bbox"].values():
        edges = {edge: box[edge] for edge in ("min_lon", "min_lat", "max_lon", "max_lat")}
        for by in ("origin", "destination", "both", "either"):
            assert_weekly(query(http, "weekly_average", **edges, by=by), box[f"by_{by}"])
        spanned = query(http, "weekly_average", **edges, weeks="spanned")
        assert spanned["weekly_average"] == box["by_origin"].get("weekly_average_over_span", 0)


def assert_groups(http: httpx.Client) -> None:
    with (EXPECTED / "groups_region_round1_part_of_day_6h.csv").open() as file:
        expected = sorted(tuple(row.values()) for row in csv.DictReader(file))
    ends = ("origin_lon", "origin_lat", "destination_lon", "destination_lat")
    found = sorted(
        (
            each["region"],
            *(f"{each[end]:.1f}" for end in ends),
            PARTS_OF_DAY[each["from_hour"]],
            str(each["trips"]),
        )
        for each in query(http, "groups", limit=1000)["rows"]
    )
    assert found == expected
    assert len(found) == 93


def assert_datasources(http: httpx.Client) -> None:
    latest = query(http, "latest_datasource_of_top_regions")["rows"]
    assert [
        (each["region"], each["trips"], each["datasource"], each["latest_at"], each["overall"])
        for each in latest
    ] == [
        ("Turin", 38, "pt_search_app", "2018-05-31T06:20:59", True),
        ("Prague", 34, "cheap_mobile", "2018-05-29T12:44:02", False),
    ]
    regions = query(http, "regions_of_datasource", datasource="cheap_mobile")["rows"]
    assert {each["region"]: each["trips"] for each in regions} == {
        "Hamburg": 10,
        "Prague": 13,
        "Turin": 10,
    }


@needs_real_files
@pytest.mark.parametrize("way", TOOLS)
def test_the_trips_of_three_regions(
    bring: Callable[..., dict[str, Any]], http: httpx.Client, way: Upload
) -> None:
    ended = bring(TRIPS / "trips.csv", way)
    assert ended["account"] == {"read": 100, "loaded": 100, "rejected": 0, "duplicates": 0}
    assert_trips_answers(http)
    assert_groups(http)
    assert_datasources(http)


def jersey_city_expected() -> dict[str, Any]:
    with (TRIPS / "jersey_city_2017.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        "rows": len(rows),
        "equal": len(rows) - len({tuple(row.values()) for row in rows}),
        "empty": sum(not row["datasource"] for row in rows),
        "nowhere": sum(row["destination_coord"] == "POINT (0 0)" for row in rows),
    }


@needs_real_files
@pytest.mark.parametrize("way", TOOLS)
def test_the_trips_of_jersey_city(
    bring: Callable[..., dict[str, Any]], http: httpx.Client, way: Upload
) -> None:
    assert jersey_city_expected() == {"rows": 25127, "equal": 521, "empty": 51, "nowhere": 1}
    ended = bring(TRIPS / "jersey_city_2017.csv", way)
    assert ended["account"] == {"read": 25127, "loaded": 25127, "rejected": 0, "duplicates": 0}
    lines = http.get("/v1/datasets/trips/rows", params={"format": "ndjson"}).text.splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 25127
    assert (
        len(rows) - len({json.dumps({**row, "ingestion": 0}, sort_keys=True) for row in rows})
        == 521
    )
    assert sum(row["datasource"] is None for row in rows) == 51
    assert sum(row["destination_lon"] == row["destination_lat"] == 0 for row in rows) == 1
    region = rows[0]["region"]
    observed = query(http, "weekly_average", region=region)
    spanned = query(http, "weekly_average", region=region, weeks="spanned")
    assert observed["per_week"][0]["week"] == "2016-W52"
    assert observed["trips"] == sum(each["trips"] for each in observed["per_week"]) == 25127
    assert observed["weeks_observed"] == len(observed["per_week"]) < observed["weeks_spanned"]
    assert observed["weekly_average"] == round(25127 / observed["weeks_observed"], 6)
    assert spanned["weekly_average"] == round(25127 / observed["weeks_spanned"], 6)


@pytest.mark.parametrize("parameters", [{}, {"min_lon": 14, "min_lat": 49}, {"max_lat": 50.2}])
def test_no_filter_or_half_a_box_is_refused(http: httpx.Client, parameters: dict[str, Any]) -> None:
    answer = http.get("/v1/datasets/trips/queries/weekly_average", params=parameters)
    assert answer.status_code == 400
    assert answer.json()["code"] == "API301"


# Status without polling


class Endpoint:
    """A small HTTP server that a push subscription reaches."""

    def __init__(self) -> None:
        self.received: Queue[dict[str, Any]] = Queue()
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.put(json.loads(body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/events"
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    opened = Endpoint()
    yield opened
    opened.close()


def own_trips(region: str, rows: int) -> bytes:
    line = "{},POINT (14.4 50.0),POINT (14.5 50.1),2018-05-{:02} 09:00:00,cheap_mobile\n"
    return (HEADER + "".join(line.format(region, 1 + n % 28) for n in range(rows))).encode()


def put(cloud: Cloud, name: str, data: bytes) -> None:
    url = f"{cloud.storage.url}/upload/storage/v1/b/inbox/o"
    parameters = {"uploadType": "media", "name": name}
    httpx.post(url, params=parameters, content=data, timeout=60).raise_for_status()


def test_a_push_subscription_gets_the_bare_events_of_its_states(
    cloud: Cloud, http: httpx.Client, endpoint: Endpoint
) -> None:
    request_body = {"endpoint": endpoint.url, "dataset": "trips", "states": ["done"]}
    made = http.post("/v1/subscriptions", json=request_body)
    assert made.status_code == 201, made.text
    name = f"trips/{uuid.uuid4().hex}.csv"
    put(cloud, name, own_trips("Pushed", 10))
    event = endpoint.received.get(timeout=WAIT_S)
    assert event["specversion"] == "1.0"
    assert event["type"] == "sluice.ingestion.done"
    assert event["data"]["object"] == name
    assert event["data"]["account"]["loaded"] == 10
    assert "message" not in event
    with pytest.raises(Empty):
        endpoint.received.get(timeout=0.5)
    http.delete(f"/v1/subscriptions/{made.json()['id']}").raise_for_status()


def test_a_google_subscriber_sees_the_events_with_attributes_in_order(cloud: Cloud) -> None:
    path = f"projects/local/subscriptions/test-{uuid.uuid4().hex}"
    name = f"trips/{uuid.uuid4().hex}.csv"
    with grpc.insecure_channel(cloud.pubsub_address) as channel:
        client = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        client.create_subscription(
            request={
                "name": path,
                "topic": "projects/local/topics/status",
                "enable_message_ordering": True,
                "filter": 'attributes.dataset = "trips"',
            }
        )
        put(cloud, name, own_trips("Pulled", 7))
        messages: list[Any] = []
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline and not any(
            m.attributes["state"] == "done" for m in messages
        ):
            pulled = client.pull(subscription=path, max_messages=100).received_messages
            fresh = [each.message for each in pulled]
            messages += [m for m in fresh if json.loads(m.data)["data"]["object"] == name]
            if pulled:
                client.acknowledge(subscription=path, ack_ids=[each.ack_id for each in pulled])
        client.delete_subscription(subscription=path)
    states = ["received", "splitting", "loading", "progress", "publishing", "done"]
    sent = list(dict.fromkeys(m.attributes["state"] for m in messages))
    assert sorted(sent) == sorted(states)
    bodies = [json.loads(m.data) for m in messages]
    first_seen = list(dict.fromkeys(each["sequence"] for each in bodies))
    assert first_seen == list(range(1, len(first_seen) + 1))
    (ingestion,) = {m.attributes["ingestion"] for m in messages}
    assert {m.ordering_key for m in messages} == {ingestion}
    assert {m.attributes["dataset"] for m in messages} == {"trips"}
    assert {m.attributes["severity"] for m in messages} == {"INFO"}
    assert len({m.attributes["googclient_traceparent"].split("-")[1] for m in messages}) == 1


def test_the_event_stream_of_an_ingestion_tells_all_and_resumes(
    cloud: Cloud, http: httpx.Client
) -> None:
    name = f"trips/{uuid.uuid4().hex}.csv"
    put(cloud, name, own_trips("Streamed", 5))
    ingestion = wait_for_object(http, name)["id"]
    everything = read_stream(http, ingestion, {})
    assert everything[-1] == "done"
    assert everything[0] == "received"
    rest = read_stream(http, ingestion, {"Last-Event-ID": "3"})
    assert rest == everything[3:]


def read_stream(http: httpx.Client, ingestion: int, headers: dict[str, str]) -> list[str]:
    names: list[str] = []
    accept = {"Accept": "text/event-stream", **headers}
    with http.stream("GET", f"/v1/ingestions/{ingestion}/events", headers=accept) as answer:
        for line in answer.iter_lines():
            if line.startswith("data:"):
                names.append(json.loads(line[5:])["type"].removeprefix("sluice.ingestion."))
                if names[-1] == "done":
                    break
    return names
