"""An ingestion as the API names and shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.errors import NotFoundError

if TYPE_CHECKING:
    from sluice.api.operations import Call
    from sluice.ingestion.model import Ingestion

_MAX_INTEGER = 2**31 - 1


def ingestion_document(ingestion: Ingestion) -> dict[str, object]:
    """Return an ingestion as the API shows it."""
    finished_at = ingestion.finished_at
    return {
        "id": ingestion.id,
        **ingestion.document(),
        "warnings": ingestion.warnings,
        "output": _output(ingestion),
        "problem": ingestion.problem,
        "replaced_by": ingestion.replaced_by,
        "received_at": ingestion.received_at.isoformat(),
        "updated_at": ingestion.updated_at.isoformat(),
        "finished_at": finished_at.isoformat() if finished_at else None,
    }


def _output(ingestion: Ingestion) -> dict[str, object] | None:
    if ingestion.output is None:
        return None
    return {
        "url": f"/v1/ingestions/{ingestion.id}/output",
        "size_bytes": ingestion.output.size_bytes,
    }


def ingestion_number(call: Call) -> int:
    """Return the ingestion that the path names.

    Raises:
        NotFoundError: it is no number.
    """
    text = call.path["ingestion"]
    if not (text.isascii() and text.isdigit()) or int(text) > _MAX_INTEGER:
        raise NotFoundError(f"there is no ingestion {text}; ingestions are numbers")
    return int(text)
