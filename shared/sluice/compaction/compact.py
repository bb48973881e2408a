"""The use case of settling: the projections of what is done, made in the background.

A projection holds rows in another arrangement, such as a tree of boxes, from which some questions are
answered without looking at each row. Readers use it as soon as all of an ingestion is in it, and its
rows until then, so answers are the same before and after.

Ingestions are settled together, see `sluice.compaction.tiers`, and in slices, each its own
transaction: a handler that is killed, or runs out of time, is followed by one that goes on there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sluice.compaction.tiers import Group, next_group
from sluice.datasets import identifiers
from sluice.datasets.identifiers import quote
from sluice.datasets.model import SETTLEMENT_COLUMN, Dataset, Projection
from sluice.errors import SettlingError
from sluice.postgres.catalog import read_dataset
from sluice.postgres.connection import run_script, transaction, translated
from sluice.postgres.named_sql import composed, statement
from sluice.postgres.storage_sql import projection_rows, rows_of, slice_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Row

#: Rows that are sorted at once, and the memory for it.
_SLICE_ROWS = 1_000_000
_WORK_MEMORY = "128MB"
#: Rows to look at for the bounds of slices.
_SAMPLE_ROWS = 50_000
#: Slices that are made at the same time: the database sorts meanwhile, nothing else is to do here.
_AT_ONCE = 2
#: Share of new rows from which on the planner should hear of them.
_NEWS = 0.1
#: Time after which a handler leaves the rest to the next one; Pub/Sub waits for 600 s.
_MAX_S = 400.0


class _DissolvedError(Exception):
    """An ingestion of the settlement was taken back meanwhile."""


class Settle:
    """Brings the projections of a dataset up to date.

    Args:
        engine: the database.
        slice_rows: about how many rows are sorted at once.
    """

    def __init__(self, engine: Engine, *, slice_rows: int = _SLICE_ROWS) -> None:
        self._engine = engine
        self._slice_rows = slice_rows
        self._give_up_at = time.monotonic() + _MAX_S

    def __call__(self, name: str, *, while_loading: bool = False) -> int:
        """Settle the published ingestions of a dataset; return how many settlements were made.

        While others of its files are on their way it does nothing: whoever publishes the last of them
        settles all, and meanwhile the database has better things to do.

        Args:
            name: the dataset.
            while_loading: settle nevertheless.

        Raises:
            SettlingError: the time did not suffice; call again.
            DatabaseUnavailableError: the same.
        """
        with transaction(self._engine) as connection:
            dataset = read_dataset(connection, name)
        if dataset is None or not dataset.projections:
            return 0
        settled = 0
        while self._is_left(name):  # looked at again: who was not alone meanwhile is gone
            with self._alone(name) as is_alone:
                if not is_alone or (self._is_loading(name) and not while_loading):
                    break
                while (settlement := self._next(dataset)) is not None:
                    settled += self._settle(dataset, settlement)
        return settled

    def _is_left(self, name: str) -> bool:
        with transaction(self._engine) as connection:
            return _next_group(connection, name) is not None

    @contextmanager
    def _alone(self, name: str) -> Iterator[bool]:
        with translated(), self._engine.connect() as connection:
            connection.detach()
            is_alone = bool(connection.scalar(statement("lock_settling"), {"dataset": name}))
            connection.commit()
            yield is_alone

    def _is_loading(self, name: str) -> bool:
        with transaction(self._engine) as connection:
            return bool(connection.scalar(statement("is_loading"), {"dataset": name}))

    def _next(self, dataset: Dataset) -> Row[Any] | None:
        """Return the settlement that an earlier handler left, or a new one; None when all is settled."""
        key = {"dataset": dataset.name}
        with transaction(self._engine) as connection:
            self._check_version(connection, dataset)
            left = connection.execute(statement("open_settlement"), key).first()
            if left is not None:
                return left
            group = _next_group(connection, dataset.name)
            if group is None:
                return None
            facts = {**key, "ingestions": list(group.ingestions), "rows": group.rows}
            return connection.execute(statement("begin_settlement"), facts).one()

    def _check_version(self, connection: Connection, dataset: Dataset) -> None:
        key = {"dataset": dataset.name}
        declared = connection.execute(statement("select_declaration"), key).one()
        if declared.version != dataset.version:
            raise SettlingError(f"dataset {dataset.name} was declared anew")

    def _settle(self, dataset: Dataset, settlement: Row[Any]) -> bool:
        """Make every slice of a settlement; False when one of its ingestions was taken back meanwhile."""
        self._tell_planner(dataset, settlement)
        self._cut(dataset, settlement)
        with transaction(self._engine) as connection:
            key = {"settlement": settlement.id}
            slices = connection.execute(statement("slices_to_make"), key).all()
        try:
            with ThreadPoolExecutor(_AT_ONCE, "settle") as pool:
                list(pool.map(partial(self._make, dataset, settlement), slices))
            self._finish(dataset, settlement)
        except _DissolvedError:
            return False
        return True

    def _tell_planner(self, dataset: Dataset, settlement: Row[Any]) -> None:
        """Tell the planner, and the indexes by blocks, of many new rows."""
        table = identifiers.store_table(dataset.name)
        with transaction(self._engine) as connection:
            known = connection.scalar(statement("rows_stored"), {"table": table}) or 0
            if settlement.rows > known * _NEWS or settlement.rows > _SLICE_ROWS:
                summarize = composed("SELECT sluice.summarize(CAST(:table AS regclass))")
                connection.execute(summarize, {"table": table})
                run_script(connection, f"ANALYZE {table}")

    def _cut(self, dataset: Dataset, settlement: Row[Any]) -> None:
        """Say of each projection where one slice ends and the next begins."""
        key = {"settlement": settlement.id}
        for each in dataset.projections:
            with transaction(self._engine) as connection:
                if each.name in connection.scalars(statement("sliced_projections"), key).all():
                    continue
                bounds = [None, *self._bounds(connection, dataset, each, settlement), None]
                firsts, lasts = zip(*pairwise(bounds), strict=True)
                facts = {"projection": each.name, "firsts": list(firsts), "lasts": list(lasts)}
                connection.execute(statement("begin_slices"), {**key, **facts})

    def _bounds(
        self,
        connection: Connection,
        dataset: Dataset,
        projection: Projection,
        settlement: Row[Any],
    ) -> list[str]:
        """Return the bounds between slices of about the same size, as texts."""
        slices = -(-settlement.rows // self._slice_rows)
        if slices < 2 or not projection.slice:
            return []
        shares = [number / slices for number in range(1, slices)]
        percent = min(100.0, 100 * _SAMPLE_ROWS / settlement.rows)
        sql = (
            "SELECT array_agg(DISTINCT bound ORDER BY bound) FROM unnest(("
            "SELECT percentile_disc(CAST(:shares AS float8[]))"
            f" WITHIN GROUP (ORDER BY {quote(projection.slice)})"
            f" FROM {identifiers.store_table(dataset.name)} TABLESAMPLE SYSTEM ({percent})"
            f" WHERE {rows_of(settlement.ingestions)})) AS bound"
        )
        return [str(each) for each in connection.scalar(composed(sql), {"shares": shares}) or []]

    def _make(self, dataset: Dataset, settlement: Row[Any], part: Row[Any]) -> None:
        """Make one slice."""
        if time.monotonic() > self._give_up_at:
            raise SettlingError(f"{settlement.rows} rows of {dataset.name} take longer")
        key = {"slice": part.id}
        with transaction(self._engine) as connection:
            if not connection.scalar(statement("is_to_make"), key):
                raise _DissolvedError
            self._check_version(connection, dataset)
            run_script(connection, f"SET LOCAL work_mem = '{_WORK_MEMORY}'")
            _insert(connection, dataset, settlement, part)
            if connection.scalar(statement("mark_made"), key) is None:
                raise _DissolvedError

    def _finish(self, dataset: Dataset, settlement: Row[Any]) -> None:
        """Hand the settlement to the readers, in place of those that it is made of."""
        key = {"dataset": dataset.name, "settlement": settlement.id}
        with transaction(self._engine) as connection:
            connection.execute(statement("lock_dataset"), key)
            facts = {**key, "ingestions": settlement.ingestions}
            joined = connection.execute(statement("join_settlement"), facts).rowcount
            marked = connection.scalar(statement("mark_settled"), key)
            if marked is None or joined != len(settlement.ingestions):
                raise _DissolvedError
            connection.execute(statement("dissolve_merged"), key)


def _next_group(connection: Connection, name: str) -> Group | None:
    found = connection.execute(statement("settled_and_not"), {"dataset": name})
    return next_group(
        Group(tuple(row.ingestions), row.rows, row.settlement is not None) for row in found
    )


def _insert(connection: Connection, dataset: Dataset, settlement: Row[Any], part: Row[Any]) -> None:
    projection = next(each for each in dataset.projections if each.name == part.projection)
    table = identifiers.rollup_table(dataset.name, projection.name)
    names = ", ".join(quote(each) for each in projection.columns)
    condition = rows_of(settlement.ingestions) + slice_of(
        dataset, projection, part.first, part.last
    )
    rows = projection_rows(dataset, condition, str(part.id))
    values = {"settlement": settlement.id, "first": part.first, "last": part.last}
    connection.execute(
        composed(
            f"INSERT INTO {table} ({names}, {SETTLEMENT_COLUMN}) "
            f"WITH rows AS ({rows}) SELECT {names}, CAST(:settlement AS integer) "
            f"FROM ({projection.sql}) AS made"
        ),
        {name: value for name, value in values.items() if value is not None},
    )
