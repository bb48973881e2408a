"""Entry point of load: a chunk came on topic `chunks`; write its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import functions_framework

from sluice.gcloud.pubsub import Message, PubsubPublisher
from sluice.gcloud.storage import StorageObjects
from sluice.ingestion.ack_policy import Answer, deliver
from sluice.ingestion.chunks import Chunk
from sluice.ingestion.load import Load
from sluice.logs import configure_logging
from sluice.postgres.connection import open_database
from sluice.settings import read_settings

if TYPE_CHECKING:
    from flask import Request

SETTINGS = read_settings(required=("project",))
LOGGER = configure_logging("load", SETTINGS.log_level)


def handle(message: Message) -> None:
    """Load the chunk that the message names."""
    chunk = Chunk.from_message(message.json())
    publisher = PubsubPublisher(SETTINGS.project)
    Load(SETTINGS, open_database(SETTINGS), StorageObjects(SETTINGS.project), publisher)(chunk)
    fields = {"ingestion": chunk.ingestion, "chunk": chunk.number, "dataset": chunk.dataset}
    LOGGER.info("loaded", extra={"fields": fields})


@functions_framework.http
def load(request: Request) -> Answer:
    """Answer a push of subscription `chunks-load`."""
    return deliver(request.get_json(silent=True), handle, LOGGER)
