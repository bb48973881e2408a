"""Which requests the gateway answers: no web page of another site reaches the local cloud.

A page can send requests to the loopback interface, and by DNS rebinding (a name of its own that resolves to
127.0.0.1) also read the responses. Browsers name the page's host in `Host`, and its origin in `Origin` and
`Sec-Fetch-Site`: https://www.w3.org/TR/fetch-metadata/
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from sluice.errors import NotAllowedError, RequestError

if TYPE_CHECKING:
    from aiohttp import web

PUSH_PREFIX = "/functions/"
#: The parameter of push endpoints with the secret of the local cloud.
SECRET_PARAMETER = "token"  # noqa: S105  # its name
#: Name of the secret in the state directory.
PUSH_SECRET = "push-secret"  # noqa: S105  # its name
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_HTTP_PORT = 80
_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
#: `none`: a person typed the address.
_OWN_SITES = frozenset(("same-origin", "none"))


class ForeignHostError(RequestError):
    """The header Host names something else than this local cloud."""

    code = "API351"
    title = "The host is not this local cloud"
    status = 421


class CrossSiteError(RequestError):
    """A page of another site sent a request that may change something."""

    code = "API352"
    title = "The request comes from another site"
    status = 403


class NotPubsubError(RequestError):
    """The caller of a push endpoint is not the local Pub/Sub."""

    code = "API353"
    title = "The caller is not Pub/Sub"
    status = 403


class Guard:
    """Refuses requests of other sites, and calls of push endpoints without the secret."""

    def __init__(self, port: int, secret: str, hosts: Iterable[str] = ()) -> None:
        """Accept the names of the loopback interface.

        Args:
            port: of the gateway.
            secret: of push endpoints.
            hosts: other values of the header Host to accept, such as `functions:8080`.
        """
        self._hosts = frozenset((*(f"{name}:{port}" for name in LOOPBACK), *map(str.lower, hosts)))
        if port == _HTTP_PORT:
            self._hosts |= frozenset(LOOPBACK)
        self._origins = frozenset(f"http://{each}" for each in self._hosts)
        self._secret = secret

    def check(self, request: web.BaseRequest) -> None:
        """Pass a request that may be answered.

        Raises:
            NotAllowedError: it asks for a tunnel.
            ForeignHostError: it is meant for another host.
            CrossSiteError: a page of another site sent it, and it may change something.
            NotPubsubError: it calls a push endpoint without the secret.
        """
        if request.method == "CONNECT":
            raise NotAllowedError("this is not a proxy")
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            raise ForeignHostError(f"the local cloud answers at {', '.join(sorted(self._hosts))}")
        is_push = request.raw_path.startswith(PUSH_PREFIX)  # as it is routed
        if is_push or request.method not in _SAFE_METHODS:
            self._check_site(request)
        if is_push and not self._has_secret(request):
            raise NotPubsubError(f"{PUSH_PREFIX} is for the Pub/Sub of the local cloud")

    def _check_site(self, request: web.BaseRequest) -> None:
        site = request.headers.get("Sec-Fetch-Site", "none")
        origin = request.headers.get("Origin")
        if site not in _OWN_SITES or (origin is not None and origin.lower() not in self._origins):
            raise CrossSiteError("a page of another site cannot change this local cloud")

    def _has_secret(self, request: web.BaseRequest) -> bool:
        given = request.query.get(SECRET_PARAMETER, "")
        return bool(self._secret) and hmac.compare_digest(given.encode(), self._secret.encode())


def push_endpoint(url: str, function: str, secret: str) -> str:
    """Return the address to which Pub/Sub pushes the messages for a function."""
    return f"{url}{PUSH_PREFIX}{function}?{urlencode({SECRET_PARAMETER: secret})}"
