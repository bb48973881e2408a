"""Ends an ingestion whose step fails: after a permanent error immediately, after any other when it repeats.

A failed attempt is recorded in a transaction of its own. Pub/Sub counts deliveries only where a
subscription has a dead-letter policy, and starts again when recovery sends a message again, so the
attempts are counted here. If the database cannot record one, it does not count: the message is
delivered again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sluice.documents.ingestions import UNFINISHED, State
from sluice.errors import (
    ChunkInProgressError,
    OutputInProgressError,
    PermanentError,
    RepeatedFailureError,
    SluiceError,
    SplitInProgressError,
    TransientError,
)
from sluice.ingestion.ingestions import fail, lock_ingestion
from sluice.postgres.connection import message_of, transaction
from sluice.postgres.named_sql import jsonb, statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.ingestion.model import Ingestion
    from sluice.ports import Environment
    from sluice.settings import Settings

LOGGER = logging.getLogger(__name__)

#: Another handler works on the same step; its attempt counts, not this one.
_BUSY = (ChunkInProgressError, SplitInProgressError, OutputInProgressError)
_SHOWN_CHARACTERS = 1000


@contextmanager
def failures_recorded(
    env: Environment, ingestion: int, step: str, states: Collection[State] = UNFINISHED
) -> Iterator[None]:
    """Fail an ingestion if this step of it failed permanently or too often.

    Args:
        env: settings `project`, `max_attempts`, `give_up_after_s`.
        ingestion: whose step it is.
        step: what is attempted, such as `split`; attempts are counted for each.
        states: the states in which an ingestion has this step.

    Raises:
        PermanentError: there is no such ingestion.
        Exception: what the step raised; deliver the message again.
    """
    try:
        yield
    except PermanentError as error:
        _fail(env, ingestion, error, states)
    except _BUSY:
        raise
    except Exception as error:
        if not _ends(env, ingestion, step, error, states):
            raise


def record_failure(env: Environment, ingestion: int, step: str, error: Exception) -> None:
    """Record a failed attempt of recovery, and fail the ingestion after too many."""
    if isinstance(error, PermanentError):
        _fail(env, ingestion, error, UNFINISHED)
    else:
        _ends(env, ingestion, step, error, UNFINISHED)


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


def _fail(env: Environment, ingestion: int, error: SluiceError, states: Collection[State]) -> None:
    with transaction(env.engine) as connection:
        found = lock_ingestion(connection, ingestion)
        if found is None:
            raise error
        if found.state in states:
            fail(connection, ingestion, error, env.settings.project)


def _ends(
    env: Environment, ingestion: int, step: str, error: Exception, states: Collection[State]
) -> bool:
    """Record a failed attempt; return whether it was the last one, so that the ingestion has failed."""
    cause = error if isinstance(error, SluiceError) else _unexpected(error)
    values = {"ingestion": ingestion, "step": step, "problem": jsonb(cause.problem())}
    try:
        with transaction(env.engine) as connection:
            failed = connection.execute(statement("record_failed_attempt"), values).one()
        if not _is_last(failed.attempts, failed.age_s, error, env.settings):
            return False
        minutes = failed.age_s / 60
        last = RepeatedFailureError(
            f"{step} failed {failed.attempts} times in {minutes:.0f} minutes: {cause.detail}."
            " Fix the cause and retry the ingestion",
            cause=cause.code,
        )
        _fail(env, ingestion, last, states)
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


def _unexpected(error: Exception) -> SluiceError:
    text = message_of(error) or str(error)
    return SluiceError(f"{type(error).__name__}: {text[:_SHOWN_CHARACTERS]}")
