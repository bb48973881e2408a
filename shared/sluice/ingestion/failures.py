"""Ends an ingestion whose step fails: after a permanent error immediately, after any other when it repeats.

A failed attempt is recorded in a transaction of its own. Pub/Sub counts deliveries only where a
subscription has a dead-letter policy, and starts again when recovery sends a message again, so the
attempts are counted here. If the database cannot record one, it does not count: the message is
delivered again. An attempt that never ends, because its handler was killed, is counted at its start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluice.documents.ingestions import UNFINISHED, State
from sluice.errors import (
    ChunkInProgressError,
    InternalError,
    OutputInProgressError,
    PermanentError,
    PublicationUnfinishedError,
    RepeatedFailureError,
    SluiceError,
    SplitInProgressError,
    TransientError,
)
from sluice.ingestion.ingestions import fail, lock_ingestion
from sluice.logs import describe
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import jsonb, statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.ingestion.model import Ingestion
    from sluice.ports import Environment
    from sluice.settings import Settings

LOGGER = logging.getLogger(__name__)

#: Another handler works on the same step, whose attempt counts, not this one; or this one made progress.
_BUSY = (
    ChunkInProgressError,
    SplitInProgressError,
    OutputInProgressError,
    PublicationUnfinishedError,
)
_SHOWN_CHARACTERS = 1000
#: Attempts without an end after which an ingestion fails: fewer than the ten deliveries of a message, of
#: which the first is not counted, nor those of a small file in group commit.
_MAX_UNANSWERED = 5


@dataclass(frozen=True)
class Step:
    """A step of an ingestion that a message asks for.

    Attributes:
        name: what is attempted, such as `split`; attempts are counted for each.
        delivery: how often the message was delivered.
        states: the states in which an ingestion has this step.
    """

    ingestion: int
    name: str
    delivery: int = 1
    states: Collection[State] = UNFINISHED


def attempt(env: Environment, step: Step, work: Callable[[], None]) -> None:
    """Do a step of an ingestion, and fail the ingestion if the step failed permanently or too often.

    The start of an attempt is counted only if the message was delivered before, so that the usual case
    costs nothing. If too many attempts have started and not ended, the step is not attempted again.

    Args:
        env: settings `project`, `max_attempts`, `give_up_after_s`.
        step: what is attempted.
        work: does it.

    Raises:
        PermanentError: there is no such ingestion.
        Exception: what the step raised; deliver the message again.
    """
    unanswered = _count_start(env, step)
    if unanswered > min(env.settings.max_attempts, _MAX_UNANSWERED):
        _fail(env, step, _killed(step, unanswered - 1))
        return
    try:
        work()
    except PermanentError as error:
        _fail(env, step, error)
    except _BUSY:
        _count_answer(env, step, unanswered)
        raise
    except Exception as error:
        if not _ends(env, step, error, started=min(unanswered, 1)):
            raise
    else:
        _count_answer(env, step, unanswered)


def record_failure(env: Environment, ingestion: int, step: str, error: Exception) -> None:
    """Record a failed attempt of recovery, and fail the ingestion after too many."""
    failed = Step(ingestion, step)
    if isinstance(error, PermanentError):
        _fail(env, failed, error)
    else:
        _ends(env, failed, error, started=0)


def fail_stalled(connection: Connection, ingestion: Ingestion, project: str) -> None:
    """Fail an ingestion whose messages were sent again too often, with the last recorded error.

    Args:
        connection: a transaction that has locked the ingestion.
        ingestion: the ingestion.
        project: part of the source of its events.
    """
    key = {"ingestion": ingestion.id}
    found = connection.execute(statement("newest_failed_attempt"), key).one_or_none()
    reason = (
        f"{found.step} failed: {found.problem['detail']}"
        if found
        else "no error was recorded: its handlers were killed, ran out of memory or time, or got no message"
    )
    error = RepeatedFailureError(
        f"{ingestion.file.url}: no progress in state {ingestion.state} since"
        f" {ingestion.updated_at:%Y-%m-%d %H:%M} UTC, although its messages were sent again"
        f" {ingestion.resends - 1} times; {reason}. Fix the cause and retry the ingestion",
        cause=found.problem["code"] if found else None,
    )
    fail(connection, ingestion.id, error, project)


def _count_start(env: Environment, step: Step) -> int:
    """Return how many attempts have started and not ended, with this one; 0 if it is not counted."""
    if step.delivery == 1:
        return 0
    values = {"ingestion": step.ingestion, "step": step.name, "states": list(map(str, step.states))}
    with transaction(env.engine) as connection:
        return connection.scalar(statement("count_start"), values) or 0


def _count_answer(env: Environment, step: Step, unanswered: int) -> None:
    """Record that an attempt has ended, if its start was counted."""
    if not unanswered:
        return
    try:
        with transaction(env.engine) as connection:
            values = {"ingestion": step.ingestion, "step": step.name}
            connection.execute(statement("count_answer"), values)
    except Exception:
        LOGGER.exception("the end of an attempt was not recorded")


def _killed(step: Step, times: int) -> RepeatedFailureError:
    return RepeatedFailureError(
        f"{step.name} stopped {times} times without an answer: its function was killed, probably because it"
        " ran out of memory or time. Look for wide or long rows there, give the function more memory or"
        " load smaller chunks (SLUICE_CHUNK_BYTES), and retry the ingestion",
        cause=None,
    )


def _fail(env: Environment, step: Step, error: SluiceError) -> None:
    with transaction(env.engine) as connection:
        found = lock_ingestion(connection, step.ingestion)
        if found is None:
            raise error
        if found.state in step.states:
            fail(connection, step.ingestion, error, env.settings.project)


def _ends(env: Environment, step: Step, error: Exception, *, started: int) -> bool:
    """Record a failed attempt; return whether it was the last one, so that the ingestion has failed.

    Args:
        env: as of `attempt`.
        step: what failed.
        error: why.
        started: 1 if the start of the attempt was counted, else 0.
    """
    cause = error if isinstance(error, SluiceError) else _unexpected(step, error)
    values = {
        "ingestion": step.ingestion,
        "step": step.name,
        "problem": jsonb(cause.problem()),
        "started": started,
    }
    try:
        with transaction(env.engine) as connection:
            failed = connection.execute(statement("record_failed_attempt"), values).one()
        if not _is_last(failed.attempts, failed.age_s, error, env.settings):
            return False
        minutes = failed.age_s / 60
        last = RepeatedFailureError(
            f"{step.name} failed {failed.attempts} times in {minutes:.0f} minutes: {cause.detail}."
            " Fix the cause and retry the ingestion",
            cause=cause.code,
        )
        _fail(env, step, last)
    except Exception:
        LOGGER.exception("a failed attempt was not recorded")
        return False
    return True


def _is_last(attempts: int, age_s: float, error: Exception, settings: Settings) -> bool:
    """Whether to give up: what may be an outage gets time besides attempts."""
    is_patient = isinstance(error, TransientError)
    return attempts >= settings.max_attempts and (
        not is_patient or age_s >= settings.give_up_after_s
    )


def _unexpected(step: Step, error: Exception) -> SluiceError:
    """Log an unexpected error; return what events and problems say of it."""
    hidden = InternalError(describe(error)[:_SHOWN_CHARACTERS])
    extra = hidden.fields
    LOGGER.error("ingestion %s: %s failed", step.ingestion, step.name, exc_info=error, extra=extra)
    return hidden
