"""Commands to ingestions: cancel, retry, undo, redo, verify."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.api.operations import Call, operation
from sluice.api.responses import json_response
from sluice.api.routes.ingestions import ingestion_document
from sluice.documents import ingestions as documents
from sluice.ingestion import commands
from sluice.ingestion.ingestions import select_ingestion
from sluice.ingestion.redo import redo
from sluice.ingestion.verify import verify

if TYPE_CHECKING:
    from werkzeug.wrappers import Response


@operation("cancelIngestion", "Ingestions", answer=documents.Ingestion, refusals=(409,))
def cancel_ingestion(call: Call) -> Response:
    """Cancel an ingestion that is not published yet."""
    commands.cancel(call.environment(), call.ingestion)
    return _ingestion(call)


@operation("retryIngestion", "Ingestions", answer=documents.Ingestion, refusals=(409,))
def retry_ingestion(call: Call) -> Response:
    """Start a failed, cancelled or skipped ingestion again.

    A failed one continues with the chunks that are not loaded yet, if the declaration is the same, the
    dataset has neither key nor references, and its rows were not deleted yet.
    """
    commands.retry(call.environment(), call.ingestion)
    return _ingestion(call)


@operation("undoIngestion", "Ingestions", answer=documents.Ingestion, refusals=(409,))
def undo_ingestion(call: Call) -> Response:
    """Withdraw the rows of a published ingestion."""
    commands.undo(call.environment(), call.ingestion)
    return _ingestion(call)


@operation("redoIngestion", "Ingestions", answer=documents.Ingestion, refusals=(409,))
def redo_ingestion(call: Call) -> Response:
    """Publish an undone ingestion again.

    That is possible until garbage collection deletes its rows, some quarter of an hour after the undo;
    then the answer is 409 and the file must be uploaded again.
    """
    redo(call.environment(), call.ingestion)
    return _ingestion(call)


@operation("verifyIngestion", "Ingestions", answer=documents.Verification, refusals=(409,))
def verify_ingestion(call: Call) -> Response:
    """Read the file of an ingestion again and compare it, and the tables, with the account.

    The answer has each figure as expected and as found; `verified` is false if any differs, which is no
    error of the request.
    """
    return json_response(verify(call.environment(), call.ingestion))


def _ingestion(call: Call) -> Response:
    with call.snapshot() as connection:
        ingestion = select_ingestion(connection, call.ingestion)
    return json_response(ingestion_document(ingestion))


OPERATIONS = (cancel_ingestion, retry_ingestion, undo_ingestion, redo_ingestion, verify_ingestion)
