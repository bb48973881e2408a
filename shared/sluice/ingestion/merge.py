"""Merges the staged rows of an ingestion into its dataset, and withdraws published ingestions.

All of it happens in the caller's transaction, which holds the dataset's lock: readers see all of an
ingestion or nothing, and no other transaction adds a key meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sluice.csv.rejects import MASK
from sluice.datasets.model import Dangling, Dataset, Duplicates
from sluice.documents.ingestions import State
from sluice.errors import AccountImbalanceError, DeclarationError
from sluice.ingestion.constraint_errors import constraint_errors
from sluice.ingestion.ingestions import Changes, move, query_ingestions
from sluice.ingestion.model import Ingestion
from sluice.ingestion.reconciliation import most_kept
from sluice.postgres.catalog import read_dataset
from sluice.postgres.merge_sql import MergeStatements
from sluice.postgres.named_sql import composed, jsonb, statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.datasets.model import Column
    from sluice.ingestion.preparation import Prepared

#: From so many rows on, statistics for the planner are worth their cost.
_MANY_ROWS = 10_000
#: Memory of one sort or hash: enough to merge a few million rows in few passes.
_WORK_MEM = "128MB"


def lock_datasets(connection: Connection, dataset: Dataset) -> None:
    """Lock the dataset, and those it refers to, until the transaction ends."""
    for name in sorted({dataset.name, *(each.references for each in dataset.references)}):
        connection.execute(statement("lock_dataset"), {"dataset": name})


@dataclass(frozen=True)
class KeyedRow:
    """A staged row with a key: its record number, and whether the dataset has the key."""

    record: int
    key: str
    is_known: bool


def keyed_rows(connection: Connection, dataset: Dataset, ingestion: int) -> list[KeyedRow]:
    """Return the staged rows that have a key.

    Args:
        connection: a transaction that holds the dataset's lock.
        dataset: its dataset.
        ingestion: whose rows.
    """
    if not dataset.key:
        return []
    key = {"ingestion": ingestion, "staged": ingestion}
    rows = connection.execute(composed(MergeStatements(dataset).keyed()), key)
    return [KeyedRow(*row) for row in rows]


def make_room(
    connection: Connection,
    ingestion: Ingestion,
    dataset: Dataset,
    prepared: Prepared | None = None,
) -> None:
    """Take prepared rows of other ingestions, which readers do not see yet, out of the way of staged ones.

    Args:
        connection: a transaction that holds the dataset's lock.
        ingestion: whose rows are staged.
        dataset: its dataset.
        prepared: its prepared rows, if it has any.
    """
    if not dataset.key:
        return
    key = {"ingestion": ingestion.id, "dataset": dataset.name}
    hidden = connection.scalars(statement("hidden_ingestions"), key).all()
    if hidden:
        work = _Work(connection, ingestion, hidden=hidden, prepared=prepared)
        work.change(MergeStatements(dataset).make_room())


def reject_rows(
    connection: Connection,
    ingestion: Ingestion,
    dataset: Dataset,
    older: Sequence[int],
    max_rejects: int,
    prepared: Prepared | None = None,
) -> Ingestion:
    """Make rejects of the staged rows that break a rule across rows.

    Args:
        connection: a transaction; holds the dataset's lock, unless publishing comes later.
        ingestion: locked, its account balanced.
        dataset: its dataset.
        older: ingestions whose rows this one replaces, and which therefore do not count.
        max_rejects: see `most_kept`; what is beyond is counted, but not kept.
        prepared: its prepared rows, if it has any; then only the others are looked at, and only whether
            their keys exist: the rest was checked before they were prepared.

    Returns:
        The ingestion with its new account.

    Raises:
        AccountImbalanceError: the staging table has another number of rows than the loaders counted.
        DeclarationError: a column does not refer to a key.
        RowsRefusedError: PostgreSQL refuses a value.
    """
    work = _Work(connection, ingestion, older, prepared=prepared)
    merging = MergeStatements(dataset)
    _check_staged(work, merging, prepared.remaining if prepared else ingestion.account.loaded)
    work.kept_left = most_kept(ingestion.account, max_rejects) - ingestion.account.rejected
    warnings: list[dict[str, object]] = []
    rejected = 0
    with constraint_errors(is_masked=dataset.has_pii):
        if prepared is None:
            _number(work, merging)
            warnings, rejected = _check_references(work, merging, dataset)
        if repeated := merging.refuse_repeated():
            rejected += work.refuse(repeated)
    return work.adjust_account(rejected=rejected, warnings=warnings)


def _number(work: _Work, merging: MergeStatements) -> None:
    """Give rows the numbers of their records, and those without a key the next numbers."""
    if work.count("SELECT sum(recovered) FROM sluice.receipts WHERE ingestion = :ingestion"):
        work.change(merging.number_records())
    if numbering := merging.number():
        work.change(numbering)


def merge_rows(
    connection: Connection,
    ingestion: Ingestion,
    dataset: Dataset,
    prepared: Prepared | None = None,
) -> Ingestion:
    """Merge the staged rows into the dataset and delete them from the staging table.

    Args:
        connection: a transaction that holds the dataset's lock.
        ingestion: what `reject_rows` returned.
        dataset: its dataset.
        prepared: its prepared rows, if it has any.

    Returns:
        The ingestion with its new account.

    Raises:
        AccountImbalanceError: a row was lost.
        RowsRefusedError: PostgreSQL refuses a row that the declaration allows.
    """
    later = _later_uploads(connection, ingestion) if dataset.updates else []
    work = _Work(connection, ingestion, later=later, prepared=prepared)
    staged = ingestion.account.loaded - (prepared.staged if prepared else 0)
    merged = _merge(work, dataset, later, staged)
    if prepared:
        merged = merged.plus(prepared)
    _check_merged(ingestion, merged)
    return work.adjust_account(
        duplicates=merged.duplicates, warnings=_merge_warnings(dataset, merged)
    )


def merge_fixes(
    connection: Connection, fix: Ingestion, fixed: Ingestion, dataset: Dataset
) -> tuple[int, int]:
    """Merge the staged rows of a fix as rows of the ingestion whose rejects they were.

    Where rows are updated, a fix replaces a row of that ingestion with the same key, which becomes a
    duplicate.

    Args:
        connection: a transaction that holds the dataset's lock.
        fix: what `reject_rows` returned.
        fixed: the ingestion that its rows join.
        dataset: their dataset.

    Returns:
        By how much the loaded rows and the duplicates of that ingestion grow.

    Raises:
        AccountImbalanceError: a row was lost.
        RowsRefusedError: PostgreSQL refuses a row that the declaration allows.
    """
    later = _later_uploads(connection, fixed) if dataset.updates else []
    # Under the negative number, as rows of that ingestion may be staged still.
    work, merging = (
        _Work(connection, fixed, later=later, staged=-fixed.id),
        MergeStatements(dataset),
    )
    connection.execute(composed(merging.adopt()), {"staged": -fixed.id, "fix": fix.id})
    replaced = unstaged = 0
    with constraint_errors(is_masked=dataset.has_pii):
        if dataset.updates:
            replaced = sum(work.change(each) for each in merging.replace_own())
            unstaged = work.change(merging.unstage_own())
    work.list_duplicates(dataset, fix.id, is_merged=False)
    merged = _merge(work, dataset, later, None)
    merged = replace(merged, staged=merged.staged + unstaged, loaded=merged.loaded + replaced)
    _check_merged(fix, merged)
    fixing = _Work(connection, fix)
    fixing.adjust_account(duplicates=merged.duplicates, warnings=_merge_warnings(dataset, merged))
    return merged.loaded - replaced, merged.duplicates + replaced


def merge_again(connection: Connection, ingestion: Ingestion, dataset: Dataset) -> int:
    """Merge the rows of an undone ingestion, which were staged when they were withdrawn.

    Args:
        connection: a transaction that holds the dataset's lock.
        ingestion: locked.
        dataset: its dataset, which has a key.

    Returns:
        How many of them are left out, because other rows have their keys now.

    Raises:
        AccountImbalanceError: a row was lost.
        RowsRefusedError: PostgreSQL refuses a row.
    """
    later = _later_uploads(connection, ingestion) if dataset.updates else []
    work = _Work(connection, ingestion, later=later)
    if dataset.duplicates is Duplicates.ERROR:
        known = work.count(MergeStatements(dataset).known())
        if known:
            return known
    merged = _merge(work, dataset, later, None)
    _check_merged(ingestion, merged)
    return merged.duplicates


@dataclass(frozen=True)
class _Merged:
    """How many rows were staged and loaded, came late, and lost their key."""

    staged: int
    loaded: int
    late: int
    lost: int

    @property
    def duplicates(self) -> int:
        return self.staged - self.loaded

    def plus(self, prepared: Prepared) -> _Merged:
        """Return these and the prepared rows together."""
        staged, loaded = self.staged + prepared.staged, self.loaded + prepared.rows
        return replace(self, staged=staged, loaded=loaded)


def _merge(work: _Work, dataset: Dataset, later: Sequence[int], staged: int | None) -> _Merged:
    """Merge staged rows, and list the duplicates among them if their number is given."""
    merging = MergeStatements(dataset)
    late = unstaged = 0
    with constraint_errors(is_masked=dataset.has_pii):
        if later:
            if staged is not None:
                work.list_duplicates(dataset, work.ingestion, is_merged=False)
            late, unstaged = map(work.change, merging.file_under_later())
        if keeping := merging.keep_replaced():
            work.change(keeping)
        loaded = late + work.change(merging.merge())
    if staged is not None and not later and staged != loaded:
        work.list_duplicates(dataset, work.ingestion, is_merged=True)
    lost, staged = work.count(merging.lost()), unstaged + work.change(merging.clear())
    return _Merged(staged, loaded, late, lost)


def _check_merged(ingestion: Ingestion, merged: _Merged) -> None:
    if merged.lost or merged.staged != ingestion.account.loaded:
        raise AccountImbalanceError(
            f"ingestion {ingestion.id}: {merged.staged} rows were staged instead of"
            f" {ingestion.account.loaded}, and the keys of {merged.lost} are not in the dataset. Nothing"
            " of it is published; retry it"
        )


def _merge_warnings(dataset: Dataset, merged: _Merged) -> list[dict[str, object]]:
    warnings = [_duplicates_warning(dataset, merged.duplicates)] if merged.duplicates else []
    return warnings + ([_late_warning(dataset, merged.late)] if merged.late else [])


def _later_uploads(connection: Connection, ingestion: Ingestion) -> Sequence[int]:
    """Return the published ingestions with later uploads, in the order of upload."""
    return connection.scalars(statement("later_uploads"), {"ingestion": ingestion.id}).all()


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
            for sql in MergeStatements(dataset).take_back():
                connection.execute(composed(sql), {"ingestion": ingestion, "staged": -ingestion})
        key = {"ingestion": ingestion}
        connection.execute(statement("withdraw"), key)
        connection.execute(statement("retire_segments"), key)
        connection.execute(statement("detach_retired_segments"))
        move(connection, ingestion, State.UNDONE, project, Changes(replaced_by=by))


def relink_replaced(
    connection: Connection, dataset: Dataset, kept: Iterable[int], restored: str
) -> None:
    """Keep the replaced rows of a table that a restored one will replace.

    Args:
        connection: a transaction that holds the dataset's lock.
        dataset: its dataset.
        kept: ingestions that stay published, in the order of their uploads.
        restored: the restored table.
    """
    if dataset.key:
        sql = composed(MergeStatements(dataset).relink(restored))
        connection.execute(sql, {"kept": list(kept)})


class _Work:
    """One ingestion and the statements about its staged rows.

    Attributes:
        kept_left: how many more rejects are kept.
    """

    def __init__(
        self,
        connection: Connection,
        ingestion: Ingestion,
        older: Sequence[int] = (),
        later: Sequence[int] = (),
        hidden: Sequence[int] = (),
        prepared: Prepared | None = None,
        staged: int | None = None,
    ) -> None:
        self.connection = connection
        self.ingestion = ingestion.id
        self.kept_left = 0
        self._is_prepared = prepared is not None
        self._values = {
            "ingestion": ingestion.id,
            "staged": staged or (-ingestion.id if prepared else ingestion.id),
            "older": list(older),
            "later": list(later),
            "hidden": list(hidden),
        }
        connection.execute(composed(f"SET LOCAL work_mem = '{_WORK_MEM}'"))

    def change(self, sql: str) -> int:
        """Run a statement and return how many rows it wrote or deleted."""
        return int(self.connection.execute(composed(sql), self._values).rowcount)

    def refuse(self, sql: str) -> int:
        """Make rejects, and return how many; the first of them are kept."""
        values = {**self._values, "kept": max(0, self.kept_left)}
        refused = int(self.connection.execute(composed(sql), values).scalar_one())
        self.kept_left -= refused
        return refused

    def list_duplicates(self, dataset: Dataset, owner: int, *, is_merged: bool) -> None:
        """Record which staged rows are left out in favour of which ones, as duplicates of `owner`."""
        if not dataset.key or dataset.duplicates is Duplicates.ERROR:
            return
        merging, values = MergeStatements(dataset), {**self._values, "owner": owner}
        if self._is_prepared:
            self.connection.execute(composed(merging.delete_duplicates()), values)
        else:
            self.connection.execute(statement("delete_duplicates"), {"ingestion": owner})
        self.connection.execute(composed(merging.list_duplicates(is_merged=is_merged)), values)

    def one(self, sql: str) -> tuple[Any, ...]:
        return tuple(self.connection.execute(composed(sql), self._values).one())

    def count(self, sql: str) -> int:
        return int(self.one(sql)[0])

    def adjust_account(
        self, *, rejected: int = 0, duplicates: int = 0, warnings: Sequence[dict[str, object]] = ()
    ) -> Ingestion:
        facts = {"rejected": rejected, "duplicates": duplicates, "warnings": jsonb(warnings)}
        facts["ingestion"] = self.ingestion
        (adjusted,) = query_ingestions(self.connection, "adjust_account", facts)
        return adjusted


def _check_staged(work: _Work, merging: MergeStatements, counted: int) -> None:
    if counted >= _MANY_ROWS:
        work.change(merging.analyze())
    staged = work.count(merging.staged())
    if staged != counted:
        raise AccountImbalanceError(
            f"{staged} rows are staged instead of {counted}; perhaps the dataset's key was declared"
            " while the file was loading. Nothing of it is published; retry it"
        )


def _check_references(
    work: _Work, merging: MergeStatements, dataset: Dataset
) -> tuple[list[dict[str, object]], int]:
    """Return the warnings about dangling references, and how many rows became rejects."""
    warnings, rejected = [], 0
    for column in dataset.references:
        other = _referred(work, column, dataset)
        reference = merging.reference(column, other)
        if column.dangling is Dangling.REJECT:
            # A row may refer to another row of its file that is rejected only in the next round.
            while count := work.refuse(reference.refuse):
                rejected += count
            continue
        rows, example = work.one(reference.count)
        if rows:
            warnings.append(_dangling_warning(column, other, rows, example))
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


def _dangling_warning(column: Column, other: Dataset, rows: int, example: str) -> dict[str, object]:
    if column.pii:
        example = MASK
    return {
        "rule": "references",
        "column": column.name,
        "rows": rows,
        "message": f"{column.name} is not the {other.key[0]} of any row of {other.name}, such as"
        f' "{example}"',
    }


def _duplicates_warning(dataset: Dataset, duplicates: int) -> dict[str, object]:
    key = ", ".join(dataset.key)
    reason = (
        f"the last row of the file with the same {key} counts"
        if dataset.duplicates is Duplicates.UPDATE
        else f"a row with the same {key} was loaded before, and is kept"
    )
    return {"rule": "key", "column": key, "rows": duplicates, "message": f"ignored: {reason}"}


def _late_warning(dataset: Dataset, rows: int) -> dict[str, object]:
    key = ", ".join(dataset.key)
    reason = f"a later upload has a row with the same {key}, and was published first"
    return {"rule": "key", "column": key, "rows": rows, "message": f"not shown: {reason}"}
