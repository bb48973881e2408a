"""Successful responses: JSON documents and streams."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

from werkzeug.wrappers import Response

from sluice.api.formats import MEDIA_TYPES
from sluice.documents.document import to_json

#: No response runs a script, loads anything from elsewhere, or is shown in a frame.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def attachment(stem: str) -> str:
    """Return the header Content-Disposition of a CSV that a browser saves; `stem` is an identifier."""
    return f'attachment; filename="{stem}.csv"'


def json_response(
    document: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response with a document, or with another JSON value that may hold documents."""
    return Response(
        json.dumps(to_json(document), ensure_ascii=False) + "\n",
        status=status,
        content_type=MEDIA_TYPES["json"],
        headers=dict(headers or {}),
    )


def stream_response(
    body: Iterator[bytes],
    kind: str,
    headers: Mapping[str, str] | None = None,
    resources: ExitStack | None = None,
    encoding: str = "",
) -> Response:
    """Return a response with a streamed body.

    Args:
        body: the blocks; the first is made immediately, so that a failure is still a problem document.
        kind: one of `MEDIA_TYPES`.
        headers: of the response.
        resources: what the body reads from; closed when the response ends or breaks off.
        encoding: of a body that is not UTF-8.
    """
    first = next(body, b"")
    media_type = MEDIA_TYPES[kind]
    if encoding:
        media_type = f"{media_type.split(';')[0]}; charset={encoding}"
    response = Response(
        itertools.chain((first,), body), content_type=media_type, headers=dict(headers or {})
    )
    if resources:
        response.call_on_close(resources.pop_all().close)
    return response
