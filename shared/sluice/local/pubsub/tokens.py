"""OIDC tokens of pushes, with the claims of the real ones, signed with a public key.

They do not authenticate: functions read issuer, audience and e-mail from them as in the cloud. `kid` and
`alg` in the header identify a local token.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ISSUER = "https://accounts.google.com"
LOCAL_KEY_ID = "sluice-local"
LOCAL_KEY = b"sluice-local: not a secret"
LIFETIME_S = 3600


def sign_token(email: str, audience: str, now: float) -> str:
    """Return a JWT (RFC 7519, HS256) like the one a push of the real service carries."""
    header = {"alg": "HS256", "kid": LOCAL_KEY_ID, "typ": "JWT"}
    claims = {
        "aud": audience,
        "azp": email,
        "email": email,
        "email_verified": True,
        "exp": int(now) + LIFETIME_S,
        "iat": int(now),
        "iss": ISSUER,
        "sub": email,
    }
    signed = f"{_encode(_json(header))}.{_encode(_json(claims))}"
    signature = hmac.new(LOCAL_KEY, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{_encode(signature)}"


def _json(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
