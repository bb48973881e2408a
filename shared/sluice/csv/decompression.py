"""Decompresses a gzip or zstd stream into blocks of bounded size, and converts UTF-16 and UTF-32 to UTF-8.

A small file can expand to any size. So output is bounded in each step, and in all; see `Expansion`.
"""

from __future__ import annotations

import codecs
import itertools
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sluice.csv.contents import HEAD_BYTES, compression_of, wide_encoding_of, with_byte_order
from sluice.errors import CompressionError, EncodingMismatchError, ExpansionError, NotCsvError

MIB = 1024 * 1024
#: Most and usual size of a block of content: what follows has a cost for each.
_BLOCK_BYTES = 8 * MIB
_USUAL_BYTES = MIB
#: What a decoder gets at a time: it copies what it does not consume, which may be nearly all.
_SLICE_BYTES = 16 * 1024
_GZIP_WINDOW = 31  # for zlib: a gzip header and the largest window
#: Of the memory of a zstd frame (RFC 8878, 3.1.1.1.2): what the levels up to 20 use.
_MAX_WINDOW_LOG = 25
#: Content of this size is no bomb, whatever the size of its file.
_HARMLESS_BYTES = 64 * MIB


@dataclass(frozen=True)
class Expansion:
    """How much larger than a file its content may be.

    Attributes:
        max_bytes: of the content.
        max_ratio: of the content to the file.
    """

    max_bytes: int = 64 * 1024 * MIB
    max_ratio: int = 250

    def bounded(self, content: Iterable[bytes], size_bytes: int, name: str) -> Iterator[bytes]:
        """Yield the content of a file, in blocks that are not small.

        Args:
            content: decompressed or converted.
            size_bytes: of the file.
            name: what to call it in errors.

        Raises:
            ExpansionError: it is larger than allowed.
        """
        limit = min(self.max_bytes, max(self.max_ratio * size_bytes, _HARMLESS_BYTES))
        seen, held = 0, bytearray()
        for block in content:
            seen += len(block)
            if seen > limit:
                raise ExpansionError(name, size_bytes, limit)
            held += block
            if len(held) >= _USUAL_BYTES:
                yield bytes(held)
                held.clear()
        if held:
            yield bytes(held)


@dataclass(frozen=True)
class Content:
    """The content of a file, decompressed and in an encoding that contains ASCII.

    Attributes:
        head: the first bytes, before they were converted to UTF-8.
        blocks: the content, once.
        encoding: of the content, where it was converted.
        is_converted: whether the content differs from the file.
        written_in: the encoding that was converted, with its byte order; empty where none was.
        has_mark: whether that began with a byte order mark.
    """

    head: bytes
    blocks: Iterator[bytes]
    encoding: str | None
    is_converted: bool
    written_in: str = ""
    has_mark: bool = False


def read_content(
    blocks: Iterator[bytes], name: str, size_bytes: int, expansion: Expansion
) -> Content:
    """Return the content of a file by its first bytes.

    Args:
        blocks: the file, in blocks of any size.
        name: what to call it in errors.
        size_bytes: of the file.
        expansion: how large its content may be.

    Raises:
        NotCsvError: it is compressed twice.
        CompressionError: the compressed stream is damaged.
        ExpansionError: the content is larger than allowed.
    """
    head, blocks = _peek(blocks)
    compression = compression_of(head)
    if compression:
        content = decompress(blocks, compression)
        head, blocks = _peek(expansion.bounded(content, size_bytes, name))
        if inner := compression_of(head):
            raise NotCsvError(
                f"{name} is compressed twice, with {compression} around {inner}; compress the CSV file"
                " once"
            )
    encoding = wide_encoding_of(head)
    if not encoding:
        return Content(head, blocks, None, bool(compression))
    written_in = with_byte_order(head, encoding)
    blocks = to_utf_8(blocks, encoding)
    has_mark = not encoding.endswith(("-le", "-be"))
    return Content(head, blocks, "utf-8", True, written_in, has_mark)


def _peek(content: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return the first bytes of a stream, and the stream with them."""
    blocks: list[bytes] = []
    size_bytes = 0
    for block in content:
        blocks.append(block)
        size_bytes += len(block)
        if size_bytes >= HEAD_BYTES:
            break
    head = b"".join(block[:HEAD_BYTES] for block in blocks)[:HEAD_BYTES]
    return head, itertools.chain(blocks, content)


def decompress(blocks: Iterable[bytes], compression: str) -> Iterator[bytes]:
    """Yield the content of a compressed stream.

    Args:
        blocks: the compressed stream, in blocks of any size.
        compression: `gzip` (several members are one stream, RFC 1952) or `zstd`.

    Raises:
        CompressionError: the stream is damaged or truncated.
    """
    return _gunzip(blocks) if compression == "gzip" else _unzstd(blocks)


def _gunzip(blocks: Iterable[bytes]) -> Iterator[bytes]:
    member = zlib.decompressobj(_GZIP_WINDOW)
    is_fresh, is_first = True, True
    try:
        for each in _slices(blocks):
            data = each
            while data:
                if member.eof:
                    member, is_fresh, is_first = zlib.decompressobj(_GZIP_WINDOW), True, False
                if is_fresh and not is_first:
                    data = data.lstrip(b"\0")  # padding between members is allowed
                    if not data:
                        break
                yield member.decompress(data, _BLOCK_BYTES)
                is_fresh = False
                data = member.unconsumed_tail or member.unused_data
    except zlib.error as error:
        raise CompressionError(
            f"the gzip stream is damaged: {error}; compress and upload the file again"
        ) from None
    if not member.eof and not is_fresh:
        raise CompressionError("the gzip stream is truncated; upload the file again")


def _unzstd(blocks: Iterable[bytes]) -> Iterator[bytes]:
    if sys.version_info >= (3, 14):  # rarely needed, and not everywhere
        from compression import zstd  # noqa: PLC0415
    else:
        from backports import zstd  # noqa: PLC0415
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _MAX_WINDOW_LOG}
    frame = None
    try:
        for each in _slices(blocks):
            data = each
            while data or not (frame is None or frame.eof or frame.needs_input):
                if frame is None or frame.eof:
                    frame = zstd.ZstdDecompressor(options=options)
                yield frame.decompress(data, _BLOCK_BYTES)
                data = frame.unused_data if frame.eof else b""
    except zstd.ZstdError as error:
        raise CompressionError(
            f"the zstd stream is damaged: {error}; compress and upload the file again"
        ) from None
    if frame is not None and not frame.eof:
        raise CompressionError("the zstd stream is truncated; upload the file again")


def _slices(blocks: Iterable[bytes]) -> Iterator[bytes]:
    for block in blocks:
        for first in range(0, len(block), _SLICE_BYTES):
            yield block[first : first + _SLICE_BYTES]


def to_utf_8(blocks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Yield a stream of text in another encoding as UTF-8.

    Args:
        blocks: the stream, in blocks of any size.
        encoding: the name of UTF-16 or UTF-32 in Python; without byte order, a mark states it.

    Raises:
        EncodingMismatchError: the stream is not text in that encoding.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for block in blocks:
            for data in _slices((block,)):
                yield decoder.decode(data).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeDecodeError as error:
        name = encoding[:6].upper()
        raise EncodingMismatchError(
            f"the file begins as {name}, and later is not valid {name} ({error.reason}); save it as"
            " CSV UTF-8"
        ) from None
