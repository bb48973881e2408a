"""The use case of settling: the projections of what is done, made in the background.

A projection holds the rows of an ingestion in another arrangement, such as sorted lists, from which
some questions are answered without looking at each row. Readers use it as soon as all of an ingestion
is in it, and its rows until then, so answers are the same before and after.

A large ingestion is taken in slices, each its own transaction that says how far it is: a handler that
is killed, or runs out of time, is followed by one that goes on there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from sluice.adapters.database import run_script, transaction, translated
from sluice.adapters.statements import composed, statement
from sluice.datasets import identifiers
from sluice.datasets.identifiers import quote
from sluice.datasets.model import INGESTION_COLUMN, Dataset, Projection
from sluice.datasets.registry import read_dataset
from sluice.datasets.stored import projection_rows, stored_type
from sluice.errors import SettlingError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Row

#: Rows that are sorted at once, and the memory for it.
_SLICE_ROWS = 1_000_000
_WORK_MEMORY = "128MB"
#: Rows to look at for the bounds of slices.
_SAMPLE_ROWS = 50_000
#: Ingestions that are settled at the same time: the database sorts meanwhile, nothing else is to do here.
_AT_ONCE = 2
#: Share of new rows from which on the planner should hear of them.
_NEWS = 0.1
#: Time after which a handler leaves the rest to the next one; Pub/Sub waits for 600 s.
_MAX_S = 400.0


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
        """Settle the published ingestions of a dataset; return how many.

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
        with self._alone(name) as is_alone:
            if not is_alone or (self._is_loading(name) and not while_loading):
                return 0
            settled = 0
            with ThreadPoolExecutor(_AT_ONCE, "settle") as pool:
                while rows := self._unsettled(name):
                    settled += sum(pool.map(partial(self._settle, dataset), rows))
            return settled

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

    def _unsettled(self, name: str) -> Sequence[Row[Any]]:
        with transaction(self._engine) as connection:
            return connection.execute(statement("unsettled"), {"dataset": name}).all()

    def _settle(self, dataset: Dataset, row: Row[Any]) -> bool:
        """Fill every projection; False when the ingestion was taken back meanwhile."""
        self._prepare(dataset, row)
        for projection in dataset.projections:
            progress = row.settling.get(projection.name) or {
                "bounds": self._bounds(dataset, projection, row),
                "next": 0,
            }
            while progress["next"] <= len(progress["bounds"]):
                if time.monotonic() > self._give_up_at:
                    raise SettlingError(f"ingestion {row.ingestion} takes longer")
                if not self._fill(dataset, projection, row.ingestion, progress):
                    return False
                progress["next"] += 1
        with transaction(self._engine) as connection:
            connection.execute(statement("mark_settled"), {"ingestion": row.ingestion})
        return True

    def _prepare(self, dataset: Dataset, row: Row[Any]) -> None:
        """Tell the planner, and the indexes by blocks, of many new rows."""
        table = identifiers.store_table(dataset.name)
        with transaction(self._engine) as connection:
            known = connection.scalar(statement("rows_stored"), {"table": table}) or 0
            if row.rows_loaded > known * _NEWS or row.rows_loaded > _SLICE_ROWS:
                summarize = composed("SELECT sluice.summarize(CAST(:table AS regclass))")
                connection.execute(summarize, {"table": table})
                run_script(connection, f"ANALYZE {table}")

    def _bounds(self, dataset: Dataset, projection: Projection, row: Row[Any]) -> list[Any]:
        """Return where one slice ends and the next begins."""
        slices = -(-row.rows_loaded // self._slice_rows)
        if slices < 2 or not projection.slice:
            return []
        shares = [number / slices for number in range(1, slices)]
        percent = min(100.0, 100 * _SAMPLE_ROWS / row.rows_loaded)
        sql = (
            "SELECT to_jsonb(percentile_disc(CAST(:shares AS float8[]))"
            f" WITHIN GROUP (ORDER BY {quote(projection.slice)}))"
            f" FROM {identifiers.store_table(dataset.name)} TABLESAMPLE SYSTEM ({percent})"
            f" WHERE {INGESTION_COLUMN} = :ingestion"
        )
        with transaction(self._engine) as connection:
            values = {"shares": shares, "ingestion": row.ingestion}
            found = connection.scalar(composed(sql), values) or []
        return sorted({each for each in found if each is not None})

    def _fill(
        self, dataset: Dataset, projection: Projection, ingestion: int, progress: dict[str, Any]
    ) -> bool:
        """Make one slice; False when the ingestion was taken back."""
        with transaction(self._engine) as connection:
            kept = {**progress, "next": progress["next"] + 1}
            facts = {"ingestion": ingestion, "projection": projection.name}
            facts["progress"] = json.dumps(kept)
            if connection.scalar(statement("keep_settling"), facts) is None:
                return False
            declared = connection.execute(
                statement("select_declaration"), {"dataset": dataset.name}
            )
            if declared.one().version != dataset.version:
                raise SettlingError(f"dataset {dataset.name} was declared anew")
            run_script(connection, f"SET LOCAL work_mem = '{_WORK_MEMORY}'")
            _insert(connection, dataset, projection, ingestion, progress)
            return True


def _insert(
    connection: Connection,
    dataset: Dataset,
    projection: Projection,
    ingestion: int,
    progress: dict[str, Any],
) -> None:
    table = identifiers.rollup_table(dataset.name, projection.name)
    names = ", ".join(quote(each) for each in projection.columns)
    condition, values = _slice(dataset, projection, progress["bounds"], progress["next"])
    rows = projection_rows(dataset, f"{INGESTION_COLUMN} = :ingestion{condition}")
    connection.execute(
        composed(
            f"INSERT INTO {table} ({names}, {INGESTION_COLUMN}) "
            f"WITH rows AS ({rows}) SELECT {names}, CAST(:ingestion AS integer) "
            f"FROM ({projection.sql}) AS made"
        ),
        {"ingestion": ingestion, **values},
    )


def _slice(
    dataset: Dataset, projection: Projection, bounds: list[Any], number: int
) -> tuple[str, dict[str, Any]]:
    """Return the condition of a slice: from one bound, the next not included."""
    condition = ""
    values: dict[str, Any] = {}
    if not bounds:
        return condition, values
    field = next(each for each in dataset.fields if each.name == projection.slice)
    column, kind = quote(field.name), stored_type(field)
    if number > 0:
        condition += f" AND {column} >= CAST(:first AS {kind})"
        values["first"] = bounds[number - 1]
    if number < len(bounds):
        condition += f" AND {column} < CAST(:end AS {kind})"
        values["end"] = bounds[number]
    return condition, values
