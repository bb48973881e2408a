"""The use case of observing: what the columns of a chunk may be, in a file whose types are not declared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.csv.dialects import Dialect
from sluice.inference.typing.records import observe_records
from sluice.ingestion.ingestions import count_observed
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sqlalchemy import Connection

    from sluice.ingestion.chunks import Chunk


def observe_chunk(
    connection: Connection, chunk: Chunk, data: bytes, layout: Mapping[str, Any], project: str
) -> None:
    """Report what the columns of a chunk may be, once.

    Args:
        connection: the transaction of the chunk, which holds its lock.
        chunk: not observed yet.
        data: its bytes.
        layout: dialect and width of the file.
        project: part of the source of its events.
    """
    dialect = Dialect.from_json(layout["dialect"])
    found = observe_records(
        data,
        dialect,
        layout["width"],
        chunk.first_record,
        layout.get("malformed", {}),
        layout["names"],
    )
    key = {"ingestion": chunk.ingestion, "chunk": chunk.number}
    values = {**key, "observations": found.to_json()}
    connection.execute(statement("insert_observations"), values)
    if count_observed(connection, chunk.ingestion, project) is None:
        connection.rollback()  # cancelled or failed meanwhile
