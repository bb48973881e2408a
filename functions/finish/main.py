"""Entry point of finish: publishes what reached `publishing`, compacts what is `done`; and the sweep."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import functions_framework

from sluice.compaction.debounce import DebouncedCompact
from sluice.errors import BodyError
from sluice.gcloud.pubsub import Message, PubsubPublisher
from sluice.gcloud.storage import StorageObjects
from sluice.ingestion.ack_policy import SWEEP_PATH, Answer, answer_to, deliver
from sluice.ingestion.finish import Finish
from sluice.ingestion.model import State
from sluice.ingestion.output import Outputs
from sluice.ingestion.recovery import Sweep
from sluice.logs import configure_logging
from sluice.postgres.connection import open_database
from sluice.settings import read_settings

if TYPE_CHECKING:
    from flask import Request

SETTINGS = read_settings(required=("project", "outbox"))
LOGGER = configure_logging("finish", SETTINGS.log_level)
COMPACT = DebouncedCompact()


def handle(message: Message) -> None:
    """Publish the ingestion that the event names, or compact the dataset of one that is done."""
    state = message.attributes.get("state")
    if state == State.DONE:
        COMPACT(open_database(SETTINGS), message.attributes.get("dataset", ""))
    if state != State.PUBLISHING:
        return
    try:
        ingestion = int(message.attributes["ingestion"])
    except (KeyError, ValueError):
        raise BodyError(f"message {message.id}: no attribute `ingestion`") from None
    outputs = Outputs(StorageObjects(SETTINGS.project), SETTINGS.outbox)
    publisher = PubsubPublisher(SETTINGS.project)
    Finish(SETTINGS, open_database(SETTINGS), publisher, outputs)(ingestion)
    LOGGER.info("finished", extra={"fields": {"ingestion": ingestion}})


def sweep() -> None:
    """Sweep once."""
    objects, publisher = StorageObjects(SETTINGS.project), PubsubPublisher(SETTINGS.project)
    swept = Sweep(SETTINGS, open_database(SETTINGS), objects, publisher)()
    LOGGER.info("swept", extra={"fields": asdict(swept)})


@functions_framework.http
def finish(request: Request) -> Answer:
    """Answer a push of subscription `status-finish`, or the clock of the sweep."""
    if request.path == SWEEP_PATH:
        return answer_to(sweep, LOGGER)
    return deliver(request.get_json(silent=True), handle, LOGGER)
