"""Multipart bodies (RFC 7578), streamed: memory holds one block."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import (
    NEED_DATA,
    Data,
    Epilogue,
    Event,
    Field,
    File,
    MultipartDecoder,
)

from sluice.errors import BodyError, TooLargeError

if TYPE_CHECKING:
    from werkzeug.wrappers import Request

BLOCK_BYTES = 256 * 1024
MAX_FIELD_BYTES = 64 * 1024
MAX_PARTS = 100
#: Of a delimiter, besides the boundary: hyphens, line breaks and padding.
_DELIMITER_BYTES = 64
#: No half of CRLF is one, not even where the other half is in another block.
_LINE_BREAK = re.compile(rb"\r\n|\r(?!\Z)|(?<!\r)\n")


@dataclass(frozen=True)
class Part:
    """A member of a multipart body.

    Attributes:
        name: of the member.
        file_name: as the client gives it; None for a plain field.
        blocks: its bytes, to be read before the next part; the rest is skipped.
    """

    name: str
    file_name: str | None
    blocks: Iterator[bytes]

    def text(self) -> str:
        """Return a plain field's text.

        Raises:
            BodyError: it is not UTF-8.
            TooLargeError: it is too long for a field.
        """
        data = self.read(MAX_FIELD_BYTES)
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise BodyError(f"{self.name}: is not text in UTF-8") from None

    def read(self, limit_bytes: int) -> bytes:
        """Return its bytes.

        Raises:
            TooLargeError: there are more than the limit.
        """
        data = bytearray()
        for block in self.blocks:
            data += block
            if len(data) > limit_bytes:
                raise TooLargeError(f"{self.name}: is longer than {limit_bytes:,} bytes")
        return bytes(data)


def read_parts(request: Request) -> Iterator[Part]:
    """Yield the parts of a request's body.

    Raises:
        BodyError: it is not a complete multipart body.
    """
    boundary = request.mimetype_params.get("boundary", "")
    if request.mimetype != "multipart/form-data" or not boundary:
        raise BodyError("the body is not multipart/form-data; send the file as its member `file`")
    events = _events(request, boundary)
    for event in events:
        if isinstance(event, Field | File):
            blocks = _blocks(events)
            yield Part(event.name, getattr(event, "filename", None), blocks)
            for _ in blocks:
                pass


def _blocks(events: Iterator[Event]) -> Iterator[bytes]:
    for event in events:
        if isinstance(event, Data):
            if event.data:
                yield event.data
            if not event.more_data:
                return


def _events(request: Request, boundary: str) -> Iterator[Event]:
    decoder = MultipartDecoder(
        boundary.encode("latin-1"), max_form_memory_size=4 * BLOCK_BYTES, max_parts=MAX_PARTS
    )
    blocks = _blocks_with_delimiters(request, boundary)
    with _translated_errors():
        while True:
            event = decoder.next_event()
            if isinstance(event, Epilogue):
                return
            if event is not NEED_DATA:
                yield event
            else:
                decoder.receive_data(next(blocks, None))


def _blocks_with_delimiters(request: Request, boundary: str) -> Iterator[bytes]:
    """Yield a body in blocks none of which ends in a delimiter, or before the end of its line.

    From a delimiter without what follows it, the decoder makes content: at least the CR before it.
    """
    delimiter = b"--" + boundary.encode("latin-1")
    held = b""
    while block := request.stream.read(BLOCK_BYTES):
        data = held + block
        end = _line_end(data, len(data) - len(delimiter) - _DELIMITER_BYTES, delimiter)
        held = data[end:]
        if end:
            yield data[:end]
    if held:
        yield held


def _line_end(data: bytes, start: int, delimiter: bytes) -> int:
    """Return where the first line break from an offset on begins, or ends if it is that of a delimiter."""
    found = _LINE_BREAK.search(data, max(start - 1, 0))
    if found is None:
        return len(data) - data.endswith(b"\r")
    before = max(data.rfind(b"\r", 0, found.start()), data.rfind(b"\n", 0, found.start()))
    is_delimiter = data.startswith(delimiter, before + 1)
    return found.end() if is_delimiter else found.start()


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise BodyError(f"the body is not a complete multipart message: {error}") from None
    except RequestEntityTooLarge:
        raise TooLargeError(
            "the body has too many members, or one whose headers are too long"
        ) from None
