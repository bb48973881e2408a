"""Reconciles the account of an ingestion: whether it balances, and whether its dataset accepts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluice.datasets.model import Dataset, RejectLimit, Unfitting
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
    limit = dataset.reject_limit
    if limit is None or account.rejected <= limit.allowed(account.read):
        return None
    return TooManyRejectsError(
        f"{account.rejected} of {account.read} rows are rejects, {_allowed(limit, account.read)};"
        " nothing is published. The rejects are listed with line and reason: fix the file and upload it"
        " again",
        rejected=account.rejected,
        allowed=limit.allowed(account.read),
    )


def surely_too_many_rejects(
    connection: Connection, ingestion: Ingestion, dataset: Dataset
) -> TooManyRejectsError | None:
    """Return the error of a file some chunks of which have more rejects than the complete file may have.

    A share is one of the total, which is bounded once the file is split: each line of a chunk that is not
    loaded yet may be a row.

    Args:
        connection: a transaction that has locked the ingestion.
        ingestion: in state `splitting` or `loading`.
        dataset: its dataset.
    """
    limit, account = dataset.reject_limit, ingestion.account
    if limit is None or ingestion.fixes is not None:
        return None
    if account.rejected <= limit.allowed(account.read):
        return None
    most_rows = account.read
    if limit.percent is not None:
        if ingestion.chunks_total is None:
            return None
        most_rows += connection.scalar(statement("lines_left"), {"ingestion": ingestion.id}) or 0
    if account.rejected <= limit.allowed(most_rows):
        return None
    return TooManyRejectsError(
        f"{account.rejected} of the first {account.read} rows that were read are rejects,"
        f" {_allowed(limit, most_rows)} in the file; the rest is not loaded and nothing is published. The"
        " rejects so far are listed with line and reason: fix the file and upload it again",
        rejected=account.rejected,
        allowed=limit.allowed(most_rows),
    )


def beyond_limit(account: Account, max_rejects: int) -> TooManyRejectsError | None:
    """Return the error of a file with more rejects than Sluice keeps, whatever its dataset allows."""
    if account.rejected <= most_kept(account, max_rejects):
        return None
    return TooManyRejectsError(
        f"{account.rejected:,} of the first {account.read:,} rows that were read are rejects, more than are"
        " kept; the rest is not loaded and nothing is published. The rejects so far are listed with line"
        " and reason: fix the file or the declaration, or allow more with SLUICE_MAX_REJECTS",
        rejected=account.rejected,
        allowed=max_rejects,
    )


def beyond_limit_when_published(account: Account, max_rejects: int) -> TooManyRejectsError | None:
    """Return the error of a file with more rejects than Sluice keeps, once rules across rows found theirs."""
    kept = most_kept(account, max_rejects)
    if account.rejected <= kept:
        return None
    return TooManyRejectsError(
        f"{account.rejected:,} of {account.read:,} rows are rejects, more than are kept; nothing is"
        f" published. {kept:,} of them are listed with line and reason: fix the file or the declaration, or"
        " allow more with SLUICE_MAX_REJECTS",
        rejected=account.rejected,
        allowed=kept,
    )


def most_kept(account: Account, max_rejects: int) -> int:
    """Return how many rejects of a file are kept at most."""
    return max(max_rejects, account.read // 10)


def _allowed(limit: RejectLimit, rows: int) -> str:
    allowed = limit.allowed(rows)
    share = "" if limit.percent is None else f" ({float(limit.percent):g}%)"
    return f"{allowed}{share} {'is' if allowed == 1 else 'are'} allowed"


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


def unfitting_values(
    connection: Connection, ingestion: Ingestion, dataset: Dataset
) -> TooManyRejectsError | None:
    """Return the error of a file with values that are not of their column's type, where they fail it."""
    if dataset.unfitting is not Unfitting.FAIL or not ingestion.account.rejected:
        return None
    found = connection.execute(statement("first_unfitting"), {"ingestion": ingestion.id}).one()
    if not found.rejects:
        return None
    return TooManyRejectsError(
        f"{found.rejects:,} of {ingestion.account.read:,} rows have values that are not of their column's"
        f" type, and unfitting = fail allows none; the first is on line {found.line}: {found.reason}."
        " Nothing is published; fix the file or the declaration, and upload the file again",
        rejected=ingestion.account.rejected,
        allowed=0,
    )
