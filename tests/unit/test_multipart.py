"""Multipart bodies are read alike, however their bytes arrive."""

from __future__ import annotations

import io

import pytest
from werkzeug.wrappers import Request

from sluice.api.legacy.multipart import read_parts

CONTENT = b"id,job\r\n1,Baker\r\n\r\n--bound\r\n"
BODY = (
    b'--boundary\r\nContent-Disposition: form-data; name="table"\r\n\r\njobs\r\n'
    b'--boundary\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    + CONTENT
    + b"\r\n--boundary--\r\n"
)


class Trickle(io.BytesIO):
    """A body of which so many bytes arrive at a time."""

    def __init__(self, data: bytes, block_bytes: int) -> None:
        super().__init__(data)
        self._block_bytes = block_bytes

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._block_bytes)


@pytest.mark.parametrize("block_bytes", range(1, 90))
def test_a_file_is_the_same_wherever_a_block_of_its_body_ends(block_bytes: int) -> None:
    assert _members(BODY, block_bytes) == [("table", b"jobs"), ("file", CONTENT)]


@pytest.mark.parametrize("block_bytes", range(1, 90))
def test_crlf_after_headers_that_end_in_cr_is_no_content(block_bytes: int) -> None:
    body = BODY.replace(b"\r\n\r\njobs", b"\r\r\njobs")
    assert _members(body, block_bytes) == [("table", b"jobs"), ("file", CONTENT)]


def _members(body: bytes, block_bytes: int) -> list[tuple[str, bytes]]:
    request = Request(
        {
            "REQUEST_METHOD": "POST",
            "CONTENT_TYPE": "multipart/form-data; boundary=boundary",
            "wsgi.input": Trickle(body, block_bytes),
            "wsgi.input_terminated": True,
        }
    )
    return [(each.name, b"".join(each.blocks)) for each in read_parts(request)]
