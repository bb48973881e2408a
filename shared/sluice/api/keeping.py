"""Answers that the client has already, or that this process keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, cast

from werkzeug.wrappers import Response

from sluice.api.answers import is_known, not_modified
from sluice.api.cache import cache_of

if TYPE_CHECKING:
    from sluice.api.operations import Call


def find_answer(call: Call, headers: Mapping[str, str]) -> Response | None:
    """Return the answer that the client has already (If-None-Match), or that is kept in memory."""
    if is_known(call.request, headers):
        return not_modified(headers)
    if "ETag" not in headers:
        return None
    kept = cache_of(call.settings).find(_key(call, headers["ETag"]))
    if kept is None:
        return None
    return Response(kept.body, content_type=kept.content_type, headers=dict(kept.headers))


def keep_answer(call: Call, response: Response) -> Response:
    """Keep an answer, once all of it was sent, for whoever asks the same of the same state."""
    if "ETag" not in response.headers or call.request.method != "GET":
        return response
    cache, key = cache_of(call.settings), _key(call, response.headers["ETag"])
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


def _key(call: Call, etag: str) -> tuple[object, ...]:
    return (call.engine.url, call.request.path, tuple(call.arguments), etag)
