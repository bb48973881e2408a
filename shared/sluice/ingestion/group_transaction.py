"""The transaction of a group commit: each member is an ingestion with chunk, receipt, account and events.

The result is the same as if each had passed through split, load and finish. The events are published after
the commit, by the delivery or request of each member.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sluice.datasets import identifiers
from sluice.datasets.model import Unfitting
from sluice.documents.ingestions import PROGRESS, Account, State
from sluice.errors import AccountImbalanceError
from sluice.ingestion.events import Event
from sluice.ingestion.group_commit import GROUP_COMMIT
from sluice.ingestion.ingestions import query_ingestions, write_events
from sluice.ingestion.load import copy_stream, write_rejects
from sluice.ingestion.merge import KeyedRow, keyed_rows, make_room, merge_rows, reject_rows
from sluice.ingestion.model import Ingestion
from sluice.ingestion.outbox import publish_events
from sluice.ingestion.reconciliation import (
    all_rows_rejected,
    beyond_limit_when_published,
    check_accounts,
    too_many_rejects,
)
from sluice.parsing.chunk import copied_columns, copied_rollup_columns
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import jsonb, statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.datasets.model import Dataset
    from sluice.parsing.batch import FileOutcome, ParsedFiles
    from sluice.ports import Environment

_NOT_LOADED: Mapping[str, Any] = {
    "chunks_total": None, "chunks_loaded": 0, "bytes_loaded": 0, "account": Account()
}  # fmt: skip
#: The events of an ingestion, in order: name, and in what the ingestion differed from its final values.
_STEPS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    (State.RECEIVED, {**_NOT_LOADED, "state": State.RECEIVED}),
    (State.SPLITTING, {**_NOT_LOADED, "state": State.SPLITTING}),
    (State.LOADING, {**_NOT_LOADED, "state": State.LOADING, "chunks_total": 1}),
    (PROGRESS, {"state": State.PUBLISHING}),
    (State.PUBLISHING, {"state": State.PUBLISHING}),
    (State.DONE, {}),
)


@dataclass(frozen=True)
class Committed:
    """A member that was loaded.

    Attributes:
        ingestion, events: its ingestion, done, and its events.
        group: with which it was committed.
        keyed: its rows, where the dataset has a key.
    """

    ingestion: Ingestion
    events: Sequence[Event]
    group: _Group
    keyed: Sequence[KeyedRow] = ()


class _Group:
    """The ingestions of one transaction, until the events of all of them are published.

    Args:
        ingestions: the ingestions.
        must_compact: whether finish must hear that something is done.
    """

    def __init__(self, ingestions: Sequence[int], must_compact: bool) -> None:
        self._lock = threading.Lock()
        self._unpublished = len(ingestions)
        self._published: list[int] = []
        self._notifying = max(ingestions, default=0) if must_compact else 0

    def notifies(self, ingestion: int) -> bool:
        """Whether finish hears of the group by this ingestion's events: once is enough."""
        return ingestion == self._notifying

    def end(self, ingestion: int, *, is_published: bool) -> Sequence[int]:
        """Count an ingestion whose delivery ends; the last one gets all whose events are published."""
        with self._lock:
            self._unpublished -= 1
            if is_published:
                self._published.append(ingestion)
            return () if self._unpublished else self._published


def is_publishable(account: Account, dataset: Dataset) -> bool:
    """Whether a dataset accepts the rejects of a member; if not, they decide how it fails."""
    if account.rejected and dataset.unfitting is Unfitting.FAIL:
        return False
    return not too_many_rejects(account, dataset)


def account_of(outcome: FileOutcome) -> Account:
    """Return the account of a member."""
    rejected = len(outcome.rejects)
    return Account(outcome.rows + rejected, outcome.rows, rejected)


def store_group(
    env: Environment,
    connection: Connection,
    dataset: Dataset,
    parsed: ParsedFiles,
    outcomes: Sequence[FileOutcome],
    documents: Sequence[Mapping[str, object] | None],
) -> list[Committed | None]:
    """Write and publish the ingestions of a group.

    Args:
        env: settings `project`, `copy_block_bytes`.
        connection: a transaction that holds the dataset's lock.
        dataset: as it is declared now.
        parsed: the rows of all members, encoded.
        outcomes: of each member.
        documents: what the statement `receive_group` records of each; None leaves a member out.

    Returns:
        None for each that was left out, here or by the statement.

    Raises:
        AccountImbalanceError: PostgreSQL wrote another number of rows.
    """
    values = {
        "dataset": dataset.name,
        "files": jsonb([each for each in documents if each is not None]),
        "declaration_version": dataset.version,
        "skips_same_content": dataset.skips_same_content,
        "sequence": len(_STEPS) - 1,
    }
    members = connection.execute(statement("receive_group"), values).mappings().all()
    if not members:
        return [None] * len(documents)
    received = [Ingestion.from_row(each) for each in members]
    numbers = {each.file.name: each.id for each in received}
    ingestions = [numbers.get(str(each["object"])) if each else None for each in documents]
    _write_rows(env, connection, dataset, parsed, ingestions, received)
    write_rejects(
        connection,
        [
            (ingestion, reject)
            for ingestion, outcome in zip(ingestions, outcomes, strict=True)
            if ingestion is not None
            for reject in outcome.rejects
        ],
    )
    check_accounts(connection, received)
    keyed = _merge(connection, received, dataset, env.settings.max_rejects)
    done = query_ingestions(connection, "publish_group", {"ingestions": list(numbers.values())})
    if len(done) != len(received):
        raise AccountImbalanceError(f"{len(done)} of {len(received)} ingestions were published")
    group = _Group([each.id for each in done], bool(dataset.projections))
    waited = {each["id"] for each in members if each["has_waited"]}
    before = {each.id: each for each in received}
    steps = {each.id: _events(before[each.id], each, env.settings.project) for each in done}
    events = _write_events(connection, steps, waited)
    found = {each.id: Committed(each, events[each.id], group, keyed[each.id]) for each in done}
    return [None if each is None else found.get(each) for each in ingestions]


def _merge(
    connection: Connection, received: Sequence[Ingestion], dataset: Dataset, max_rejects: int
) -> dict[int, Sequence[KeyedRow]]:
    """Merge the staged rows of each member after those of the members before it; return those with a key.

    Raises:
        PermanentError: the rows of a member are refused; load it alone.
    """
    keyed: dict[int, Sequence[KeyedRow]] = {each.id: () for each in received}
    if not dataset.is_staged:
        return keyed
    for each in sorted(received, key=lambda member: member.id):
        make_room(connection, each, dataset)
        keyed[each.id] = keyed_rows(connection, dataset, each.id)
        found = reject_rows(connection, each, dataset, (), max_rejects)
        refusal = (
            beyond_limit_when_published(found.account, max_rejects)
            or too_many_rejects(found.account, dataset)
            or all_rows_rejected(connection, found)
        )
        if refusal:
            raise refusal
        merge_rows(connection, found, dataset)
    return keyed


def _write_events(
    connection: Connection, steps: Mapping[int, Sequence[Event]], waited: Collection[int]
) -> dict[int, list[Event]]:
    """Write the events of the members; return those to publish, with the first of those that have waited."""
    events = {member: [*found[member in waited :]] for member, found in steps.items()}
    write_events(connection, itertools.chain.from_iterable(events.values()))
    if waited:
        rows = connection.execute(statement("first_events"), {"ingestions": list(waited)})
        for row in rows.mappings():
            events[row["ingestion"]].insert(0, Event.from_row(row))
    return events


def _write_rows(
    env: Environment,
    connection: Connection,
    dataset: Dataset,
    parsed: ParsedFiles,
    ingestions: Sequence[int | None],
    received: Sequence[Ingestion],
) -> None:
    block_bytes = env.settings.copy_block_bytes
    parsed.assign(ingestions)
    place = identifiers.staging_table if dataset.is_staged else identifiers.store_table
    table, columns = place(dataset.name), copied_columns(dataset)
    written = copy_stream(connection, table, columns, parsed.copy_rows(block_bytes))
    loaded = sum(each.account.loaded for each in received)
    if written != loaded:
        raise AccountImbalanceError(f"PostgreSQL wrote {written} of {loaded} rows of a group")
    for rollup in dataset.rollups:
        table = identifiers.rollup_table(dataset.name, rollup.name)
        part = parsed.copy_rollup(rollup, block_bytes)
        copy_stream(connection, table, copied_rollup_columns(rollup), part)


def _events(before: Ingestion, done: Ingestion, project: str) -> list[Event]:
    """Return the events of an ingestion that took all its steps in one transaction.

    Args:
        before: the ingestion before it was published.
        done: after that.
        project: part of the source of its events.
    """
    return [
        Event.of(replace(before, **then) if then else done, name, number, project)
        for number, (name, then) in enumerate(_STEPS, 1)
    ]


def publish_committed(env: Environment, committed: Committed) -> None:
    """Publish the events of a member; the last one of its group marks those of all as published.

    Raises:
        PubsubUnavailableError: its events are left; the next relay publishes them.
        DatabaseUnavailableError: the events of the group may be published a second time.
    """
    ingestion, group = committed.ingestion.id, committed.group
    notifies = group.notifies(ingestion)
    is_published = False
    try:
        messages = [(each, _attributes(each, notifies)) for each in committed.events]
        publish_events(env.publisher, messages)
        is_published = True
    finally:
        published = group.end(ingestion, is_published=is_published)
        if published:
            values = {"ingestions": published, "sequence": len(_STEPS)}
            with transaction(env.engine) as connection:
                connection.execute(statement("mark_group_events"), values)


def _attributes(event: Event, notifies: bool) -> dict[str, str]:
    if notifies and event.name == State.DONE:
        return event.attributes
    return {**event.attributes, GROUP_COMMIT: "true"}
