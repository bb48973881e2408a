"""What is sent to have a file worked on: its announcement, its chunks; sent again, they say the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sluice.ingestion.chunks import CHUNKS_TOPIC, Chunk
from sluice.ingestion.notifications import UPLOADS_TOPIC, announcement_of
from sluice.ports import StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Row

    from sluice.ingestion.sources import Source
    from sluice.ports import Publisher


def object_of(row: Row[Any]) -> StoredObject:
    """Return the object of an ingestion, as it was announced."""
    return StoredObject(
        bucket=row.bucket,
        name=row.object,
        generation=row.generation,
        size_bytes=row.size_bytes,
        crc32c=row.crc32c,
        content_encoding=row.content_encoding,
    )


def announce(publisher: Publisher, row: Row[Any]) -> None:
    """Announce the file of an ingestion again, as Cloud Storage would."""
    publisher.publish(UPLOADS_TOPIC, [announcement_of(object_of(row))])


def send_chunks(
    publisher: Publisher, row: Row[Any], source: Source, cuts: Iterable[Any]
) -> None:  # each a Cut, or a row of sluice.chunks
    """Send chunks of an ingestion off."""
    if messages := [_chunk(row, source, cut).message() for cut in cuts]:
        publisher.publish(CHUNKS_TOPIC, messages)


def _chunk(row: Row[Any], source: Source, cut: Any) -> Chunk:
    return Chunk(
        ingestion=row.id,
        dataset=row.dataset,
        **vars(source.place(cut)),
        number=cut.number,
        first_byte=cut.first_byte,
        end_byte=cut.end_byte,
        first_line=cut.first_line,
        first_record=cut.first_record,
        records=cut.records,
    )
