"""Where split reads a file's bytes, and where loaders find those of a chunk.

A plain object is both: a chunk is a range of it. A compressed object is one stream, so what comes out of
it is cut as it passes and each chunk is put down as an object of its own in the outbox.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sluice.csv.decompression import compression_of, decompress

if TYPE_CHECKING:
    from sluice.ports import Objects, StoredObject

_BLOCK_BYTES = 8 * 1024 * 1024
#: Folder of the outbox for the chunks of compressed files; they may be deleted after a week.
CHUNKS_FOLDER = "chunks"


class Range(Protocol):
    """The part of a file that a chunk is; offsets count in the content, decompressed."""

    @property
    def first_byte(self) -> int:
        """Its first byte."""

    @property
    def end_byte(self) -> int:
        """The byte behind it."""


@dataclass(frozen=True)
class Place:
    """Where a chunk's bytes are: `offset` is the place in the content of the object's first byte."""

    bucket: str
    object: str
    generation: int
    offset: int = 0


class Source(Protocol):
    """A file to split."""

    def blocks(self, first_byte: int) -> Iterator[bytes]:
        """Yield the content from a byte on."""

    def keep(self, part: Range) -> None:
        """See to it that loaders find a chunk of what was read."""

    def place(self, part: Range) -> Place:
        """Return where loaders find a chunk."""


def open_source(objects: Objects, announced: StoredObject, ingestion: int, outbox: str) -> Source:
    """Return the source of an announced object."""
    compression = compression_of(announced.name, announced.content_encoding)
    if compression:
        return _Compressed(objects, announced, f"{CHUNKS_FOLDER}/{ingestion}", outbox, compression)
    return _Plain(objects, announced)


class _Plain:
    def __init__(self, objects: Objects, announced: StoredObject) -> None:
        self._objects = objects
        self._announced = announced

    def blocks(self, first_byte: int) -> Iterator[bytes]:
        each = self._announced
        while first_byte < each.size_bytes:
            end = min(first_byte + _BLOCK_BYTES, each.size_bytes)
            yield self._objects.read(each.bucket, each.name, each.generation, first_byte, end)
            first_byte = end

    def keep(self, part: Range) -> None:
        """It is kept already."""

    def place(self, part: Range) -> Place:  # noqa: ARG002
        each = self._announced
        return Place(each.bucket, each.name, each.generation)


class _Compressed:
    """Holds the content behind the last chunk kept, so at most a chunk and a block."""

    def __init__(
        self,
        objects: Objects,
        announced: StoredObject,
        folder: str,
        outbox: str,
        compression: str,
    ) -> None:
        self._objects = objects
        self._stream = _Plain(objects, announced)
        self._folder = folder
        self._outbox = outbox
        self._compression = compression
        self._held = bytearray()
        self._held_from = 0

    def blocks(self, first_byte: int) -> Iterator[bytes]:
        position = 0
        self._held.clear()
        self._held_from = first_byte
        for each in decompress(self._stream.blocks(0), self._compression):
            block = each[max(0, first_byte - position) :]
            position += len(each)
            self._held += block
            if block:
                yield block

    def keep(self, part: Range) -> None:
        first, end = part.first_byte - self._held_from, part.end_byte - self._held_from
        place = self.place(part)
        self._objects.write(place.bucket, place.object, bytes(self._held[first:end]))
        del self._held[:end]
        self._held_from = part.end_byte

    def place(self, part: Range) -> Place:
        """The name tells the content, so no generation is needed."""
        name = f"{self._folder}/{part.first_byte}-{part.end_byte}.csv"
        return Place(self._outbox, name, 0, part.first_byte)
