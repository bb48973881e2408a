"""When to settle: once for all files of a burst, in a moment of quiet, and not between any two of them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from sluice.compaction.compact import Settle
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Engine

#: A dataset is quiet when nothing of it was published for so long.
_QUIET_S = 1.0
#: Who waits longer than this settles nevertheless.
_MAX_WAIT_S = 20.0
#: So many datasets may be waited for at once: the other threads publish.
_MAX_WAITING = 2

_lock = threading.Lock()
_waiting: set[str] = set()


def settle_in_quiet(engine: Engine, dataset: str) -> None:
    """Settle a dataset once it is quiet; leave that to whoever waits in this process already.

    What it settles was published before, and who waits has not begun yet: so nothing is left out. If
    this process is killed, the message of the one that waits comes again.

    Args:
        engine: the database.
        dataset: its name.

    Raises:
        TransientError: deliver the message again; see `sluice.compaction.compact`.
    """
    with _lock:
        if dataset in _waiting:
            return
        may_wait = len(_waiting) < _MAX_WAITING
        if may_wait:
            _waiting.add(dataset)
    if may_wait:
        try:
            _wait(engine, dataset)
        finally:
            with _lock:
                _waiting.discard(dataset)
    Settle(engine)(dataset)


def _wait(engine: Engine, dataset: str) -> None:
    until = time.monotonic() + _MAX_WAIT_S
    while (left_s := _QUIET_S - _quiet_s(engine, dataset)) > 0 and time.monotonic() < until:
        time.sleep(left_s)


def _quiet_s(engine: Engine, dataset: str) -> float:
    with transaction(engine) as connection:
        quiet_s = connection.scalar(statement("quiet_s"), {"dataset": dataset})
        return _QUIET_S if quiet_s is None else float(quiet_s)
