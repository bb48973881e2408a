"""The use case of split: reads a file once, front to back, and dispatches each chunk as soon as it is known.

Safe to repeat at any point: chunks are recorded before they are sent, and a second run continues after
the last recorded one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from sluice.csv.cuts import Cut
from sluice.csv.encodings import EncodingWatch
from sluice.csv.splitting import MAX_HEADER_BYTES, MAX_RECORD_BYTES, Splitter
from sluice.csv.surroundings import footer_json, preamble_json
from sluice.datasets.identifiers import NAME
from sluice.documents.ingestions import State
from sluice.errors import (
    EmptyFileError,
    FixesRefusedError,
    HeaderMismatchError,
    RecordTooLongError,
    SplitInProgressError,
    UnknownDatasetError,
)
from sluice.inference.names import dataset_name
from sluice.ingestion.dispatch import publish_chunks
from sluice.ingestion.failures import Step, attempt
from sluice.ingestion.fixes import find_fixed, same_fix, written_alike
from sluice.ingestion.ingestions import (
    SAME_CONTENT,
    Changes,
    fail,
    insert_chunk,
    lock_ingestion,
    may_be_loaded,
    move,
    receive,
    same_content,
    select_chunks,
    select_ingestion,
    skip,
)
from sluice.ingestion.model import Ingestion
from sluice.ingestion.notifications import FIXES_FOLDER, dataset_of, is_in_fixes
from sluice.ingestion.opening import UNDECLARED, Opened, layout_document, open_content
from sluice.ingestion.outbox import relay
from sluice.ingestion.reconciliation import surely_too_many_rejects
from sluice.ingestion.reject_objects import write_reject_files
from sluice.ingestion.slots import Slots
from sluice.ingestion.small_files import fitting, load_in_group, load_together
from sluice.ingestion.sources import Source, content_sha256, open_source
from sluice.ingestion.waiting_files import (
    hand_over,
    has_room,
    keep_waiting,
    next_waiting,
    taken,
)
from sluice.parsing.layout import sheet_json
from sluice.postgres.catalog import dataset_of_version
from sluice.postgres.connection import own_connection, transaction
from sluice.postgres.named_sql import jsonb, statement

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from sluice.datasets.model import Dataset
    from sluice.ingestion.ingestions import RecordedChunk
    from sluice.ports import Environment, StoredObject

#: Of a file up to the end of its header, with preamble, comments and empty lines.
MAX_HEAD_BYTES = 4 * MAX_HEADER_BYTES
_DUE = (State.RECEIVED, State.SPLITTING)
#: A file is loaded by group commit in its first deliveries, and then on its own.
_GROUP_ATTEMPTS = 3
#: Files that are split at the same time: a long line of one takes up to 400 MiB.
_SPLITS = threading.BoundedSemaphore(2)
#: Datasets whose waiting files are taken at the same time: each needs a connection of its own.
_TAKERS = threading.BoundedSemaphore(2)
#: Handlers that load or split files of one dataset at the same time, half of the threads of an instance;
#: those that split; and those that take waiting files.
_HANDLERS, _SPLITTERS, _TAKER = Slots(8), Slots(2), Slots(1)
#: Time for which a handler takes waiting files: well below the deadline of its message.
TAKES_FOR_S = 60.0
#: Errors after which it takes no more: one file costs itself alone, an outage costs all.
_MAX_ERRORS = 3


def split_file(env: Environment, file: StoredObject, delivery: int = 1) -> int:
    """Load a small file by group commit, split any other; return the ingestion.

    Args:
        env: settings `project`, `chunk_bytes`, `copy_block_bytes`, `outbox`, `files_at_once`, and those
            of `attempt`.
        file: the object.
        delivery: how often its notification was delivered. After several failures a file is split like
            a large one, which records its progress from the start.

    Raises:
        TransientError: deliver the notification again.
    """
    folder, slash, _ = file.name.partition("/")
    if not slash:
        return _split_alone(env, file, delivery, is_free=True)
    ingestion = _load_or_split(env, file, folder, delivery)
    take_waiting(env, folder, delivery)
    return ingestion


def _load_or_split(env: Environment, file: StoredObject, folder: str, delivery: int) -> int:
    """Load or split a file, or leave it waiting while its dataset has no slot for it."""
    with _HANDLERS.slot(env.engine, folder) as handler:
        if not handler.is_free:
            with transaction(env.engine) as connection:
                received = receive(connection, file, env.settings.project)
                keep_waiting(connection, received)
            if received.state != State.SPLITTING:
                return received.id
        elif delivery <= _GROUP_ATTEMPTS:
            ingestion = load_in_group(env, file)
            if ingestion is not None:
                return ingestion
        with _SPLITTERS.slot(env.engine, folder) as splitter:
            return _split_alone(env, file, delivery, is_free=splitter.is_free)


def _split_alone(env: Environment, file: StoredObject, delivery: int, *, is_free: bool) -> int:
    """Split a file, unless it is not begun and has to wait for others of its dataset."""
    with transaction(env.engine) as connection:
        received = receive(connection, file, env.settings.project)
        if received.state == State.RECEIVED and (
            received.waiting_since is not None  # it is taken after those before it
            or not is_free
            or not has_room(connection, received, env.settings.files_at_once)
        ):
            keep_waiting(connection, received)
            return received.id
    _relay(env, received.id)
    if received.state in _DUE:
        step = Step(received.id, "split", delivery)
        with _SPLITS:
            attempt(env, step, lambda: _split_exclusively(env, received.id))
        _relay(env, received.id)
    return received.id


def take_waiting(env: Environment, dataset: str, delivery: int = 1) -> None:
    """Load or split the files of a dataset that wait, unless another handler of this process does.

    Args:
        env: as of `split_file`.
        dataset: the dataset.
        delivery: of the message after which they are taken.

    Raises:
        TransientError: some failed; deliver the message again.
    """
    taking = _Taking(env, dataset, delivery)
    while True:
        with _TAKER.slot(env.engine, dataset) as taker:
            if taker.is_free:
                taking.run()
        if (
            taking.has_ended or not taker.refused_others
        ):  # who is refused has recorded its file before
            return


class _Taking:
    """Takes the files of a dataset that wait, one group after the other.

    Attributes:
        has_ended: whether the time is over.
    """

    def __init__(self, env: Environment, dataset: str, delivery: int) -> None:
        self._env = env
        self._dataset = dataset
        self._delivery = delivery
        self._ends_at = time.monotonic() + TAKES_FOR_S
        self._passed: list[int] = []
        self._errors: list[Exception] = []
        self.has_ended = False

    def run(self) -> None:
        """Take files until none is left that may be taken now."""
        env = self._env
        while next_waiting(env.engine, self._dataset) is not None and not self.has_ended:
            self.has_ended = time.monotonic() > self._ends_at
            if self.has_ended:
                hand_over(env, self._dataset)
            elif not self._take_some():
                break
        if self._errors:
            raise self._errors[0]

    def _take_some(self) -> bool:
        """Take some files; return whether there may be more to take now."""
        with _TAKERS, taken(self._env.engine, self._dataset, self._passed) as found:
            files = [each.file for each in found]
            files = files[: fitting(self._env, files)]
            in_group = self._delivery <= _GROUP_ATTEMPTS
            loaded = load_together(self._env, self._dataset, files) if in_group else []
            rest = [each.id for each in found[: len(files)] if each.id not in loaded]
            return bool(found) and all(map(self._split, rest))

    def _split(self, ingestion: int) -> bool:
        """Split a file that is taken; return False where it has to wait."""
        env = self._env
        with transaction(env.engine) as connection:
            taken = select_ingestion(connection, ingestion)
            if not has_room(connection, taken, env.settings.files_at_once):
                return False
        self._passed.append(ingestion)
        try:
            with _SPLITS:
                attempt(
                    env, Step(ingestion, "split", self._delivery), lambda: _split(env, ingestion)
                )
            _relay(env, ingestion)
        except Exception as error:
            self._errors.append(error)
            if len(self._errors) == _MAX_ERRORS:
                raise
        return True


def _relay(env: Environment, ingestion: int) -> None:
    write_reject_files(env, ingestion)
    relay(env.engine, env.publisher, ingestion)


def _split_exclusively(env: Environment, ingestion: int) -> None:
    with _exclusive(env.engine, ingestion):
        _split(env, ingestion)


@contextmanager
def _exclusive(engine: Engine, ingestion: int) -> Iterator[None]:
    """Hold the lock on the split of an ingestion; it ends with the connection that holds it.

    That connection is not one of the pool: if splits held all of the pool's connections, each would
    wait for one more forever.

    Raises:
        SplitInProgressError: another split is running. To acknowledge now would be wrong: both may
            have the same message, and if the other one crashed, none would continue.
    """
    with own_connection(engine) as connection:
        if not connection.scalar(statement("lock_split"), {"ingestion": ingestion}):
            raise SplitInProgressError(ingestion)
        connection.commit()
        yield


def _split(env: Environment, number: int) -> None:
    with transaction(env.engine) as connection:
        ingestion = select_ingestion(connection, number)
        name = dataset_of(ingestion.file)
        version = ingestion.declaration_version
        was_undeclared = ingestion.is_observing and version is None
        dataset = None if was_undeclared else dataset_of_version(connection, name, version)
    if ingestion.state not in _DUE:
        return
    if dataset is None:
        _check_name(ingestion.file, name)
    if is_in_fixes(ingestion.file.name) and ingestion.fixes is None:
        raise FixesRefusedError(
            f"{ingestion.file.url}: the folder does not name an ingestion; upload fixes to"
            f" gs://{ingestion.file.bucket}/{name}/{FIXES_FOLDER}/<ingestion>/"
        )
    if ingestion.state == State.RECEIVED and not _begin(env, ingestion, dataset):
        return
    _cut(env, ingestion, dataset)


def _check_name(file: StoredObject, name: str) -> None:
    """Refuse a folder whose name no dataset can have."""
    if not NAME.fullmatch(name):
        raise UnknownDatasetError(
            f"{file.url}: there is no dataset {name!r}, and none can have this name: a name has lowercase"
            " letters, digits and _, and begins with a letter; upload the file to"
            f" gs://{file.bucket}/{dataset_name(name)}/, or to the folder of a declared dataset"
        )


def _begin(env: Environment, ingestion: Ingestion, dataset: Dataset | None) -> bool:
    """Begin to split a file, or skip it where its content is published; return whether it began."""
    project = env.settings.project
    if ingestion.fixes is not None:
        return _begin_fix(env, ingestion, dataset)
    if dataset is None:
        with transaction(env.engine) as connection:
            move(connection, ingestion.id, State.SPLITTING, project)
        return True
    with transaction(env.engine) as connection:
        is_likely = may_be_loaded(connection, ingestion, dataset)
    sha256 = content_sha256(env, ingestion.file, dataset) if is_likely else None
    with transaction(env.engine) as connection:
        same = same_content(connection, ingestion.id, dataset, sha256)
        if same is None:
            judged_by = Changes(declaration_version=dataset.version)
            move(connection, ingestion.id, State.SPLITTING, project, judged_by)
            return True
        skip(connection, ingestion.id, same, SAME_CONTENT, project, sha256)
        return False


def _begin_fix(env: Environment, fix: Ingestion, dataset: Dataset | None) -> bool:
    """Begin to split a file that fixes rejects, or skip it where the same content fixed them before."""
    sha256 = content_sha256(env, fix.file, dataset or UNDECLARED)
    with transaction(env.engine) as connection:
        same = same_fix(connection, fix, sha256)
        if same is not None:
            skip(connection, fix.id, same, SAME_CONTENT, env.settings.project, sha256)
            return False
        find_fixed(connection, fix, 1)
        judged_by = Changes(declaration_version=dataset.version if dataset else None)
        move(connection, fix.id, State.SPLITTING, env.settings.project, judged_by)
        return True


def _cut(env: Environment, ingestion: Ingestion, dataset: Dataset | None) -> None:
    _relay(env, ingestion.id)
    with transaction(env.engine) as connection:
        known = select_chunks(connection, ingestion.id)
        if dataset and ingestion.fixes is not None:
            fixed = find_fixed(connection, ingestion, 1)
            dataset = written_alike(dataset, fixed)
    position = known[-1].cut.end_byte if known else 0
    file, form = ingestion.file, dataset or UNDECLARED
    with closing(open_source(env, file, form, ingestion.id, position)) as source:
        _cut_source(env, ingestion, dataset, source, known)


def _cut_source(
    env: Environment,
    ingestion: Ingestion,
    dataset: Dataset | None,
    source: Source,
    known: list[RecordedChunk],
) -> None:
    missing = [each.cut for each in known if not each.is_loaded]
    publish_chunks(env.publisher, ingestion, source, missing)
    position = known[-1].cut.end_byte if known else 0
    opened = open_content(env.storage, ingestion, dataset, source, position)
    chunk_bytes = env.settings.chunk_bytes
    splitter = (
        Splitter.resume(opened.dialect, known[-1].cut, chunk_bytes)
        if known
        else Splitter(opened.dialect, chunk_bytes)
    )
    work = _Split(env, ingestion, dataset, source, opened, splitter)
    if work.run(len(known)):
        _complete(env, ingestion.id, dataset, splitter, work.count, source.sha256)


class _Split:
    """One run over a file.

    Attributes:
        count: number of chunks so far.
    """

    def __init__(
        self,
        env: Environment,
        ingestion: Ingestion,
        dataset: Dataset | None,
        source: Source,
        opened: Opened,
        splitter: Splitter,
    ) -> None:
        self._env = env
        self._ingestion = ingestion
        self._dataset = dataset
        self._source = source
        self._opened = opened
        self._splitter = splitter
        self._watch = EncodingWatch(is_known=not opened.detects_encoding)
        self._layout = ingestion.layout
        self._head = bytearray()
        self.count = 0

    def run(self, known: int) -> bool:
        """Dispatch the chunks after the known ones; return whether the file was read to its end."""
        self.count = known
        for block in self._opened.blocks:
            self._watch.feed(block)
            cuts = [self._source.numbered(each) for each in self._splitter.feed(block)]
            _check_open_record(self._splitter, self._ingestion.file)
            if self._layout is None:
                if len(self._head) <= MAX_HEAD_BYTES:
                    self._head += block
                self._check_head()
                if self._splitter.header is not None or not self._opened.dialect.header:
                    self._lay_out(block)
            if not self._dispatch(cuts):
                return False
        self._watch.finish()
        cuts = [self._source.numbered(each) for each in self._splitter.finish()]
        self._check_content(cuts)
        if self._layout is None:
            self._check_head()
            self._lay_out(b"")
        return self._dispatch(cuts)

    def _check_content(self, cuts: list[Cut]) -> None:
        url = self._ingestion.file.url
        if self._opened.dialect.header and self._splitter.header is None and self._layout is None:
            raise EmptyFileError(f"{url} has no header; add one, or declare header = false")
        if self._ingestion.fixes is not None:
            with transaction(self._env.engine) as connection:
                find_fixed(connection, self._ingestion, self._splitter.records)
        if self._dataset is None and not cuts and not self.count:
            raise EmptyFileError(
                f"{url} has a header and no rows, so its types cannot be inferred; upload a file with"
                " rows, or declare the dataset"
            )

    def _check_head(self) -> None:
        """Fail on a file without an end of its header: what precedes the records is kept in memory.

        What was read, but may be the footer, does not count: it may be a long record.
        """
        header_end = self._splitter.header_end
        kept = MAX_HEAD_BYTES if header_end is None else len(self._head)
        if (self._splitter.position if header_end is None else header_end) > kept:
            raise HeaderMismatchError(
                f"{self._ingestion.file.url} has no header within its first"
                f" {MAX_HEAD_BYTES // 1024**2} MiB; look for empty lines or comments before it"
            )

    def _lay_out(self, block: bytes) -> None:
        """Store how the file is laid out, from its first bytes and the block in which its header ends."""
        encoding = self._source.encoding or self._watch.take()
        opened, splitter, source = self._opened, self._splitter, self._source
        document = layout_document(opened, self._dataset, splitter, encoding, block)
        if source.sheet:
            document |= sheet_json(source.sheet, source.letters(), self._dataset, document)
        if splitter.header_end is not None:
            document |= preamble_json(bytes(self._head[: splitter.header_end]))
        if source.is_copied:
            document["is_copied"] = True
        if source.written_in:
            document |= {"written_in": source.written_in, "has_mark": source.has_mark}
        values = {
            "ingestion": self._ingestion.id,
            "layout": jsonb(document),
            "declaration_version": self._dataset.version if self._dataset else None,
        }
        with transaction(self._env.engine) as connection:
            connection.execute(statement("store_layout"), values)
        self._layout = document
        self._head.clear()

    def _dispatch(self, cuts: list[Cut]) -> bool:
        """Record chunks, then send them, so that every chunk sent is known and can be sent again.

        Returns:
            False when the ingestion was cancelled or failed meanwhile.
        """
        number = self._ingestion.id
        for cut in cuts:
            self._source.store(cut)
        with transaction(self._env.engine) as connection:
            if select_ingestion(connection, number).state != State.SPLITTING:
                return False
            if encoding := self._watch.take():  # before a chunk is sent that needs it
                values = {"ingestion": number, "encoding": encoding}
                connection.execute(statement("store_encoding"), values)
            for cut in cuts:
                insert_chunk(connection, number, cut)
        publish_chunks(self._env.publisher, self._ingestion, self._source, cuts)
        self.count += len(cuts)
        return True


def _check_open_record(splitter: Splitter, file: StoredObject) -> None:
    """Fail on a record without an end: its chunk would exceed the memory of a loader."""
    if splitter.open_bytes > MAX_RECORD_BYTES:
        raise RecordTooLongError(
            f"{file.url}: the record on line {splitter.open_line} does not end within"
            f" {MAX_RECORD_BYTES // 1024**2} MiB; look for data there that has no line ends, and upload"
            " the file again",
            line=splitter.open_line,
        )


def _complete(
    env: Environment,
    ingestion: int,
    dataset: Dataset | None,
    splitter: Splitter,
    chunks: int,
    sha256: bytes | None,
) -> None:
    """Move on to `loading`, and to `publishing` where every chunk has its receipt already."""
    project = env.settings.project
    changes = Changes(
        chunks_total=chunks,
        records_total=splitter.records,
        content_bytes=splitter.position,
        content_sha256=sha256,
    )
    with transaction(env.engine) as connection:
        found = lock_ingestion(connection, ingestion)
        if found is None or found.state != State.SPLITTING:
            return
        if splitter.footer:
            changes = replace(
                changes, layout={**(found.layout or {}), **footer_json(splitter.footer)}
            )
        moved = move(connection, ingestion, State.LOADING, project, changes)
        if moved.chunks_loaded == moved.chunks_total:
            move(connection, ingestion, State.PUBLISHING, project)
        elif dataset and (refusal := surely_too_many_rejects(connection, moved, dataset)):
            fail(connection, ingestion, refusal, project)
