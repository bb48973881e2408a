"""Endpoints of clients: public https addresses that agreed to receive events. Knows no subscriptions.

An endpoint agrees by the handshake of the CloudEvents specification "HTTP 1.1 Web Hooks for Event
Delivery", section 4, "Abuse Protection".
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from http.client import HTTPConnection, HTTPException
from urllib.parse import SplitResult, urlsplit

from sluice.errors import BodyError

TIMEOUT_S = 10.0
HTTPS_PORT = 443
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_PRIVATE_SUFFIXES = (".internal", ".local", ".localhost", ".lan", ".home.arpa", ".test", ".invalid")
#: Addresses that carry an IPv4 address, which may be a private one: RFC 6052, 3056 and 4380.
_CARRIERS = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "2002::/16", "2001::/32")))


def check_endpoint(endpoint: str, *, allows_local: bool) -> None:
    """Check that events may be pushed to a URL.

    Args:
        endpoint: the URL.
        allows_local: whether it may be on this machine, as in the local cloud.

    Raises:
        BodyError: it is not an https URL on a public name.
    """
    try:
        parts = urlsplit(endpoint)
        host, _ = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise BodyError(f'endpoint: "{endpoint}" is not a URL') from None
    if not host or parts.scheme not in ("https", "http"):
        raise BodyError(f'endpoint: "{endpoint}" is not an https URL')
    if allows_local and host in LOCAL_HOSTS:
        return
    if parts.scheme == "http":
        raise BodyError(
            f'endpoint: "{endpoint}" must begin with https://; plain http is for localhost in the local'
            " cloud, because Pub/Sub pushes over encrypted connections"
        )
    if parts.username is not None or parts.password is not None:
        raise BodyError("endpoint: leave user and password out; the pushes carry an OIDC token")
    if not _is_public_name(host):
        raise BodyError(
            f'endpoint: "{host}" is not a public name; use one that the internet resolves, and no address'
        )


def confirm_endpoint(endpoint: str, origin: str, token: str = "") -> None:
    """Ask an endpoint whether it wants events; a private address is never connected to.

    Sends `OPTIONS` with `WebHook-Request-Origin: <origin>`. The endpoint agrees with a status 2xx and
    `WebHook-Allowed-Origin: <origin>` or `*`.

    Args:
        endpoint: a URL that passed `check_endpoint`.
        origin: host of the sender.
        token: bearer token of the request, as the pushes will have one.

    Raises:
        BodyError: it has a private address, does not answer, or does not agree.
    """
    parts = urlsplit(endpoint)
    try:
        status, allowed = _ask(parts, origin, token)
    except (OSError, HTTPException) as error:
        raise BodyError(f"endpoint: {parts.hostname} did not answer OPTIONS: {error}") from error
    names = {each.strip() for each in allowed.split(",")}
    if not 200 <= status < 300 or not names & {origin, "*"}:
        raise BodyError(
            f"endpoint: {endpoint} does not agree to receive events: it answered OPTIONS with {status}"
            f' and WebHook-Allowed-Origin "{allowed}"; it must answer with 200 and "{origin}" or "*"'
        )


def public_address(host: str, port: int) -> str:
    """Return an address of a host, of which every address is public.

    Raises:
        OSError: it is unknown, or has an address that is private, link-local, or of a metadata server.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(each[4][0]) for each in found]
    if not all(map(is_public, addresses)):
        raise OSError(f"{host} has an address that is not public")
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether an IP address is reached through the internet, and no part of it names a private one."""
    found = ipaddress.ip_address(address)
    if found.version == 6:
        if any(found in each for each in _CARRIERS):
            return False
        found = found.ipv4_mapped or found
    return found.is_global and not found.is_multicast


def _is_public_name(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        last = host.rpartition(".")[2]
        return "." in host and not last.isdigit() and not f".{host}".endswith(_PRIVATE_SUFFIXES)
    return False


def _ask(parts: SplitResult, origin: str, token: str) -> tuple[int, str]:
    """Send the request to the checked address, so that a second resolution cannot redirect it."""
    host = parts.hostname or ""
    port = parts.port or HTTPS_PORT
    connection = HTTPConnection(host, port, timeout=TIMEOUT_S)
    plain = socket.create_connection((public_address(host, port), port), TIMEOUT_S)
    try:
        connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
        target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        headers = {"Host": parts.netloc, "WebHook-Request-Origin": origin}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        connection.request("OPTIONS", target, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers.get("WebHook-Allowed-Origin", "")
    finally:
        connection.close()
        plain.close()
