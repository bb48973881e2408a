"""Debounces compaction: once for all files of a burst, after a pause, rather than once for each file."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from sluice.compaction.compact import Compact
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Engine


#: Datasets to wait for at the same time; the other threads publish.
_MAX_WAITING = 2


class DebouncedCompact:
    """Compacts a dataset once nothing of it was published for a while. Make one for a process.

    At most one thread waits for a dataset. Others return, because that thread has yet to begin and so
    compacts what they were called for. If the process is killed, the waiting thread's message is
    delivered again.

    Args:
        pause_s: how long nothing may be published before compaction begins.
        max_wait_s: wait no longer than this.
    """

    def __init__(self, *, pause_s: float = 1.0, max_wait_s: float = 20.0) -> None:
        self._pause_s = pause_s
        self._max_wait_s = max_wait_s
        self._lock = threading.Lock()
        self._waiting: set[str] = set()

    def __call__(self, engine: Engine, dataset: str) -> None:
        """Compact a dataset after a pause, until nothing is left or another thread waits for it.

        Raises:
            TransientError: deliver the message again; see `sluice.compaction.compact`.
        """
        compact = Compact(engine)
        while compact.is_due(dataset) and self._wait(engine, dataset) and compact(dataset):
            pass

    def _wait(self, engine: Engine, dataset: str) -> bool:
        """Wait for a pause; False when another thread does so already."""
        with self._lock:
            if dataset in self._waiting:
                return False
            max_wait_s = self._max_wait_s if len(self._waiting) < _MAX_WAITING else 0.0
            self._waiting.add(dataset)
        try:
            until = time.monotonic() + max_wait_s
            while (left_s := self._pause_s - _unchanged_s(engine, dataset)) > 0:
                if time.monotonic() + left_s > until:
                    break
                time.sleep(left_s)
        finally:
            with self._lock:
                self._waiting.discard(dataset)
        return True


def _unchanged_s(engine: Engine, dataset: str) -> float:
    with transaction(engine) as connection:
        unchanged_s = connection.scalar(statement("unchanged_s"), {"dataset": dataset})
        return float("inf") if unchanged_s is None else float(unchanged_s)
