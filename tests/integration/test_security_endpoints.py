"""Endpoints of push subscriptions: public names only, which resolve to public addresses and agree."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from problems import assert_problem

from sluice.errors import BodyError
from sluice.gcloud import push_endpoints
from sluice.gcloud.push_endpoints import check_endpoint, confirm_endpoint, is_public
from sluice.local.pubsub.endpoints import Endpoint, EndpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from serving import Serve

    from sluice.local.pubsub import PubsubServer

ORIGIN = "sluice.example.com"
HOOK = "hooks.example.com"


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://localhost:9000/",
        "https://localhost/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://8.8.8.8/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://169.254.169.254/computeMetadata/v1/",
        "https://metadata.google.internal/computeMetadata/v1/",
        "https://metadata/",
        "https://intake/",
        "https://printer.local/",
        "https://db.internal./",
        "https://user:secret@example.com/",
        "https://example.com:x/",
        "gopher://example.com/",
    ],
)
def test_an_endpoint_that_is_not_on_a_public_name_is_refused_in_the_cloud(endpoint: str) -> None:
    with pytest.raises(BodyError, match="endpoint"):
        check_endpoint(endpoint, allows_local=False)


def test_the_local_cloud_allows_this_machine_and_no_other_private_one() -> None:
    check_endpoint("http://localhost:9000/hook", allows_local=True)
    for endpoint in ("http://10.0.0.1/", "https://10.0.0.1/", "https://db.internal/"):
        with pytest.raises(BodyError, match="endpoint"):
            check_endpoint(endpoint, allows_local=True)


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1", "127.0.0.1", "169.254.169.254", "192.168.1.1", "172.16.0.1", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "::1", "::", "fd00::1", "fe80::1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::", "ff02::1",
    ],
)  # fmt: skip
def test_a_private_address_is_recognised_however_it_is_written(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_a_public_address_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"]])
def test_a_name_with_a_private_address_is_never_connected_to(
    addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    _resolve(monkeypatch, *addresses, connect=lambda *given: opened.append(given))
    with pytest.raises(BodyError, match="not public"):
        confirm_endpoint(f"https://{HOOK}/", ORIGIN)
    assert not opened


def test_a_push_to_a_name_that_has_become_private_is_not_delivered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _resolve(monkeypatch, "169.254.169.254")
    with pytest.raises(EndpointError, match="not public"):
        asyncio.run(Endpoint(f"https://{HOOK}/").post([], b"{}"))


@pytest.mark.parametrize("allowed", [ORIGIN, "*", f"other.example.com, {ORIGIN}"])
def test_an_endpoint_that_agrees_is_accepted(hook: Callable[..., _Hook], allowed: str) -> None:
    answering = hook(200, allowed)
    confirm_endpoint(f"https://{HOOK}:{answering.port}/sluice?a=1", ORIGIN, "a token")
    (request,) = answering.requests
    assert request["path"] == "/sluice?a=1"
    assert request["Host"] == f"{HOOK}:{answering.port}"
    assert request["WebHook-Request-Origin"] == ORIGIN
    assert request["Authorization"] == "Bearer a token"


@pytest.mark.parametrize(
    ("status", "allowed"),
    [(200, ""), (200, "other.example.com"), (403, ORIGIN), (302, ORIGIN), (501, "")],
)
def test_an_endpoint_that_does_not_agree_is_refused(
    hook: Callable[..., _Hook], status: int, allowed: str
) -> None:
    answering = hook(status, allowed)
    with pytest.raises(BodyError, match="does not agree"):
        confirm_endpoint(f"https://{HOOK}:{answering.port}/", ORIGIN)
    assert len(answering.requests) == 1  # no redirect is followed


def test_no_subscription_is_made_for_an_endpoint_that_does_not_answer(
    serve: Serve, topics: PubsubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = serve("status")
    _resolve(monkeypatch, "8.8.8.8", connect=_refuse)
    answer = status.post("/v1/subscriptions", json={"endpoint": f"https://{HOOK}/"})
    problem = assert_problem(answer, "API303", 400)
    assert "did not answer OPTIONS" in problem["detail"]
    assert status.get("/v1/subscriptions").json["subscriptions"] == []


def test_in_the_cloud_this_machine_is_no_endpoint(
    serve: Serve, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    answer = serve("status").post("/v1/subscriptions", json={"endpoint": "http://localhost:9/"})
    assert_problem(answer, "API303", 400)


def _refuse(*_: object) -> None:
    raise ConnectionRefusedError("refused")


def _resolve(
    monkeypatch: pytest.MonkeyPatch,
    *addresses: str,
    connect: Callable[..., object] = socket.create_connection,
) -> None:
    """Let every name have these addresses."""

    def resolve(host: str, port: int, **_: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    stand_in = SimpleNamespace(
        getaddrinfo=resolve, create_connection=connect, SOCK_STREAM=socket.SOCK_STREAM
    )
    monkeypatch.setattr(push_endpoints, "socket", stand_in)


class _Hook:
    """An https server on this machine that answers OPTIONS."""

    def __init__(self, status: int, allowed: str, context: ssl.SSLContext) -> None:
        self.requests: list[dict[str, str]] = []
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_OPTIONS(self) -> None:
                requests.append({**dict(self.headers), "path": self.path})
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                if allowed:
                    self.send_header("WebHook-Allowed-Origin", allowed)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., _Hook]]:
    """Start a server whose name resolves to this machine, which counts as public here."""
    files = _certificate(tmp_path)
    trusted = ssl.create_default_context(cafile=str(files[0]))
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(*map(str, files))
    stand_in = SimpleNamespace(create_default_context=lambda: trusted)
    monkeypatch.setattr(push_endpoints, "ssl", stand_in)
    monkeypatch.setattr(push_endpoints, "is_public", lambda _: True)
    _resolve(monkeypatch, "127.0.0.1")
    started: list[_Hook] = []

    def start(status: int, allowed: str) -> _Hook:
        started.append(_Hook(status, allowed, serving))
        return started[-1]

    yield start
    for each in started:
        each.close()


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOOK)])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName(HOOK), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "public.pem", folder / "private.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return public, private
