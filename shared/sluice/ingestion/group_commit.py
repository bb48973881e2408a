"""The quick way of small files: those that come at once are loaded and published together.

Most of what a small file costs is the same for one and for many: a parse, a transaction, a commit. So
each delivery reads its own file, and whoever is first takes along all that wait, as databases do with
commits. All of it is one transaction, in which each file is an ingestion of its own, with its chunk,
receipt, account and events, as if it had gone through split, load and finish.

A file that is in any way unusual, and all files where anything goes wrong, go the ordinary way: what
this module does not do is no loss.
"""

from __future__ import annotations

import itertools
import json
import logging
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from sluice.csv.decompression import compression_of
from sluice.datasets import identifiers
from sluice.errors import AccountImbalanceError, PermanentError
from sluice.ingestion.events import PROGRESS, Event
from sluice.ingestion.ingestions import query_ingestions, write_events
from sluice.ingestion.load import codes_of_texts, copy_stream, keep_rejects
from sluice.ingestion.merge import lock_datasets
from sluice.ingestion.model import Account, Ingestion, State
from sluice.ingestion.notifications import dataset_of
from sluice.ingestion.outbox import publish_events
from sluice.ingestion.reconciliation import check_accounts, too_many_rejects
from sluice.parsing.batch import FileOutcome, ParsedFiles, parse_files
from sluice.parsing.chunk import copied_columns, copied_rollup_columns
from sluice.parsing.small_file import SmallFile, read_small_file
from sluice.postgres.catalog import find_dataset
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from sluice.datasets.model import Dataset
    from sluice.ports import Objects, Publisher, StoredObject
    from sluice.settings import Settings

LOGGER = logging.getLogger(__name__)

#: A larger file is worth a loader of its own.
MAX_FILE_BYTES = 1024 * 1024
_MAX_FILES = 64
_MAX_BYTES = 8 * 1024 * 1024
#: Attribute of events after which the engine itself has nothing left to do; finish does not get them.
TOGETHER = "together"
#: The ingestion after each step, in the order of its events, as it differs from the end.
_NOT_LOADED: Mapping[str, Any] = {
    "chunks_total": None, "chunks_loaded": 0, "bytes_loaded": 0, "account": Account()
}  # fmt: skip
_STEPS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    (State.RECEIVED, {**_NOT_LOADED, "state": State.RECEIVED}),
    (State.SPLITTING, {**_NOT_LOADED, "state": State.SPLITTING}),
    (State.LOADING, {**_NOT_LOADED, "state": State.LOADING, "chunks_total": 1}),
    (PROGRESS, {"state": State.PUBLISHING}),
    (State.PUBLISHING, {"state": State.PUBLISHING}),
    (State.DONE, {}),
)


class Together:
    """Loads and publishes small files.

    Args:
        settings: `project`, `chunk_bytes`, `copy_block_bytes`.
        engine: the database.
        objects: Cloud Storage.
        publisher: Pub/Sub.
    """

    def __init__(
        self, settings: Settings, engine: Engine, objects: Objects, publisher: Publisher
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._objects = objects
        self._publisher = publisher

    def __call__(self, announced: StoredObject) -> int | None:
        """Load, publish and tell of an object; None, and nothing is done, where it must go the ordinary way.

        Raises:
            TransientError: deliver the announcement again; what was done is not told yet.
        """
        turn = self._turn(announced)
        if turn is None:
            return None
        _gathering(self._engine).join(turn, self._load)
        if turn.batch is None:
            return None
        self._tell(turn, turn.batch)
        return turn.events[0].ingestion

    def _turn(self, announced: StoredObject) -> _Turn | None:
        limit = min(MAX_FILE_BYTES, self._settings.chunk_bytes)
        is_packed = bool(compression_of(announced.name, announced.content_encoding))
        if is_packed or not 0 < announced.size_bytes <= limit:
            return None
        try:
            dataset = find_dataset(self._engine, dataset_of(announced))
            if dataset is None or dataset.is_staged or dataset.output:
                return None
            place = (announced.bucket, announced.name, announced.generation)
            data = self._objects.read(*place, 0, announced.size_bytes)
            whole = read_small_file(data, dataset)
        except PermanentError:
            return None  # the ordinary way finds it too, and tells
        return None if whole is None else _Turn(announced, dataset, whole)

    def _load(self, turns: Sequence[_Turn]) -> None:
        """Load files of one dataset and kind in one transaction; give their events to those that were."""
        dataset = turns[0].dataset
        try:
            with parse_files([each.whole for each in turns], dataset) as parsed:
                codes = codes_of_texts(self._engine, dataset, parsed.chunk)
                counted = parsed.encode(codes)
                with transaction(self._engine) as connection:
                    events = self._store(connection, dataset, turns, parsed, counted)
        except Exception:
            LOGGER.warning("%d files go the ordinary way", len(turns), exc_info=True)
            return
        batch = _Batch(list(events), bool(dataset.projections))
        by_object = {(each[0].body["data"]["object"]): each for each in events.values()}
        for turn in turns:
            if turn.announced.name in by_object:
                turn.events, turn.batch = by_object[turn.announced.name], batch

    def _store(
        self,
        connection: Connection,
        dataset: Dataset,
        turns: Sequence[_Turn],
        parsed: ParsedFiles,
        counted: Sequence[FileOutcome],
    ) -> dict[int, list[Event]]:
        """Write all there is of the files; return the events of each ingestion."""
        lock_datasets(connection, dataset)
        files = [
            _facts(turn, each)
            for turn, each in zip(turns, counted, strict=True)
            if not too_many_rejects(_account(each), dataset)
        ]
        facts = {"dataset": dataset.name, "files": json.dumps(files), "sequence": len(_STEPS) - 1}
        received = query_ingestions(connection, "receive_group", facts)
        if not received:
            return {}
        ids = {each.file.name: each.id for each in received}
        named = [ids.get(turn.announced.name) for turn in turns]
        self._write(
            connection, dataset, parsed, named, sum(each.account.loaded for each in received)
        )
        rejects = zip(named, counted, strict=True)
        keep_rejects(connection, [(i, r) for i, each in rejects if i for r in each.rejects])
        check_accounts(connection, received)
        return self._publish(connection, list(ids.values()))

    def _write(
        self,
        connection: Connection,
        dataset: Dataset,
        parsed: ParsedFiles,
        ingestions: Sequence[int | None],
        rows: int,
    ) -> None:
        block_bytes = self._settings.copy_block_bytes
        parsed.assign(ingestions)
        table, columns = identifiers.store_table(dataset.name), copied_columns(dataset)
        written = copy_stream(connection, table, columns, parsed.copy_rows(block_bytes))
        if written != rows:
            raise AccountImbalanceError(f"PostgreSQL wrote {written} of {rows} rows of small files")
        for rollup in dataset.rollups:
            table = identifiers.rollup_table(dataset.name, rollup.name)
            part = parsed.copy_rollup(rollup, block_bytes)
            copy_stream(connection, table, copied_rollup_columns(rollup), part)

    def _publish(self, connection: Connection, ingestions: list[int]) -> dict[int, list[Event]]:
        given = {"ingestions": ingestions}
        done = query_ingestions(connection, "publish_group", given)
        if len(done) != len(ingestions):
            raise AccountImbalanceError(f"{len(done)} of {len(ingestions)} files were published")
        events = {each.id: _events(each, self._settings.project) for each in done}
        write_events(connection, itertools.chain.from_iterable(events.values()))
        return events

    def _tell(self, turn: _Turn, batch: _Batch) -> None:
        """Publish the events of a file; the last file of a batch marks those of all as published."""
        ingestion = turn.events[0].ingestion
        asks = batch.asks(ingestion)
        is_told = False
        try:
            publish_events(
                self._publisher, [(each, _attributes(each, asks)) for each in turn.events]
            )
            is_told = True
        finally:
            told = batch.end(ingestion if is_told else None)
            if told:
                facts = {"ingestions": told, "sequence": len(_STEPS)}
                with transaction(self._engine) as connection:
                    connection.execute(statement("mark_group_events"), facts)


@dataclass(eq=False)
class _Turn:
    """A file that waits to be loaded, and what became of it.

    Attributes:
        batch: those it was loaded with; None where it was not loaded.
        is_over: whether nobody will load it any more.
    """

    announced: StoredObject
    dataset: Dataset
    whole: SmallFile
    received_at: datetime = field(default_factory=partial(datetime.now, UTC))
    events: list[Event] = field(default_factory=list)
    batch: _Batch | None = None
    is_over: bool = False

    def goes_with(self, others: Sequence[_Turn]) -> bool:
        """Whether it can be loaded together with others: of one dataset and kind, and none of them twice."""
        first = others[0]
        size_bytes = sum(each.announced.size_bytes for each in others)
        return (
            self.dataset == first.dataset
            and self.whole.kind == first.whole.kind
            and len(others) < _MAX_FILES
            and size_bytes + self.announced.size_bytes <= _MAX_BYTES
            and not any(self._is_like(each.announced) for each in others)
        )

    def _is_like(self, other: StoredObject) -> bool:
        own = self.announced
        is_same_content = (own.crc32c, own.size_bytes) == (other.crc32c, other.size_bytes)
        return own.name == other.name or is_same_content


class _Batch:
    """The files of one transaction, until all of them are told.

    Args:
        ingestions: theirs.
        must_compact: whether finish is to hear that something is done.
    """

    def __init__(self, ingestions: list[int], must_compact: bool) -> None:
        self._lock = threading.Lock()
        self._left = len(ingestions)
        self._told: list[int] = []
        self._asking = max(ingestions, default=0) if must_compact else 0

    def asks(self, ingestion: int) -> bool:
        """Whether finish hears of the batch by this one's events: once is enough."""
        return ingestion == self._asking

    def end(self, ingestion: int | None) -> list[int]:
        """Count a file whose delivery ends, told or not; return all that were told at the last one."""
        with self._lock:
            self._left -= 1
            if ingestion is not None:
                self._told.append(ingestion)
            return [] if self._left else self._told


class _Gathering:
    """Where the files of this process wait for each other."""

    def __init__(self) -> None:
        self._waiting: list[_Turn] = []
        self._lock = threading.Lock()
        self._at_work = threading.Lock()

    def join(self, turn: _Turn, load: Any) -> None:
        """Return once a file was loaded, by this thread or by another's, or could not be."""
        with self._lock:
            self._waiting.append(turn)
        with self._at_work:
            if turn.is_over:
                return
            turns = self._take(turn)
            try:
                load(turns)
            finally:
                for each in turns:
                    each.is_over = True

    def _take(self, turn: _Turn) -> list[_Turn]:
        """Take a file out, and all that can go with it."""
        with self._lock:
            taken = [turn]
            for each in self._waiting:
                if each is not turn and each.goes_with(taken):
                    taken.append(each)
            self._waiting = [each for each in self._waiting if each not in taken]
            return taken


_lock = threading.Lock()
_gatherings: weakref.WeakKeyDictionary[Engine, _Gathering] = weakref.WeakKeyDictionary()


def _gathering(engine: Engine) -> _Gathering:
    with _lock:
        return _gatherings.setdefault(engine, _Gathering())


def _facts(turn: _Turn, counted: FileOutcome) -> dict[str, Any]:
    """Return what the ledger keeps of a file."""
    own, cut = turn.announced, turn.whole.cut
    return {
        "bucket": own.bucket,
        "object": own.name,
        "generation": own.generation,
        "size_bytes": own.size_bytes,
        "crc32c": own.crc32c,
        "content_encoding": own.content_encoding,
        "layout": turn.whole.to_json(),
        "first_byte": cut.first_byte,
        "end_byte": cut.end_byte,
        "first_line": cut.first_line,
        "records": cut.records,
        "lines": cut.lines,
        "rows_loaded": counted.rows,
        "rows_rejected": len(counted.rejects),
        "received_at": turn.received_at.isoformat(),
    }


def _account(counted: FileOutcome) -> Account:
    rejected = len(counted.rejects)
    return Account(counted.rows + rejected, counted.rows, rejected)


def _events(ingestion: Ingestion, project: str) -> list[Event]:
    """Return the events of an ingestion that took all its steps in one transaction."""
    return [
        Event.of(replace(ingestion, **then), name, number, project)
        for number, (name, then) in enumerate(_STEPS, 1)
    ]


def _attributes(event: Event, asks: bool) -> dict[str, str]:
    is_asking = asks and event.name == State.DONE
    return event.attributes if is_asking else {**event.attributes, TOGETHER: "true"}
