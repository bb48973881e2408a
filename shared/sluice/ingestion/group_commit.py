"""Group commit of small files: files that wait at the same time are loaded and published together.

Most of the cost of a small file is the same for one and for many: a parse, a transaction, a commit. So
each delivery reads its own file, and the first one loads all that are waiting, as databases do with
commits. It is one transaction, in which each file is an ingestion of its own with chunk, receipt, account
and events, as if it had passed through split, load and finish.

An unusual file is left to split. So are all files of a group that fails, unless the database or Pub/Sub
is unavailable, in which case each delivery is repeated: alone, each gets the error that is its own, and
split records it.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from sluice.datasets import identifiers
from sluice.datasets.model import Unfitting
from sluice.documents.ingestions import PROGRESS, Account, State
from sluice.errors import (
    AccountImbalanceError,
    DatabaseUnavailableError,
    DeclarationChangedError,
    TransientError,
)
from sluice.escaping import escape
from sluice.ingestion.constraint_errors import constraint_errors
from sluice.ingestion.events import Event
from sluice.ingestion.ingestions import query_ingestions, write_events
from sluice.ingestion.load import codes_of_texts, copy_stream, write_rejects
from sluice.ingestion.merge import lock_datasets
from sluice.ingestion.model import Ingestion
from sluice.ingestion.notifications import dataset_of, is_in_fixes
from sluice.ingestion.outbox import publish_events
from sluice.ingestion.reconciliation import check_accounts, is_all_rejected, too_many_rejects
from sluice.ingestion.reject_objects import write_reject_files
from sluice.parsing.batch import FileOutcome, ParsedFiles, parse_files
from sluice.parsing.chunk import copied_columns, copied_rollup_columns
from sluice.parsing.small_file import SmallFile, read_small_file
from sluice.postgres.catalog import cached_dataset, check_current
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import jsonb, statement

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from sluice.datasets.model import Dataset
    from sluice.ports import Environment, StoredObject

LOGGER = logging.getLogger(__name__)

#: A larger file is worth a loader of its own.
MAX_FILE_BYTES = 1024 * 1024
_MAX_FILES = 64
#: A dataset that is declared more often while a file waits is left to split.
_MAX_READS = 3
_MAX_BYTES = 8 * 1024 * 1024
#: Attribute of events that need no further work; the subscription of finish filters them out.
GROUP_COMMIT = "group_commit"
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


def load_in_group(env: Environment, file: StoredObject) -> int | None:
    """Load and publish a small file, and publish its events; return its ingestion.

    Args:
        env: settings `project`, `chunk_bytes`, `copy_block_bytes`.
        file: the object.

    Returns:
        None where split must take the file; then nothing was done.

    Raises:
        TransientError: deliver the notification again; its events may be unpublished.
    """
    loaded = _read_and_load(env, file)
    if loaded is None:
        return None
    if loaded.events[-1].has_rejects:
        write_reject_files(env, loaded.ingestion)
    _publish(env, loaded)
    return loaded.ingestion


def _read_and_load(env: Environment, file: StoredObject) -> _Loaded | None:
    """Load a file as its dataset is declared now: again, if it was declared meanwhile."""
    for _ in range(_MAX_READS):
        waiting = _read(env, file)
        if waiting is None:
            return None
        try:
            return _queue_of(env.engine).load(waiting, partial(_load, env))
        except DeclarationChangedError:
            continue
    return None


def _read(env: Environment, file: StoredObject) -> _Waiting | None:
    """Read a file; None where it is unusual."""
    limit = min(MAX_FILE_BYTES, env.settings.chunk_bytes)
    if not 0 < file.size_bytes <= limit or is_in_fixes(file.name):
        return None
    try:
        dataset = cached_dataset(env.engine, dataset_of(file))
        if dataset is None or not _is_usual(file, dataset):
            return None
        data = env.storage.read(file.bucket, file.name, file.generation, 0, file.size_bytes)
        content = read_small_file(data, dataset)
    except DatabaseUnavailableError:
        raise
    except Exception:  # noqa: BLE001  # split finds it too, and records it
        return None
    if content is None:
        return None
    return _Waiting(file, dataset, content, hashlib.sha256(data).hexdigest())


def _is_usual(file: StoredObject, dataset: Dataset) -> bool:
    """Whether rows are published as they are loaded, by a declaration that stays as it is."""
    may_change = dataset.detects_dialect or dataset.unfitting is Unfitting.WIDEN
    return not (dataset.is_staged or dataset.output or may_change or file.options)


@dataclass(eq=False)
class _Waiting:
    """A file that waits to be loaded."""

    file: StoredObject
    dataset: Dataset
    content: SmallFile
    sha256: str
    received_at: datetime = field(default_factory=partial(datetime.now, UTC))
    loaded: Future[_Loaded | None] = field(default_factory=Future)

    def fits(self, group: Sequence[_Waiting]) -> bool:
        """Whether it can be loaded with a group: the same dataset and kind, and no file twice."""
        size_bytes = self.file.size_bytes + sum(each.file.size_bytes for each in group)
        return (
            self.dataset == group[0].dataset
            and self.content.kind == group[0].content.kind
            and len(group) < _MAX_FILES
            and size_bytes <= _MAX_BYTES
            and not any(self._is_like(each) for each in group)
        )

    def _is_like(self, other: _Waiting) -> bool:
        return self.file.name == other.file.name or self.sha256 == other.sha256

    def document(self, outcome: FileOutcome) -> dict[str, object]:
        """Return what the statement `receive_group` records of the file."""
        file, cut = self.file, self.content.cut
        return {
            "bucket": file.bucket,
            "object": file.name,
            "generation": file.generation,
            "size_bytes": file.size_bytes,
            "crc32c": file.crc32c,
            "content_encoding": file.content_encoding,
            "uploaded_at": file.uploaded_at and file.uploaded_at.isoformat(),
            "sha256": self.sha256,
            "layout": self.content.to_json(),
            "first_byte": cut.first_byte,
            "end_byte": cut.end_byte,
            "first_line": cut.first_line,
            "records": cut.records,
            "lines": cut.lines,
            "rows_loaded": outcome.rows,
            "rows_rejected": len(outcome.rejects),
            "received_at": self.received_at.isoformat(),
        }


@dataclass(frozen=True)
class _Loaded:
    """A loaded file: its events, and the group with which it was committed."""

    ingestion: int
    events: Sequence[Event]
    group: _Group


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


class _Queue:
    """The waiting files of this process. One thread at a time loads a group of them."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def load(
        self, own: _Waiting, load: Callable[[Sequence[_Waiting]], Iterable[_Loaded | None]]
    ) -> _Loaded | None:
        """Return once a file was loaded, by this thread or by another one.

        Raises:
            Exception: what `load` raised for the file's group.
        """
        with self._lock:
            self._waiting.append(own)
        with self._loading:
            if not own.loaded.done():
                self._load_group(self._take_group(own), load)
        return own.loaded.result()

    def _load_group(
        self,
        group: Sequence[_Waiting],
        load: Callable[[Sequence[_Waiting]], Iterable[_Loaded | None]],
    ) -> None:
        try:
            for waiting, loaded in zip(group, load(group), strict=True):
                waiting.loaded.set_result(loaded)
        except Exception as error:  # noqa: BLE001  # each delivery raises it
            for waiting in group:
                waiting.loaded.set_exception(error)
        finally:
            for waiting in group:
                if not waiting.loaded.done():
                    waiting.loaded.set_result(None)

    def _take_group(self, own: _Waiting) -> list[_Waiting]:
        """Take a file out of the queue, and all that can be loaded with it."""
        with self._lock:
            group = [own]
            for each in self._waiting:
                if each is not own and each.fits(group):
                    group.append(each)
            self._waiting = [each for each in self._waiting if each not in group]
            return group


_lock = threading.Lock()
_queues: weakref.WeakKeyDictionary[Engine, _Queue] = weakref.WeakKeyDictionary()


def _queue_of(engine: Engine) -> _Queue:
    with _lock:
        return _queues.setdefault(engine, _Queue())


def _load(env: Environment, waiting: Sequence[_Waiting]) -> list[_Loaded | None]:
    """Load files of one dataset and kind in one transaction; None for each that split must take."""
    dataset = waiting[0].dataset
    try:
        with parse_files([each.content for each in waiting], dataset) as parsed:
            outcomes = parsed.encode(codes_of_texts(env.engine, dataset, parsed.chunk))
            with (
                constraint_errors(is_masked=dataset.has_pii),
                transaction(env.engine) as connection,
            ):
                events = _store(env, connection, waiting, parsed, outcomes)
    except TransientError:
        raise
    except Exception as error:  # noqa: BLE001  # split finds it too, and records it
        fields = {"files": [each.file.name for each in waiting]}
        why = type(error).__name__ if dataset.has_pii else escape(str(error))
        LOGGER.warning("group commit failed: %s", why, extra={"fields": fields})
        return [None] * len(waiting)
    group = _Group([each[0].ingestion for each in events.values()], bool(dataset.projections))
    return [
        _Loaded(found[0].ingestion, found, group) if (found := events.get(each.file.name)) else None
        for each in waiting
    ]


def _store(
    env: Environment,
    connection: Connection,
    waiting: Sequence[_Waiting],
    parsed: ParsedFiles,
    outcomes: Sequence[FileOutcome],
) -> dict[str, list[Event]]:
    """Write everything about the files; return the events of each, by the name of its object."""
    dataset = waiting[0].dataset
    lock_datasets(connection, dataset)
    check_current(connection, dataset)
    documents = [
        each.document(outcome)
        for each, outcome in zip(waiting, outcomes, strict=True)
        if _is_publishable(_account(outcome), dataset)
    ]
    values = {
        "dataset": dataset.name,
        "files": jsonb(documents),
        "declaration_version": dataset.version,
        "skips_same_content": dataset.skips_same_content,
        "sequence": len(_STEPS) - 1,
    }
    received = query_ingestions(connection, "receive_group", values)
    if not received:
        return {}
    numbers = {each.file.name: each.id for each in received}
    ingestions = [numbers.get(each.file.name) for each in waiting]
    loaded = sum(each.account.loaded for each in received)
    _write_rows(env, connection, dataset, parsed, ingestions, loaded)
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
    done = query_ingestions(connection, "publish_group", {"ingestions": list(numbers.values())})
    if len(done) != len(received):
        raise AccountImbalanceError(f"{len(done)} of {len(received)} small files were published")
    events = {each.file.name: _events(each, env.settings.project) for each in done}
    write_events(connection, itertools.chain.from_iterable(events.values()))
    return events


def _write_rows(
    env: Environment,
    connection: Connection,
    dataset: Dataset,
    parsed: ParsedFiles,
    ingestions: Sequence[int | None],
    loaded: int,
) -> None:
    block_bytes = env.settings.copy_block_bytes
    parsed.assign(ingestions)
    table, columns = identifiers.store_table(dataset.name), copied_columns(dataset)
    written = copy_stream(connection, table, columns, parsed.copy_rows(block_bytes))
    if written != loaded:
        raise AccountImbalanceError(f"PostgreSQL wrote {written} of {loaded} rows of small files")
    for rollup in dataset.rollups:
        table = identifiers.rollup_table(dataset.name, rollup.name)
        part = parsed.copy_rollup(rollup, block_bytes)
        copy_stream(connection, table, copied_rollup_columns(rollup), part)


def _is_publishable(account: Account, dataset: Dataset) -> bool:
    if account.rejected and dataset.unfitting is Unfitting.FAIL:
        return False  # its rejects decide
    return not (is_all_rejected(account) or too_many_rejects(account, dataset))


def _account(outcome: FileOutcome) -> Account:
    rejected = len(outcome.rejects)
    return Account(outcome.rows + rejected, outcome.rows, rejected)


def _events(ingestion: Ingestion, project: str) -> list[Event]:
    """Return the events of an ingestion that took all its steps in one transaction."""
    return [
        Event.of(replace(ingestion, **then), name, number, project)
        for number, (name, then) in enumerate(_STEPS, 1)
    ]


def _publish(env: Environment, loaded: _Loaded) -> None:
    """Publish the events of a file; the last file of a group marks those of all as published."""
    notifies = loaded.group.notifies(loaded.ingestion)
    is_published = False
    try:
        messages = [(each, _attributes(each, notifies)) for each in loaded.events]
        publish_events(env.publisher, messages)
        is_published = True
    finally:
        published = loaded.group.end(loaded.ingestion, is_published=is_published)
        if published:
            values = {"ingestions": published, "sequence": len(_STEPS)}
            with transaction(env.engine) as connection:
                connection.execute(statement("mark_group_events"), values)


def _attributes(event: Event, notifies: bool) -> dict[str, str]:
    if notifies and event.name == State.DONE:
        return event.attributes
    return {**event.attributes, GROUP_COMMIT: "true"}
