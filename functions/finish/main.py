"""Entry point of finish: publishes ingestions, compacts datasets, runs recovery."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import functions_framework

from sluice.api.bodies import read_envelope
from sluice.api.health import HEALTHY, is_health_check
from sluice.compaction.debounce import DebouncedCompact
from sluice.documents.ingestions import State
from sluice.environment import open_environment
from sluice.gcloud.pubsub import Message
from sluice.ingestion.ack_policy import Caller, Response, answer_call, answer_push
from sluice.ingestion.decide import decide_types
from sluice.ingestion.events import OBSERVED, ingestion_of
from sluice.ingestion.finish import finish_ingestion
from sluice.ingestion.recovery import RECOVERY_PATH, recover
from sluice.settings import read_settings
from sluice.telemetry import start_telemetry

if TYPE_CHECKING:
    from flask import Request

SETTINGS = read_settings(required=("project", "outbox"))
LOGGER = start_telemetry("finish", SETTINGS)
COMPACT = DebouncedCompact()


def handle(message: Message) -> None:
    """Publish the ingestion of the event, decide its types, or compact the dataset of one that is done."""
    env = open_environment(SETTINGS)
    state = message.attributes.get("state")
    if state == State.DONE:
        COMPACT(env.engine, message.attributes.get("dataset", ""))
    if state != State.PUBLISHING and OBSERVED not in message.attributes:
        return
    ingestion = ingestion_of(message.attributes)
    use_case = decide_types if OBSERVED in message.attributes else finish_ingestion
    use_case(env, ingestion, message.delivery)
    LOGGER.info("finished", extra={"fields": {"ingestion": ingestion, "step": str(state)}})


def run_recovery() -> None:
    """Run recovery once."""
    LOGGER.info("recovered", extra={"fields": asdict(recover(open_environment(SETTINGS)))})


@functions_framework.http
def finish(request: Request) -> Response:
    """Answer a push of subscription `status-finish`, or a call of the scheduler."""
    if is_health_check(request):
        return HEALTHY
    caller = Caller.of(request.headers, SETTINGS)
    if request.path == RECOVERY_PATH:
        return answer_call(caller, run_recovery, LOGGER)
    return answer_push(caller, lambda: read_envelope(request), handle, LOGGER)
