"""Entry point of split: a notification on topic `uploads` reports an object; split it into chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import functions_framework

from sluice.api.bodies import read_envelope
from sluice.api.health import HEALTHY, is_health_check
from sluice.environment import open_environment
from sluice.gcloud.pubsub import Message
from sluice.ingestion.ack_policy import Caller, Response, answer_push
from sluice.ingestion.notifications import read_notification
from sluice.ingestion.split import split_file
from sluice.settings import read_settings
from sluice.telemetry import start_telemetry

if TYPE_CHECKING:
    from flask import Request

SETTINGS = read_settings(required=("project", "inbox"))
LOGGER = start_telemetry("split", SETTINGS)


def handle(message: Message) -> None:
    """Split the object; ignore what is not a file."""
    file = read_notification(message.attributes, message.json(), SETTINGS.inbox)
    if file is None:
        LOGGER.info("ignored", extra={"fields": {"object": message.attributes.get("objectId")}})
        return
    ingestion = split_file(open_environment(SETTINGS), file, message.delivery)
    LOGGER.info("split", extra={"fields": {"ingestion": ingestion, "object": file.name}})


@functions_framework.http
def split(request: Request) -> Response:
    """Answer a push of subscription `uploads-split`."""
    if is_health_check(request):
        return HEALTHY
    caller = Caller.of(request.headers, SETTINGS)
    return answer_push(caller, lambda: read_envelope(request), handle, LOGGER)
