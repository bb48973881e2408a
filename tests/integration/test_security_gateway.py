"""Attacks on the gateway of the local cloud: by web pages, by DNS rebinding, by clients that stall."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from toy_cloud import gateway_alone

from sluice.local import gateway
from sluice.local.cloud import Cloud
from sluice.local.state import CHECKOUT

EVIL = "http://evil.example"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A local cloud with only its gateway started, over toy functions."""
    with gateway_alone(tmp_path_factory.mktemp("guarded"), loaders=1) as cloud:
        yield cloud


@contextmanager
def connected(cloud: Cloud) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", cloud.ports.gateway), timeout=60) as made:
        yield made


def status_of(cloud: Cloud, head: str) -> int:
    """Send the head of a request as it is; return the status of the response."""
    with connected(cloud) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        return int(connection.recv(4096).split(b" ", 2)[1])


def ask(cloud: Cloud, method: str = "GET", path: str = "/v1/datasets", **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.request(method, f"{cloud.url}{path}", headers=named, timeout=60).status_code


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_the_names_of_the_loopback_interface_are_answered(cloud: Cloud, name: str) -> None:
    assert ask(cloud, host=f"{name}:{cloud.ports.gateway}") == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:{port}", "localhost", "localhost:1", "localhost.evil.example:{port}",
        "127.0.0.1.nip.io:{port}", "localhost:{port}.", "localhost:{port}@evil.example", "0.0.0.0:{port}", "",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/datasets", "/-/status", "/functions/load"])
def test_a_name_that_was_rebound_to_the_loopback_interface_is_refused(
    cloud: Cloud, host: str, path: str
) -> None:
    named = host.format(port=cloud.ports.gateway)
    assert status_of(cloud, f"GET {path} HTTP/1.1\nHost: {named}") == 421


def test_a_request_without_or_with_two_hosts_is_refused(cloud: Cloud) -> None:
    own = f"localhost:{cloud.ports.gateway}"
    assert status_of(cloud, "GET /v1/datasets HTTP/1.0") in (400, 421)
    twice = f"GET /v1/datasets HTTP/1.1\nHost: {own}\nHost: evil.example"
    assert status_of(cloud, twice) in (400, 421)


def test_a_tunnel_is_refused(cloud: Cloud) -> None:
    own = f"localhost:{cloud.ports.gateway}"
    assert (
        status_of(cloud, f"CONNECT 127.0.0.1:{cloud.ports.postgres} HTTP/1.1\nHost: {own}") == 405
    )


FOREIGN = {
    "another origin": {"origin": EVIL},
    "an opaque origin": {"origin": "null"},
    "another port": {"origin": "http://localhost:1"},
    "another scheme": {"origin": "https://localhost:{port}"},
    "another site": {"sec_fetch_site": "cross-site"},
    "the same site": {"sec_fetch_site": "same-site"},
}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_a_page_of_another_site_changes_nothing(
    cloud: Cloud, method: str, headers: dict[str, str]
) -> None:
    given = {name: value.format(port=cloud.ports.gateway) for name, value in headers.items()}
    assert ask(cloud, method, **given) == 403
    target = cloud.push_endpoint("load").partition(f":{cloud.ports.gateway}")[2]
    assert ask(cloud, method, target, **given) == 403
    assert ask(cloud, "GET", target, **given) == 403


def test_a_page_of_the_local_cloud_itself_may_write(cloud: Cloud) -> None:
    own = {"origin": cloud.url, "sec_fetch_site": "same-origin"}
    assert ask(cloud, "POST", "/v1/infer", **own) == 200


@pytest.mark.parametrize(
    "path",
    [
        "/functions/load", "/functions/load?token=", "/functions/load?token=wrong",
        "/functions/load?Token={secret}", "/functions/load/{secret}", "/functions/../functions/load",
        "/functions/load/../../v1/datasets", "/functions/query/v1/datasets", "/functions/finish/recover",
    ],
)  # fmt: skip
def test_a_function_is_called_only_with_the_secret_of_the_local_cloud(
    cloud: Cloud, path: str
) -> None:
    target = path.format(secret=cloud.state.secret("push-secret"))
    for method in ("GET", "POST"):
        head = f"{method} {target} HTTP/1.1\nHost: localhost:{cloud.ports.gateway}"
        assert status_of(cloud, head) == 403


def test_the_secret_is_in_a_file_of_its_user_and_in_no_command(cloud: Cloud) -> None:
    secret = cloud.state.secret("push-secret")
    files = [each for each in cloud.state.root.glob("*") if each.is_file()]
    holding = [each for each in files if secret in each.read_text(errors="replace")]
    assert [each.stat().st_mode & 0o077 for each in holding] == [0]
    commands = [each.command for each in cloud.parts()]
    assert all(secret not in " ".join(each) for each in commands)
    assert all(secret not in str(part.env) for part in cloud.parts())


def test_bodies_that_stay_unfinished_do_not_occupy_instances(cloud: Cloud) -> None:
    with ExitStack() as held:
        for _ in range(100):
            connection = held.enter_context(connected(cloud))
            connection.sendall(
                b"POST /v1/infer HTTP/1.1\r\nHost: localhost:%d\r\nContent-Length: 9\r\n\r\n{"
                % cloud.ports.gateway
            )
        started = time.monotonic()
        assert ask(cloud, "POST", "/v1/infer") == 200
        assert time.monotonic() - started < 10


def test_a_body_that_stalls_or_trickles_ends_with_a_problem(cloud: Cloud) -> None:
    size = 2 * gateway.BODY_START_BYTES
    with connected(cloud) as stalled, connected(cloud) as begun:
        for connection in (stalled, begun):
            connection.sendall(
                b"POST /v1/infer HTTP/1.1\r\nHost: localhost:%d\r\nContent-Length: %d\r\n\r\n"
                % (cloud.ports.gateway, size)
            )
        begun.sendall(bytes(size - 1))  # an instance has it
        started = time.monotonic()
        for connection in (stalled, begun):
            answer = connection.recv(4096)
            assert answer.startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - started < gateway.STALL_S + 20
    assert ask(cloud, "POST", "/v1/infer") == 200


def test_a_connection_without_a_request_is_closed(cloud: Cloud) -> None:
    with connected(cloud) as silent, connected(cloud) as trickling:
        trickling.sendall(b"GET /v1/datasets HTTP/1.1\r\nHost: loc")
        started = time.monotonic()
        assert silent.recv(4096) == b""
        assert trickling.recv(4096) == b""
        assert time.monotonic() - started < gateway.HEADERS_S + 20


def test_the_container_lists_the_hosts_that_it_accepts() -> None:
    compose = (CHECKOUT / "compose.yaml").read_text("utf-8")
    assert re.search(r'ports: \["127\.0\.0\.1:8080:8080"\]', compose)
    assert "--push-host=functions" in compose
