"""Reconciles the account of an ingestion: whether it balances, and whether its dataset accepts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluice.datasets.model import Dataset, LoadPolicy
from sluice.documents.ingestions import Account
from sluice.errors import AccountImbalanceError, AllRowsRejectedError, TooManyRejectsError
from sluice.ingestion.model import Ingestion
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True)
class _Counts:
    """What is counted in the chunks, receipts and rejects of an ingestion."""

    ingestion: int
    chunks: int
    receipts: int
    records_split: int
    records_read: int
    recovered: int
    rows_loaded: int
    rows_rejected: int
    duplicates: int
    rejects_kept: int
    first_byte: int | None
    end_byte: int | None
    is_tiled: bool

    @property
    def account(self) -> Account:
        """The sum of the receipts."""
        return Account(self.records_read, self.rows_loaded, self.rows_rejected, self.duplicates)


def check_accounts(connection: Connection, ingestions: Sequence[Ingestion]) -> None:
    """Reconcile the receipts of ingestions with their chunks, and both with what split counted.

    Raises:
        AccountImbalanceError: the counts differ.
    """
    given = {"ingestions": [each.id for each in ingestions]}
    rows = connection.execute(statement("count_receipts"), given).mappings()
    found = {row["ingestion"]: _Counts(**row) for row in rows}
    for each in ingestions:
        _check_account(each, found[each.id])


def _check_account(ingestion: Ingestion, found: _Counts) -> None:
    account = found.account
    facts = (
        ("receipts", found.receipts, ingestion.chunks_total),
        ("chunks", found.chunks, ingestion.chunks_total),
        ("records of the chunks", found.records_split, ingestion.records_total),
        (
            "rows, rejects and duplicates",
            account.loaded + account.rejected + account.duplicates,
            account.read,
        ),
        ("records read", account.read, ingestion.account.read),
        ("rejects kept", found.rejects_kept, account.rejected),
        ("records of the file", account.read - found.recovered, ingestion.records_total),
    )
    wrong = [
        f"{name}: {is_} instead of {expected}" for name, is_, expected in facts if is_ != expected
    ]
    if found.chunks:
        header_end = (ingestion.layout or {}).get("header_end")
        if not found.is_tiled or found.end_byte != ingestion.content_bytes:
            wrong.append("the chunks do not tile the file")
        if header_end is not None and found.first_byte != header_end:
            wrong.append("the first chunk does not start after the header")
    if wrong:
        raise AccountImbalanceError(
            f"ingestion {ingestion.id}: {'; '.join(wrong)}. Nothing of it is published; retry it, and"
            " if it fails again report it with the file"
        )


def too_many_rejects(account: Account, dataset: Dataset) -> TooManyRejectsError | None:
    """Return the error of a file with more rejects than its dataset allows."""
    limit = dataset.max_rejects
    if dataset.load is LoadPolicy.ALL_OR_NOTHING:
        limit = limit or 0
    if limit is None or account.rejected <= limit:
        return None
    return TooManyRejectsError(
        f"{account.rejected} of {account.read} rows are rejects, {limit} are allowed; nothing is"
        " published. The rejects are listed with line and reason: fix the file and upload it again",
        rejected=account.rejected,
        allowed=limit,
    )


def is_all_rejected(account: Account) -> bool:
    """Whether a file has rows, and all of them are rejects."""
    return account.rejected > 0 and account.rejected == account.read


def all_rows_rejected(connection: Connection, ingestion: Ingestion) -> AllRowsRejectedError | None:
    """Return the error of a file all of whose rows are rejects, with the commonest reason.

    The rows of a request are no file: the answer has an outcome for each of them.
    """
    account = ingestion.account
    if ingestion.source != "file" or not is_all_rejected(account):
        return None
    found = connection.execute(statement("commonest_reject"), {"ingestion": ingestion.id}).one()
    column = f", column {found.column_name}" if found.column_name else ""
    rows = "the only row is" if account.read == 1 else f"all {account.read:,} rows are"
    share = "" if account.read == 1 else f"{found.rejects:,} of them like "
    return AllRowsRejectedError(
        f"{rows} rejected, {share}line {found.line}{column}: {found.reason}. Nothing is published; fix"
        " the file or the declaration, and upload the file again",
        rejected=account.rejected,
        line=found.line,
        column=found.column_name,
    )
