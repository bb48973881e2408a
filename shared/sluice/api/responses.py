"""Successful answers: JSON documents, streams of rows, and what says how fresh they are."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from werkzeug.wrappers import Response

from sluice.api.formats import FORMATS

if TYPE_CHECKING:
    from werkzeug.wrappers import Request

    from sluice.postgres.catalog import DatasetVersion


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


def freshness_headers(
    version: DatasetVersion, kind: str, *, is_lasting: bool = True
) -> dict[str, str]:
    """Return the headers that say how fresh an answer about a dataset is.

    An answer that may change by itself has no ETag, and nobody may keep it.
    """
    if not is_lasting:
        return {"Cache-Control": "no-store", "Vary": "Accept, Authorization"}
    headers = {
        "ETag": f'W/"{version.etag}-{kind}"',
        "Cache-Control": "no-cache",
        "Vary": "Accept, Authorization",
    }
    if version.ingestion is not None:
        headers["Sluice-Ingestion"] = str(version.ingestion)
    return headers


def is_known(request: Request, headers: Mapping[str, str]) -> bool:
    """Tell whether the client has this answer already (If-None-Match)."""
    if "ETag" not in headers:
        return False
    etag = headers["ETag"].removeprefix('W/"').removesuffix('"')
    return request.if_none_match.contains_weak(etag)


def not_modified(headers: Mapping[str, str]) -> Response:
    """Answer that what the client has is still right."""
    return Response(status=304, headers=dict(headers))
