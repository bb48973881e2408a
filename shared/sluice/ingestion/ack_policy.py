"""Decides, in one place, whether a pushed message is acknowledged.

After success or a permanent error it is: trying again cannot help. The use case itself records and
reports a permanent error of a file; one of the message is logged here. After any other error Pub/Sub
delivers again, and in the end moves the message to the dead letters.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from sluice.errors import PermanentError, TransientError
from sluice.gcloud.pubsub import Message, read_push

Response = tuple[str, int]

ACKNOWLEDGED: Response = ("", 204)
NOT_ACKNOWLEDGED: Response = ("", 503)


def answer_push(
    envelope: object, handle: Callable[[Message], None], logger: logging.Logger
) -> Response:
    """Pass a pushed message to its use case and answer Pub/Sub.

    Args:
        envelope: body of the push request.
        handle: the use case.
        logger: for messages that failed.

    Returns:
        Body and HTTP status: 204 acknowledges, 503 asks for another delivery.
    """
    return answer_call(lambda: handle(read_push(envelope)), logger)


def answer_call(work: Callable[[], None], logger: logging.Logger) -> Response:
    """Do some work and answer whether the caller must call again."""
    try:
        work()
    except PermanentError as error:
        logger.error(error.detail, extra={"fields": {"code": error.code}})  # noqa: TRY400
    except TransientError as error:
        logger.warning(error.detail, extra={"fields": {"code": error.code}})
        return NOT_ACKNOWLEDGED
    except Exception:
        logger.exception("unexpected error; the message will be delivered again")
        return NOT_ACKNOWLEDGED
    return ACKNOWLEDGED
