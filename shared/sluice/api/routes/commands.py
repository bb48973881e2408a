"""Commands to ingestions: cancel, retry, undo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.api.operations import Call, operation
from sluice.api.responses import json_response
from sluice.api.routes.ingestions import ingestion_document
from sluice.documents import ingestions as documents
from sluice.ingestion import commands
from sluice.ingestion.ingestions import select_ingestion

if TYPE_CHECKING:
    from werkzeug.wrappers import Response


@operation("cancelIngestion", "Ingestions", answer=documents.Ingestion)
def cancel_ingestion(call: Call) -> Response:
    """Cancel an ingestion that is not published yet."""
    commands.cancel(call.environment(), call.ingestion)
    return _ingestion(call)


@operation("retryIngestion", "Ingestions", answer=documents.Ingestion)
def retry_ingestion(call: Call) -> Response:
    """Start a failed, cancelled or skipped ingestion again."""
    commands.retry(call.environment(), call.ingestion)
    return _ingestion(call)


@operation("undoIngestion", "Ingestions", answer=documents.Ingestion)
def undo_ingestion(call: Call) -> Response:
    """Withdraw the rows of a published ingestion."""
    commands.undo(call.environment(), call.ingestion)
    return _ingestion(call)


def _ingestion(call: Call) -> Response:
    with call.snapshot() as connection:
        ingestion = select_ingestion(connection, call.ingestion)
    return json_response(ingestion_document(ingestion))


OPERATIONS = (cancel_ingestion, retry_ingestion, undo_ingestion)
