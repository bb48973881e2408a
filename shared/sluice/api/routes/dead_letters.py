"""Dead letters: listed, published again, dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sluice.access.audit import record
from sluice.api.operations import Call, operation
from sluice.api.responses import json_response
from sluice.documents import dead_letters as documents
from sluice.postgres.connection import transaction

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

    from sluice.gcloud.dead_letters import DeadLetterBox


def _box(call: Call) -> DeadLetterBox:
    from sluice.gcloud.dead_letters import DeadLetterBox  # noqa: PLC0415  # paid where first used

    return DeadLetterBox(
        call.settings.project, call.environment().publisher, call.settings.name_prefix
    )


@operation("listDeadLetters", "Dead letters", answer=documents.DeadLetters)
def list_dead_letters(call: Call) -> Response:
    """List the messages that could not be delivered, the oldest first.

    Pub/Sub keeps them for 31 days. While they are listed, nobody else receives them.
    """
    return json_response(_box(call).all())


@operation(
    "replayDeadLetters",
    "Dead letters",
    answer=documents.DeadLetterOutcome,
    body=documents.DeadLetterRequest,
)
def replay_dead_letters(call: Call) -> Response:
    """Publish dead letters again, on the topics that they came from, and drop them.

    Whatever they ask for is done once. An ingestion that has failed is not started by them: retry it.
    """
    return _act(call, "dead-letters.replay", _box(call).replay)


@operation(
    "dropDeadLetters",
    "Dead letters",
    answer=documents.DeadLetterOutcome,
    body=documents.DeadLetterRequest,
)
def drop_dead_letters(call: Call) -> Response:
    """Delete dead letters."""
    return _act(call, "dead-letters.drop", _box(call).drop)


def _act(
    call: Call, action: str, act: Callable[[list[str]], documents.DeadLetterOutcome]
) -> Response:
    outcome = act(call.body(documents.DeadLetterRequest).ids)
    with transaction(call.engine) as connection:
        record(connection, call.caller.actor, action, details={"ids": outcome.ids})
    return json_response(outcome)


OPERATIONS = (list_dead_letters, replay_dead_letters, drop_dead_letters)
