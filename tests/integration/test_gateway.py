"""The gateway with toy functions: streams pass through, and no instance exceeds its concurrency."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from toy_cloud import gateway_alone

from sluice.local import parts, processes
from sluice.local.cloud import Cloud

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A local cloud with only its gateway started."""
    with gateway_alone(tmp_path_factory.mktemp("gateway"), loaders=2) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def client(cloud: Cloud) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=cloud.url, timeout=60) as client:
        yield client


def ask_query(client: httpx.Client, method: str = "GET", **parameters: Any) -> httpx.Response:
    return client.request(method, "/v1/datasets", params=parameters)


def work(cloud: Cloud, seconds: float) -> dict[str, float]:
    return httpx.post(f"{cloud.push_endpoint('load')}&seconds={seconds}", timeout=60).json()


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
        ("GET", "/functions/load", 403, "API353"),
        ("GET", "/v1/backups", 404, "API305"),
    ],
    ids=[
        "unknown path",
        "wrong method",
        "push without the secret",
        "function that is not deployed",
    ],
)
def test_what_no_function_serves_is_a_problem_document(
    client: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == answer.json()["status"] == status
    assert answer.json()["code"] == code
    assert answer.headers["content-type"].startswith("application/problem+json")


def test_a_push_to_an_unknown_function_is_a_problem(cloud: Cloud) -> None:
    answer = httpx.post(cloud.push_endpoint("unknown"))
    assert (answer.status_code, answer.json()["code"]) == (404, "API305")


def test_events_arrive_while_the_stream_is_open_and_closing_it_frees_the_instance(
    cloud: Cloud, client: httpx.Client
) -> None:
    parameters = {"do": "stream", "pieces": 1000, "pause_s": 0.1}
    with client.stream("GET", "/v1/datasets", params=parameters) as answer:
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(5)] == ["id: 0", "", "id: 1", "", "id: 2"]
        assert busy(cloud, "query-1") == 1
    wait_until(lambda: not busy(cloud, "query-1"))


def wait_until(is_true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def busy(cloud: Cloud, instance: str) -> object:
    return next(each["busy"] for each in cloud.instances() if each["name"] == instance)


def test_an_instance_gets_no_more_concurrent_requests_than_its_concurrency(cloud: Cloud) -> None:
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
        long = aside.submit(work, cloud, 2.0)
        wait_until(lambda: busy(cloud, "load-1") or busy(cloud, "load-2"))
        quick = [work(cloud, 0)["pid"] for _ in range(4)]
        assert set(quick).isdisjoint({long.result()["pid"]})


def test_large_bodies_are_not_held_in_memory(cloud: Cloud, client: httpx.Client) -> None:
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


def test_a_client_that_waits_to_send_a_body_is_invited(cloud: Cloud) -> None:
    """As curl does with large bodies: it would wait for a second."""
    with socket.create_connection(("127.0.0.1", cloud.ports.gateway)) as connection:
        connection.sendall(
            b"GET /v1/datasets?do=count HTTP/1.1\r\n"
            b"Host: localhost:%d\r\nContent-Length: 1\r\n"
            b"Expect: 100-continue\r\n\r\n" % cloud.ports.gateway
        )
        assert connection.recv(64).startswith(b"HTTP/1.1 100 Continue")


def test_a_function_that_ends_during_a_request_is_a_bad_gateway_and_restarts(
    cloud: Cloud, client: httpx.Client
) -> None:
    answer = ask_query(client, do="die")
    assert (answer.status_code, answer.json()["code"]) == (502, "SYS915")
    assert ask_query(client).status_code == 200
