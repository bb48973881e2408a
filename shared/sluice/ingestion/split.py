"""The use case of split: reads a file once, front to back, and dispatches each chunk as soon as it is known.

Safe to repeat at any point: chunks are recorded before they are sent, and a second run continues after
the last recorded one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from sluice.csv.cuts import Cut
from sluice.csv.encodings import EncodingWatch
from sluice.csv.splitting import MAX_RECORD_BYTES, Splitter
from sluice.documents.ingestions import State
from sluice.errors import (
    EmptyFileError,
    FixesRefusedError,
    RecordTooLongError,
    SplitInProgressError,
    UnknownDatasetError,
)
from sluice.ingestion.dispatch import publish_chunks
from sluice.ingestion.failures import Step, attempt
from sluice.ingestion.fixes import find_fixed, same_fix
from sluice.ingestion.group_commit import load_in_group
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
from sluice.ingestion.outbox import relay
from sluice.ingestion.reconciliation import surely_too_many_rejects
from sluice.ingestion.reject_objects import write_reject_files
from sluice.ingestion.sources import Source, content_sha256, open_source
from sluice.parsing.layout import Layout, footer_json, lay_out, preamble_json
from sluice.parsing.mismatches import check_first_records
from sluice.postgres.catalog import dataset_of_version
from sluice.postgres.connection import transaction, translated
from sluice.postgres.named_sql import jsonb, statement

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from sluice.datasets.model import Dataset
    from sluice.ports import Environment, StoredObject

_DUE = (State.RECEIVED, State.SPLITTING)
#: A file is loaded by group commit in its first deliveries, and then on its own.
_GROUP_ATTEMPTS = 3
#: Files that are split at the same time: each takes the memory of some blocks.
_SLOTS = threading.BoundedSemaphore(4)


def split_file(env: Environment, file: StoredObject, delivery: int = 1) -> int:
    """Load a small file by group commit, split any other; return the ingestion.

    Args:
        env: settings `project`, `chunk_bytes`, `copy_block_bytes`, `outbox`, and those of
            `attempt`.
        file: the object.
        delivery: how often its notification was delivered. After several failures a file is split like
            a large one, which records its progress from the start.

    Raises:
        TransientError: deliver the notification again.
    """
    if delivery <= _GROUP_ATTEMPTS:
        ingestion = load_in_group(env, file)
        if ingestion is not None:
            return ingestion
    with _SLOTS:
        return _split_alone(env, file, delivery)


def _split_alone(env: Environment, file: StoredObject, delivery: int) -> int:
    with transaction(env.engine) as connection:
        received = receive(connection, file, env.settings.project)
    _relay(env, received.id)
    if received.state in _DUE:
        step = Step(received.id, "split", delivery)
        attempt(env, step, lambda: _split_exclusively(env, received.id))
        _relay(env, received.id)
    return received.id


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
    with translated(), engine.connect() as connection:
        connection.detach()
        if not connection.scalar(statement("lock_split"), {"ingestion": ingestion}):
            raise SplitInProgressError(ingestion)
        connection.commit()
        yield


def _split(env: Environment, number: int) -> None:
    with transaction(env.engine) as connection:
        ingestion = select_ingestion(connection, number)
        name = dataset_of(ingestion.file)
        dataset = dataset_of_version(connection, name, ingestion.declaration_version)
    if ingestion.state not in _DUE:
        return
    if dataset is None:
        raise UnknownDatasetError(
            f"{ingestion.file.url}: there is no dataset {name}; declare it, or upload to the folder"
            " of one that is declared"
        )
    if is_in_fixes(ingestion.file.name) and ingestion.fixes is None:
        raise FixesRefusedError(
            f"{ingestion.file.url}: the folder does not name an ingestion; upload fixes to"
            f" gs://{ingestion.file.bucket}/{name}/{FIXES_FOLDER}/<ingestion>/"
        )
    if ingestion.state == State.RECEIVED and not _begin(env, ingestion, dataset):
        return
    _cut(env, ingestion, dataset)


def _begin(env: Environment, ingestion: Ingestion, dataset: Dataset) -> bool:
    """Begin to split a file, or skip it where its content is published; return whether it began."""
    project = env.settings.project
    if ingestion.fixes is not None:
        return _begin_fix(env, ingestion, dataset)
    with transaction(env.engine) as connection:
        is_likely = may_be_loaded(connection, ingestion, dataset)
    sha256 = content_sha256(env.storage, ingestion.file, dataset) if is_likely else None
    with transaction(env.engine) as connection:
        same = same_content(connection, ingestion.id, dataset, sha256)
        if same is None:
            judged_by = Changes(declaration_version=dataset.version)
            move(connection, ingestion.id, State.SPLITTING, project, judged_by)
            return True
        skip(connection, ingestion.id, same, SAME_CONTENT, project, sha256)
        return False


def _begin_fix(env: Environment, fix: Ingestion, dataset: Dataset) -> bool:
    """Begin to split a file that fixes rejects, or skip it where the same content fixed them before."""
    sha256 = content_sha256(env.storage, fix.file, dataset)
    with transaction(env.engine) as connection:
        same = same_fix(connection, fix, sha256)
        if same is not None:
            skip(connection, fix.id, same, SAME_CONTENT, env.settings.project, sha256)
            return False
        find_fixed(connection, fix, 1)
        judged_by = Changes(declaration_version=dataset.version)
        move(connection, fix.id, State.SPLITTING, env.settings.project, judged_by)
        return True


def _cut(env: Environment, ingestion: Ingestion, dataset: Dataset) -> None:
    _relay(env, ingestion.id)
    with transaction(env.engine) as connection:
        known = select_chunks(connection, ingestion.id)
        dataset = _as_fixed(connection, ingestion, dataset)
    source = open_source(env.storage, ingestion.file, dataset, ingestion.id, env.settings.outbox)
    missing = [each.cut for each in known if not each.is_loaded]
    publish_chunks(env.publisher, ingestion, source, missing)
    chunk_bytes = env.settings.chunk_bytes
    dialect = source.dialect or dataset.dialect
    splitter = (
        Splitter.resume(dialect, known[-1].cut, chunk_bytes)
        if known
        else Splitter(dialect, chunk_bytes)
    )
    has_layout = ingestion.layout is not None
    watch = _watch(ingestion, dataset, source)
    count = len(known)
    head = b""
    for block in source.blocks(splitter.position):
        watch.feed(block)
        cuts = [source.numbered(each) for each in splitter.feed(block)]
        head = b"" if has_layout else head + block
        _check_open_record(splitter, ingestion.file)
        if not has_layout and (splitter.header is not None or not dataset.dialect.header):
            _store_layout(env, ingestion.id, dataset, splitter, source, watch.take(), head, block)
            has_layout = True
        _store_encoding(env, ingestion.id, watch)
        if not _dispatch(env, ingestion, source, cuts):
            return
        count += len(cuts)
    watch.finish()
    cuts = [source.numbered(each) for each in splitter.finish()]
    if not has_layout:
        if dataset.dialect.header and splitter.header is None:
            raise EmptyFileError(
                f"{ingestion.file.url} has no header; add one, or declare header = false"
            )
        _store_layout(env, ingestion.id, dataset, splitter, source, watch.take(), head, b"")
    _store_encoding(env, ingestion.id, watch)
    if ingestion.fixes is not None:
        with transaction(env.engine) as connection:
            find_fixed(connection, ingestion, splitter.records)
    if _dispatch(env, ingestion, source, cuts):
        _complete(env, ingestion.id, dataset, splitter, count + len(cuts), source.sha256)


def _as_fixed(connection: Connection, ingestion: Ingestion, dataset: Dataset) -> Dataset:
    """Return a dataset in the dialect of the rejects that a file fixes: those of a workbook are CSV."""
    if ingestion.fixes is None:
        return dataset
    layout = select_ingestion(connection, ingestion.fixes).layout or {}
    if "sheet" not in layout:
        return dataset
    return replace(dataset, dialect=Layout.from_json(layout).dialect)


def _watch(ingestion: Ingestion, dataset: Dataset, source: Source) -> EncodingWatch:
    """Watch for the encoding, unless it is declared or was found by an earlier run."""
    is_found = bool(source.encoding) or (ingestion.layout or {}).get("is_detected", False)
    return EncodingWatch(is_known=is_found or not dataset.detects_encoding)


def _check_open_record(splitter: Splitter, file: StoredObject) -> None:
    """Fail on a record without an end: its chunk would exceed the memory of a loader."""
    if splitter.open_bytes > MAX_RECORD_BYTES:
        raise RecordTooLongError(
            f"{file.url}: the record on line {splitter.open_line} does not end within"
            f" {MAX_RECORD_BYTES // 1024**2} MiB; look for data there that has no line ends, and upload"
            " the file again",
            line=splitter.open_line,
        )


def _store_layout(
    env: Environment,
    ingestion: int,
    dataset: Dataset,
    splitter: Splitter,
    source: Source,
    encoding: str | None,
    head: bytes,
    block: bytes,
) -> None:
    """Store how the file is laid out, from its first bytes and the block in which its header ends."""
    if source.dialect:
        dataset = replace(dataset, dialect=source.dialect)
    layout = lay_out(dataset, splitter.header, source.encoding or encoding)
    check_first_records(dataset, layout.dialect.encoding, block)
    layout = replace(layout, sheet=source.sheet)
    document = layout.to_json()
    if source.sheet:
        document["cells"] = _letters_of(dataset, layout, source.letters())
    if splitter.header_end is not None:
        document |= preamble_json(head[: splitter.header_end])
    if source.is_copied:
        document["is_copied"] = True
    if source.written_in:
        document |= {"written_in": source.written_in, "has_mark": source.has_mark}
    values = {"ingestion": ingestion, "layout": jsonb(document)}
    with transaction(env.engine) as connection:
        connection.execute(statement("store_layout"), values)


def _letters_of(dataset: Dataset, layout: Layout, letters: Sequence[str]) -> dict[str, str]:
    """Return the letter of each column of a dataset in the sheet of a workbook."""
    places = zip(dataset.columns, layout.order, strict=True)
    return {
        column.name: letters[place if isinstance(place, int) else place[0]]
        for column, place in places
        if place is not None
    }


def _store_encoding(env: Environment, ingestion: int, watch: EncodingWatch) -> None:
    """Store an encoding found after the header, before a chunk is dispatched that needs it."""
    if encoding := watch.take():
        values = {"ingestion": ingestion, "encoding": encoding}
        with transaction(env.engine) as connection:
            connection.execute(statement("store_encoding"), values)


def _dispatch(env: Environment, ingestion: Ingestion, source: Source, cuts: list[Cut]) -> bool:
    """Record chunks, then send them, so that every chunk sent is known and can be sent again.

    Returns:
        False when the ingestion was cancelled or failed meanwhile.
    """
    for cut in cuts:
        source.store(cut)
    with transaction(env.engine) as connection:
        if select_ingestion(connection, ingestion.id).state != State.SPLITTING:
            return False
        for cut in cuts:
            insert_chunk(connection, ingestion.id, cut)
    publish_chunks(env.publisher, ingestion, source, cuts)
    return True


def _complete(
    env: Environment,
    ingestion: int,
    dataset: Dataset,
    splitter: Splitter,
    chunks: int,
    sha256: bytes,
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
        elif refusal := surely_too_many_rejects(connection, moved, dataset):
            fail(connection, ingestion, refusal, project)
