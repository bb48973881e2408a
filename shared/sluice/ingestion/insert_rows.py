"""The use case of inserting rows: the rows of a request are loaded and published in one transaction.

They follow the rules of a file and become an ingestion with an account, events and rejects; only
nothing is split, and no other function takes part. Most requests share the transaction with others that
wait at the same time, see `sluice.ingestion.row_commit`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sluice.access.audit import record
from sluice.csv.cuts import Cut
from sluice.datasets.identifiers import quote, view
from sluice.documents.ingestions import Account, InsertedRows, State
from sluice.errors import PermanentError
from sluice.ingestion.constraint_errors import constraint_errors
from sluice.ingestion.finish import publish
from sluice.ingestion.idempotency import IdempotencyKey, InsertResult, claim, store_answers
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
from sluice.ingestion.row_commit import insert_in_group, inserted_rows, rejects_of
from sluice.ingestion.row_groups import (
    ParsedGroup,
    RowGroup,
    find_duplicates,
    parse_group,
    row_outcomes,
)
from sluice.parsing.json_rows import row_layout
from sluice.postgres.catalog import check_current
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import composed, statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.datasets.model import Dataset
    from sluice.ports import Environment


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
    together = insert_in_group(env, groups[0], key) if len(groups) == 1 else None
    if together is not None:
        return together
    result = _insert_alone(env, groups, key)
    for inserted in result.groups:
        relay(env.engine, env.publisher, inserted.ingestion)
    return result


def _insert_alone(
    env: Environment, groups: Sequence[RowGroup], key: IdempotencyKey | None
) -> InsertResult:
    for each in groups:
        _make_codes(env, each)
    with transaction(env.engine) as connection:
        if key and (used := claim(connection, [key]).get(key.key)):
            return used.repeat(key)
        result = InsertResult(_insert_all(env, connection, groups))
        if key:
            store_answers(connection, {key.key: result})
    return result


def _make_codes(env: Environment, group: RowGroup) -> None:
    """Create the codes of new texts first: inside the transaction that would take a second connection."""
    if group.dataset.dictionaries:
        with parse_group(group.numbered(0) if group.next_key else group) as parsed:
            codes_of_texts(env.engine, group.dataset, parsed.chunk)


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
    details = {"records": records}
    record(connection, env.actor, "rows.load", dataset=name, subject=received.id, details=details)
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
            publish(connection, found, dataset, env.settings)
    except PermanentError as error:
        return error
    return None


def _document(
    connection: Connection, ingestion: int, parsed: ParsedGroup, keyed: Sequence[KeyedRow]
) -> InsertedRows:
    found = select_ingestion(connection, ingestion)
    rejects = rejects_of(connection, [ingestion])[ingestion]
    rest = [each for each in keyed if each.record not in rejects]
    is_loaded = found.state == State.DONE
    duplicates = find_duplicates(rest, parsed.dataset.duplicates) if is_loaded else ()
    rows = row_outcomes(parsed.chunk.records_read, rejects, duplicates, is_loaded=is_loaded)
    return inserted_rows(found, rows)
