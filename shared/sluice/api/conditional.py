"""Conditional requests (RFC 9110, section 13): ETag, If-None-Match, and a cache of responses.

An ETag holds the version of every dataset that the response was made of. The database reports the
current ones with each request, and only a response with the current ETag is sent. So a client that
has seen a write acknowledged never gets a response from before it, whichever process made that.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast

from werkzeug.wrappers import Response

from sluice.errors import DatabaseUnavailableError
from sluice.postgres.connection import autocommit_connection
from sluice.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.api.operations import Call
    from sluice.postgres.catalog import DatasetVersion

T = TypeVar("T")
#: Reads what a request is about, and its `freshness_headers`.
Find = Callable[["Call", "Connection"], tuple[T, Mapping[str, str]]]

#: Responses in the cache, whatever their sizes: each takes a few kilobytes besides its body.
_MAX_RESPONSES = 2048
#: The largest cached response has this share of the cache.
_LARGEST_SHARE = 16


def conditional(
    find: Find[T],
) -> Callable[[Callable[[Call, Connection, T], Response]], Callable[[Call], Response]]:
    """Make a handler that sends 304 or a cached response while the ETag is current.

    The decorated function makes the response, in a snapshot that stays open until it is sent.

    Args:
        find: reads what the request is about; without an ETag, every response is a new one.
    """

    def decorate(answer: Callable[[Call, Connection, T], Response]) -> Callable[[Call], Response]:
        @functools.wraps(answer)
        def handle(call: Call) -> Response:
            return _find_cached(call, find) or _answer(call, find, answer)

        return handle

    return decorate


def freshness_headers(version: DatasetVersion, kind: str) -> dict[str, str]:
    """Return the caching headers of an answer about a dataset.

    An answer that changes without a change of data has no ETag and must not be stored.
    """
    if not version.etag:
        return {"Cache-Control": "no-store", "Vary": "Accept, Authorization"}
    headers = {
        "ETag": f'W/"{version.etag}-{kind}"',
        "Cache-Control": "no-cache",
        "Vary": "Accept, Authorization",
    }
    if version.ingestion is not None:
        headers["Sluice-Ingestion"] = str(version.ingestion)
    return headers


def _find_cached(call: Call, find: Find[T]) -> Response | None:
    """Return 304 or the cached response, if there is one and its ETag is current.

    This takes one message to the database, outside a transaction.
    """
    cached = cache_of(call.settings).find(_key(call)) if _is_read(call) else None
    if cached is None:
        return None
    try:
        with autocommit_connection(call.engine) as connection:
            _, headers = find(call, connection)
    except DatabaseUnavailableError:
        return None  # the pooled connection may be stale; a snapshot opens another
    if headers.get("ETag") != cached.headers["ETag"]:
        return None
    return _not_modified(call, headers) or cached.response()


def _answer(
    call: Call, find: Find[T], answer: Callable[[Call, Connection, T], Response]
) -> Response:
    with ExitStack() as stack:
        connection = stack.enter_context(call.snapshot())
        found, headers = find(call, connection)
        if not_modified := _not_modified(call, headers):
            return not_modified
        response = answer(call, connection, found)
        if response.is_streamed:
            response.call_on_close(stack.pop_all().close)
        if response.status_code == 200:
            response.headers.update(headers)
            _store(call, response)
        return response


def _not_modified(call: Call, headers: Mapping[str, str]) -> Response | None:
    etag = headers.get("ETag", "").removeprefix('W/"').removesuffix('"')
    if etag and _is_read(call) and call.request.if_none_match.contains_weak(etag):
        return Response(status=304, headers=dict(headers))
    return None


def _is_read(call: Call) -> bool:
    return call.request.method in ("GET", "HEAD")


def _store(call: Call, response: Response) -> None:
    """Cache a response, once all of it is sent."""
    if "ETag" not in response.headers or call.request.method != "GET":
        return
    cache, key, headers = cache_of(call.settings), _key(call), dict(response.headers)
    if response.is_streamed:
        blocks = cast("Iterable[bytes]", response.response)
        response.response = cache.record(key, blocks, headers)
    else:
        cache.store(key, response.get_data(), headers)


def _key(call: Call) -> Hashable:
    request = call.request
    accepted = request.headers.get("Accept")
    return (call.engine.url, request.path, request.query_string, accepted, call.caller.pii)


@dataclass(frozen=True)
class CachedResponse:
    """A complete response; `expires_at` is on the monotonic clock."""

    body: bytes
    headers: Mapping[str, str]
    expires_at: float

    def response(self) -> Response:
        """Return it to be sent again."""
        return Response(self.body, headers=dict(self.headers))


class ResponseCache:
    """The most recently used responses, up to a size and an age; any thread may use it.

    Args:
        max_age_s: how long a response is cached; 0 caches none.
        max_bytes: size of all bodies together.
    """

    def __init__(self, max_age_s: float, max_bytes: int) -> None:
        self._max_age_s = max_age_s
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._responses: OrderedDict[Hashable, CachedResponse] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: Hashable) -> CachedResponse | None:
        """Return the response that is cached under a key."""
        with self._lock:
            found = self._responses.get(key)
            if found is None:
                return None
            if found.expires_at < time.monotonic():
                self._remove(key)
                return None
            self._responses.move_to_end(key)
            return found

    def store(self, key: Hashable, body: bytes, headers: Mapping[str, str]) -> None:
        """Cache a response, unless it is large."""
        if self._max_age_s <= 0 or len(body) * _LARGEST_SHARE > self._max_bytes:
            return
        expires_at = time.monotonic() + self._max_age_s
        with self._lock:
            if key in self._responses:
                self._remove(key)
            self._responses[key] = CachedResponse(body, headers, expires_at)
            self._size_bytes += len(body)
            while self._size_bytes > self._max_bytes or len(self._responses) > _MAX_RESPONSES:
                self._remove(next(iter(self._responses)))

    def record(
        self, key: Hashable, blocks: Iterable[bytes], headers: Mapping[str, str]
    ) -> Iterator[bytes]:
        """Yield the blocks of a body, and cache it after the last one."""
        recorded: list[bytes] | None = []
        size_bytes = 0
        for block in blocks:
            size_bytes += len(block)
            if recorded is not None:
                is_small = size_bytes * _LARGEST_SHARE <= self._max_bytes
                recorded = [*recorded, block] if is_small else None
            yield block
        if recorded is not None:
            self.store(key, b"".join(recorded), headers)

    def _remove(self, key: Hashable) -> None:
        self._size_bytes -= len(self._responses.pop(key).body)


@functools.cache
def cache_of(settings: Settings) -> ResponseCache:
    """Return this process's cache for the settings."""
    return ResponseCache(settings.cache_s, settings.cache_bytes)
