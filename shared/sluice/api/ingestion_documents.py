"""An ingestion as the API names and shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sluice.errors import NotFoundError
from sluice.ingestion.events import account_of

if TYPE_CHECKING:
    from sqlalchemy import Row

    from sluice.api.operations import Call

_MAX_INTEGER = 2**31 - 1


def ingestion_document(row: Row[Any]) -> dict[str, object]:
    """Return an ingestion as the API shows it; `row` is one of `sluice.ingestions`."""
    return {
        "id": row.id,
        "dataset": row.dataset,
        "state": str(row.state),
        "bucket": row.bucket,
        "object": row.object,
        "generation": str(row.generation),
        "size_bytes": row.size_bytes,
        "bytes_loaded": row.bytes_loaded,
        "chunks": {"total": row.chunks_total, "loaded": row.chunks_loaded},
        "account": account_of(row),
        "warnings": row.warnings,
        "output": _output(row),
        "problem": row.problem,
        "sequence": row.sequence,
        "replaced_by": row.replaced_by,
        "received_at": row.received_at.isoformat(),
        "updated_at": row.updated_at.isoformat(),
        "finished_at": row.finished_at.isoformat() if row.finished_at else None,
    }


def _output(row: Row[Any]) -> dict[str, object] | None:
    if row.output is None:
        return None
    return {"url": f"/v1/ingestions/{row.id}/output", "size_bytes": row.output["size_bytes"]}


def ingestion_number(call: Call) -> int:
    """Return the ingestion that the path names.

    Raises:
        NotFoundError: it is no number.
    """
    text = call.path["ingestion"]
    if not (text.isascii() and text.isdigit()) or int(text) > _MAX_INTEGER:
        raise NotFoundError(f"there is no ingestion {text}; ingestions are numbers")
    return int(text)
