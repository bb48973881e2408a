"""Google identities: verifies ID tokens, with Google's certificates kept for an hour, and asks for them."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sluice.errors import IdentityUnavailableError, UnauthenticatedError
from sluice.settings import CLOUD_RUN, VERIFY

#: Keys of Google's tokens for users and service accounts, by key id.
CERTIFICATES_URL = "https://www.googleapis.com/oauth2/v1/certs"
ISSUERS = ("accounts.google.com", "https://accounts.google.com")
CERTIFICATES_S = 3600.0
#: Where Cloud Run's IAM has verified a token, it passes it on like this:
#: https://cloud.google.com/run/docs/troubleshooting#signature-removed
_WITHOUT_SIGNATURE = ".SIGNATURE_REMOVED_BY_GOOGLE"
_TIMEOUT_S = 10.0
_CLOUD_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_CLOCK_SKEW_S = 10


@dataclass(frozen=True)
class Identity:
    """A verified Google identity.

    Attributes:
        expires_at: when its token expires, in seconds since 1970.
    """

    email: str
    expires_at: float


def verify_identity(token: str, audiences: Sequence[str], *, signatures: str = VERIFY) -> Identity:
    """Return the identity that an ID token proves: signature, issuer, audience, expiry, verified e-mail.

    Args:
        token: a JSON Web Token.
        audiences: for whom the token may be.
        signatures: as the setting `token_signatures` has it.

    Raises:
        UnauthenticatedError: it proves nothing.
        IdentityUnavailableError: Google's certificates cannot be fetched; try again later.
    """
    from google.auth import exceptions, jwt  # noqa: PLC0415  # 0.2 s, paid where first used
    from google.oauth2 import id_token  # noqa: PLC0415

    if not audiences:  # google-auth would take any
        raise UnauthenticatedError("no audience is configured, so no identity is accepted")
    try:
        claims: Mapping[str, Any] = jwt.decode(token, verify=False)  # type: ignore[no-untyped-call]
        _check_issuer(claims)  # before anything is fetched for it
        if signatures == CLOUD_RUN and token.endswith(_WITHOUT_SIGNATURE):
            _check_claims(claims, audiences)
        else:
            claims = id_token.verify_token(
                token,
                _request(),
                audience=list(audiences),
                certs_url=CERTIFICATES_URL,
                clock_skew_in_seconds=_CLOCK_SKEW_S,
            )
    except exceptions.TransportError as error:
        raise IdentityUnavailableError("Google's certificates cannot be fetched") from error
    except (ValueError, exceptions.GoogleAuthError):
        raise UnauthenticatedError(
            f"the identity token is not valid for {' or '.join(audiences)}, or has expired"
        ) from None
    if claims.get("email_verified") is not True or not claims.get("email"):
        raise UnauthenticatedError("the identity token has no verified e-mail address")
    return Identity(str(claims["email"]).lower(), float(claims["exp"]))


def identity_token(account: str, audience: str) -> str:
    """Return an ID token of a service account that this function may sign for.

    Args:
        account: its e-mail.
        audience: for whom the token is.

    Raises:
        IdentityUnavailableError: Google's IAM gave none; try again later.
    """
    import google.auth  # noqa: PLC0415  # all paid where first used
    from google.auth import exceptions, impersonated_credentials  # noqa: PLC0415
    from google.auth.transport.requests import Request  # noqa: PLC0415

    try:
        source, _ = google.auth.default(scopes=[_CLOUD_SCOPE])
        target = impersonated_credentials.Credentials(source, account, [_CLOUD_SCOPE])  # type: ignore[no-untyped-call]
        found = impersonated_credentials.IDTokenCredentials(  # type: ignore[no-untyped-call]
            target, audience, include_email=True
        )
        found.refresh(Request())
    except exceptions.GoogleAuthError as error:
        raise IdentityUnavailableError(f"ID token of {account}: {error}") from error
    return str(found.token)


def _check_issuer(claims: Mapping[str, Any]) -> None:
    if claims.get("iss") not in ISSUERS:
        raise UnauthenticatedError("the identity token is not Google's")


def _check_claims(claims: Mapping[str, Any], audiences: Sequence[str]) -> None:
    """Check what google-auth checks besides the signature.

    Raises:
        ValueError: the token is for somebody else, or not valid now.
    """
    now = time.time()
    begins, ends = (float(claims.get(name) or 0) for name in ("iat", "exp"))
    if (
        claims.get("aud") not in audiences
        or not begins - _CLOCK_SKEW_S <= now <= ends + _CLOCK_SKEW_S
    ):
        raise ValueError("audience or time")


@functools.cache
def _request() -> Any:  # a google.auth.transport.Request
    return _KeptAnswers()


class _KeptAnswers:
    """A transport of google-auth that keeps good answers: a request to Google for each token is slow."""

    def __init__(self) -> None:
        self._answers: dict[str, tuple[float, Any]] = {}
        self._lock = threading.Lock()

    def __call__(self, url: str, method: str = "GET", **options: Any) -> Any:
        with self._lock:
            kept_at, answer = self._answers.get(url, (0.0, None))
            if answer is not None and time.monotonic() - kept_at < CERTIFICATES_S:
                return answer
            answer = self._fetch(url, method, **options)
            if answer.status == 200:
                self._answers[url] = (time.monotonic(), answer)
            return answer

    def _fetch(self, url: str, method: str, **options: Any) -> Any:
        from google.auth.transport.requests import Request  # noqa: PLC0415  # paid where first used

        return Request()(url, method, timeout=_TIMEOUT_S, **options)
