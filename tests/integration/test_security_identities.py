"""Google identities: which ID tokens are accepted, and what they may do."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from google.auth import crypt, jwt
from problems import assert_problem

from sluice.access.keys import create_key
from sluice.api import authentication
from sluice.documents.access import KeyRequest
from sluice.documents.roles import Role
from sluice.gcloud import identities
from sluice.local.pubsub.tokens import sign_token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Serve
    from sqlalchemy import Engine
    from werkzeug.test import Client

AUDIENCE = "https://api.example.org"
EMAIL = "ada@example.org"
KEY_ID = "1"


class Google:
    """Signs ID tokens as Google does; its certificates are at `url`."""

    def __init__(self) -> None:
        self.key, self.certificate = _new_certificate()
        self.fetched = 0
        google = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                google.fetched += 1
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps({KEY_ID: google.certificate}).encode())

            def log_message(self, *_: object) -> None:
                return

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/certs"

    def token(self, key: str = "", **changes: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": "https://accounts.google.com", "aud": AUDIENCE, "iat": now, "exp": now + 3600,
            "email": EMAIL, "email_verified": True, "sub": "1",
        }  # fmt: skip
        claims = {name: value for name, value in {**claims, **changes}.items() if value is not None}
        signer = crypt.RSASigner.from_string(key or self.key, KEY_ID)
        return jwt.encode(signer, claims).decode()


def _new_certificate() -> tuple[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[Google]:
    made = Google()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(identities, "CERTIFICATES_URL", made.url)
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def query(serve: Serve) -> Client:
    return serve("query", token="", public_url=AUDIENCE, administrators="Boss@example.org")


def ask(client: Client, token: str, method: str = "GET", path: str = "/v1/datasets") -> Any:
    return client.open(path, method=method, headers={"Authorization": f"Bearer {token}"})


def grant(engine: Engine, role: Role = Role.READER) -> str:
    return create_key(engine, KeyRequest(name="Ada", role=role, identity=EMAIL), "test").id


def test_a_granted_identity_has_its_role(google: Google, query: Client, engine: Engine) -> None:
    grant(engine)
    assert ask(query, google.token()).status_code == 200
    assert ask(query, google.token(email="Ada@Example.org")).status_code == 200
    assert_problem(ask(query, google.token(), "POST", "/v1/infer"), "API311", 403)
    assert google.fetched == 1, "certificates are kept"


def test_an_administrator_of_the_settings_needs_no_grant(google: Google, query: Client) -> None:
    token = google.token(email="boss@example.org")
    assert ask(query, token, "POST", "/v1/infer").status_code == 400


def test_an_identity_without_a_grant_is_refused(google: Google, query: Client) -> None:
    found = assert_problem(ask(query, google.token()), "API304", 401)
    assert EMAIL in found["detail"]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"iss": "https://evil.example.org"}, id="another issuer"),
        pytest.param({"iss": None}, id="no issuer"),
        pytest.param({"aud": "https://other.example.org"}, id="another audience"),
        pytest.param({"aud": None}, id="no audience"),
        pytest.param({"iat": -7200, "exp": -60}, id="expired"),
        pytest.param({"iat": 3600, "exp": 7200}, id="of the future"),
        pytest.param({"exp": None}, id="without an end"),
        pytest.param({"email_verified": False}, id="e-mail not verified"),
        pytest.param({"email_verified": "true"}, id="a text for true"),
        pytest.param({"email_verified": None}, id="nothing about the e-mail"),
        pytest.param({"email": None}, id="no e-mail"),
    ],
)
def test_a_token_that_proves_less_is_refused(
    google: Google, query: Client, engine: Engine, changes: dict[str, Any]
) -> None:
    grant(engine)
    now = int(time.time())
    changes = {n: now + each if type(each) is int else each for n, each in changes.items()}
    assert_problem(ask(query, google.token(**changes)), "API304", 401)


def test_a_token_that_google_did_not_sign_is_refused(
    google: Google, query: Client, engine: Engine
) -> None:
    grant(engine)
    other, _ = _new_certificate()
    unsigned = google.token().rpartition(".")[0] + "."
    local = sign_token(EMAIL, AUDIENCE, time.time())
    for token in (google.token(key=other), unsigned, local, google.token() + "AAAA"):
        assert_problem(ask(query, token), "API304", 401)


def test_a_revoked_grant_is_refused_within_five_seconds(
    google: Google, query: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch, serve: Serve
) -> None:
    monkeypatch.setattr(authentication, "CACHE_S", 0.0)
    number = grant(engine)
    client = serve("query", token="t", public_url=f"{AUDIENCE}/again")
    token = google.token(aud=f"{AUDIENCE}/again")
    assert ask(client, token).status_code == 200
    path = f"/v1/keys/{number}"
    intake = serve("intake", token="t")
    assert intake.delete(path, headers={"Authorization": "Bearer t"}).status_code == 204
    assert_problem(ask(client, token), "API304", 401)


def test_without_certificates_nobody_is_let_in(
    query: Client, google: Google, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "CERTIFICATES_URL", "http://127.0.0.1:1/certs")
    answer = ask(query, google.token())
    assert_problem(answer, "SYS917", 503)
    assert answer.headers["Retry-After"]
