"""The use case of compaction: builds the projections of published rows in the background.

A projection holds the rows in another arrangement, such as a tree of boxes, which answers some queries
without reading every row. Readers use a segment of it once the segment is complete, and the stored rows
until then, so answers are the same before and after.

`sluice.compaction.tiers` chooses which ingestions become a segment. A segment is made in slices, each in
its own transaction: after a handler that is killed or runs out of time, the next one continues there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sluice.compaction.box_trees import Points, tree_rows
from sluice.compaction.tiers import Group, next_group
from sluice.datasets import identifiers
from sluice.datasets.identifiers import quote
from sluice.datasets.model import SEGMENT_COLUMN, Dataset, Projection
from sluice.errors import CompactionUnfinishedError
from sluice.postgres.box_counts_sql import select_points
from sluice.postgres.catalog import read_dataset
from sluice.postgres.connection import (
    copy_in,
    own_connection,
    receive_copy,
    run_bound,
    run_script,
    transaction,
)
from sluice.postgres.dependencies import check_projection
from sluice.postgres.named_sql import composed, statement
from sluice.postgres.storage_sql import projection_rows, rows_of, slice_of

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, Engine, Row

#: Rows of a slice, and the memory for sorting them.
_SLICE_ROWS = 1_000_000
_WORK_MEMORY = "128MB"
#: Rows to sample for the bounds of slices.
_SAMPLE_ROWS = 50_000
#: Slices made concurrently: the database sorts while the other one is read.
_CONCURRENT_SLICES = 2
#: Trees are built one at a time, in 200 MB; meanwhile the rows of the next slice are read.
_building = threading.Lock()
#: Share of new rows from which on the planner's statistics are refreshed.
_ANALYZE_SHARE = 0.1
#: Time after which a handler leaves the rest to the next one; Pub/Sub waits for 600 s.
_MAX_S = 400.0


@dataclass(frozen=True)
class Segment:
    """Ingestions whose rows are in the projections together; see the table `sluice.segments`."""

    id: int
    ingestions: tuple[int, ...]
    rows: int

    @classmethod
    def of(cls, row: Row[Any]) -> Segment:
        """Return the segment of a database row."""
        return cls(row.id, tuple(row.ingestions), row.rows)


@dataclass(frozen=True)
class Slice:
    """A range of a segment's rows in one projection; a bound of None is open."""

    id: int
    projection: str
    first: str | None
    last: str | None


class _SegmentRetiredError(Exception):
    """An ingestion of the segment was withdrawn while the segment was made."""


class Compact:
    """Updates the projections of a dataset.

    Args:
        engine: the database.
        slice_rows: about how many rows to sort in one transaction.
    """

    def __init__(self, engine: Engine, *, slice_rows: int = _SLICE_ROWS) -> None:
        self._engine = engine
        self._slice_rows = slice_rows
        self._give_up_at = time.monotonic() + _MAX_S

    def is_due(self, name: str) -> bool:
        """Whether a dataset has rows to compact."""
        with transaction(self._engine) as connection:
            dataset = read_dataset(connection, name)
            if dataset is None or not dataset.projections:
                return False
            return _next_group(connection, name) is not None

    def __call__(self, name: str, *, while_loading: bool = False) -> bool:
        """Compact what was published before this call; return whether this handler did it.

        What is published meanwhile is left to a later call, or a stream of small files would become a
        segment each. Call again while `is_due`: a handler that found this one at work relies on it.

        Args:
            name: the dataset.
            while_loading: compact even while other files of the dataset are in progress. Otherwise this
                does nothing then, because the last of them to be published is followed by a compaction.

        Raises:
            CompactionUnfinishedError: there was not enough time; call again.
            DatabaseUnavailableError: call again.
            DeclarationError: a projection that is stored breaks a rule; readers find the rows uncompacted.
        """
        with self._alone(name) as is_alone:
            if not is_alone or (not while_loading and self._is_loading(name)):
                return False
            with transaction(self._engine) as connection:
                dataset = read_dataset(connection, name)
                until: datetime = connection.scalars(composed("SELECT clock_timestamp()")).one()
                if dataset is None or not dataset.projections:
                    return True
                for each in dataset.projections:
                    if not each.tree:
                        check_projection(connection, dataset, each)
            while (segment := self._next(dataset, until)) is not None:
                self._make_segment(dataset, segment)
        return True

    @contextmanager
    def _alone(self, name: str) -> Iterator[bool]:
        with own_connection(self._engine) as connection:
            is_alone = bool(connection.scalar(statement("lock_compaction"), {"dataset": name}))
            connection.commit()
            yield is_alone

    def _is_loading(self, name: str) -> bool:
        with transaction(self._engine) as connection:
            return bool(connection.scalar(statement("is_loading"), {"dataset": name}))

    def _next(self, dataset: Dataset, until: datetime) -> Segment | None:
        """Return the segment that an earlier handler left incomplete, or a new one, or None."""
        key = {"dataset": dataset.name}
        with transaction(self._engine) as connection:
            _check_version(connection, dataset)
            unfinished = connection.execute(statement("unfinished_segment"), key).first()
            if unfinished is not None:
                return Segment.of(unfinished)
            group = _next_group(connection, dataset.name, until)
            if group is None:
                return None
            facts = {**key, "ingestions": list(group.ingestions), "rows": group.rows}
            return Segment.of(connection.execute(statement("begin_segment"), facts).one())

    def _make_segment(self, dataset: Dataset, segment: Segment) -> None:
        """Make every slice of a segment and publish it, unless it is retired meanwhile."""
        self._refresh_statistics(dataset, segment)
        self._cut(dataset, segment)
        with transaction(self._engine) as connection:
            rows = connection.execute(statement("pending_slices"), {"segment": segment.id})
            slices = [Slice(*row) for row in rows]
        try:
            with ThreadPoolExecutor(_CONCURRENT_SLICES, "compact") as pool:
                list(pool.map(partial(self._make_slice, dataset, segment), slices))
            self._publish(dataset, segment)
        except _SegmentRetiredError:
            # A withdrawal that committed just before the segment began did not see it.
            with transaction(self._engine) as connection:
                connection.execute(statement("retire_unfinished"), {"segment": segment.id})

    def _refresh_statistics(self, dataset: Dataset, segment: Segment) -> None:
        """Update the planner's statistics and the block range indexes when there are many new rows."""
        table = identifiers.store_table(dataset.name)
        with transaction(self._engine) as connection:
            known = connection.scalar(statement("estimated_rows"), {"table": table}) or 0
            if segment.rows > known * _ANALYZE_SHARE or segment.rows > _SLICE_ROWS:
                summarize = composed("SELECT sluice.summarize(CAST(:table AS regclass))")
                connection.execute(summarize, {"table": table})
                run_script(connection, f"ANALYZE {table}")

    def _cut(self, dataset: Dataset, segment: Segment) -> None:
        """Record the slices of each projection that has none yet."""
        key = {"segment": segment.id}
        for each in dataset.projections:
            with transaction(self._engine) as connection:
                if each.name in connection.scalars(statement("sliced_projections"), key).all():
                    continue
                bounds = [None, *self._bounds(connection, dataset, each, segment), None]
                firsts, lasts = zip(*pairwise(bounds), strict=True)
                facts = {"projection": each.name, "firsts": list(firsts), "lasts": list(lasts)}
                connection.execute(statement("begin_slices"), {**key, **facts})

    def _bounds(
        self, connection: Connection, dataset: Dataset, projection: Projection, segment: Segment
    ) -> list[str]:
        """Return the bounds between slices of about the same size, as texts."""
        slices = -(-segment.rows // self._slice_rows)
        if slices < 2 or not projection.slice:
            return []
        shares = [number / slices for number in range(1, slices)]
        percent = min(100.0, 100 * _SAMPLE_ROWS / segment.rows)
        sql = (
            "SELECT array_agg(DISTINCT bound ORDER BY bound) FROM unnest(("
            "SELECT percentile_disc(CAST(:shares AS float8[]))"
            f" WITHIN GROUP (ORDER BY {quote(projection.slice)})"
            f" FROM {identifiers.store_table(dataset.name)} TABLESAMPLE SYSTEM ({percent})"
            f" WHERE {rows_of(segment.ingestions)})) AS bound"
        )
        return [str(each) for each in connection.scalar(composed(sql), {"shares": shares}) or []]

    def _make_slice(self, dataset: Dataset, segment: Segment, part: Slice) -> None:
        if time.monotonic() > self._give_up_at:
            raise CompactionUnfinishedError(f"{segment.rows} rows of {dataset.name} take longer")
        key = {"slice": part.id}
        with transaction(self._engine) as connection:
            if not connection.scalar(statement("is_slice_pending"), key):
                raise _SegmentRetiredError
            _check_version(connection, dataset)
            run_script(connection, f"SET LOCAL work_mem = '{_WORK_MEMORY}'")
            insert_slice(connection, dataset, segment, part)
            if connection.scalar(statement("complete_slice"), key) is None:
                raise _SegmentRetiredError

    def _publish(self, dataset: Dataset, segment: Segment) -> None:
        """Have readers use the segment in place of those that it was merged from."""
        key = {"dataset": dataset.name, "segment": segment.id}
        with transaction(self._engine) as connection:
            connection.execute(statement("lock_dataset"), key)
            facts = {**key, "ingestions": list(segment.ingestions)}
            assigned = connection.execute(statement("assign_segment"), facts).rowcount
            completed = connection.scalar(statement("complete_segment"), key)
            if completed is None or assigned != len(segment.ingestions):
                raise _SegmentRetiredError
            connection.execute(statement("retire_merged_segments"), key)


def _check_version(connection: Connection, dataset: Dataset) -> None:
    key = {"dataset": dataset.name}
    declared = connection.execute(statement("select_declaration"), key).one()
    if declared.version != dataset.version:
        raise CompactionUnfinishedError(f"the declaration of {dataset.name} was changed meanwhile")


def _next_group(connection: Connection, name: str, until: datetime | None = None) -> Group | None:
    facts = {"dataset": name, "until": until}
    found = connection.execute(statement("compaction_candidates"), facts)
    return next_group(
        Group(tuple(row.ingestions), row.rows, row.segment is not None) for row in found
    )


def insert_slice(connection: Connection, dataset: Dataset, segment: Segment, part: Slice) -> None:
    """Insert the rows of a slice into its projection."""
    projection = next(each for each in dataset.projections if each.name == part.projection)
    table = identifiers.rollup_table(dataset.name, projection.name)
    names = ", ".join(map(quote, (*projection.columns, SEGMENT_COLUMN)))
    condition = rows_of(segment.ingestions) + slice_of(dataset, projection, part.first, part.last)
    if projection.tree:
        points = Points(projection.tree)
        receive_copy(connection, select_points(dataset, projection.tree, condition), points)
        with _building:
            rows = tree_rows(projection.tree, points, part.id, segment.id)
            copy_in(connection, f"COPY {table} ({names}) FROM STDIN (FORMAT binary)", rows)
        return
    rows_sql = projection_rows(dataset, condition, str(part.id))
    columns = ", ".join(map(quote, projection.columns))
    run_bound(
        connection,
        f"INSERT INTO {table} ({names}) WITH rows AS ({rows_sql})"
        f" SELECT {columns}, {segment.id} FROM (\n{projection.sql}\n) AS made",
        (),
    )
