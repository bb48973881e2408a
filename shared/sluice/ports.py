"""What the use cases ask of the outside world: narrow protocols, no SDK."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class StoredObject:
    """One generation of an object in Cloud Storage, as its notification describes it."""

    bucket: str
    name: str
    generation: int
    size_bytes: int
    crc32c: str | None = None
    content_encoding: str = ""


class Sink(Protocol):
    """What takes the bytes of an object that is being written."""

    def write(self, data: bytes, /) -> object:
        """Take some bytes."""


class Objects(Protocol):
    """Objects of Cloud Storage: read with their generation pinned, written whole or not at all, deleted."""

    def read(
        self, bucket: str, name: str, generation: int, first_byte: int, end_byte: int
    ) -> bytes:
        """Read the bytes `first_byte <= offset < end_byte` of an object.

        Args:
            bucket: its bucket.
            name: its name.
            generation: its generation; 0 for an object that is never overwritten.
            first_byte: first byte of the range.
            end_byte: byte behind the range.

        Raises:
            ObjectGoneError: this generation is no longer there.
            StorageUnavailableError: try again later.
        """

    def write(self, bucket: str, name: str, data: bytes) -> None:
        """Write an object.

        Raises:
            StorageUnavailableError: try again later.
        """

    def write_stream(self, bucket: str, name: str, fill: Callable[[Sink], object]) -> StoredObject:
        """Write an object of any size; it appears when `fill` returns, and not at all if it raises.

        Args:
            bucket: its bucket.
            name: its name.
            fill: writes the bytes.

        Raises:
            StorageUnavailableError: try again later; also when another wrote the object meanwhile.
        """

    def delete(self, bucket: str, name: str) -> None:
        """Delete an object, if there is one.

        Raises:
            StorageUnavailableError: try again later.
        """


class Depot(Protocol):
    """Objects of Cloud Storage that are put together; every method may raise StorageUnavailableError."""

    def write(self, bucket: str, name: str, data: bytes) -> None:
        """Write an object."""

    def stream(self, bucket: str, name: str, blocks: Iterable[bytes]) -> StoredObject:
        """Write an object block by block; where the blocks break off, there is none."""

    def compose(self, bucket: str, sources: Sequence[str], name: str) -> str:
        """Make an object of others, 32 at most, and return its name."""

    def copy(self, bucket: str, name: str, to_bucket: str, to_name: str) -> StoredObject:
        """Copy an object inside Cloud Storage, never over another."""

    def find(self, bucket: str, name: str) -> StoredObject | None:
        """Return what is known of an object; None where there is none."""

    def delete(self, bucket: str, name: str) -> None:
        """Delete an object, or do nothing where there is none."""


class Archive(Protocol):
    """Objects that are written once, read whole and listed."""

    def fetch(self, bucket: str, name: str) -> bytes | None:
        """Read an object whole; None where there is none of that name.

        Raises:
            StorageUnavailableError: try again later.
        """

    def keep(self, bucket: str, name: str, data: bytes, content_type: str) -> None:
        """Write an object.

        Raises:
            StorageUnavailableError: try again later.
        """

    def folders(self, bucket: str, prefix: str) -> list[str]:
        """Return the names between a prefix and the next slash, each once, in order.

        Raises:
            StorageUnavailableError: try again later.
        """


class Publisher(Protocol):
    """Publishes messages."""

    def publish(
        self,
        topic: str,
        messages: Sequence[tuple[bytes, Mapping[str, str]]],
        *,
        ordering_key: str = "",
    ) -> None:
        """Publish messages in their order and return when Pub/Sub has them all.

        Raises:
            PubsubUnavailableError: some may not be published; try again later.
        """
