"""Rate limits of requests: by caller, and by address for those that nobody is known to have sent.

The headers are those of draft-ietf-httpapi-ratelimit-headers-10. A refusal costs no query.
"""

from __future__ import annotations

import functools
import ipaddress
import threading
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from sluice.access.rate_limits import WINDOW_S, Buckets, Standing
from sluice.errors import RateLimitedError, TransientError
from sluice.postgres.connection import open_database
from sluice.settings import NO_AUTHENTICATION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from werkzeug.wrappers import Request

    from sluice.api.caller import Caller
    from sluice.settings import Settings

_POLICY = "requests"
_AT_ONCE_RETRY_S = 1
_IPV6_PREFIX = 64  # what one customer has


class CallerLimits:
    """Limits the requests of each caller, over all functions and instances."""

    def __init__(self, settings: Settings) -> None:
        self._is_off = settings.authentication == NO_AUTHENTICATION
        self._default = settings.requests_per_minute
        self._buckets = Buckets(functools.partial(open_database, settings))

    def take(self, caller: Caller) -> Standing | None:
        """Count a request; return what is left, or None for a caller without a limit."""
        per_minute = caller.requests_per_minute or self._default
        if self._is_off or not per_minute:
            return None
        return self._buckets.take(caller.actor, per_minute)


class ConcurrencyLimits:
    """Limits the requests of each caller that this instance handles at a time, as each holds a thread."""

    def __init__(self, settings: Settings) -> None:
        self._most = (
            0 if settings.authentication == NO_AUTHENTICATION else settings.requests_at_once
        )
        self._lock = threading.Lock()
        self._running: Counter[str] = Counter()

    def enter(self, caller: Caller) -> Callable[[], None]:
        """Begin a request; return what ends it, which may be called more than once.

        Raises:
            RateLimitedError: the caller has as many requests as it may.
        """
        if not self._most:
            return _nothing
        with self._lock:
            if self._running[caller.actor] >= self._most:
                raise RateLimitedError(
                    f"the key has {self._most} requests that are not finished, as many as it may at the same"
                    f" time; try again in {_AT_ONCE_RETRY_S} s",
                    retry_after_s=_AT_ONCE_RETRY_S,
                )
            self._running[caller.actor] += 1
        ended = iter([True])

        def leave() -> None:
            with self._lock:
                if next(ended, False):
                    self._running[caller.actor] -= 1
                    self._running += Counter()  # forgets callers without requests

        return leave


def _nothing() -> None:
    """End a request that was not counted."""


class AddressLimits:
    """Limits the requests without valid credentials from each address, so that guessing costs no look-ups."""

    def __init__(self, settings: Settings) -> None:
        self._per_minute = settings.failures_per_minute
        self._hops = settings.forwarded_hops
        self._buckets = Buckets(functools.partial(open_database, settings))

    def check(self, request: Request) -> None:
        """Refuse a request if its address has sent too many without valid credentials.

        Raises:
            RateLimitedError: it has.
        """
        if self._per_minute:
            standing = self._buckets.refusal(self._subject(request), self._per_minute)
            if standing:
                raise _too_many_failures(standing)

    def record_failure(self, request: Request) -> None:
        """Count a request without valid credentials.

        Raises:
            RateLimitedError: its address has sent too many.
        """
        if not self._per_minute:
            return
        try:
            standing = self._buckets.take(self._subject(request), self._per_minute)
        except TransientError:
            return  # the request is refused anyway
        if standing.wait_s:
            raise _too_many_failures(standing)

    def _subject(self, request: Request) -> str:
        return f"address:{address_of(request, self._hops)}"


def check(standing: Standing | None) -> None:
    """Refuse a request of a caller who has none left.

    Raises:
        RateLimitedError: the caller has none left.
    """
    if standing and standing.wait_s:
        raise RateLimitedError(
            f"the key allows {standing.per_minute} requests a minute; try again in {standing.wait_s} s",
            retry_after_s=standing.wait_s,
        )


def headers(standing: Standing) -> Mapping[str, str]:
    """Return the headers that tell a caller what is left."""
    return {
        "RateLimit-Policy": f'"{_POLICY}";q={standing.per_minute};w={WINDOW_S}',
        "RateLimit": f'"{_POLICY}";r={standing.remaining};t={standing.reset_s}',
    }


def address_of(request: Request, hops: int) -> str:
    """Return the address of the client: IPv4, or the /64 network of IPv6.

    Args:
        request: the request.
        hops: how many addresses the platform appends to `X-Forwarded-For`: the client's, and those of its own
            proxies after that. What is before them came from the client, and is not trusted.
    """
    entries = [each.strip() for each in request.headers.get("X-Forwarded-For", "").split(",")]
    given = entries[-min(hops, len(entries))] if hops else ""
    for text in (given, request.remote_addr or ""):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        if isinstance(address, ipaddress.IPv4Address):
            return str(address)
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), _IPV6_PREFIX), strict=False))
    return "unknown"


def _too_many_failures(standing: Standing) -> RateLimitedError:
    return RateLimitedError(
        f"too many requests without a valid key from this address; try again in {standing.wait_s} s",
        retry_after_s=standing.wait_s,
    )
