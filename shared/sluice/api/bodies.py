"""The bodies of requests: read within a limit, and few large ones in memory at the same time."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from werkzeug.exceptions import HTTPException

from sluice.errors import TooLargeError, TransientError

if TYPE_CHECKING:
    from werkzeug.wrappers import Request

MIB = 1024 * 1024
#: Of a query string: as much as load balancers let through.
MAX_QUERY_BYTES = 16 * 1024
#: Of a JSON document.
MAX_DOCUMENT_BYTES = 4 * MIB
#: Of posted rows, and of the sample of a file.
MAX_DATA_BYTES = 16 * MIB
#: Of a message in an envelope: 10 MB in base64, and its attributes.
_MAX_PUSH_BYTES = 16 * MIB
#: A larger body takes much memory when it is parsed: few are read and handled at the same time.
_LARGE_BYTES = 256 * 1024
_SLOTS = threading.BoundedSemaphore(2)
_WAIT_S = 60.0
#: What is read of a body that nobody wants, so that its sender gets the answer.
_MAX_DRAINED_BYTES = 64 * MIB


class BusyError(TransientError):
    """Other large requests are being handled."""

    code = "SYS918"
    title = "Too many large requests"


def read_envelope(request: Request) -> object:
    """Return the JSON value that a push subscription posts, None if it is none.

    Raises:
        TooLargeError: it is longer than any message.
    """
    try:
        with bounded_body(request, _MAX_PUSH_BYTES):
            return json.loads(request.get_data())
    except (ValueError, RecursionError):
        return None
    finally:
        discard_body(request)


@contextmanager
def bounded_body(request: Request, max_bytes: int = MAX_DOCUMENT_BYTES) -> Iterator[None]:
    """Read the body of a request, which has it as its data then; hold a slot if it is large.

    Raises:
        TooLargeError: the body or the query string is too long.
        BusyError: there was no slot for a large body.
    """
    if len(request.query_string) > MAX_QUERY_BYTES:
        raise TooLargeError(f"the query string is longer than {MAX_QUERY_BYTES // 1024} KiB")
    if (request.content_length or 0) > max_bytes:
        raise _too_long(max_bytes)
    with ExitStack() as stack:
        data = bytearray(request.stream.read(_LARGE_BYTES))
        if len(data) == _LARGE_BYTES:
            stack.enter_context(_slot())
        while block := request.stream.read(_LARGE_BYTES):
            data += block
            if len(data) > max_bytes:
                raise _too_long(max_bytes)
        request.stream = io.BytesIO(data)
        del data
        request.get_data()
        yield


@contextmanager
def _slot() -> Iterator[None]:
    if not _SLOTS.acquire(timeout=_WAIT_S):
        raise BusyError("other large requests are being handled; send it again")
    try:
        yield
    finally:
        _SLOTS.release()


def _too_long(max_bytes: int) -> TooLargeError:
    return TooLargeError(f"the body is longer than {max_bytes // MIB} MiB; send less, or a file")


def discard_body(request: Request) -> None:
    """Read the rest of a body, and forget it: functions-framework would read all of it into memory."""
    left = _MAX_DRAINED_BYTES
    with suppress(OSError, HTTPException):  # the client may be gone
        while left > 0 and (block := request.stream.read(_LARGE_BYTES)):
            left -= len(block)
    request.stream = io.BytesIO()
