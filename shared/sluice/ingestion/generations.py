"""Which published ingestions have older or newer versions of a file, or its content."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sluice.datasets.model import Dataset, Reupload
from sluice.ingestion.ingestions import same_content
from sluice.ingestion.model import Ingestion
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection


def older_generations(
    connection: Connection, ingestion: Ingestion, dataset: Dataset
) -> Sequence[int]:
    """Return the published older generations of the object, where the dataset replaces them."""
    if dataset.reupload is not Reupload.REPLACE:
        return ()
    return connection.scalars(statement("older_generations"), _generation(ingestion)).all()


def superseding(connection: Connection, ingestion: Ingestion, dataset: Dataset) -> int | None:
    """Return the published ingestion that makes this one redundant, if there is one.

    Generations may overtake one another: a late one must not restore what a newer one replaced.
    """
    if dataset.reupload is Reupload.REPLACE:
        newer: int | None = connection.scalar(
            statement("newer_generation_done"), _generation(ingestion)
        )
        return newer
    return same_content(connection, ingestion.id, dataset, ingestion.content_sha256)


def _generation(ingestion: Ingestion) -> dict[str, object]:
    file = ingestion.file
    return {"bucket": file.bucket, "object": file.name, "generation": file.generation}
