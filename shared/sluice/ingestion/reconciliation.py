"""The account of an ingestion: whether it adds up, and whether its dataset takes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sluice.datasets.model import Dataset, LoadPolicy
from sluice.errors import AccountImbalanceError, TooManyRejectsError
from sluice.ingestion.model import Account, Ingestion
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row


def check_accounts(connection: Connection, ingestions: Sequence[Ingestion]) -> None:
    """Reconcile the receipts of ingestions with their chunks, and both with what split counted.

    Raises:
        AccountImbalanceError: what was counted does not add up.
    """
    given = {"ingestions": [each.id for each in ingestions]}
    found = {
        each.ingestion: each for each in connection.execute(statement("count_receipts"), given)
    }
    for each in ingestions:
        _check_account(each, found[each.id])


def _check_account(row: Ingestion, found: Row[Any]) -> None:
    header_end = (row.layout or {}).get("header_end")
    facts = (
        ("receipts", found.receipts, row.chunks_total),
        ("chunks", found.chunks, row.chunks_total),
        ("records of the chunks", found.records_split, row.records_total),
        (
            "rows, rejects and duplicates",
            found.rows_loaded + found.rows_rejected + found.duplicates,
            found.records_read,
        ),
        ("records read", found.records_read, row.account.read),
        ("rejects kept", found.rejects_kept, found.rows_rejected),
        ("records of the file", found.records_read - found.recovered, row.records_total),
    )
    wrong = [f"{name}: {is_} instead of {ought}" for name, is_, ought in facts if is_ != ought]
    if found.chunks:
        if not found.is_tiled or found.end_byte != row.content_bytes:
            wrong.append("the chunks do not tile the file")
        if header_end is not None and found.first_byte != header_end:
            wrong.append("the first chunk does not begin behind the header")
    if wrong:
        raise AccountImbalanceError(
            f"ingestion {row.id}: {'; '.join(wrong)}. Nothing of it is published; retry it, and if "
            "it fails again report it with the file"
        )


def too_many_rejects(account: Account, dataset: Dataset) -> TooManyRejectsError | None:
    """Return the error of a file with more rejects than its dataset allows."""
    limit = dataset.max_rejects
    if dataset.load is LoadPolicy.ALL_OR_NOTHING:
        limit = limit or 0
    if limit is None or account.rejected <= limit:
        return None
    return TooManyRejectsError(
        f"{account.rejected} of {account.read} rows are rejects, {limit} are allowed; "
        "nothing is published. The rejects are listed with line and reason: fix the file and "
        "upload it again",
        rejected=account.rejected,
        allowed=limit,
    )
