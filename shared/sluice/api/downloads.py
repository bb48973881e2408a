"""The output of a file, handed out from Cloud Storage: whole or a range of it, resumable, never held."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote

from werkzeug.wrappers import Response

from sluice.api.ingestion_documents import ingestion_number
from sluice.api.operations import Operation
from sluice.errors import IllegalTransitionError, NotFoundError, RangeNotSatisfiableError
from sluice.ingestion.ingestions import select_ingestion
from sluice.ingestion.model import Ingestion, State
from sluice.querying.reading import snapshot

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.api.operations import Call
    from sluice.ports import StoredObject

MEDIA_TYPE = "text/csv; charset=utf-8"
BLOCK_BYTES = 2 * 1024 * 1024
#: Cloud Run refuses a longer answer unless it is sent in chunks, without its length.
MAX_LENGTH_BYTES = 32 * 1000 * 1000


def show_output(call: Call) -> Response:
    """Answer `GET /v1/ingestions/{ingestion}/output`."""
    return hand_out(call, ingestion_number(call))


def hand_out(call: Call, ingestion: int) -> Response:
    """Answer with the output of an ingestion, whole or as the header Range says.

    Raises:
        IllegalTransitionError: it is not done.
        NotFoundError: there is no such ingestion, or it has none.
        RangeNotSatisfiableError: the range lies behind the end.
    """
    with snapshot(call.engine, call.settings.statement_timeout_s) as connection:
        row, output = _with_output(connection, select_ingestion(connection, ingestion))
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
    begun = itertools.chain((next(body, b""),), body)  # what fails at once is answered as a problem
    return Response(begun, 206 if wanted else 200, headers, content_type=MEDIA_TYPE)


def _with_output(connection: Connection, row: Ingestion) -> tuple[Ingestion, StoredObject]:
    """Return the ingestion that has the output, and the output.

    For a skipped file that is the ingestion with the same content.

    Raises:
        IllegalTransitionError: it is not done.
        NotFoundError: it is done and has none.
    """
    if row.state == State.SKIPPED and row.replaced_by is not None:
        other = select_ingestion(connection, row.replaced_by)
        if (other.file.crc32c, other.file.size_bytes) == (row.file.crc32c, row.file.size_bytes):
            row = other
    if row.state != State.DONE:
        raise IllegalTransitionError(
            f"ingestion {row.id} is {row.state}; there is an output once it is done",
            state=str(row.state),
        )
    if row.output is None:
        raise NotFoundError(
            f"ingestion {row.id} has no output: {row.dataset} declared none when it was loaded,"
            " or its rows did not come as a file"
        )
    return row, row.output


def _disposition(name: str) -> str:
    """Return the header that names the file as the uploaded one was named."""
    stem = PurePosixPath(name).name.removesuffix(".gz").removesuffix(".zst").removesuffix(".csv")
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_. ") else "_" for c in stem)
    return f"attachment; filename=\"{plain}_output.csv\"; filename*=UTF-8''{quote(stem)}_output.csv"


def _range(call: Call, etag: str, size_bytes: int) -> tuple[int, int] | None:
    """Return first byte and end of the range asked for; None for the whole (RFC 9110, section 14).

    Raises:
        RangeNotSatisfiableError: it lies behind the end.
    """
    asked = call.request.range
    condition = call.request.headers.get("If-Range")
    # Several ranges at once may be answered with the whole; a date never fits, there is none.
    if asked is None or asked.units != "bytes" or len(asked.ranges) != 1:
        return None
    if condition is not None and condition.strip() != etag:
        return None
    found: tuple[int, int] | None = asked.range_for_length(size_bytes)
    if found is None:
        raise RangeNotSatisfiableError(
            f"the output has {size_bytes:,} bytes; ask for a range that begins before its end",
            size_bytes=size_bytes,
        )
    return found


def _blocks(call: Call, output: StoredObject, first: int, end: int) -> Iterator[bytes]:
    from sluice.gcloud.storage import StorageObjects  # noqa: PLC0415  # 0.3 s, paid where first used

    objects = StorageObjects(call.settings.project)
    place = (output.bucket, output.name, output.generation)
    for start in range(first, end, BLOCK_BYTES):
        yield objects.read(*place, start, min(start + BLOCK_BYTES, end))


OPERATIONS = (
    Operation(
        "GET", "/v1/ingestions/{ingestion}/output", show_output, "showOutput",
        "Hands out the output of a file, where its dataset declares one; takes `Range`.",
        "Ingestions",
        description=(
            "A CSV, made of the file alone and told with `done`. Ranges (206, 416), `If-Range` and"
            " HEAD let a download be resumed or split. Not done yet: 409. None declared: 404."
        ),
        formats=("csv",),
    ),
)  # fmt: skip
