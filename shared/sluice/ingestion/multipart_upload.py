"""The use case of assemble: a file comes in pieces, in any order, and becomes one object of the inbox.

Safe to repeat at any point. A piece is an object of the outbox before it is counted. Who finds all bytes
there composes the file while it holds the upload; where it dies, the next repetition of a piece goes on.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluice.errors import PieceMismatchError, StorageUnavailableError
from sluice.ingestion.ingestions import receive
from sluice.ingestion.outbox import relay
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from sluice.ports import Depot, Publisher, StoredObject
    from sluice.settings import Settings

#: Folder of the outbox for what is not whole yet; it may be deleted after a week.
PIECES_FOLDER = "pieces"
#: Most objects that Cloud Storage composes in one call.
MAX_SOURCES = 32


@dataclass(frozen=True)
class Piece:
    """A range of bytes of a file under upload.

    Attributes:
        upload: the upload, as its client names it.
        dataset, name, size_bytes: of the whole file; every piece of an upload says the same.
        first_byte: place of the piece in the file.
    """

    upload: str
    dataset: str
    name: str
    size_bytes: int
    first_byte: int
    data: bytes

    @property
    def end_byte(self) -> int:
        """The byte behind it."""
        return self.first_byte + len(self.data)

    @property
    def checksum(self) -> str:
        """What tells its bytes from others."""
        return f"{zlib.crc32(self.data):08x}"

    @property
    def facts(self) -> dict[str, object]:
        """Its row among the pieces."""
        return {
            "upload": self.upload,
            "first_byte": self.first_byte,
            "end_byte": self.end_byte,
            "checksum": self.checksum,
        }


class Assemble:
    """Takes pieces.

    Args:
        settings: `project`, `inbox`, `outbox`.
        engine: the database.
        depot: Cloud Storage.
        publisher: Pub/Sub.
    """

    def __init__(
        self, settings: Settings, engine: Engine, depot: Depot, publisher: Publisher
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._depot = depot
        self._publisher = publisher

    def __call__(self, piece: Piece) -> int | None:
        """Take a piece; return the file's ingestion once every byte is there, and None before.

        Raises:
            PieceMismatchError: it belongs to another file, or others of its bytes came before.
            TransientError: send it again.
        """
        ingestion = self._open(piece)
        if ingestion is None:
            name = _object(piece.upload, piece.first_byte, piece.end_byte, piece.checksum)
            self._depot.write(self._settings.outbox, name, piece.data)
            if not self._count(piece):
                return None
            ingestion = self._compose(piece)
        relay(self._engine, self._publisher, ingestion)
        return ingestion

    def _open(self, piece: Piece) -> int | None:
        """Open the upload at its first piece; return the ingestion where it is whole already."""
        wanted = {"dataset": piece.dataset, "name": piece.name, "size_bytes": piece.size_bytes}
        with transaction(self._engine) as connection:
            connection.execute(statement("open_upload"), {"upload": piece.upload, **wanted})
            row = connection.execute(statement("lock_upload"), {"upload": piece.upload}).one()
            wrong = [name for name, value in wanted.items() if getattr(row, name) != value]
            if wrong:
                raise PieceMismatchError(
                    f"upload {piece.upload}: other pieces came with another {', '.join(wrong)}; "
                    "begin a new upload"
                )
            _check_overlaps(connection, piece)
            ingestion: int | None = row.ingestion
            return ingestion

    def _count(self, piece: Piece) -> bool:
        """Count a piece that is stored; tell whether every byte is there now."""
        with transaction(self._engine) as connection:
            connection.execute(statement("lock_upload"), {"upload": piece.upload})
            _check_overlaps(connection, piece)
            connection.execute(statement("insert_part"), piece.facts)
            arrived = connection.scalar(statement("received_bytes"), {"upload": piece.upload})
            return bool(arrived == piece.size_bytes)

    def _compose(self, piece: Piece) -> int:
        """Make the object of the inbox and its ingestion, once; then the pieces may go."""
        key = {"upload": piece.upload}
        with transaction(self._engine) as connection:
            upload = connection.execute(statement("lock_upload"), key).one()
            if upload.ingestion is not None:
                return int(upload.ingestion)
            rows = connection.execute(statement("list_parts"), key).all()
            names = [_object(piece.upload, *row) for row in rows]
            made = list(self._joined(piece, names))
            stored = self._deliver(piece, made[-1])
            ingestion = receive(connection, stored, self._settings.project).id
            connection.execute(statement("complete_upload"), {**key, "ingestion": ingestion})
        for name in {*names, *made}:
            self._depot.delete(self._settings.outbox, name)
        return ingestion

    def _joined(self, piece: Piece, names: Sequence[str]) -> Iterator[str]:
        """Compose pieces of pieces until one is left; yield each name that comes to be, it the last."""
        level = 0
        while len(names) > 1:
            groups = [names[at : at + MAX_SOURCES] for at in range(0, len(names), MAX_SOURCES)]
            folder = f"{PIECES_FOLDER}/{piece.upload}/level-{level}"
            names = [
                self._depot.compose(self._settings.outbox, group, f"{folder}/{number:06}")
                for number, group in enumerate(groups)
            ]
            yield from names
            level += 1
        yield names[0]

    def _deliver(self, piece: Piece, name: str) -> StoredObject:
        """Put the whole file into the inbox, unless an earlier attempt did."""
        target = f"{piece.dataset}/{piece.upload}/{piece.name}"
        inbox, outbox = self._settings.inbox, self._settings.outbox
        stored = self._depot.find(inbox, target) or self._depot.copy(outbox, name, inbox, target)
        if stored.size_bytes != piece.size_bytes:
            raise StorageUnavailableError(
                f"gs://{inbox}/{target}: has {stored.size_bytes} of {piece.size_bytes} bytes"
            )
        return stored


def _check_overlaps(connection: Connection, piece: Piece) -> None:
    for row in connection.execute(statement("overlapping_parts"), piece.facts):
        if tuple(row) != (piece.first_byte, piece.end_byte, piece.checksum):
            raise PieceMismatchError(
                f"upload {piece.upload}: bytes {row.first_byte} to {row.end_byte - 1} came before, "
                f"and bytes {piece.first_byte} to {piece.end_byte - 1} are others of them; "
                "begin a new upload"
            )


def _object(upload: str, first_byte: int, end_byte: int, checksum: str) -> str:
    return f"{PIECES_FOLDER}/{upload}/{first_byte:015}-{end_byte:015}-{checksum}"
