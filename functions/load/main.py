"""Entry point of load: a message on topic `chunks` names a chunk; load its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import functions_framework

from sluice.api.bodies import read_envelope
from sluice.api.health import HEALTHY, is_health_check
from sluice.environment import open_environment
from sluice.gcloud.pubsub import Message
from sluice.ingestion.ack_policy import Caller, Response, answer_push
from sluice.ingestion.chunks import Chunk
from sluice.ingestion.load import load_chunk
from sluice.settings import read_settings
from sluice.telemetry import start_telemetry

if TYPE_CHECKING:
    from flask import Request

SETTINGS = read_settings(required=("project", "outbox"))
LOGGER = start_telemetry("load", SETTINGS)


def handle(message: Message) -> None:
    """Load the chunk."""
    chunk = Chunk.from_message(message.json())
    load_chunk(open_environment(SETTINGS), chunk, message.delivery)
    fields = {"ingestion": chunk.ingestion, "chunk": chunk.number, "dataset": chunk.dataset}
    LOGGER.info("loaded", extra={"fields": fields})


@functions_framework.http
def load(request: Request) -> Response:
    """Answer a push of subscription `chunks-load`."""
    if is_health_check(request):
        return HEALTHY
    caller = Caller.of(request.headers, SETTINGS)
    return answer_push(caller, lambda: read_envelope(request), handle, LOGGER)
