"""Decompression of a stream in bounded blocks."""

from __future__ import annotations

import gzip

import pytest
import zstandard

from sluice.csv.decompression import decompress
from sluice.errors import CompressionError

CONTENT = b"id,name\n" + b"".join(b"%d,thing\n" % n for n in range(50_000))


def pieces(data: bytes, size: int = 1000) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize(
    ("compression", "data"),
    [
        pytest.param("gzip", gzip.compress(CONTENT), id="gzip"),
        pytest.param(
            "gzip", gzip.compress(CONTENT[:99]) + gzip.compress(CONTENT[99:]), id="gzip members"
        ),
        pytest.param("zstd", zstandard.compress(CONTENT), id="zstd"),
        pytest.param(
            "zstd",
            zstandard.compress(CONTENT[:99]) + zstandard.compress(CONTENT[99:]),
            id="zstd frames",
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 1000, 10**7])
def test_decompression_restores_the_content(compression: str, data: bytes, size: int) -> None:
    assert b"".join(decompress(pieces(data, size), compression)) == CONTENT


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_truncated_stream_is_an_error(compression: str) -> None:
    data = gzip.compress(CONTENT) if compression == "gzip" else zstandard.compress(CONTENT)
    with pytest.raises(CompressionError, match="truncated"):
        list(decompress(pieces(data[:-20]), compression))


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_stream_that_is_not_compressed_is_an_error(compression: str) -> None:
    with pytest.raises(CompressionError, match="damaged"):
        list(decompress([CONTENT], compression))
