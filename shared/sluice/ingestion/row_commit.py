"""Group commit of rows: requests that wait at the same time are loaded and published together.

Each is still an ingestion of its own, with account, rejects, events and idempotency key; rows with a key are
merged one request after the other. A request is left out, and loaded alone, if its dataset refuses all rows
because of a reject or makes rejects of staged ones, if its rows get the next keys, or if its group fails
because of it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

from sluice.access.audit import Entry, record_all
from sluice.csv.cuts import Cut
from sluice.csv.rejects import Reject
from sluice.documents.ingestions import InsertedRows, RowOutcome
from sluice.ingestion.constraint_errors import constraint_errors
from sluice.ingestion.group_commit import Queues, Waiting
from sluice.ingestion.group_transaction import (
    Committed,
    account_of,
    is_publishable,
    publish_committed,
    store_group,
)
from sluice.ingestion.idempotency import (
    IdempotencyKey,
    InsertResult,
    UsedKey,
    claim,
    store_answers,
)
from sluice.ingestion.load import codes_of_texts
from sluice.ingestion.merge import lock_datasets
from sluice.ingestion.outbox import relay
from sluice.ingestion.row_groups import (
    RowGroup,
    WrittenGroup,
    find_duplicates,
    row_outcomes,
    write_group,
)
from sluice.parsing.batch import FileOutcome, parse_files
from sluice.parsing.json_rows import row_layout
from sluice.parsing.small_file import SmallFile
from sluice.postgres.catalog import check_current
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.ingestion.model import Ingestion
    from sluice.ports import Environment


def insert_in_group(
    env: Environment, group: RowGroup, key: IdempotencyKey | None
) -> InsertResult | None:
    """Load and publish rows, and publish their events; None where they must be loaded alone.

    Args:
        env: settings `project`, `copy_block_bytes`.
        group: the rows of a request.
        key: makes a repeated request return the answer of the first.

    Raises:
        IdempotencyKeyError: the key was used with another request.
        TransientError: send the request again; without a key, its rows may be loaded twice.
    """
    dataset = group.dataset
    if dataset.keeps_originals or group.next_key:
        return None
    written = write_group(group)
    name = f"{dataset.name}/rows/{uuid.uuid4()}"
    waiting = _WaitingRows(name, dataset, written.size_bytes, written, key, env.actor)
    _queues.of(env.engine, dataset.name).load(waiting, partial(_load, env))
    outcome = waiting.result.result()
    if isinstance(outcome, _Inserted):
        publish_committed(env, outcome.committed)
        return outcome.result
    if outcome is None or key is None:
        return None
    repeated = outcome.repeat(key)
    for inserted in repeated.groups:
        relay(env.engine, env.publisher, inserted.ingestion)
    return repeated


def rejects_of(connection: Connection, ingestions: Sequence[int]) -> dict[int, dict[int, Reject]]:
    """Return the rejects of each ingestion by their records, as they are stored."""
    found: dict[int, dict[int, Reject]] = {each: {} for each in ingestions}
    values = {"ingestions": list(ingestions)}
    for ingestion, *row in connection.execute(statement("rejects_of_rows"), values):
        reject = Reject(*row)
        found[ingestion][reject.record] = reject
    return found


def inserted_rows(ingestion: Ingestion, rows: list[RowOutcome]) -> InsertedRows:
    """Return the answer about the rows of an ingestion."""
    return InsertedRows(
        dataset=ingestion.dataset or "",
        ingestion=ingestion.id,
        state=ingestion.state,
        account=ingestion.account,
        problem_document=dict(ingestion.problem) if ingestion.problem else None,
        rows=rows,
    )


@dataclass(frozen=True)
class _Inserted:
    """Rows that were loaded, and the answer."""

    committed: Committed
    result: InsertResult


@dataclass(eq=False)
class _WaitingRows(Waiting["_Inserted | UsedKey"]):
    """A request that waits to be loaded."""

    written: WrittenGroup
    key: IdempotencyKey | None
    actor: str

    def is_like(self, other: Self) -> bool:
        return bool(self.key and other.key and self.key.key == other.key.key)

    @property
    def content(self) -> SmallFile:
        """The rows as a file of records."""
        data, accepted = self.written.data, self.written.accepted
        cut = Cut(0, 0, len(data), 1, 0, len(accepted), len(accepted))
        return SmallFile(data, cut, row_layout(self.dataset), b"", numbers=accepted)

    def outcome(self, parsed: FileOutcome) -> FileOutcome:
        """Return the outcome of all rows, given that of the records."""
        return FileOutcome(parsed.rows, self.written.rejects(parsed.rejects))

    def document(self, outcome: FileOutcome) -> dict[str, object]:
        """Return what the statement `receive_group` records of the request: one chunk of rows."""
        rows = len(self.written.texts)
        return {
            "source": "rows",
            "bucket": "",
            "object": self.name,
            "generation": 0,
            "size_bytes": self.size_bytes,
            "content_encoding": "",
            "layout": row_layout(self.dataset).to_json(),
            "first_byte": 0,
            "end_byte": self.size_bytes,
            "first_line": 1,
            "records": rows,
            "lines": rows,
            "rows_loaded": outcome.rows,
            "rows_rejected": len(outcome.rejects),
        }

    def entry(self, committed: Committed) -> Entry:
        """Return the row of the audit log."""
        details = {"records": len(self.written.texts)}
        subject = committed.ingestion.id
        return Entry(self.actor, "rows.load", self.dataset.name, subject, details)


_queues: Queues[_WaitingRows] = Queues()


def _load(env: Environment, waiting: Sequence[_WaitingRows]) -> list[_Inserted | UsedKey | None]:
    """Load requests for one dataset in one transaction; None for each that must be loaded alone."""
    dataset = waiting[0].dataset
    with parse_files([each.content for each in waiting], dataset) as parsed:
        codes = codes_of_texts(env.engine, dataset, parsed.chunk)
        found = [*map(_WaitingRows.outcome, waiting, parsed.encode(codes))]
        keys = [
            each.key
            for each, outcome in zip(waiting, found, strict=True)
            if each.key and is_publishable(account_of(outcome), dataset)
        ]
        with constraint_errors(is_masked=dataset.has_pii), transaction(env.engine) as connection:
            used = claim(connection, keys)
            lock_datasets(connection, dataset)
            check_current(connection, dataset)
            documents = [
                each.document(outcome)
                if is_publishable(account_of(outcome), dataset) and not _used(each, used)
                else None
                for each, outcome in zip(waiting, found, strict=True)
            ]
            committed = store_group(env, connection, dataset, parsed, found, documents)
            inserted = _answer(connection, waiting, committed)
    return [_used(each, used) or inserted.get(each.name) for each in waiting]


def _used(waiting: _WaitingRows, used: Mapping[str, UsedKey]) -> UsedKey | None:
    return used.get(waiting.key.key) if waiting.key else None


def _answer(
    connection: Connection,
    waiting: Sequence[_WaitingRows],
    committed: Sequence[Committed | None],
) -> dict[str, _Inserted]:
    """Record who loaded what; return and store the answers, by the names of the requests."""
    loaded = [(each, it) for each, it in zip(waiting, committed, strict=True) if it]
    record_all(connection, [each.entry(it) for each, it in loaded])
    rejected = [it.ingestion.id for _, it in loaded if it.ingestion.account.rejected]
    rejects = rejects_of(connection, rejected) if rejected else {}
    inserted = {
        each.name: _Inserted(it, _result(each, it, rejects.get(it.ingestion.id, {})))
        for each, it in loaded
    }
    keyed = {each.key.key: inserted[each.name].result for each, _ in loaded if each.key}
    store_answers(connection, keyed)
    return inserted


def _result(
    waiting: _WaitingRows, committed: Committed, rejects: Mapping[int, Reject]
) -> InsertResult:
    rest = [each for each in committed.keyed if each.record not in rejects]
    duplicates = find_duplicates(rest, waiting.dataset.duplicates)
    rows = row_outcomes(len(waiting.written.texts), rejects, duplicates)
    return InsertResult([inserted_rows(committed.ingestion, rows)])
