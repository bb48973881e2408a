"""The use case of admit: rows that come with a request are loaded and published in one transaction.

They go the way of a file, by the same rules, and become an ingestion with an account, events and
rejects; only that nothing is split and nobody waits for another function.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sluice.csv.splitting import Cut
from sluice.datasets.identifiers import quote, view
from sluice.errors import IdempotencyKeyError, PermanentError
from sluice.ingestion.constraint_errors import refused_rows
from sluice.ingestion.finish import publish
from sluice.ingestion.ingestions import (
    Changes,
    count_chunk,
    fail,
    insert_chunk,
    insert_receipt,
    move,
    query_ingestions,
    select_ingestion,
    write_event,
)
from sluice.ingestion.load import codes_of_texts, keep_rejects, store_rows
from sluice.ingestion.merge import KeyedRow, keyed_rows
from sluice.ingestion.model import Account, State
from sluice.ingestion.outbox import relay
from sluice.ingestion.submissions import Group, Submission, parsed
from sluice.parsing.json_rows import row_layout
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import composed, statement

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from sluice.datasets.model import Dataset
    from sluice.ports import Publisher
    from sluice.settings import Settings

Document = dict[str, Any]


@dataclass(frozen=True)
class Once:
    """What makes a request take effect once: the key of its client, and what the request is."""

    key: str
    fingerprint: str

    @classmethod
    def of(cls, key: str, route: str, body: object) -> Once:
        """Return it for a request; the order of the body's members does not matter."""
        request = json.dumps([route, body], sort_keys=True)
        return cls(key, hashlib.sha256(request.encode()).hexdigest())


@dataclass(frozen=True)
class Admission:
    """What became of a request.

    Attributes:
        groups: a document for each group, in their order: ingestion, state, account, rows.
        is_repeated: whether it was answered before, by the same key.
    """

    groups: list[Document]
    is_repeated: bool = False


class Admit:
    """Admits rows.

    Args:
        settings: `project`, `copy_block_bytes`.
        engine: the database.
        publisher: Pub/Sub.
    """

    def __init__(self, settings: Settings, engine: Engine, publisher: Publisher) -> None:
        self._settings = settings
        self._engine = engine
        self._publisher = publisher

    def __call__(self, groups: Sequence[Group], once: Once | None = None) -> Admission:
        """Load and publish rows; return what became of each of them.

        Raises:
            IdempotencyKeyError: the key came with another request before.
            TransientError: nothing was done; send the request again.
        """
        for each in groups:
            self._make_codes(each)
        with transaction(self._engine) as connection:
            known = _claim(connection, once) if once else None
            admission = known or Admission(self._admit_all(connection, groups))
            if once and not known:
                answer = {"key": once.key, "answer": json.dumps(admission.groups)}
                connection.execute(statement("store_answer"), answer)
        for document in admission.groups:
            relay(self._engine, self._publisher, document["ingestion"])
        return admission

    def _make_codes(self, group: Group) -> None:
        """Give new texts their codes first: in the transaction that would take a second connection."""
        if group.dataset.dictionaries:
            with parsed(group.numbered(0) if group.next_key else group) as submission:
                codes_of_texts(self._engine, group.dataset, submission.parsed)

    def _admit_all(self, connection: Connection, groups: Sequence[Group]) -> list[Document]:
        """Admit each group, those first to which others refer; nobody else changes their datasets."""
        _lock(connection, groups)
        documents = {
            group.dataset.name: self._admit(connection, group) for group in _ordered(groups)
        }
        return [documents[each.dataset.name] for each in groups]

    def _admit(self, connection: Connection, group: Group) -> Document:
        if group.next_key:
            group = group.numbered(_newest_key(connection, group))
        with parsed(group) as submission:
            ingestion = self._receive(connection, submission)
            problem: PermanentError | None = None
            try:
                with connection.begin_nested(), refused_rows():
                    self._store(connection, ingestion, submission)
            except PermanentError as error:
                problem = error
                self._keep_rejects_alone(connection, ingestion, submission)
            keyed = keyed_rows(connection, group.dataset, ingestion)
            problem = problem or self._publish(connection, ingestion, group.dataset)
            if problem:
                fail(connection, ingestion, problem, self._settings.project)
            return _document(connection, ingestion, submission, keyed)

    def _receive(self, connection: Connection, submission: Submission) -> int:
        """Make the ingestion, known whole from the start: one chunk, so many records."""
        project = self._settings.project
        records, size_bytes = len(submission.rows), submission.size_bytes
        facts = {"dataset": submission.dataset.name, "size_bytes": size_bytes}
        (row,) = query_ingestions(connection, "receive_rows", facts)
        write_event(connection, row, State.RECEIVED, row.sequence, project)
        layout = row_layout(submission.dataset).to_json()
        move(connection, row.id, State.SPLITTING, project, Changes(layout=layout))
        insert_chunk(connection, row.id, Cut(0, 0, size_bytes, 1, 0, records, records))
        counted = Changes(chunks_total=1, records_total=records, content_bytes=size_bytes)
        move(connection, row.id, State.LOADING, project, counted)
        return row.id

    def _store(self, connection: Connection, ingestion: int, submission: Submission) -> None:
        dataset, parsed = submission.dataset, submission.parsed
        parsed.encode(codes_of_texts(self._engine, dataset, parsed))
        account = store_rows(
            connection, ingestion, submission.dataset, submission.parsed, self._settings
        )
        self._count(connection, ingestion, submission, account)

    def _keep_rejects_alone(
        self, connection: Connection, ingestion: int, submission: Submission
    ) -> None:
        """Count as read what is kept, where the database takes none of the rows."""
        rejected = len(submission.parsed.rejects)
        keep_rejects(connection, [(ingestion, each) for each in submission.parsed.rejects])
        account = Account(read=rejected, rejected=rejected)
        self._count(connection, ingestion, submission, account)

    def _count(
        self, connection: Connection, ingestion: int, submission: Submission, account: Account
    ) -> None:
        insert_receipt(connection, ingestion, 0, account)
        count_chunk(connection, ingestion, submission.size_bytes, account, self._settings.project)

    def _publish(
        self, connection: Connection, ingestion: int, dataset: Dataset
    ) -> PermanentError | None:
        """Publish; return why that is not allowed, and then nothing of it happened."""
        row = select_ingestion(connection, ingestion)
        try:
            with connection.begin_nested():
                publish(connection, row, dataset, self._settings.project)
        except PermanentError as error:
            return error
        return None


def _claim(connection: Connection, once: Once) -> Admission | None:
    """Claim a key, or return what the request that came with it before was answered."""
    connection.execute(statement("delete_expired_keys"))
    if connection.scalar(statement("claim_idempotency_key"), vars(once)):
        return None
    found = connection.execute(statement("find_idempotency_key"), {"key": once.key}).one()
    if found.fingerprint != once.fingerprint:
        raise IdempotencyKeyError(
            f"Idempotency-Key {once.key}: came with another request before; take a new key"
        )
    return Admission(found.answer, is_repeated=True)


def _newest_key(connection: Connection, group: Group) -> int:
    """Return the greatest key that readers see; nobody takes another until the transaction ends."""
    source = view(group.dataset.name)
    newest = connection.scalar(composed(f"SELECT max({quote(group.next_key)}) FROM {source}"))
    return newest or 0


def _lock(connection: Connection, groups: Sequence[Group]) -> None:
    """Lock the datasets, and those they refer to, in the one order in which nobody waits in a ring."""
    names = {each.dataset.name for each in groups}
    names |= {column.references for each in groups for column in each.dataset.references}
    for name in sorted(names):
        connection.execute(statement("lock_dataset"), {"dataset": name})


def _ordered(groups: Sequence[Group]) -> Iterator[Group]:
    """Yield the groups, each behind those to which its rows may refer."""
    by_name = {each.dataset.name: each for each in groups}
    waiting = sorted(by_name)
    while waiting:
        free = (name for name in waiting if not _others(by_name[name], waiting))
        name = next(free, waiting[0])  # where they refer to each other in a ring, any is the first
        waiting.remove(name)
        yield by_name[name]


def _others(group: Group, names: Sequence[str]) -> set[str]:
    return {each.references for each in group.dataset.references} & set(names) - {
        group.dataset.name
    }


def _document(
    connection: Connection, ingestion: int, submission: Submission, keyed: Sequence[KeyedRow]
) -> Document:
    row = select_ingestion(connection, ingestion)
    key = {"ingestion": ingestion}
    rejects = connection.execute(statement("rejects_of_rows"), key).all()
    return {
        "dataset": row.dataset,
        "ingestion": row.id,
        "state": str(row.state),
        "account": row.account.document(),
        "problem": row.problem,
        "rows": submission.outcomes(rejects, keyed, is_loaded=row.state == State.DONE),
    }
