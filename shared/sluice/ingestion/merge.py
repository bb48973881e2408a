"""Merges the staged rows of an ingestion into its dataset at publish, and takes them out at undo.

All of it happens in the caller's transaction, which holds the dataset's lock: readers see the whole
ingestion or none of it, and no key comes in between.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sluice.datasets.model import Dangling, Dataset, Duplicates
from sluice.errors import AccountImbalanceError, DeclarationError
from sluice.ingestion.constraint_errors import refused_rows
from sluice.ingestion.ingestions import Changes, move, query_ingestions
from sluice.ingestion.model import Ingestion, State
from sluice.postgres.catalog import read_dataset
from sluice.postgres.merge_sql import Merging
from sluice.postgres.named_sql import composed, statement

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from sluice.datasets.model import Column

#: From so many rows on it pays to tell the planner of them.
_MANY_ROWS = 10_000
#: Memory of one sort or hash: enough to merge some million rows in few passes.
_WORK_MEM = "128MB"


def lock_datasets(connection: Connection, dataset: Dataset) -> None:
    """Keep the dataset, and those it refers to, as they are until the transaction ends."""
    for name in sorted({dataset.name, *(each.references for each in dataset.references)}):
        connection.execute(statement("lock_dataset"), {"dataset": name})


@dataclass(frozen=True)
class KeyedRow:
    """A staged row with a key: its record number, and whether the dataset has the key already."""

    record: int
    key: str
    was_there: bool


def keyed_rows(connection: Connection, dataset: Dataset, ingestion: int) -> list[KeyedRow]:
    """Return the staged rows that have a key.

    Args:
        connection: a transaction that holds the dataset's lock.
        dataset: its dataset.
        ingestion: whose rows.
    """
    if not dataset.key:
        return []
    rows = connection.execute(composed(Merging(dataset).keyed()), {"ingestion": ingestion})
    return [KeyedRow(*row) for row in rows]


def refuse_rows(
    connection: Connection, row: Ingestion, dataset: Dataset, older: Sequence[int]
) -> Ingestion:
    """Make rejects of the staged rows that break a rule of the whole dataset.

    Args:
        connection: a transaction that holds the dataset's lock.
        row: the ingestion, locked, its account balanced.
        dataset: its dataset.
        older: ingestions whose rows this one replaces, and which therefore do not count.

    Returns:
        The ingestion with its new account.

    Raises:
        AccountImbalanceError: other rows wait than the loaders have counted.
        DeclarationError: a column refers to what is no key.
        RowsRefusedError: PostgreSQL refuses a value.
    """
    work = _Work(connection, row, older)
    merging = Merging(dataset)
    _check_staged(work, merging, row.account.loaded)
    with refused_rows():
        if numbering := merging.number():
            work.change(numbering)
        warnings, rejected = _check_references(work, merging, dataset)
        if repeated := merging.refuse_repeated():
            rejected += work.change(repeated)
    return work.adjust_account(rejected=rejected, warnings=warnings)


def merge_rows(connection: Connection, row: Ingestion, dataset: Dataset) -> Ingestion:
    """Bring the staged rows into the dataset, and empty the staging table of them.

    Args:
        connection: a transaction that holds the dataset's lock.
        row: the ingestion, as `refuse_rows` left it.
        dataset: its dataset.

    Returns:
        The ingestion with its new account.

    Raises:
        AccountImbalanceError: a row is lost.
        RowsRefusedError: PostgreSQL refuses a row that the declaration allows.
    """
    work = _Work(connection, row)
    merging = Merging(dataset)
    with refused_rows():
        if keeping := merging.keep_replaced():
            work.change(keeping)
        loaded = work.change(merging.merge())
    lost, staged = work.count(merging.lost()), work.change(merging.clear())
    if lost or staged != row.account.loaded:
        raise AccountImbalanceError(
            f"ingestion {row.id}: {staged} rows waited instead of {row.account.loaded}, and {lost} of"
            " their keys are not in the dataset. Nothing of it is published; retry it"
        )
    duplicates = staged - loaded
    warnings = [_duplicates_warning(dataset, duplicates)] if duplicates else []
    return work.adjust_account(duplicates=duplicates, warnings=warnings)


def withdraw(
    connection: Connection,
    dataset: Dataset | None,
    ingestions: Iterable[int],
    by: int | None,
    project: str,
) -> None:
    """Withdraw the rows of published ingestions, and bring back those they replaced.

    Readers see the change when the transaction commits.

    Args:
        connection: a transaction that holds the dataset's lock.
        dataset: their dataset; None where its tables need no change.
        ingestions: what is withdrawn.
        by: the ingestion that replaces them, if one does.
        project: part of the source of their events.
    """
    for ingestion in ingestions:
        if dataset is not None:
            for sql in Merging(dataset).take_back():
                connection.execute(composed(sql), {"ingestion": ingestion})
        key = {"ingestion": ingestion}
        connection.execute(statement("withdraw"), key)
        connection.execute(statement("retire_segments"), key)
        connection.execute(statement("detach_retired_segments"))
        move(connection, ingestion, State.UNDONE, project, Changes(replaced_by=by))


def forget_replaced(connection: Connection, dataset: Dataset, ingestions: Sequence[int]) -> None:
    """Forget what ingestions replaced that will not be undone: their rows are gone already."""
    if dataset.key and ingestions:
        sql = composed(Merging(dataset).forget_replaced())
        connection.execute(sql, {"ingestions": list(ingestions)})


class _Work:
    """One ingestion and the statements about its staged rows."""

    def __init__(self, connection: Connection, row: Ingestion, older: Sequence[int] = ()) -> None:
        self.connection = connection
        self._ingestion: int = row.id
        self._values = {"ingestion": row.id, "older": list(older)}
        connection.execute(composed(f"SET LOCAL work_mem = '{_WORK_MEM}'"))

    def change(self, sql: str) -> int:
        """Run a statement and return how many rows it wrote or deleted."""
        return int(self.connection.execute(composed(sql), self._values).rowcount)

    def one(self, sql: str) -> Row[Any]:
        return self.connection.execute(composed(sql), self._values).one()

    def count(self, sql: str) -> int:
        return int(self.one(sql)[0])

    def adjust_account(
        self, *, rejected: int = 0, duplicates: int = 0, warnings: Sequence[dict[str, object]] = ()
    ) -> Ingestion:
        facts = {"rejected": rejected, "duplicates": duplicates, "warnings": json.dumps(warnings)}
        facts["ingestion"] = self._ingestion
        (adjusted,) = query_ingestions(self.connection, "adjust_account", facts)
        return adjusted


def _check_staged(work: _Work, merging: Merging, counted: int) -> None:
    if counted >= _MANY_ROWS:
        work.change(merging.analyze())
    staged = work.count(merging.staged())
    if staged != counted:
        raise AccountImbalanceError(
            f"{staged} rows wait to be merged instead of {counted}; perhaps the dataset's key was"
            " declared while the file was loading. Nothing of it is published; retry it"
        )


def _check_references(
    work: _Work, merging: Merging, dataset: Dataset
) -> tuple[list[dict[str, object]], int]:
    """Return the warnings about dangling references, and how many rows became rejects."""
    warnings, rejected = [], 0
    for column in dataset.references:
        other = _referred(work, column, dataset)
        reference = merging.reference(column, other)
        if column.dangling is Dangling.REJECT:
            # A row may refer to another one of its file, which is refused before it.
            while refused := work.change(reference.refuse):
                rejected += refused
            continue
        found = work.one(reference.count)
        if found.rows:
            warnings.append(_dangling_warning(column, other, found))
    return warnings, rejected


def _referred(work: _Work, column: Column, dataset: Dataset) -> Dataset:
    """Return the dataset to which a column refers.

    Raises:
        DeclarationError: it is not declared, or its key is not one column of the same type.
    """
    other = read_dataset(work.connection, column.references)
    types = {each.name: each.postgres_type for each in other.fields} if other else {}
    key = other.key if other else ()
    if other is None or len(key) != 1 or types[key[0]] != column.fields[0].postgres_type:
        raise DeclarationError(
            f"refers to dataset {column.references}, which "
            + (
                "is not declared; declare it and retry"
                if other is None
                else f"has no key of one column of type {column.type}"
            ),
            file=f"{dataset.name}/dataset.toml",
            key=f"{column.name}.references",
        )
    return other


def _dangling_warning(column: Column, other: Dataset, found: Row[Any]) -> dict[str, object]:
    return {
        "rule": "references",
        "column": column.name,
        "rows": found.rows,
        "message": f"{column.name} is not the {other.key[0]} of any row of {other.name}, such as"
        f' "{found.example}"',
    }


def _duplicates_warning(dataset: Dataset, duplicates: int) -> dict[str, object]:
    key = ", ".join(dataset.key)
    stays = (
        f"the last row of the file with the same {key} counts"
        if dataset.duplicates is Duplicates.UPDATE
        else f"a row with the same {key} was there before, and stays"
    )
    return {"rule": "key", "column": key, "rows": duplicates, "message": f"ignored: {stays}"}
