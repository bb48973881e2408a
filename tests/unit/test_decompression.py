"""Decompression of a stream in bounded blocks."""

from __future__ import annotations

import gzip

import pytest
from backports import zstd

from sluice.csv.decompression import Expansion, decompress, read_content
from sluice.errors import CompressionError, ExpansionError

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
        pytest.param("zstd", zstd.compress(CONTENT), id="zstd"),
        pytest.param(
            "zstd",
            zstd.compress(CONTENT[:99]) + zstd.compress(CONTENT[99:]),
            id="zstd frames",
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 1000, 10**7])
def test_decompression_restores_the_content(compression: str, data: bytes, size: int) -> None:
    assert b"".join(decompress(pieces(data, size), compression)) == CONTENT


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_truncated_stream_is_an_error(compression: str) -> None:
    data = gzip.compress(CONTENT) if compression == "gzip" else zstd.compress(CONTENT)
    with pytest.raises(CompressionError, match="truncated"):
        list(decompress(pieces(data[:-20]), compression))


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_stream_that_is_not_compressed_is_an_error(compression: str) -> None:
    with pytest.raises(CompressionError, match="damaged"):
        list(decompress([CONTENT], compression))


def bomb(compression: str) -> bytes:
    """A few kilobytes that expand to 64 MiB."""
    rows = b"1,a\n" * (16 * 1024**2)
    return gzip.compress(rows) if compression == "gzip" else zstd.compress(rows)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_the_output_of_one_step_is_bounded(compression: str) -> None:
    blocks = decompress([bomb(compression)], compression)
    assert max(map(len, blocks)) <= 8 * 1024**2


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_content_that_is_much_larger_than_its_file_is_an_error(compression: str) -> None:
    data = bomb(compression) * 2
    content = read_content(iter([data]), "a.csv.gz", len(data), Expansion())
    with pytest.raises(ExpansionError, match=r"a\.csv\.gz has [\d,]+ bytes and expands to more"):
        list(content.blocks)


def test_content_that_is_larger_than_allowed_is_an_error() -> None:
    data = gzip.compress(CONTENT)
    with pytest.raises(ExpansionError, match="more than 1,000"):
        read_content(iter([data]), "a.csv.gz", len(data), Expansion(max_bytes=1000))


def test_a_zstd_frame_that_needs_much_memory_is_an_error() -> None:
    options = {zstd.CompressionParameter.window_log: 27}
    made = zstd.ZstdCompressor(options=options)
    data = made.compress(CONTENT) + made.flush()
    with pytest.raises(CompressionError, match="damaged"):
        list(decompress([data], "zstd"))


def test_content_of_many_small_members_has_blocks_of_the_usual_size() -> None:
    data = gzip.compress(b"1,a\n") * 20_000
    content = read_content(iter([data]), "a.csv.gz", len(data), Expansion())
    assert [len(each) for each in content.blocks] == [80_000]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_padding_between_gzip_members_may_span_blocks(size: int) -> None:
    padded = (
        gzip.compress(CONTENT[:99]) + b"\0" * 600 + gzip.compress(CONTENT[99:999]) + b"\0" * 600
    )
    assert b"".join(decompress(pieces(padded, size), "gzip")) == CONTENT[:999]
