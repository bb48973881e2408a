"""The use case of verify: reads the file again and compares it, and the tables, with the account.

Memory holds a block and a line, whatever the size of the file. Time is bounded: a file that cannot be read in
time is reported as not checked.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sluice.csv.counting import RecordCounter
from sluice.csv.dialects import Dialect
from sluice.csv.surroundings import footer_of, preamble_of
from sluice.datasets import identifiers
from sluice.datasets.model import INGESTION_COLUMN, Dataset
from sluice.documents.ingestions import Figure, State, Verification
from sluice.errors import FileError, IllegalTransitionError
from sluice.ingestion.ingestions import select_ingestion
from sluice.ingestion.sources import content_blocks
from sluice.postgres.catalog import dataset_of_version, read_dataset
from sluice.postgres.connection import transaction
from sluice.postgres.merge_sql import MAX_LISTED_DUPLICATES
from sluice.postgres.named_sql import composed, statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.ingestion.model import Ingestion
    from sluice.ports import Environment

#: Time to read a file, within the 300 s that a request has: some GB, see docs/api.md.
MAX_S = 240.0


def verify(env: Environment, ingestion: int, max_s: float = MAX_S) -> Verification:
    """Compare an ingestion's file and its rows with its account; return each figure.

    Args:
        env: the database and Cloud Storage.
        ingestion: in state `done`.
        max_s: time after which reading the file ends.

    Raises:
        IllegalTransitionError: it is not done.
        NotFoundError: there is no such ingestion.
        StorageUnavailableError: try again later.
    """
    with transaction(env.engine) as connection:
        found = select_ingestion(connection, ingestion)
        if found.state != State.DONE:
            raise IllegalTransitionError(
                f"ingestion {ingestion} is {found.state}; only one that is done has an account to verify",
                state=str(found.state),
            )
        name = found.dataset or ""
        dataset = dataset_of_version(connection, name, found.declaration_version)
        stored = read_dataset(connection, name)
        counts: dict[str, Any] = dict(
            connection.execute(statement("verified_counts"), {"ingestion": ingestion})
            .mappings()
            .one()
        )
        rows = None if stored is None else _count_rows(connection, stored, ingestion)
    figures = [
        *_account_figures(found, counts, rows, stored),
        *_content_figures(env, found, dataset, counts, max_s),
    ]
    differs = [each.name for each in figures if each.ok is False]
    return Verification(ingestion, verified=not differs, differs=differs, figures=figures)


def _count_rows(connection: Connection, dataset: Dataset, ingestion: int) -> int:
    """Count the stored rows of an ingestion, including those that later uploads replaced."""
    tables = [identifiers.store_table(dataset.name)]
    if dataset.key:
        tables.append(identifiers.replaced_table(dataset.name))
    counts = " + ".join(
        f"(SELECT count(*) FROM {table} WHERE {INGESTION_COLUMN} = :ingestion)" for table in tables
    )
    return int(connection.scalar(composed(f"SELECT {counts}"), {"ingestion": ingestion}) or 0)


def _account_figures(
    found: Ingestion, counts: dict[str, Any], rows: int | None, dataset: Dataset | None
) -> Iterator[Figure]:
    account = found.account
    total = account.loaded + account.rejected + account.duplicates
    yield _compared("balance", account.read, total, "rows read = loaded + rejected + duplicates")
    if found.fixes is not None:
        yield _unchecked("rows", f"its rows are those of ingestion {found.fixes} now")
    elif dataset is None or rows is None:
        yield _unchecked("rows", "the dataset is not declared any more")
    else:
        replaced = ", also those that later uploads replaced" if dataset.updates else ""
        yield _compared("rows", account.loaded, rows, f"stored rows of the ingestion{replaced}")
        yield _compared("published", 1, counts["published"], "readers see the rows")
    rejects = account.rejected + found.rows_fixed
    yield _compared("rejects", rejects, counts["rejects"], "rejects kept, with those fixed later")
    yield _duplicates(found, counts["duplicates"])


def _duplicates(found: Ingestion, listed: int) -> Figure:
    expected = found.account.duplicates
    is_partial = found.rows_fixed > 0 or expected > MAX_LISTED_DUPLICATES or not listed
    if is_partial and listed != expected:
        return _unchecked("duplicates", "they are counted, and not all of them are listed")
    return _compared("duplicates", expected, listed, "duplicates listed")


def _content_figures(
    env: Environment,
    found: Ingestion,
    dataset: Dataset | None,
    counts: dict[str, Any],
    max_s: float,
) -> Iterator[Figure]:
    if found.source != "file" or found.layout is None or dataset is None:
        yield _unchecked("object", "the rows did not come as a file")
        return
    header_end = found.layout.get("header_end")
    yield _compared("chunks", found.chunks_total, counts["chunks"], "chunks with a receipt")
    if header_end is not None:
        tiled = header_end + counts["chunk_bytes"]
        yield _compared("bytes", found.content_bytes, tiled, "header and chunks tile the content")
    try:
        read = _read(env, found, dataset, max_s)
    except FileError as error:
        yield Figure("object", found.file.url, None, ok=False, note=error.detail)
        return
    if read is None:
        yield _unchecked("content", f"it could not be read in {max_s:g} s")
        return
    yield _compared(
        "content", found.content_bytes, read.size_bytes, "bytes of the content, without footer"
    )
    digest = found.content_sha256.hex() if found.content_sha256 else None
    if digest is None:
        yield _unchecked("sha256", "split was resumed far into the file, so it has no digest")
    else:
        yield _compared("sha256", digest, read.sha256, "digest of the content")
    if found.layout.get("preamble"):
        yield _compared("header", True, read.has_preamble, "the header is the recorded one")
    if read.records is None:
        yield _unchecked("records", "a quote is not closed within 32 MiB")
    else:
        note = "records, counted by another reader than those that split and load"
        yield _compared("records", found.records_total, read.records, note)
        of_file = found.account.read - counts["recovered"]
        yield _compared(
            "read", of_file, read.records, "rows read, without those recovered after a quote"
        )


@dataclass(frozen=True)
class _Read:
    """What was found in the content; `records` is None where it cannot be counted."""

    size_bytes: int
    sha256: str
    has_preamble: bool
    records: int | None


def _read(env: Environment, found: Ingestion, dataset: Dataset, max_s: float) -> _Read | None:
    """Read the content once; None where that takes too long.

    Raises:
        FileError: the object is gone, or is not what it was.
    """
    layout = found.layout or {}
    first, end = layout.get("header_end") or 0, found.content_bytes or 0
    digest, counter = hashlib.sha256(), RecordCounter(Dialect.from_json(layout["dialect"]))
    head, position, ends_at = bytearray(), 0, time.monotonic() + max_s
    for block in content_blocks(env, found.file, dataset):
        digest.update(block)
        head += block[: max(0, first - position)]
        counter.feed(block[max(0, first - position) : max(0, end - position)])
        position += len(block)
        if time.monotonic() > ends_at:
            return None
    counter.finish()
    size_bytes = position - len(footer_of(layout))
    has_preamble = bytes(head) == preamble_of(layout)
    records = counter.records if counter.is_certain else None
    return _Read(size_bytes, digest.hexdigest(), has_preamble, records)


def _compared(name: str, expected: int | str | None, found: int | str | None, note: str) -> Figure:
    return Figure(name, expected, found, ok=expected == found, note=note)


def _unchecked(name: str, why: str) -> Figure:
    return Figure(name, None, None, ok=None, note=f"not checked: {why}")
