"""The use case of split: reads a file once, front to back, and sends each chunk off as soon as it is known.

Safe to repeat at any point: chunks are remembered before they are sent, and a second run goes on behind
the last one that is remembered.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sluice.csv.encodings import EncodingWatch
from sluice.csv.splitting import Cut, Splitter
from sluice.errors import (
    EmptyFileError,
    PermanentError,
    RecordTooLongError,
    SplitInProgressError,
    UnknownDatasetError,
)
from sluice.ingestion.dispatch import send_chunks
from sluice.ingestion.group_commit import Together
from sluice.ingestion.ingestions import (
    Changes,
    RecordedChunk,
    fail,
    insert_chunk,
    lock_ingestion,
    move,
    receive,
    same_content,
    select_chunks,
    select_ingestion,
)
from sluice.ingestion.model import UNFINISHED, Ingestion, State
from sluice.ingestion.notifications import dataset_of
from sluice.ingestion.outbox import relay
from sluice.ingestion.sources import Source, open_source
from sluice.parsing.layout import lay_out
from sluice.postgres.catalog import find_dataset
from sluice.postgres.connection import transaction, translated
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from sluice.datasets.model import Dataset
    from sluice.ports import Objects, Publisher, StoredObject
    from sluice.settings import Settings

_MAX_RECORD_BYTES = 32 * 1024 * 1024
_DUE = (State.RECEIVED, State.SPLITTING)
_ATTEMPTS_TOGETHER = 3
#: So many files are cut at the same time: each takes the memory of some blocks.
_ALONE = threading.BoundedSemaphore(4)


class Split:
    """Splits announced objects.

    Args:
        settings: `project`, `chunk_bytes`.
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
        self._together = Together(settings, engine, objects, publisher)

    def __call__(self, announced: StoredObject, attempt: int = 1) -> int:
        """Ingest a small object whole, another up to the last chunk sent; return the ingestion.

        Args:
            announced: the object.
            attempt: how often it was announced; what failed several times goes the ordinary way, which
                keeps what is known of a file from the start.

        Raises:
            TransientError: deliver the announcement again.
        """
        if attempt <= _ATTEMPTS_TOGETHER:
            ingestion = self._together(announced)
            if ingestion is not None:
                return ingestion
        with _ALONE:
            return self._begin(announced)

    def _begin(self, announced: StoredObject) -> int:
        with transaction(self._engine) as connection:
            received = receive(connection, announced, self._settings.project)
        ingestion, is_due = received.id, received.state in _DUE
        self._relay(ingestion)
        if is_due:
            try:
                with self._sole_right(ingestion):
                    self._split(ingestion, announced)
            except PermanentError as error:
                self._fail(ingestion, error)
            self._relay(ingestion)
        return ingestion

    def _relay(self, ingestion: int) -> None:
        relay(self._engine, self._publisher, ingestion)

    @contextmanager
    def _sole_right(self, ingestion: int) -> Iterator[None]:
        """Be the only split of the ingestion; the right ends with the connection that holds it.

        That connection is none of the pool: splits that hold all of the pool's would wait for one
        more for ever.

        Raises:
            SplitInProgressError: another is at work. To acknowledge now would be wrong: both may
                have the same message, and then nobody would go on where the other dies.
        """
        with translated(), self._engine.connect() as connection:
            connection.detach()
            if not connection.scalar(statement("lock_split"), {"ingestion": ingestion}):
                raise SplitInProgressError(f"ingestion {ingestion}")
            connection.commit()
            yield

    def _split(self, ingestion: int, announced: StoredObject) -> None:
        with transaction(self._engine) as connection:
            row = select_ingestion(connection, ingestion)
        if row.state not in _DUE:
            return
        name = dataset_of(announced)
        dataset = find_dataset(self._engine, name)
        if dataset is None:
            raise UnknownDatasetError(
                f"gs://{announced.bucket}/{announced.name}: there is no dataset {name}; "
                "declare it, or upload to the folder of one that is declared"
            )
        if row.state == State.RECEIVED and self._is_known_content(row):
            return
        self._cut(row, announced, dataset)

    def _is_known_content(self, row: Ingestion) -> bool:
        """Skip a file whose content is published in the dataset already."""
        with transaction(self._engine) as connection:
            same = same_content(connection, row)
            if same is None:
                move(connection, row.id, State.SPLITTING, self._settings.project)
                return False
            changes = Changes(replaced_by=same)
            move(connection, row.id, State.SKIPPED, self._settings.project, changes)
            return True

    def _cut(self, row: Ingestion, announced: StoredObject, dataset: Dataset) -> None:
        self._relay(row.id)
        known = self._known_chunks(row.id)
        source = open_source(self._objects, announced, row.id, self._settings.outbox)
        missing = [each.cut for each in known if not each.is_loaded]
        send_chunks(self._publisher, row, source, missing)
        splitter = self._splitter(dataset, known)
        has_layout = row.layout is not None
        watch = _watch(row, dataset)
        count = len(known)
        for block in source.blocks(splitter.position):
            watch.feed(block)
            cuts = splitter.feed(block)
            _check_open_record(splitter, announced)
            if not has_layout and (splitter.header is not None or not dataset.dialect.header):
                self._keep_layout(row.id, dataset, splitter, watch)
                has_layout = True
            self._keep_encoding(row.id, watch)
            if not self._remember(row, source, cuts):
                return
            count += len(cuts)
        watch.finish()
        cuts = splitter.finish()
        if not has_layout:
            if dataset.dialect.header and splitter.header is None:
                raise EmptyFileError(f"gs://{announced.bucket}/{announced.name} has no header")
            self._keep_layout(row.id, dataset, splitter, watch)
        self._keep_encoding(row.id, watch)
        if self._remember(row, source, cuts):
            self._complete(row.id, splitter, count + len(cuts))

    def _known_chunks(self, ingestion: int) -> list[RecordedChunk]:
        with transaction(self._engine) as connection:
            return select_chunks(connection, ingestion)

    def _splitter(self, dataset: Dataset, known: list[RecordedChunk]) -> Splitter:
        size_bytes = self._settings.chunk_bytes
        if not known:
            return Splitter(dataset.dialect, size_bytes)
        return Splitter.resume(dataset.dialect, known[-1].cut, size_bytes)

    def _keep_layout(
        self, ingestion: int, dataset: Dataset, splitter: Splitter, watch: EncodingWatch
    ) -> None:
        layout = {
            **lay_out(dataset, splitter.header, watch.take()).to_json(),
            "header_end": splitter.header_end,
        }
        with transaction(self._engine) as connection:
            connection.execute(
                statement("store_layout"), {"ingestion": ingestion, "layout": json.dumps(layout)}
            )

    def _keep_encoding(self, ingestion: int, watch: EncodingWatch) -> None:
        """Keep an encoding that was found behind the header, before a chunk goes out that needs it."""
        encoding = watch.take()
        if encoding:
            with transaction(self._engine) as connection:
                facts = {"ingestion": ingestion, "encoding": encoding}
                connection.execute(statement("store_encoding"), facts)

    def _remember(self, row: Ingestion, source: Source, cuts: list[Cut]) -> bool:
        """Remember chunks, then send them: what was sent is known, what is known is sent again.

        Returns:
            False when the ingestion was cancelled or failed meanwhile.
        """
        for cut in cuts:
            source.keep(cut)
        with transaction(self._engine) as connection:
            if select_ingestion(connection, row.id).state != State.SPLITTING:
                return False
            for cut in cuts:
                insert_chunk(connection, row.id, cut)
        send_chunks(self._publisher, row, source, cuts)
        return True

    def _complete(self, ingestion: int, splitter: Splitter, chunks: int) -> None:
        """Every chunk is known; where all have their receipts already, publishing begins."""
        with transaction(self._engine) as connection:
            found = lock_ingestion(connection, ingestion)
            if found is None or found.state != State.SPLITTING:
                return
            row = move(
                connection,
                ingestion,
                State.LOADING,
                self._settings.project,
                Changes(
                    chunks_total=chunks,
                    records_total=splitter.records,
                    content_bytes=splitter.position,
                ),
            )
            if row.chunks_loaded == row.chunks_total:
                move(connection, ingestion, State.PUBLISHING, self._settings.project)

    def _fail(self, ingestion: int, error: PermanentError) -> None:
        with transaction(self._engine) as connection:
            row = lock_ingestion(connection, ingestion)
            if row is not None and row.state in UNFINISHED:
                fail(connection, ingestion, error, self._settings.project)


def _watch(row: Ingestion, dataset: Dataset) -> EncodingWatch:
    """Watch for the encoding, unless it is declared or an earlier run has found it."""
    is_known = not dataset.detects_encoding or (row.layout or {}).get("is_detected", False)
    return EncodingWatch(is_known=is_known)


def _check_open_record(splitter: Splitter, announced: StoredObject) -> None:
    """Refuse a record without an end: its chunk would fit in no loader's memory."""
    if splitter.open_bytes > _MAX_RECORD_BYTES:
        raise RecordTooLongError(
            f"gs://{announced.bucket}/{announced.name}: the record on line {splitter.open_line} does "
            f"not end within {_MAX_RECORD_BYTES // 1024**2} MiB; look for a quote there that opens a "
            "field and is not closed, close or double it, and upload the file again",
            line=splitter.open_line,
        )
