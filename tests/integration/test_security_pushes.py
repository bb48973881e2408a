"""Attacks on the push endpoints: calls without a token or with a forged one, and foreign buckets."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from cloud_sql import Authority, pem
from cryptography.hazmat.primitives import serialization
from google.auth import crypt, jwt
from sqlalchemy import Engine, text

from sluice.gcloud import identities
from sluice.ingestion.notifications import notification_of
from sluice.ports import StoredObject

if TYPE_CHECKING:
    from serving import Serve

AUDIENCE = "https://split-1.example.run.app"
PUSH = "sluice-push@project.iam.gserviceaccount.com"
SCHEDULER = "sluice-scheduler@project.iam.gserviceaccount.com"
ENDPOINTS = [("split", "/"), ("load", "/"), ("finish", "/"), ("finish", "/recover")]
REMOVED = "SIGNATURE_REMOVED_BY_GOOGLE"
Sign = Callable[..., str]


class Certificates:
    """A transport that answers Google's certificates."""

    def __init__(self, certificates: Mapping[str, str]) -> None:
        self.status = 200
        self.data = json.dumps(certificates).encode()

    def __call__(self, url: str, method: str = "GET", **_: Any) -> Certificates:
        assert url == identities.CERTIFICATES_URL
        return self


@pytest.fixture(scope="module")
def google() -> Authority:
    return Authority()


@pytest.fixture
def sign(google: Authority, monkeypatch: pytest.MonkeyPatch) -> Sign:
    """Return tokens as Google signs them, with changed claims."""
    certificates = Certificates({"1": pem(google.certificate)})
    monkeypatch.setattr(identities, "_request", lambda: certificates)

    def made(authority: Authority = google, **changes: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": "https://accounts.google.com", "aud": AUDIENCE, "email": PUSH,
            "email_verified": True, "sub": "1", "iat": now, "exp": now + 3600, **changes,
        }  # fmt: skip
        key = authority.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        return str(jwt.encode(crypt.RSASigner.from_string(key, "1"), claims).decode())

    return made


@pytest.fixture
def call(serve: Serve) -> Callable[..., int]:
    """Call a function that requires tokens; return the status of its answer."""

    def answer(function: str, path: str, token: str | None, body: Any = None, **given: str) -> int:
        settings = {
            "authentication": "required", "push_audience": AUDIENCE,
            "push_callers": f"{PUSH},{SCHEDULER}", **given,
        }  # fmt: skip
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        client = serve(function, **settings)
        return client.post(path, json=body or {}, headers=headers).status_code

    return answer


def without_signature(token: str) -> str:
    """What Cloud Run passes on of a token that its IAM has verified."""
    return f"{token.rpartition('.')[0]}.{REMOVED}"


def unsigned(token: str) -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    return f"{head}.{token.split('.')[1]}."


@pytest.mark.parametrize(("function", "path"), ENDPOINTS)
def test_a_call_of_pubsub_or_the_scheduler_is_answered(
    call: Callable[..., int], sign: Sign, storage: object, topics: object, function: str, path: str
) -> None:
    assert call(function, path, sign(email=SCHEDULER)) == 204
    assert call(function, path, sign()) == 204


@pytest.mark.parametrize(("function", "path"), ENDPOINTS)
def test_a_call_that_proves_nothing_is_refused(
    call: Callable[..., int], sign: Sign, function: str, path: str
) -> None:
    forged = {
        "none": None,
        "empty": "",
        "no token": "secret",
        "another key": sign(Authority()),
        "no signature": unsigned(sign()),
        "a removed signature": without_signature(sign()),
        "another issuer": sign(iss="https://evil.example"),
        "another audience": sign(aud="https://other.example.run.app"),
        "an expired token": sign(iat=1, exp=3600),
        "an unverified address": sign(email_verified=False),
        "no address": sign(email=""),
    }
    answers = {what: call(function, path, token) for what, token in forged.items()}
    assert answers == dict.fromkeys(forged, 401)
    assert call(function, path, sign(email="somebody@project.iam.gserviceaccount.com")) == 403


@pytest.mark.parametrize("missing", ["push_audience", "push_callers"])
def test_an_empty_setting_refuses_all(call: Callable[..., int], sign: Sign, missing: str) -> None:
    for function, path in ENDPOINTS:
        assert call(function, path, sign(), **{missing: ""}) in (401, 403)
        assert call(function, path, sign(aud=""), **{missing: ""}) in (401, 403)


def test_what_iam_verified_is_accepted_with_its_other_claims(
    call: Callable[..., int], sign: Sign
) -> None:
    """Cloud Run removes the signature of a token that it has verified."""

    def status(token: str) -> int:
        return call("split", "/", without_signature(token), token_signatures="cloud-run")

    assert status(sign()) == 204
    refused = {
        "issuer": sign(iss="https://evil.example"),
        "audience": sign(aud="https://other.example.run.app"),
        "no audience": sign(aud=None),
        "expired": sign(iat=1, exp=3600),
        "not yet": sign(iat=int(time.time()) + 3600, exp=int(time.time()) + 7200),
        "unverified": sign(email_verified=False),
    }
    assert {what: status(token) for what, token in refused.items()} == dict.fromkeys(refused, 401)
    assert status(sign(email="somebody@project.iam.gserviceaccount.com")) == 403
    assert call("split", "/", sign(Authority()), token_signatures="cloud-run") == 401


def test_the_announcement_of_another_bucket_is_acknowledged_and_not_read(
    serve: Serve, engine: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    data, attributes = notification_of(StoredObject("evil", "trips/a.csv", 1, 10))
    message = {"data": base64.b64encode(data).decode(), "attributes": attributes, "messageId": "1"}
    split = serve("split", outbox="outbox", inbox="inbox")
    assert split.post("/", json={"message": message}).status_code == 204
    assert (
        "gs://evil/trips/a.csv: the object is not in the inbox gs://inbox" in capfd.readouterr().err
    )
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM sluice.ingestions")) == 0
