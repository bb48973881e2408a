"""The use cases of uploads by request: a body, or the parts of a file in any order, become an object.

Parts are safe to repeat at any point. A part is an object of the outbox before it is counted. The
request that finds all bytes received composes the file while it holds the upload's lock; if it crashes,
the next repetition of a part continues.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluice.access.audit import record
from sluice.errors import BodyError, PartMismatchError, StorageUnavailableError
from sluice.ingestion.ingestions import receive
from sluice.ingestion.outbox import relay
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.ports import Environment, StoredObject

#: Folder of the outbox for the parts of incomplete uploads; they may be deleted after a week.
PARTS_FOLDER = "parts"
#: Most objects that Cloud Storage composes in one call.
MAX_SOURCES = 32


def upload_stream(env: Environment, name: str, blocks: Iterable[bytes]) -> int:
    """Store a file under a name of the inbox; return its ingestion.

    Args:
        env: settings `project`, `inbox`.
        name: name of the object.
        blocks: its content.

    Raises:
        BodyError: the file is empty.
        StorageUnavailableError: nothing is stored; send it again.
    """
    not_empty = (each for each in blocks if each)
    first = next(not_empty, None)
    if first is None:
        raise BodyError(f"{name}: the file is empty")
    content = itertools.chain((first,), not_empty)
    with transaction(env.engine) as connection:
        record_upload(connection, env, name)
    stored = env.storage.write_blocks(env.settings.inbox, name, content)
    with transaction(env.engine) as connection:
        ingestion = receive(connection, stored, env.settings.project).id
    relay(env.engine, env.publisher, ingestion)
    return ingestion


def record_upload(connection: Connection, env: Environment, name: str) -> None:
    """Record in the audit log who writes an object of the inbox; its ingestion is then recorded as theirs."""
    subject, dataset = f"gs://{env.settings.inbox}/{name}", name.partition("/")[0]
    record(connection, env.actor, "upload.open", dataset=dataset, subject=subject)


@dataclass(frozen=True)
class UploadPart:
    """A range of bytes of a file under upload.

    Attributes:
        upload: identifier of the upload, chosen by the client.
        dataset, name, size_bytes: of the file; the same in every part of an upload.
        first_byte: place of the part in the file.
    """

    upload: str
    dataset: str
    name: str
    size_bytes: int
    first_byte: int
    data: bytes

    @property
    def end_byte(self) -> int:
        """First byte after it."""
        return self.first_byte + len(self.data)

    @property
    def checksum(self) -> str:
        """Checksum of its bytes."""
        return f"{zlib.crc32(self.data):08x}"

    @property
    def row(self) -> dict[str, object]:
        """Its row in `sluice.upload_parts`."""
        return {
            "upload": self.upload,
            "first_byte": self.first_byte,
            "end_byte": self.end_byte,
            "checksum": self.checksum,
        }


def upload_part(env: Environment, part: UploadPart) -> int | None:
    """Store a part; return the file's ingestion once every byte is received, and None before.

    Args:
        env: settings `project`, `inbox`, `outbox`.
        part: the part.

    Raises:
        PartMismatchError: it belongs to another file, or differs from parts received before.
        TransientError: send it again.
    """
    ingestion = _open(env, part)
    if ingestion is None:
        name = _object(part.upload, part.first_byte, part.end_byte, part.checksum)
        env.storage.write(env.settings.outbox, name, part.data)
        if not _count(env, part):
            return None
        ingestion = _compose(env, part)
    relay(env.engine, env.publisher, ingestion)
    return ingestion


def _open(env: Environment, part: UploadPart) -> int | None:
    """Open the upload at its first part; return the ingestion where it is complete already."""
    given = {"dataset": part.dataset, "name": part.name, "size_bytes": part.size_bytes}
    with transaction(env.engine) as connection:
        connection.execute(statement("open_upload"), {"upload": part.upload, **given})
        row = connection.execute(statement("lock_upload"), {"upload": part.upload}).one()
        wrong = [name for name, value in given.items() if getattr(row, name) != value]
        if wrong:
            raise PartMismatchError(
                f"upload {part.upload}: other parts were sent with another {', '.join(wrong)}; "
                "begin a new upload"
            )
        _check_overlaps(connection, part)
        ingestion: int | None = row.ingestion
        return ingestion


def _count(env: Environment, part: UploadPart) -> bool:
    """Count a stored part; return whether every byte is received now."""
    key = {"upload": part.upload}
    with transaction(env.engine) as connection:
        connection.execute(statement("lock_upload"), key)
        _check_overlaps(connection, part)
        connection.execute(statement("insert_part"), part.row)
        received = connection.scalar(statement("received_bytes"), key)
        return bool(received == part.size_bytes)


def _compose(env: Environment, part: UploadPart) -> int:
    """Create the object of the inbox and its ingestion, once; then delete the parts."""
    key = {"upload": part.upload}
    with transaction(env.engine) as connection:
        upload = connection.execute(statement("lock_upload"), key).one()
        if upload.ingestion is not None:
            return int(upload.ingestion)
        rows = connection.execute(statement("list_parts"), key).all()
        names = [_object(part.upload, *row) for row in rows]
        record_upload(connection, env, _target(part))
        composed = list(_composed(env, part, names))
        stored = _move_to_inbox(env, part, composed[-1])
        ingestion = receive(connection, stored, env.settings.project).id
        connection.execute(statement("complete_upload"), {**key, "ingestion": ingestion})
    for name in {*names, *composed}:
        env.storage.delete(env.settings.outbox, name)
    return ingestion


def _composed(env: Environment, part: UploadPart, names: Sequence[str]) -> Iterator[str]:
    """Compose objects level by level until one is left; yield each name, that one last."""
    level = 0
    while len(names) > 1:
        groups = [names[at : at + MAX_SOURCES] for at in range(0, len(names), MAX_SOURCES)]
        folder = f"{PARTS_FOLDER}/{part.upload}/level-{level}"
        names = [
            env.storage.compose(env.settings.outbox, group, f"{folder}/{number:06}")
            for number, group in enumerate(groups)
        ]
        yield from names
        level += 1
    yield names[0]


def _move_to_inbox(env: Environment, part: UploadPart, name: str) -> StoredObject:
    """Copy the file into the inbox, unless an earlier attempt did."""
    target = _target(part)
    inbox, outbox = env.settings.inbox, env.settings.outbox
    stored = env.storage.find(inbox, target) or env.storage.copy(outbox, name, inbox, target)
    if stored.size_bytes != part.size_bytes:
        raise StorageUnavailableError(
            f"{stored.url}: has {stored.size_bytes} of {part.size_bytes} bytes"
        )
    return stored


def _target(part: UploadPart) -> str:
    return f"{part.dataset}/{part.upload}/{part.name}"


def _check_overlaps(connection: Connection, part: UploadPart) -> None:
    for row in connection.execute(statement("overlapping_parts"), part.row):
        if tuple(row) != (part.first_byte, part.end_byte, part.checksum):
            raise PartMismatchError(
                f"upload {part.upload}: bytes {part.first_byte} to {part.end_byte - 1} differ from"
                f" bytes {row.first_byte} to {row.end_byte - 1}, which were received before; begin"
                " a new upload"
            )


def _object(upload: str, first_byte: int, end_byte: int, checksum: str) -> str:
    return f"{PARTS_FOLDER}/{upload}/{first_byte:015}-{end_byte:015}-{checksum}"
