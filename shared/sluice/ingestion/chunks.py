"""The message of a chunk: everything that a loader needs to read and parse its byte range; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from sluice.errors import BodyError
from sluice.escaping import is_storable_text
from sluice.ports import MAX_BIGINT, MAX_INTEGER

CHUNKS_TOPIC = "chunks"
_TEXTS = ("dataset", "bucket", "object")


@dataclass(frozen=True)
class Chunk:
    """A byte range of one generation of an object that begins and ends at record boundaries.

    Attributes:
        bucket, object, generation: the object with the bytes; of a plain file the file itself.
        offset: place of that object's first byte in the content of the file.
        number: 0-based number in its file.
        first_byte, end_byte: the range `first_byte <= offset < end_byte`.
        first_line: physical line of the file on which the range starts, from 1.
        first_record: number of its first record, from 0, the header not counted.
        records: how many records split counted in it.
    """

    ingestion: int
    dataset: str
    bucket: str
    object: str
    generation: int
    offset: int
    number: int
    first_byte: int
    end_byte: int
    first_line: int
    first_record: int
    records: int

    @property
    def size_bytes(self) -> int:
        """Length of the range."""
        return self.end_byte - self.first_byte

    def message(self) -> tuple[bytes, dict[str, str]]:
        """Return the data and the attributes of the Pub/Sub message."""
        attributes = {"ingestion": str(self.ingestion), "dataset": self.dataset}
        return json.dumps(asdict(self)).encode(), attributes

    @classmethod
    def from_message(cls, body: Mapping[str, Any]) -> Self:
        """Read the data of a message.

        Raises:
            BodyError: a member is missing, unknown, or of another type or range.
        """
        try:
            chunk = cls(**body)
        except TypeError as error:
            raise BodyError(f"not the message of a chunk: {error}") from None
        for name, value in asdict(chunk).items():
            if name in _TEXTS:
                is_right = isinstance(value, str) and is_storable_text(value)
            else:
                most = MAX_INTEGER if name in ("ingestion", "number") else MAX_BIGINT
                is_right = type(value) is int and 0 <= value <= most
            if not is_right:
                raise BodyError(f"not the message of a chunk: {name} is {str(value)[:100]!r}")
        return chunk
