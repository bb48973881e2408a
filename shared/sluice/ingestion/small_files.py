"""Group commit of small files: files that wait at the same time are loaded and published together.

Each delivery reads its own file, and the first one loads all that are waiting, each as an ingestion of its
own. An unusual file is left to split. So is a file with which its group fails, unless the database or Pub/Sub
is unavailable, in which case each delivery is repeated: split finds its error too, and records it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Self

from sluice.datasets.model import Unfitting
from sluice.errors import DatabaseUnavailableError, DeclarationChangedError
from sluice.ingestion.constraint_errors import constraint_errors
from sluice.ingestion.group_commit import MAX_GROUP_BYTES, Queues, Waiting
from sluice.ingestion.group_transaction import (
    Committed,
    account_of,
    is_publishable,
    publish_committed,
    store_group,
)
from sluice.ingestion.load import codes_of_texts
from sluice.ingestion.merge import lock_datasets
from sluice.ingestion.notifications import dataset_of, is_in_fixes
from sluice.ingestion.reconciliation import is_all_rejected
from sluice.ingestion.reject_objects import write_reject_files
from sluice.parsing.batch import FileOutcome, parse_files
from sluice.parsing.small_file import SmallFile, read_small_file
from sluice.postgres.catalog import cached_dataset, check_current
from sluice.postgres.connection import transaction

if TYPE_CHECKING:
    from sluice.datasets.model import Dataset
    from sluice.ports import Environment, StoredObject

#: A larger file is worth a loader of its own.
MAX_FILE_BYTES = 1024 * 1024
#: A dataset that is declared more often while a file waits is left to split.
_MAX_READS = 3


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
    _publish(env, loaded)
    return loaded.ingestion.id


def fitting(env: Environment, files: Sequence[StoredObject]) -> int:
    """Return how many of the first files `load_together` can take: their content is in memory together."""
    sizes = accumulate(each.size_bytes if _is_small(env, each) else 0 for each in files)
    return sum(size <= MAX_GROUP_BYTES for size in sizes)


def load_together(env: Environment, name: str, files: Sequence[StoredObject]) -> list[int]:
    """Load and publish small files of one dataset, and publish their events; return their ingestions.

    Args:
        env: as of `load_in_group`.
        name: their dataset.
        files: those that split must take are left out.

    Raises:
        TransientError: load the others again; events may be unpublished.
    """
    if cached_dataset(env.engine, name) is None:
        return []
    waiting = [each for each in (_read(env, file) for file in files) if each]
    _queues.of(env.engine, name).load_all(waiting, partial(_load, env))
    loaded = [each for each in map(_committed, waiting) if each]
    for each in loaded:
        _publish(env, each)
    return [each.ingestion.id for each in loaded]


def _committed(waiting: _WaitingFile) -> Committed | None:
    try:
        return waiting.result.result()
    except DeclarationChangedError:
        return None


def _publish(env: Environment, loaded: Committed) -> None:
    if loaded.events[-1].has_rejects:
        write_reject_files(env, loaded.ingestion.id)
    publish_committed(env, loaded)


def _read_and_load(env: Environment, file: StoredObject) -> Committed | None:
    """Load a file as its dataset is declared now: again, if it was declared meanwhile."""
    for _ in range(_MAX_READS):
        waiting = _read(env, file)
        if waiting is None:
            return None
        try:
            _queues.of(env.engine, waiting.dataset.name).load(waiting, partial(_load, env))
            return waiting.result.result()
        except DeclarationChangedError:
            continue
    return None


def _is_small(env: Environment, file: StoredObject) -> bool:
    limit = min(MAX_FILE_BYTES, env.settings.chunk_bytes)
    return 0 < file.size_bytes <= limit and not is_in_fixes(file.name)


def _read(env: Environment, file: StoredObject) -> _WaitingFile | None:
    """Read a file; None where it is unusual."""
    if not _is_small(env, file):
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
    sha256 = hashlib.sha256(data).hexdigest()
    return _WaitingFile(file.name, dataset, file.size_bytes, file, content, sha256)


def _is_usual(file: StoredObject, dataset: Dataset) -> bool:
    """Whether rows are published as they are loaded, by a declaration that stays as it is."""
    may_change = dataset.detects_dialect or dataset.unfitting is Unfitting.WIDEN
    return not (dataset.is_staged or dataset.output or may_change or file.options)


@dataclass(eq=False)
class _WaitingFile(Waiting[Committed]):
    """A file that waits to be loaded."""

    file: StoredObject
    content: SmallFile
    sha256: str
    received_at: datetime = field(default_factory=partial(datetime.now, UTC))

    def fits(self, group: Sequence[Self]) -> bool:
        return self.content.kind == group[0].content.kind and super().fits(group)

    def is_like(self, other: Self) -> bool:
        return super().is_like(other) or self.sha256 == other.sha256

    def document(self, outcome: FileOutcome) -> dict[str, object]:
        """Return what the statement `receive_group` records of the file."""
        file, cut = self.file, self.content.cut
        return {
            "source": "file",
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


_queues: Queues[_WaitingFile] = Queues()


def _load(env: Environment, waiting: Sequence[_WaitingFile]) -> list[Committed | None]:
    """Load files of one dataset and kind in one transaction; None for each that split must take."""
    dataset = waiting[0].dataset
    contents = [each.content for each in waiting]
    with parse_files(contents, dataset, env.settings.max_rejects) as parsed:
        outcomes = parsed.encode(codes_of_texts(env.engine, dataset, parsed.chunk))
        documents = [
            each.document(outcome) if _is_publishable(outcome, dataset) else None
            for each, outcome in zip(waiting, outcomes, strict=True)
        ]
        with constraint_errors(is_masked=dataset.has_pii), transaction(env.engine) as connection:
            lock_datasets(connection, dataset)
            check_current(connection, dataset)
            return store_group(env, connection, dataset, parsed, outcomes, documents)


def _is_publishable(outcome: FileOutcome, dataset: Dataset) -> bool:
    account = account_of(outcome)
    return is_publishable(account, dataset) and not is_all_rejected(account)
