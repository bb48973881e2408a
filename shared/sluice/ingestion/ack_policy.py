"""Decides, in one place, whether a pushed message is acknowledged.

After success or a permanent error it is: trying again cannot help. The use case itself records and
reports a permanent error of a file; one of the message is logged here. After any other error Pub/Sub
delivers again, and in the end moves the message to the dead letters.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluice import tracing
from sluice.errors import PermanentError, SluiceError, TransientError
from sluice.gcloud.pubsub import Message, read_push
from sluice.gcloud.pushes import verify_caller

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from sluice.settings import Settings

Response = tuple[str, int]

ACKNOWLEDGED: Response = ("", 204)
NOT_ACKNOWLEDGED: Response = ("", 503)


@dataclass(frozen=True)
class Caller:
    """Who calls a function.

    Attributes:
        authorization: the header of the request.
        settings: those of `verify_caller`.
        trace: the header of the request that names its trace.
    """

    authorization: str
    settings: Settings
    trace: str = ""

    @classmethod
    def of(cls, headers: Mapping[str, str], settings: Settings) -> Self:
        """Return who sends a request with these headers."""
        return cls(headers.get("Authorization", ""), settings, headers.get(tracing.HEADER, ""))


def answer_push(
    caller: Caller,
    read: Callable[[], object],
    handle: Callable[[Message], None],
    logger: logging.Logger,
) -> Response:
    """Pass a pushed message to its use case and answer Pub/Sub.

    Args:
        caller: who pushes.
        read: returns the body of the push request.
        handle: the use case.
        logger: for messages that failed.

    Returns:
        Body and HTTP status: 204 acknowledges, others ask for another delivery.
    """

    def work() -> None:
        message = read_push(read())
        tracing.join(message.attributes.get(tracing.ATTRIBUTE, ""))
        handle(message)

    return answer_call(caller, work, logger)


def answer_call(caller: Caller, work: Callable[[], None], logger: logging.Logger) -> Response:
    """Do some work for a caller who may ask for it, and answer whether the caller must call again."""
    with tracing.traced(caller.trace, logger.name):
        return _answer(caller, work, logger)


def _answer(caller: Caller, work: Callable[[], None], logger: logging.Logger) -> Response:
    try:
        verify_caller(caller.authorization, caller.settings)
    except SluiceError as error:
        logger.warning(error.detail, extra={"fields": {"code": error.code}})
        return "", error.status
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
