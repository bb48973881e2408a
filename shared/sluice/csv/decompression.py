"""Decompresses a stream as it passes, in blocks of bounded size; knows bytes, no objects."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from sluice.errors import CompressionError

_BLOCK_BYTES = 8 * 1024 * 1024
_SLICE_BYTES = 64 * 1024
_GZIP_WINDOW = 31  # zlib's word for "a gzip header, the largest window"


def compression_of(name: str, content_encoding: str) -> str:
    """Return how an object is compressed: `gzip`, `zstd` or an empty string."""
    if name.lower().endswith(".gz") or content_encoding == "gzip":
        return "gzip"
    return "zstd" if name.lower().endswith(".zst") else ""


def decompress(blocks: Iterable[bytes], compression: str) -> Iterator[bytes]:
    """Yield the content of a compressed stream.

    Args:
        blocks: the stream, in blocks of any size.
        compression: `gzip` (several members are one stream, RFC 1952) or `zstd`.

    Raises:
        CompressionError: the stream is damaged or cut short.
    """
    return _gunzip(blocks) if compression == "gzip" else _unzstd(blocks)


def _gunzip(blocks: Iterable[bytes]) -> Iterator[bytes]:
    member = zlib.decompressobj(_GZIP_WINDOW)
    is_fresh = True
    try:
        for each in blocks:
            data = each
            while data:
                if member.eof:
                    member, is_fresh = zlib.decompressobj(_GZIP_WINDOW), True
                    data = data.lstrip(b"\0")  # padding between members is allowed
                    if not data:
                        break
                yield member.decompress(data, _BLOCK_BYTES)
                is_fresh = False
                data = member.unconsumed_tail or member.unused_data
    except zlib.error as error:
        raise CompressionError(f"the gzip stream is damaged: {error}") from None
    if not member.eof and not is_fresh:
        raise CompressionError("the gzip stream is cut short; upload the file again")


def _unzstd(blocks: Iterable[bytes]) -> Iterator[bytes]:
    import zstandard  # noqa: PLC0415  # paid by those who use it

    frame = None
    try:
        for data in _slices(blocks):
            left = data
            while left:
                if frame is None or frame.eof:
                    frame = zstandard.ZstdDecompressor().decompressobj()
                yield frame.decompress(left)
                left = frame.unused_data if frame.eof else b""
    except zstandard.ZstdError as error:
        raise CompressionError(f"the zstd stream is damaged: {error}") from None
    if frame is not None and not frame.eof:
        raise CompressionError("the zstd stream is cut short; upload the file again")


def _slices(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut the blocks small: what comes out of one call cannot be bounded otherwise."""
    for block in blocks:
        for first in range(0, len(block), _SLICE_BYTES):
            yield block[first : first + _SLICE_BYTES]
