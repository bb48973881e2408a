"""Entry point of split: an object was announced on topic `uploads`; cut it into chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import functions_framework

from sluice.gcloud.pubsub import Message, PubsubPublisher
from sluice.gcloud.storage import StorageObjects
from sluice.ingestion.ack_policy import Answer, deliver
from sluice.ingestion.notifications import read_announcement
from sluice.ingestion.split import Split
from sluice.logs import configure_logging
from sluice.postgres.connection import open_database
from sluice.settings import read_settings

if TYPE_CHECKING:
    from flask import Request

SETTINGS = read_settings(required=("project", "inbox"))
LOGGER = configure_logging("split", SETTINGS.log_level)


def handle(message: Message) -> None:
    """Split the announced object; pass over what is no file."""
    announced = read_announcement(message.attributes, message.json())
    if announced is None:
        LOGGER.info("passed over", extra={"fields": {"object": message.attributes.get("objectId")}})
        return
    publisher = PubsubPublisher(SETTINGS.project)
    split = Split(SETTINGS, open_database(SETTINGS), StorageObjects(SETTINGS.project), publisher)
    ingestion = split(announced, message.delivery_attempt or 1)
    LOGGER.info("split", extra={"fields": {"ingestion": ingestion, "object": announced.name}})


@functions_framework.http
def split(request: Request) -> Answer:
    """Answer a push of subscription `uploads-split`."""
    return deliver(request.get_json(silent=True), handle, LOGGER)
