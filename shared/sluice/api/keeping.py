"""Answers that the client has already, or that this process keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, cast

from werkzeug.wrappers import Response

from sluice.api.cache import cache_of
from sluice.api.responses import is_known, not_modified
from sluice.errors import DatabaseUnavailableError
from sluice.postgres.connection import glimpse

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.api.cache import Kept
    from sluice.api.operations import Call


def find_answer(call: Call, headers: Mapping[str, str]) -> Response | None:
    """Return the answer that the client has already (If-None-Match), or that is kept in memory."""
    if is_known(call.request, headers):
        return not_modified(headers)
    if "ETag" not in headers:
        return None
    kept = cache_of(call.settings).find(_question(call))
    return _repeated(kept) if kept and kept.etag == headers["ETag"] else None


def kept_answer(
    call: Call, freshness: Callable[[Connection], Mapping[str, str]]
) -> Response | None:
    """Return the answer that is kept in memory, where it is still the one that the database would give.

    The database is asked in one message outside a transaction, and only where an answer is kept.

    Args:
        call: the question.
        freshness: reads the headers that an answer would have now.
    """
    kept = cache_of(call.settings).find(_question(call))
    if kept is None:
        return None
    try:
        with glimpse(call.engine) as connection:
            headers = freshness(connection)
    except DatabaseUnavailableError:
        return None  # a connection may be old; who makes the answer tries another
    if headers.get("ETag") != kept.etag:
        return None
    return not_modified(headers) if is_known(call.request, headers) else _repeated(kept)


def _repeated(kept: Kept) -> Response:
    return Response(kept.body, content_type=kept.content_type, headers=dict(kept.headers))


def keep_answer(call: Call, response: Response) -> Response:
    """Keep an answer, once all of it was sent, for whoever asks the same of the same state."""
    if "ETag" not in response.headers or call.request.method != "GET":
        return response
    cache, key = cache_of(call.settings), _question(call)
    about = (response.content_type or "", _own_headers(response))
    if response.is_streamed:
        blocks = cast("Iterable[bytes]", response.response)
        response.response = cache.keeping(key, blocks, *about)
    else:
        cache.keep(key, response.get_data(), *about)
    return response


def _own_headers(response: Response) -> dict[str, str]:
    given = ("Content-Type", "Content-Length")
    return {name: value for name, value in response.headers.items() if name not in given}


def _question(call: Call) -> tuple[object, ...]:
    """Return what was asked: the same words of the same database."""
    request = call.request
    accepted = request.headers.get("Accept")
    return (call.engine.url, request.path, request.query_string, accepted)
