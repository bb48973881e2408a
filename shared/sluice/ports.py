"""What use cases need from Cloud Storage and Pub/Sub: protocols that import no SDK."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from sluice.settings import Settings


#: Of the name of an object: https://cloud.google.com/storage/docs/objects#naming
MAX_OBJECT_NAME_BYTES = 1024
#: Of generations, sizes and offsets, and of the numbers of ingestions, as PostgreSQL stores them.
MAX_BIGINT = 2**63 - 1
MAX_INTEGER = 2**31 - 1


@dataclass(frozen=True)
class StoredObject:
    """One generation of an object in Cloud Storage.

    Attributes:
        uploaded_at: its creation time; None where the reader of the object does not need it.
        options: how the uploader says that it is written, by the names of a dialect's keys.
    """

    bucket: str
    name: str
    generation: int
    size_bytes: int
    crc32c: str | None = None
    content_encoding: str = ""
    uploaded_at: datetime | None = None
    options: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def url(self) -> str:
        """Its `gs://` URL."""
        return f"gs://{self.bucket}/{self.name}"


class Sink(Protocol):
    """Receives the bytes of an object that is being written."""

    def write(self, data: bytes, /) -> object:
        """Write some bytes."""


class Storage(Protocol):
    """Cloud Storage. Every method may raise StorageUnavailableError: try again later."""

    def read(
        self, bucket: str, name: str, generation: int, first_byte: int, end_byte: int
    ) -> bytes:
        """Read the bytes `first_byte <= offset < end_byte` of an object.

        Args:
            bucket: its bucket.
            name: its name.
            generation: its generation; 0 for an object that is never overwritten.
            first_byte: first byte of the range.
            end_byte: first byte after the range.

        Raises:
            ObjectGoneError: this generation was deleted or overwritten.
        """

    def write(self, bucket: str, name: str, data: bytes) -> None:
        """Write an object."""

    def write_stream(self, bucket: str, name: str, fill: Callable[[Sink], object]) -> StoredObject:
        """Write an object of any size, if no other writer changes it meanwhile.

        The object appears when `fill` returns, and not at all if it raises.

        Args:
            bucket: its bucket.
            name: its name.
            fill: writes the bytes.
        """

    def write_blocks(self, bucket: str, name: str, blocks: Iterable[bytes]) -> StoredObject:
        """Write an object block by block; if `blocks` raises, no object appears."""

    def compose(self, bucket: str, sources: Sequence[str], name: str) -> str:
        """Concatenate at most 32 objects into one and return its name."""

    def copy(self, bucket: str, name: str, to_bucket: str, to_name: str) -> StoredObject:
        """Copy an object inside Cloud Storage; never overwrites another."""

    def find(self, bucket: str, name: str) -> StoredObject | None:
        """Return the newest generation of an object; None where there is none."""

    def delete(self, bucket: str, name: str) -> None:
        """Delete an object, if there is one."""


class Archive(Protocol):
    """Objects of a backup. Every method may raise StorageUnavailableError: try again later."""

    def fetch(self, bucket: str, name: str, max_bytes: int) -> bytes | None:
        """Read an object; None where there is none of that name.

        Args:
            bucket: its bucket.
            name: its name.
            max_bytes: no more than one byte beyond these is read, which shows that there are more.
        """

    def keep(self, bucket: str, name: str, data: bytes, content_type: str) -> None:
        """Write an object."""

    def folders(self, bucket: str, prefix: str) -> list[str]:
        """Return the names between a prefix and the next slash, each once, in order."""


class Publisher(Protocol):
    """Publishes messages."""

    def publish(
        self,
        topic: str,
        messages: Sequence[tuple[bytes, Mapping[str, str]]],
        *,
        ordering_key: str = "",
    ) -> None:
        """Publish messages in their order and return when Pub/Sub has stored all of them.

        Raises:
            PubsubUnavailableError: some may not be published; try again later.
        """


@dataclass(frozen=True)
class Environment:
    """What a use case works with: settings, the database, Cloud Storage and Pub/Sub.

    Attributes:
        actor: who requested the work, for the audit log.
    """

    settings: Settings
    engine: Engine
    storage: Storage
    publisher: Publisher
    actor: str = "system"
