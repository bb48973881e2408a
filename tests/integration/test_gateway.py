"""The gateway before toy functions: streams stay streams, and no instance is asked too much."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from sluice.local import parts, processes
from sluice.local.cloud import Cloud
from sluice.local.state import Ports, State

if TYPE_CHECKING:
    from collections.abc import Iterator

TOYS = Path(__file__).parent / "toys"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A local cloud of which nothing but the gateway is started."""
    state = State(tmp_path_factory.mktemp("gateway"))
    cloud = Cloud(state, Ports.free(), loaders=2, functions=TOYS)
    gateway = next(part for part in cloud.parts() if part.name == "gateway")
    with state.lock():
        parts.ensure(state, gateway)
    yield cloud
    cloud.down()


@pytest.fixture(scope="module")
def client(cloud: Cloud) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=cloud.url, timeout=60) as client:
        yield client


def ask_query(client: httpx.Client, method: str = "GET", **parameters: Any) -> httpx.Response:
    return client.request(method, "/v1/datasets", params=parameters)


def work(cloud: Cloud, seconds: float) -> dict[str, float]:
    return httpx.post(f"{cloud.push_endpoint('load')}?seconds={seconds}", timeout=60).json()


def most_at_once(answers: list[dict[str, float]]) -> int:
    starts = [(each["started_at"], 1) for each in answers]
    ends = [(each["ended_at"], -1) for each in answers]
    most = now = 0
    for _, change in sorted([*starts, *ends]):
        now += change
        most = max(most, now)
    return most


def test_a_public_path_reaches_its_function_unchanged(client: httpx.Client) -> None:
    seen = client.get("/v1/datasets/a%2Fb/rows?x=%26&y=1", headers={"X-Own": "kept"}).json()
    assert seen["path"] == "/v1/datasets/a/b/rows?x=%26&y=1"
    assert seen["headers"]["X-Own"] == "kept"
    assert seen["headers"]["Host"] == str(client.base_url.netloc, "ascii")
    assert seen["environment"]["K_SERVICE"] == "query"


def test_a_push_arrives_at_the_root_of_its_function(cloud: Cloud) -> None:
    assert set(work(cloud, 0)) == {"pid", "started_at", "ended_at"}


def test_head_is_answered_without_a_body(client: httpx.Client) -> None:
    answer = ask_query(client, "HEAD")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nowhere", 404, "API305"),
        ("DELETE", "/v1/datasets", 405, "API306"),
        ("GET", "/functions/nobody", 404, "API305"),
        ("GET", "/v1/backups", 404, "API305"),
    ],
    ids=["unknown path", "wrong method", "unknown function", "function that is not deployed"],
)
def test_what_no_function_serves_is_a_problem_document(
    client: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == answer.json()["status"] == status
    assert answer.json()["code"] == code
    assert answer.headers["content-type"].startswith("application/problem+json")


def test_events_flow_while_the_stream_is_open(client: httpx.Client) -> None:
    parameters = {"do": "stream", "pieces": 5, "pause_s": 0.3}
    arrivals = []
    with client.stream("GET", "/v1/datasets", params=parameters) as answer:
        for line in answer.iter_lines():
            if line:
                arrivals.append((line, time.monotonic()))  # noqa: PERF401  # the time matters
    assert [line for line, _ in arrivals] == [f"id: {number}" for number in range(5)]
    pauses = [later - earlier for (_, earlier), (_, later) in pairwise(arrivals)]
    assert min(pauses) > 0.15


def test_an_instance_is_free_again_when_its_listener_leaves(
    cloud: Cloud, client: httpx.Client
) -> None:
    parameters = {"do": "stream", "pieces": 100, "pause_s": 0.1}
    with client.stream("GET", "/v1/datasets", params=parameters) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "id: 0"
        assert busy(cloud, "query-1") == 1
    deadline = time.monotonic() + 5
    while busy(cloud, "query-1"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def busy(cloud: Cloud, instance: str) -> object:
    return next(each["busy"] for each in cloud.instances() if each["name"] == instance)


def test_an_instance_gets_no_more_requests_at_once_than_its_concurrency(cloud: Cloud) -> None:
    with ThreadPoolExecutor(8) as together:
        answers = list(together.map(lambda _: work(cloud, 0.2), range(8)))
    by_instance: dict[float, list[dict[str, float]]] = {}
    for each in answers:
        by_instance.setdefault(each["pid"], []).append(each)
    assert [len(each) for each in by_instance.values()] == [4, 4]
    assert [most_at_once(each) for each in by_instance.values()] == [1, 1]
    assert most_at_once(answers) == 2


def test_the_least_busy_instance_takes_the_request(cloud: Cloud) -> None:
    with ThreadPoolExecutor(1) as aside:
        long = aside.submit(work, cloud, 1.0)
        time.sleep(0.3)
        quick = [work(cloud, 0)["pid"] for _ in range(4)]
        assert set(quick).isdisjoint({long.result()["pid"]})


def test_large_bodies_pass_without_being_held(cloud: Cloud, client: httpx.Client) -> None:
    size = 200 * MIB
    sent = (bytes(MIB) for _ in range(size // MIB))
    answer = client.request("GET", "/v1/datasets", params={"do": "count"}, content=sent)
    assert answer.json() == {"size": size}
    with client.stream("GET", "/v1/datasets", params={"do": "big"}) as download:
        received = sum(len(block) for block in download.iter_bytes())
    assert received == 1600 * 65536
    process = parts.recorded(cloud.state, "gateway")
    assert process is not None
    assert processes.resident_bytes(process, with_children=False) < 100 * MIB


def test_curl_need_not_wait_to_send_a_body(cloud: Cloud, tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        with socket.create_connection(("127.0.0.1", cloud.ports.gateway)) as connection:
            connection.sendall(
                b"GET /v1/datasets?do=count HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
                b"Expect: 100-continue\r\n\r\n"
            )
            assert connection.recv(64).startswith(b"HTTP/1.1 100 Continue")
        return
    (tmp_path / "body").write_bytes(bytes(2 * MIB))
    command = [
        curl,
        "-s",
        "-X",
        "GET",
        "-T",
        str(tmp_path / "body"),
        f"{cloud.url}/v1/datasets?do=count",
    ]
    started = time.monotonic()
    assert b'"size":2097152' in subprocess.run(command, check=True, capture_output=True).stdout
    assert time.monotonic() - started < 0.9


def test_a_request_costs_the_gateway_little(client: httpx.Client, cloud: Cloud) -> None:
    process = next(each["pid"] for each in cloud.instances() if each["name"] == "query-1")
    words = psutil.Process(int(str(process))).cmdline()
    direct = httpx.Client(base_url=f"http://127.0.0.1:{words[words.index('--port') + 1]}")
    with direct:  # a busy machine may spoil some of the tries
        overheads = [median_s(client) - median_s(direct) for _ in range(4)]
    assert min(overheads) < 0.01


def median_s(client: httpx.Client) -> float:
    times = []
    for _ in range(60):
        started = time.perf_counter()
        client.get("/v1/datasets").raise_for_status()
        times.append(time.perf_counter() - started)
    return sorted(times)[30]


def test_a_function_that_ends_amid_a_request_is_a_bad_gateway_and_comes_back(
    cloud: Cloud, client: httpx.Client
) -> None:
    answer = ask_query(client, do="die")
    assert (answer.status_code, answer.json()["code"]) == (502, "SYS915")
    assert ask_query(client).status_code == 200
