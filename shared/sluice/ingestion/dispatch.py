"""Publishes the messages that trigger split and load: the notification of a file, and its chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.ingestion.chunks import CHUNKS_TOPIC, Chunk
from sluice.ingestion.notifications import UPLOADS_TOPIC, notification_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sluice.csv.cuts import Cut
    from sluice.ingestion.model import Ingestion
    from sluice.ingestion.sources import Source
    from sluice.ports import Publisher


def publish_notification(publisher: Publisher, ingestion: Ingestion) -> None:
    """Publish the notification of an ingestion's file again, as Cloud Storage does."""
    publisher.publish(UPLOADS_TOPIC, [notification_of(ingestion.file)])


def publish_chunks(
    publisher: Publisher, ingestion: Ingestion, source: Source, cuts: Iterable[Cut]
) -> None:
    """Publish the messages of chunks."""
    if messages := [_chunk(ingestion, source, cut).message() for cut in cuts]:
        publisher.publish(CHUNKS_TOPIC, messages)


def _chunk(ingestion: Ingestion, source: Source, cut: Cut) -> Chunk:
    return Chunk(
        ingestion=ingestion.id,
        dataset=ingestion.dataset or "",
        **vars(source.location(cut)),
        number=cut.number,
        first_byte=cut.first_byte,
        end_byte=cut.end_byte,
        first_line=cut.first_line,
        first_record=cut.first_record,
        records=cut.records,
    )
