"""What the use cases ask of the outside world: narrow protocols, no SDK."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


class Objects(Protocol):
    """Objects of Cloud Storage: read with their generation pinned, written whole, deleted."""

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

    def delete(self, bucket: str, name: str) -> None:
        """Delete an object, if there is one.

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
