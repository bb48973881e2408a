"""Where split reads the content of a file, and where loaders find the bytes of a chunk.

A plain object serves both: a chunk is a range of it. A compressed object is one stream, so its chunks
are written to the outbox as objects of their own while it is decompressed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluice.csv.decompression import compression_of, decompress

if TYPE_CHECKING:
    from sluice.csv.cuts import Cut
    from sluice.ports import Storage, StoredObject

_BLOCK_BYTES = 8 * 1024 * 1024
#: Folder of the outbox for the chunks of compressed files; they may be deleted after a week.
CHUNKS_FOLDER = "chunks"


@dataclass(frozen=True)
class Location:
    """The object with a chunk's bytes; `offset` is the place of its first byte in the content."""

    bucket: str
    object: str
    generation: int
    offset: int = 0


class Source:
    """The content of a file, decompressed, and its digest."""

    def __init__(self, storage: Storage, file: StoredObject) -> None:
        self._storage = storage
        self._file = file
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> bytes:
        """Digest of the content up to the last block that was read."""
        return self._digest.digest()

    def blocks(self, first_byte: int) -> Iterator[bytes]:
        """Yield the content from a byte on; what precedes it is read for the digest."""
        position = 0
        for each in _content(self._storage, self._file):
            self._digest.update(each)
            block = each[max(0, first_byte - position) :]
            position += len(each)
            if block:
                yield block

    def store(self, cut: Cut) -> None:
        """Make a chunk of the content that was read available to loaders: the object itself has it."""

    def location(self, cut: Cut) -> Location:  # noqa: ARG002
        """Return where loaders find a chunk."""
        return Location(self._file.bucket, self._file.name, self._file.generation)


def is_compressed(file: StoredObject) -> bool:
    """Whether a file is compressed, by its name or its content encoding."""
    return bool(compression_of(file.name, file.content_encoding))


def open_source(storage: Storage, file: StoredObject, ingestion: int, outbox: str) -> Source:
    """Return the content of a file."""
    if is_compressed(file):
        return _Compressed(storage, file, ingestion, outbox)
    return Source(storage, file)


def content_sha256(storage: Storage, file: StoredObject) -> bytes:
    """Read a file and return the digest of its content."""
    digest = hashlib.sha256()
    for each in _content(storage, file):
        digest.update(each)
    return digest.digest()


def _content(storage: Storage, file: StoredObject) -> Iterator[bytes]:
    stored = _stored(storage, file)
    compression = compression_of(file.name, file.content_encoding)
    return decompress(stored, compression) if compression else stored


def _stored(storage: Storage, file: StoredObject) -> Iterator[bytes]:
    for first_byte in range(0, file.size_bytes, _BLOCK_BYTES):
        end = min(first_byte + _BLOCK_BYTES, file.size_bytes)
        yield storage.read(file.bucket, file.name, file.generation, first_byte, end)


class _Compressed(Source):
    """Buffers the content after the last stored chunk: at most a chunk and a block."""

    def __init__(self, storage: Storage, file: StoredObject, ingestion: int, outbox: str) -> None:
        super().__init__(storage, file)
        self._folder = f"{CHUNKS_FOLDER}/{ingestion}"
        self._outbox = outbox
        self._buffer = bytearray()
        self._buffer_from = 0

    def blocks(self, first_byte: int) -> Iterator[bytes]:
        self._buffer.clear()
        self._buffer_from = first_byte
        for block in super().blocks(first_byte):
            self._buffer += block
            yield block

    def store(self, cut: Cut) -> None:
        first, end = cut.first_byte - self._buffer_from, cut.end_byte - self._buffer_from
        location = self.location(cut)
        self._storage.write(location.bucket, location.object, bytes(self._buffer[first:end]))
        del self._buffer[:end]
        self._buffer_from = cut.end_byte

    def location(self, cut: Cut) -> Location:
        """The name determines the content, so no generation is needed."""
        name = f"{self._folder}/{cut.first_byte}-{cut.end_byte}.csv"
        return Location(self._outbox, name, 0, cut.first_byte)
