"""The use case of inserting rows: the rows of a request are loaded and published in one transaction.

They follow the rules of a file and become an ingestion with an account, events and rejects; only
nothing is split, and no other function takes part.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluice.csv.cuts import Cut
from sluice.csv.rejects import Reject
from sluice.datasets.identifiers import quote, view
from sluice.documents.document import parse, to_json
from sluice.documents.ingestions import Account, InsertedRows, State
from sluice.errors import IdempotencyKeyError, PermanentError
from sluice.ingestion.constraint_errors import constraint_errors
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
from sluice.ingestion.load import codes_of_texts, store_rows, write_rejects
from sluice.ingestion.merge import KeyedRow, keyed_rows
from sluice.ingestion.outbox import relay
from sluice.ingestion.row_groups import ParsedGroup, RowGroup, parse_group
from sluice.parsing.json_rows import row_layout
from sluice.postgres.catalog import check_current
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import composed, statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.datasets.model import Dataset
    from sluice.ports import Environment


@dataclass(frozen=True)
class IdempotencyKey:
    """The key that makes a request take effect once, and the fingerprint of that request."""

    key: str
    fingerprint: str

    @classmethod
    def of(cls, key: str, route: str, body: object) -> IdempotencyKey:
        """Return the key of a request; the order of the body's members does not matter."""
        request = json.dumps([route, body], sort_keys=True)
        return cls(key, hashlib.sha256(request.encode()).hexdigest())


@dataclass(frozen=True)
class InsertResult:
    """The result of a request.

    Attributes:
        groups: the outcome of each group, in their order.
        is_repeated: whether the request was answered before, under the same key.
    """

    groups: list[InsertedRows]
    is_repeated: bool = False


def insert_rows(
    env: Environment, groups: Sequence[RowGroup], key: IdempotencyKey | None = None
) -> InsertResult:
    """Load and publish rows; return the outcome of each of them.

    Args:
        env: settings `project`, `copy_block_bytes`.
        groups: the rows of each dataset.
        key: makes a repeated request return the answer of the first.

    Raises:
        IdempotencyKeyError: the key was used with another request.
        TransientError: nothing was done; send the request again.
    """
    for each in groups:
        _make_codes(env, each)
    with transaction(env.engine) as connection:
        known = _claim(connection, key) if key else None
        result = known or InsertResult(_insert_all(env, connection, groups))
        if key and not known:
            answer = {"key": key.key, "answer": json.dumps(to_json(result.groups))}
            connection.execute(statement("store_answer"), answer)
    for inserted in result.groups:
        relay(env.engine, env.publisher, inserted.ingestion)
    return result


def _make_codes(env: Environment, group: RowGroup) -> None:
    """Create the codes of new texts first: inside the transaction that would take a second connection."""
    if group.dataset.dictionaries:
        with parse_group(group.numbered(0) if group.next_key else group) as parsed:
            codes_of_texts(env.engine, group.dataset, parsed.chunk)


def _claim(connection: Connection, key: IdempotencyKey) -> InsertResult | None:
    """Claim a key, or return the answer of the earlier request with it."""
    connection.execute(statement("delete_expired_keys"))
    if connection.scalar(statement("claim_idempotency_key"), vars(key)):
        return None
    found = connection.execute(statement("find_idempotency_key"), {"key": key.key}).one()
    if found.fingerprint != key.fingerprint:
        raise IdempotencyKeyError(
            f"Idempotency-Key {key.key}: was used with another request; choose a new key"
        )
    return InsertResult(parse(found.answer, list[InsertedRows]), is_repeated=True)


def _insert_all(
    env: Environment, connection: Connection, groups: Sequence[RowGroup]
) -> list[InsertedRows]:
    """Insert each group after those it refers to, while no other transaction changes their datasets."""
    _lock(connection, groups)
    for each in groups:
        check_current(connection, each.dataset)
    inserted = {group.dataset.name: _insert(env, connection, group) for group in _ordered(groups)}
    return [inserted[each.dataset.name] for each in groups]


def _lock(connection: Connection, groups: Sequence[RowGroup]) -> None:
    """Lock the datasets, and those they refer to, in an order that excludes deadlocks."""
    names = {each.dataset.name for each in groups}
    names |= {column.references for each in groups for column in each.dataset.references}
    for name in sorted(names):
        connection.execute(statement("lock_dataset"), {"dataset": name})


def _ordered(groups: Sequence[RowGroup]) -> Iterator[RowGroup]:
    """Yield the groups, each after those to which its rows may refer."""
    by_name = {each.dataset.name: each for each in groups}
    waiting = sorted(by_name)
    while waiting:
        free = (name for name in waiting if not _references(by_name[name], waiting))
        name = next(free, waiting[0])  # in a cycle any may be the first
        waiting.remove(name)
        yield by_name[name]


def _references(group: RowGroup, names: Sequence[str]) -> set[str]:
    own = group.dataset.name
    return {each.references for each in group.dataset.references} & set(names) - {own}


def _insert(env: Environment, connection: Connection, group: RowGroup) -> InsertedRows:
    if group.next_key:
        group = group.numbered(_newest_key(connection, group))
    with parse_group(group) as parsed:
        ingestion = _receive(env, connection, parsed)
        problem: PermanentError | None = None
        try:
            with connection.begin_nested(), constraint_errors(is_masked=group.dataset.has_pii):
                _store(env, connection, ingestion, parsed)
        except PermanentError as error:
            problem = error
            _store_rejects(env, connection, ingestion, parsed)
        keyed = keyed_rows(connection, group.dataset, ingestion)
        problem = problem or _publish(env, connection, ingestion, group.dataset)
        if problem:
            fail(connection, ingestion, problem, env.settings.project)
        return _document(connection, ingestion, parsed, keyed)


def _newest_key(connection: Connection, group: RowGroup) -> int:
    """Return the greatest key that readers see; the dataset's lock keeps it the greatest."""
    source = view(group.dataset.name)
    newest = connection.scalar(composed(f"SELECT max({quote(group.next_key)}) FROM {source}"))
    return newest or 0


def _receive(env: Environment, connection: Connection, parsed: ParsedGroup) -> int:
    """Create the ingestion, which is one chunk with a known number of records."""
    project, name = env.settings.project, parsed.dataset.name
    records, size_bytes = parsed.chunk.records_read, parsed.size_bytes
    values = {"dataset": name, "size_bytes": size_bytes}
    (received,) = query_ingestions(connection, "receive_rows", values)
    write_event(connection, received, State.RECEIVED, received.sequence, project)
    layout = Changes(
        layout=row_layout(parsed.dataset).to_json(), declaration_version=parsed.dataset.version
    )
    move(connection, received.id, State.SPLITTING, project, layout)
    insert_chunk(connection, received.id, Cut(0, 0, size_bytes, 1, 0, records, records))
    counted = Changes(chunks_total=1, records_total=records, content_bytes=size_bytes)
    move(connection, received.id, State.LOADING, project, counted)
    return received.id


def _store(env: Environment, connection: Connection, ingestion: int, parsed: ParsedGroup) -> None:
    dataset, chunk = parsed.dataset, parsed.chunk
    chunk.encode(codes_of_texts(env.engine, dataset, chunk))
    account = store_rows(connection, ingestion, dataset, chunk, env.settings.copy_block_bytes)
    _count(env, connection, ingestion, parsed, account)


def _store_rejects(
    env: Environment, connection: Connection, ingestion: int, parsed: ParsedGroup
) -> None:
    """Store the rejects only, and count only them as read, where the database refuses a row."""
    rejects = [(ingestion, each) for each in parsed.chunk.rejects]
    write_rejects(connection, rejects)
    account = Account(read=len(rejects), rejected=len(rejects))
    _count(env, connection, ingestion, parsed, account)


def _count(
    env: Environment, connection: Connection, ingestion: int, parsed: ParsedGroup, account: Account
) -> None:
    insert_receipt(connection, ingestion, 0, account)
    count_chunk(connection, ingestion, parsed.size_bytes, account, env.settings.project)


def _publish(
    env: Environment, connection: Connection, ingestion: int, dataset: Dataset
) -> PermanentError | None:
    """Publish an ingestion; return why that is not possible, in which case nothing of it happened."""
    found = select_ingestion(connection, ingestion)
    try:
        with connection.begin_nested():
            publish(connection, found, dataset, env.settings.project)
    except PermanentError as error:
        return error
    return None


def _document(
    connection: Connection, ingestion: int, parsed: ParsedGroup, keyed: Sequence[KeyedRow]
) -> InsertedRows:
    found = select_ingestion(connection, ingestion)
    rows = connection.execute(statement("rejects_of_rows"), {"ingestion": ingestion})
    rejects = {row.record: Reject(*row) for row in rows}
    return InsertedRows(
        dataset=parsed.dataset.name,
        ingestion=found.id,
        state=found.state,
        account=found.account,
        problem_document=dict(found.problem) if found.problem else None,
        rows=parsed.outcomes(rejects, keyed, is_loaded=found.state == State.DONE),
    )
