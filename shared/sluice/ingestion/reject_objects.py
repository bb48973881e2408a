"""The rejects of an ended ingestion as objects of the outbox, there before its last event is published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.ingestion.ingestions import select_ingestion
from sluice.ingestion.reject_files import reject_lines, reject_reasons
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sluice.ports import Environment


def write_reject_files(env: Environment, ingestion: int) -> None:
    """Write the rejects of an ingestion that has just ended to the outbox.

    Call it before the events of the ingestion are published: they link to the objects.

    Args:
        env: setting `outbox`.
        ingestion: any; nothing is written where it has no rejects, or its end is published already.

    Raises:
        StorageUnavailableError: try again later.
    """
    with transaction(env.engine) as connection:
        if not connection.scalar(statement("owes_reject_files"), {"ingestion": ingestion}):
            return
        found = select_ingestion(connection, ingestion)
        bucket = env.settings.outbox
        env.storage.write_blocks(bucket, found.reject_object, reject_lines(connection, found))
        env.storage.write_blocks(bucket, found.reasons_object, reject_reasons(connection, found))
