"""Successful answers: JSON documents, streams of rows, and what says how fresh they are."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

from werkzeug.wrappers import Response

from sluice.api.cache import cache_of
from sluice.api.formats import FORMATS

if TYPE_CHECKING:
    from werkzeug.wrappers import Request

    from sluice.api.operations import Call
    from sluice.datasets.catalog import Standing


def json_response(
    document: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with a JSON document."""
    return Response(
        json.dumps(document, default=str, ensure_ascii=False) + "\n",
        status=status,
        content_type=FORMATS["json"],
        headers=dict(headers or {}),
    )


def stream_response(
    body: Iterator[bytes], kind: str, headers: Mapping[str, str], resources: ExitStack
) -> Response:
    """Answer with a stream; what it reads from is closed when it ends or breaks off.

    Args:
        body: the blocks; the first is made before anything is answered, so that it may still fail.
        kind: one of `FORMATS`.
        headers: of the answer.
        resources: given over to the answer.
    """
    first = next(body, b"")
    response = Response(
        itertools.chain((first,), body), content_type=FORMATS[kind], headers=dict(headers)
    )
    response.call_on_close(resources.pop_all().close)
    return response


def freshness_headers(standing: Standing, kind: str, *, is_lasting: bool = True) -> dict[str, str]:
    """Return the headers that say how fresh an answer about a dataset is.

    An answer that may change by itself has no ETag, and nobody may keep it.
    """
    if not is_lasting:
        return {"Cache-Control": "no-store", "Vary": "Accept, Authorization"}
    headers = {
        "ETag": f'W/"{standing.etag}-{kind}"',
        "Cache-Control": "no-cache",
        "Vary": "Accept, Authorization",
    }
    if standing.ingestion is not None:
        headers["Sluice-Ingestion"] = str(standing.ingestion)
    return headers


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


def is_known(request: Request, headers: Mapping[str, str]) -> bool:
    """Tell whether the client has this answer already (If-None-Match)."""
    if "ETag" not in headers:
        return False
    etag = headers["ETag"].removeprefix('W/"').removesuffix('"')
    return request.if_none_match.contains_weak(etag)


def not_modified(headers: Mapping[str, str]) -> Response:
    """Answer that what the client has is still right."""
    return Response(status=304, headers=dict(headers))
