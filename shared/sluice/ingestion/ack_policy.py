"""Decides, in one place, whether a pushed message is acknowledged.

Done, or a permanent error: acknowledged, for trying again cannot help. A permanent error of a file is
recorded and told by the use case itself; one of the message is logged here. Anything else is refused, so
that Pub/Sub delivers again and in the end moves the message to the dead letters.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from sluice.errors import PermanentError, TransientError
from sluice.gcloud.pubsub import Message, read_push

Answer = tuple[str, int]

ACKNOWLEDGED: Answer = ("", 204)
REFUSED: Answer = ("", 503)
#: Where the function finish is asked to sweep; its other path takes messages.
SWEEP_PATH = "/sweep"


def deliver(envelope: object, handle: Callable[[Message], None], logger: logging.Logger) -> Answer:
    """Hand a pushed message to its use case and answer Pub/Sub.

    Args:
        envelope: body of the push request.
        handle: the use case, given the message.
        logger: where refused and unusable messages are told.

    Returns:
        Body and HTTP status: 204 acknowledges, 503 asks for another delivery.
    """
    return answer_to(lambda: handle(read_push(envelope)), logger)


def answer_to(work: Callable[[], None], logger: logging.Logger) -> Answer:
    """Do some work and say whether the caller shall call again."""
    try:
        work()
    except PermanentError as error:
        logger.error(  # noqa: TRY400  # the sentence says it all
            error.detail, extra={"fields": {"code": error.code}}
        )
    except TransientError as error:
        logger.warning(error.detail, extra={"fields": {"code": error.code}})
        return REFUSED
    except Exception:
        logger.exception("unexpected error; the message will be delivered again")
        return REFUSED
    return ACKNOWLEDGED
