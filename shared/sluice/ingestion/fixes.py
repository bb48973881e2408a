"""Files that fix rejects: their rows join the ingestion whose rejects they were, and its account.

A fix is an ingestion of its own, with chunks, receipts and events, until it is published: then its rows
become rows of the other ingestion, in one transaction, so that readers, undo and the account of that
ingestion treat them as if the file had been right from the start.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sluice.csv.dialects import Dialect
from sluice.datasets import identifiers
from sluice.datasets.model import INGESTION_COLUMN, Dataset, NewColumns, Unfitting
from sluice.documents.ingestions import State
from sluice.errors import AccountImbalanceError, FixesRefusedError
from sluice.ingestion.ingestions import (
    lock_ingestion,
    query_ingestion,
    write_event,
)
from sluice.ingestion.merge import merge_fixes
from sluice.postgres.named_sql import composed, statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.ingestion.model import Ingestion


def find_fixed(connection: Connection, fix: Ingestion, records: int) -> Ingestion:
    """Return the ingestion whose rejects a file fixes.

    Args:
        connection: a transaction.
        fix: the ingestion of the file.
        records: how many it has, as far as they are counted.

    Raises:
        FixesRefusedError: it cannot fix rejects of that ingestion.
    """
    fixed = query_ingestion(connection, "select_ingestion", {"ingestion": fix.fixes})
    return check_fixed(fix, fixed, records)


def check_fixed(fix: Ingestion, fixed: Ingestion | None, records: int) -> Ingestion:
    """Return the ingestion whose rejects a file fixes; see `find_fixed`."""
    url = fix.file.url
    if fixed is None:
        raise FixesRefusedError(f"{url}: there is no ingestion {fix.fixes} whose rejects to fix")
    if fixed.dataset != fix.dataset:
        raise FixesRefusedError(
            f"{url}: ingestion {fixed.id} is of dataset {fixed.dataset}; upload its fixes to"
            f" gs://{fix.file.bucket}/{fixed.dataset}/_fixes/{fixed.id}/"
        )
    if fixed.fixes is not None:
        raise FixesRefusedError(
            f"{url}: ingestion {fixed.id} itself fixed rejects of ingestion {fixed.fixes}; what it"
            f" rejected remains a reject of ingestion {fixed.fixes}: fix that"
        )
    if fixed.source != "file":
        raise FixesRefusedError(
            f"{url}: ingestion {fixed.id} came as rows in a request; send its rejected rows again"
        )
    if fixed.state != State.DONE:
        raise FixesRefusedError(
            f"{url}: ingestion {fixed.id} is {fixed.state}, and only rejects of one that is done can be"
            " fixed; upload the complete file instead"
        )
    if records > fixed.account.rejected:
        raise FixesRefusedError(
            f"{url}: has {records:,} rows or more, and ingestion {fixed.id} has"
            f" {fixed.account.rejected:,} rejects left to fix; send its rejected rows alone, each once"
        )
    return fixed


def written_alike(dataset: Dataset, fixed: Ingestion) -> Dataset:
    """Return the dataset for files that fix rejects: in the dialect of their file, and it stays as it is."""
    layout = fixed.layout or {}
    dialect = Dialect.from_json(layout["dialect"]) if "dialect" in layout else dataset.dialect
    unfitting = Unfitting.FAIL if dataset.unfitting is Unfitting.FAIL else Unfitting.REJECT
    return replace(
        dataset,
        dialect=dialect,
        detects_dialect=False,
        given_dialect=(),
        new_columns=NewColumns.REJECT,
        unfitting=unfitting,
    )


def same_fix(connection: Connection, fix: Ingestion, sha256: bytes | None) -> int | None:
    """Return the ingestion that fixed the same rejects with the same content."""
    values = {"fixes": fix.fixes, "sha256": sha256, "ingestion": fix.id}
    found: int | None = connection.scalar(statement("same_fix"), values)
    return found


def lock_fixed(connection: Connection, fix: Ingestion) -> Ingestion:
    """Return the ingestion whose rejects a file fixes, locked until the transaction ends.

    Raises:
        FixesRefusedError: the file cannot fix them.
    """
    fixed = lock_ingestion(connection, fix.fixes or 0)
    return check_fixed(fix, fixed, fix.account.read)


def join_rows(
    connection: Connection, fix: Ingestion, fixed: Ingestion, dataset: Dataset, project: str
) -> None:
    """Make the rows of a fix rows of the ingestion whose rejects they were.

    Args:
        connection: the transaction of the publication, which holds the dataset's lock.
        fix: in state `publishing`, its account as it will be published except for duplicates.
        fixed: what `lock_fixed` returned.
        dataset: their dataset.
        project: part of the source of the event.

    Raises:
        AccountImbalanceError: rows were lost.
    """
    if dataset.is_staged:
        merged = merge_fixes(connection, fix, fixed, dataset)
    else:
        merged = (_move(connection, fix, fixed, dataset), 0)
    settled = fix.account.loaded
    values = {"fix": fix.id, "fixed": fixed.id, "records": fix.account.read}
    connection.execute(statement("settle_rejects"), values)
    loaded, duplicates = merged
    counts = {"loaded": loaded, "duplicates": duplicates, "settled": settled}
    counted = query_ingestion(connection, "count_fixes", {"ingestion": fixed.id, **counts})
    if counted is None or not counted.account.is_balanced:
        raise AccountImbalanceError(
            f"ingestion {fix.id}: the account of ingestion {fixed.id} does not balance with its rows"
        )
    key = {"ingestion": fixed.id, "dataset": dataset.name}
    connection.execute(statement("retire_segments"), key)
    connection.execute(statement("detach_retired_segments"))
    connection.execute(statement("touch_freshness"), key)
    write_event(connection, counted, State.DONE, counted.sequence, project)


def _move(connection: Connection, fix: Ingestion, fixed: Ingestion, dataset: Dataset) -> int:
    rollups = [identifiers.rollup_table(dataset.name, each.name) for each in dataset.rollups]
    moved = 0
    for table in (*rollups, identifiers.store_table(dataset.name)):
        sql = f"UPDATE {table} SET {INGESTION_COLUMN} = :fixed WHERE {INGESTION_COLUMN} = :fix"
        key = {"fixed": fixed.id, "fix": fix.id}
        moved = connection.execute(composed(sql), key).rowcount
    if moved != fix.account.loaded:
        raise AccountImbalanceError(
            f"ingestion {fix.id}: {moved} rows are stored instead of {fix.account.loaded}; retry it"
        )
    return int(moved)
