"""The steps of publishing a large ingestion that take long: they merge its roll-ups, or prepare its rows.

Each step merges some groups or copies some rows, in a transaction of its own; readers see nothing of it.
Several handlers share the steps, and the next handler continues after one that was killed. The publication
itself merges what has no steps: small roll-ups, and the rows of small ingestions.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore, Event
from typing import TYPE_CHECKING

from sluice.documents.ingestions import State
from sluice.errors import PublicationUnfinishedError
from sluice.ingestion.ingestions import lock_ingestion
from sluice.ingestion.preparation import (
    check_and_begin,
    index_staged,
    may_be_prepared,
    prepare_rows,
)
from sluice.postgres.connection import run_script, transaction
from sluice.postgres.named_sql import composed, statement
from sluice.postgres.rollup_sql import (
    BUCKETS,
    LISTED_BUCKETS,
    RANGE_OF_BUCKETS,
    analyze,
    buckets_of,
    count_parts,
    merge_parts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Engine

    from sluice.datasets.model import Dataset, Rollup
    from sluice.ingestion.model import Ingestion
    from sluice.settings import Settings

#: Up to this share of a step, parts of a roll-up are merged by the publication itself.
_SMALL_SHARE = 0.1
#: Up to so many steps, parts are counted to size them; it costs a second. More are estimated.
_COUNTED_STEPS = 4
#: Steps at the same time in a process: the database sorts while another one is read. Each has a connection.
_CONCURRENT_STEPS = 2
_SLOTS = BoundedSemaphore(_CONCURRENT_STEPS)
#: At most so many steps prepare rows: each reads its rows from all over the staging table.
_MAX_PREPARING = 128
#: Time after which a handler leaves the rest to the next one; Pub/Sub waits for 600 s.
_MAX_S = 400.0
#: Memory of one sort: a step needs less.
_WORK_MEMORY = "128MB"


class PublishSteps:
    """The steps of one ingestion.

    Args:
        engine: the database.
        ingestion: in state `publishing`.
        dataset: its dataset, as it was declared when the ingestion began.
        settings: `publish_step_rows`, `max_rejects`.
    """

    def __init__(
        self, engine: Engine, ingestion: Ingestion, dataset: Dataset, settings: Settings
    ) -> None:
        self._engine = engine
        self._ingestion = ingestion
        self._dataset = dataset
        self._rollups = {each.name: each for each in dataset.rollups}
        self._step_rows = settings.publish_step_rows
        self._max_rejects = settings.max_rejects
        self._is_over = Event()

    @property
    def may_be_needed(self) -> bool:
        """Whether the ingestion may have enough rows, or parts of roll-ups, for steps."""
        if self._dataset.is_staged:
            return (
                may_be_prepared(self._dataset) and self._ingestion.account.loaded > self._step_rows
            )
        return bool(self._rollups) and self._ingestion.account.loaded > self._small

    @property
    def _small(self) -> float:
        return self._step_rows * _SMALL_SHARE

    def __call__(self) -> None:
        """Do the steps that are left, with other handlers.

        Raises:
            PublicationUnfinishedError: some are left, for the next handler or to another one.
            DatabaseUnavailableError: deliver the message again.
        """
        self._plan()
        ends_at = time.monotonic() + _MAX_S
        with ThreadPoolExecutor(_CONCURRENT_STEPS, "publish") as pool:
            working = [pool.submit(self._work, ends_at) for _ in range(_CONCURRENT_STEPS)]
            for each in working:
                each.result()
        with transaction(self._engine) as connection:
            left = connection.scalar(statement("publish_steps_left"), self._key)
        if left:
            raise PublicationUnfinishedError(self._ingestion.id, left)

    @property
    def _key(self) -> dict[str, object]:
        return {"ingestion": self._ingestion.id}

    def _plan(self) -> None:
        """Record the steps, unless an earlier handler did."""
        with transaction(self._engine) as connection:
            if self._is_planned(connection):
                return
        if self._dataset.is_staged:
            index_staged(self._engine, self._dataset, self._ingestion.id)
        with transaction(self._engine) as connection:
            found = lock_ingestion(connection, self._ingestion.id)
            if found is None or found.state != State.PUBLISHING or self._is_planned(connection):
                return
            if self._dataset.is_staged:
                found = check_and_begin(connection, found, self._dataset, self._max_rejects)
                steps = min(-(-found.account.loaded // self._step_rows), _MAX_PREPARING)
                self._insert(connection, "", steps)
            for rollup in self._dataset.rollups:
                self._plan_rollup(connection, rollup)

    def _is_planned(self, connection: Connection) -> bool:
        return bool(connection.scalar(statement("has_publish_steps"), self._key))

    def _plan_rollup(self, connection: Connection, rollup: Rollup) -> None:
        values = {**self._key, "limit": _COUNTED_STEPS * self._step_rows}
        parts = connection.scalar(composed(count_parts(self._dataset, rollup)), values) or 0
        if parts <= self._small:
            return
        if parts == values["limit"]:
            parts = max(parts, self._ingestion.account.loaded)
        run_script(connection, analyze(self._dataset, rollup))
        self._insert(connection, rollup.name, -(-parts // self._step_rows))

    def _insert(self, connection: Connection, rollup: str, steps: int) -> None:
        firsts, lasts = zip(*_ranges(steps), strict=True)
        ranges = {"firsts": list(firsts), "lasts": list(lasts)}
        facts = {**self._key, "rollup": rollup, **ranges}
        connection.execute(statement("insert_publish_steps"), facts)

    def _work(self, ends_at: float) -> None:
        """Do steps until none is left to take, time is over, or another thread failed."""
        try:
            is_left = True
            while is_left and not self._is_over.is_set() and time.monotonic() < ends_at:
                with _SLOTS:
                    is_left = self._do_next()
        except BaseException:
            self._is_over.set()
            raise

    def _do_next(self) -> bool:
        """Do a step; False if none is left to take."""
        version = {"declaration_version": self._ingestion.declaration_version}
        with transaction(self._engine) as connection:
            claim = statement("claim_publish_step")
            step = connection.execute(claim, {**self._key, **version}).one_or_none()
            if step is None:
                return False
            run_script(connection, f"SET LOCAL work_mem = '{_WORK_MEMORY}'")
            if step.rollup:
                sql = merge_parts(self._dataset, self._rollups[step.rollup], RANGE_OF_BUCKETS)
                buckets = {"first": step.first_bucket, "last": step.last_bucket}
                connection.execute(composed(sql), {**self._key, **buckets})
            else:
                prepare_rows(connection, self._ingestion.id, self._dataset, step)
            done = {**self._key, "number": step.number}
            connection.execute(statement("complete_publish_step"), done)
            if not connection.execute(statement("note_progress"), self._key).rowcount:
                connection.rollback()  # cancelled or failed meanwhile
                return False
        return True


def merge_rollups(connection: Connection, dataset: Dataset, ingestion: int) -> None:
    """Merge the parts of an ingestion's roll-ups, except those that its steps have merged.

    Args:
        connection: the transaction of the publication.
        dataset: its dataset.
        ingestion: whose parts.
    """
    if not dataset.rollups:
        return
    key = {"ingestion": ingestion}
    merged = set(connection.scalars(statement("merged_rollups"), key))
    for rollup in dataset.rollups:
        if rollup.name not in merged:
            sql = merge_parts(dataset, rollup, RANGE_OF_BUCKETS)
            connection.execute(composed(sql), {**key, "first": 0, "last": BUCKETS - 1})


def buckets_of_parts(
    connection: Connection, dataset: Dataset, ingestion: int
) -> dict[str, Sequence[int]]:
    """Return the buckets in which an ingestion has parts, by roll-up."""
    key = {"ingestion": ingestion}
    return {
        each.name: connection.scalars(composed(buckets_of(dataset, each)), key).all()
        for each in dataset.rollups
    }


def merge_buckets(
    connection: Connection, dataset: Dataset, ingestion: int, buckets: Mapping[str, Sequence[int]]
) -> None:
    """Merge the parts of an ingestion's roll-ups in some buckets only, by roll-up.

    Args:
        connection: the transaction of the publication.
        dataset: its dataset.
        ingestion: whose parts; those in other buckets are merged.
        buckets: what `buckets_of_parts` returned.
    """
    for rollup in dataset.rollups:
        sql = merge_parts(dataset, rollup, LISTED_BUCKETS)
        values = {"ingestion": ingestion, "buckets": list(buckets[rollup.name])}
        connection.execute(composed(sql), values)


def _ranges(steps: int) -> Iterator[tuple[int, int]]:
    """Yield the first and last bucket of each step."""
    steps = max(1, min(steps, BUCKETS))
    for number in range(steps):
        yield number * BUCKETS // steps, (number + 1) * BUCKETS // steps - 1
