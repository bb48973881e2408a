"""Download of the output of a file: streamed from Cloud Storage, in full or by range."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote

from werkzeug.wrappers import Response

from sluice.documents.ingestions import State
from sluice.errors import (
    ForbiddenError,
    IllegalTransitionError,
    NotFoundError,
    RangeNotSatisfiableError,
)
from sluice.ingestion.ingestions import select_ingestion
from sluice.ingestion.model import Ingestion
from sluice.postgres.catalog import read_dataset, version_for_query

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.api.operations import Call
    from sluice.ports import StoredObject

MEDIA_TYPE = "text/csv; charset=utf-8"
BLOCK_BYTES = 2 * 1024 * 1024
#: Cloud Run refuses a longer response with a Content-Length.
MAX_LENGTH_BYTES = 32 * 1000 * 1000


def download_output(call: Call, ingestion: int) -> Response:
    """Return a response with the output of an ingestion, or with the requested range of it.

    Raises:
        IllegalTransitionError: it is not done.
        NotFoundError: there is no such ingestion, or it has none.
        RangeNotSatisfiableError: the range starts after the end.
    """
    with call.snapshot() as connection:
        row, output = _with_output(connection, select_ingestion(connection, ingestion))
        _check_readable(call, connection, row)
    size_bytes = output.size_bytes
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": _disposition(row.file.name),
        "ETag": f'"{row.id}-{output.generation}"',
    }
    if call.request.if_none_match.contains_weak(headers["ETag"].strip('"')):
        return Response(status=304, headers=headers)
    wanted = _range(call, headers["ETag"], size_bytes)
    first, end = wanted or (0, size_bytes)
    if wanted:
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{size_bytes}"
    if call.request.method == "HEAD" or end - first <= MAX_LENGTH_BYTES:
        headers["Content-Length"] = str(end - first)
    body = iter(()) if call.request.method == "HEAD" else _blocks(call, output, first, end)
    begun = itertools.chain((next(body, b""),), body)  # an early failure is a problem document
    return Response(begun, 206 if wanted else 200, headers, content_type=MEDIA_TYPE)


def _check_readable(call: Call, connection: Connection, row: Ingestion) -> None:
    """Check that the caller may see what the query of an output reads.

    Raises:
        ForbiddenError: it may not.
    """
    if call.caller.pii and not call.caller.is_limited:
        return
    dataset = read_dataset(connection, row.dataset or "")
    if dataset is None or not dataset.output:
        raise ForbiddenError("the query of the output is not declared any more")
    call.caller.check_reads(version_for_query(connection, dataset.name, dataset.output)[0])


def _with_output(connection: Connection, row: Ingestion) -> tuple[Ingestion, StoredObject]:
    """Return the ingestion with the output, and the output.

    For a skipped file that is the ingestion with the same content.

    Raises:
        IllegalTransitionError: it is not done.
        NotFoundError: it has none.
    """
    if row.state == State.SKIPPED and row.replaced_by is not None:
        other = select_ingestion(connection, row.replaced_by)
        if row.content_sha256 is not None and other.content_sha256 == row.content_sha256:
            row = other
    if row.state != State.DONE:
        raise IllegalTransitionError(
            f"ingestion {row.id} is {row.state}; its output exists when it is done",
            state=str(row.state),
        )
    if row.output is None:
        raise NotFoundError(
            f"ingestion {row.id} has no output: {row.dataset} declared none when it was loaded,"
            " or its rows were not a file"
        )
    return row, row.output


def _disposition(name: str) -> str:
    """Return the header that names the download after the uploaded file."""
    stem = PurePosixPath(name).name.removesuffix(".gz").removesuffix(".zst").removesuffix(".csv")
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_. ") else "_" for c in stem)
    return f"attachment; filename=\"{plain}_output.csv\"; filename*=UTF-8''{quote(stem)}_output.csv"


def _range(call: Call, etag: str, size_bytes: int) -> tuple[int, int] | None:
    """Return first byte and end of the requested range; None for all (RFC 9110, section 14).

    Raises:
        RangeNotSatisfiableError: it starts after the end.
    """
    requested = call.request.range
    condition = call.request.headers.get("If-Range")
    # RFC 9110 allows to ignore several ranges; a date never matches, as no response has one.
    if requested is None or requested.units != "bytes" or len(requested.ranges) != 1:
        return None
    if condition is not None and condition.strip() != etag:
        return None
    found: tuple[int, int] | None = requested.range_for_length(size_bytes)
    if found is None:
        raise RangeNotSatisfiableError(
            f"the output has {size_bytes:,} bytes; request a range that starts before its end",
            size_bytes=size_bytes,
        )
    return found


def _blocks(call: Call, output: StoredObject, first: int, end: int) -> Iterator[bytes]:
    storage = call.environment().storage
    place = (output.bucket, output.name, output.generation)
    for start in range(first, end, BLOCK_BYTES):
        yield storage.read(*place, start, min(start + BLOCK_BYTES, end))
