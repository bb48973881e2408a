"""What loading a file would do: dialect, types, the first problems; uses the code that loads, does no I/O."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sluice.csv.contents import foreign_kind_of
from sluice.csv.decompression import read_content
from sluice.csv.dialects import Dialect
from sluice.csv.encodings import EncodingWatch
from sluice.csv.splitting import Splitter
from sluice.datasets.declarations import parse_document
from sluice.datasets.model import Dataset
from sluice.errors import EmptyFileError
from sluice.inference.dialects import Detection, detect_dialect
from sluice.inference.inferred import (
    Inferred,
    check_inferable,
    infer_declaration,
    malformed_policies,
)
from sluice.inference.observations import Observations, merge_all
from sluice.inference.records import observe_records
from sluice.parsing.layout import Layout, header_names, lay_out_names
from sluice.parsing.parser import parse_chunk

if TYPE_CHECKING:
    from sluice.csv.cuts import Cut
    from sluice.csv.rejects import Reject

_CHUNK_BYTES = 4 * 1024 * 1024
#: Of a sample, what follows the last cut is not read: it may end within a record.
_SAMPLE_CHUNKS = 8
#: Writing rows and splitting take about as long as parsing, by `benchmarks/ingest.py`.
_SHARE_OF_PARSING = 0.4


@dataclass(frozen=True)
class DryRun:
    """What loading would do.

    Attributes:
        detection: dialect, header and evidence; None where the dataset declares them.
        inferred: the declaration; None where the dataset is declared.
        dataset: the dataset as the rows were checked.
        dialect: how the file is written.
        records, rows: read and good ones of the sample.
        rejects: the first rejects.
        rejected: number of rejects of the sample.
        bytes_read: size of the sample that was read, decompressed.
        seconds: about how long the file takes, from one loader's time for the sample.
    """

    detection: Detection | None
    inferred: Inferred | None
    dataset: Dataset
    dialect: Dialect
    records: int
    rows: int
    rejects: tuple[Reject, ...]
    rejected: int
    bytes_read: int
    seconds: float


@dataclass(frozen=True)
class Sample:
    """A file, or its first bytes.

    Attributes:
        name: what to call it in errors.
        is_complete: whether it is the complete file.
        size_bytes: of the complete file.
    """

    data: bytes
    name: str
    is_complete: bool
    size_bytes: int


def dry_run(
    sample: Sample,
    name: str,
    declared: Dataset | None,
    given: Mapping[str, str | int | bool],
    max_rejects: int = 20,
) -> DryRun:
    """Do everything that loading does but write.

    Args:
        sample: the file.
        name: of the dataset.
        declared: the dataset, if there is one.
        given: keys of the dialect that are not to be detected.
        max_rejects: number of rejects to return.

    Raises:
        FileError: the file would fail.
    """
    started = time.monotonic()
    content, encoding = _content(sample, declared)
    given = {**given, "encoding": encoding} if encoding else given
    detection = None
    if declared is None or declared.detects_dialect:
        known = {**dict(declared.given_dialect if declared else ()), **given}
        detection = detect_dialect(content, is_complete=sample.is_complete, given=known)
        dialect = detection.dialect
    else:
        dialect = replace(declared.dialect, **given)  # type: ignore[arg-type]  # checked by the class
    dialect, is_detected = _with_encoding(dialect, content, given)
    splitter, cuts = _split(content, dialect, is_complete=sample.is_complete)
    names = None if splitter.header is None else header_names(splitter.header, dialect)
    inferred = None
    if declared is None:
        check_inferable(names)
        width = len(names) if names is not None else detection.width if detection else 0
        observations = _observe(content, cuts, dialect, width, sample.name)
        assert detection is not None  # noqa: S101  # detected where nothing is declared
        inferred = infer_declaration(name, detection, names, observations)
        declared = parse_document(inferred.document)
    layout = lay_out_names(declared, names, dialect, is_detected=is_detected)
    records, rejects = _parse(content, cuts, declared, layout)
    read = sum(cut.end_byte - cut.first_byte for cut in cuts)
    spent_s = time.monotonic() - started
    return DryRun(
        detection=detection,
        inferred=inferred,
        dataset=declared,
        dialect=dialect,
        records=records,
        rows=records - len(rejects),
        rejects=tuple(rejects[:max_rejects]),
        rejected=len(rejects),
        bytes_read=len(content),
        seconds=spent_s / _SHARE_OF_PARSING * max(1.0, sample.size_bytes / max(1, read)),
    )


def _content(sample: Sample, declared: Dataset | None) -> tuple[bytes, str | None]:
    """Return the decompressed content, and its encoding where it was converted."""
    found = read_content(iter([sample.data]), sample.name)
    dialect = declared.dialect if declared else Dialect()
    foreign = None if found.encoding else foreign_kind_of(found.head, dialect)
    if foreign:
        raise foreign.refuse(sample.name)
    return b"".join(found.blocks), found.encoding


def _with_encoding(
    dialect: Dialect, content: bytes, given: Mapping[str, object]
) -> tuple[Dialect, bool]:
    """Return the dialect with the encoding of the content, and whether that was detected."""
    watch = EncodingWatch(is_known="encoding" in given)
    watch.feed(content)
    watch.finish()
    found = watch.take()
    return (replace(dialect, encoding=found), True) if found else (dialect, False)


def _split(content: bytes, dialect: Dialect, *, is_complete: bool) -> tuple[Splitter, list[Cut]]:
    size = _CHUNK_BYTES if is_complete else max(1, len(content) // _SAMPLE_CHUNKS)
    splitter = Splitter(dialect, min(size, _CHUNK_BYTES))
    cuts = splitter.feed(content)
    if is_complete or not cuts:
        cuts += splitter.finish()
    return splitter, cuts


def _observe(
    content: bytes, cuts: Sequence[Cut], dialect: Dialect, width: int, name: str
) -> Observations:
    if not cuts:
        raise EmptyFileError(
            f"{name} has a header and no rows, so its types cannot be inferred; use a file with rows"
        )
    malformed = malformed_policies(None)
    return merge_all(
        [
            observe_records(
                content[cut.first_byte : cut.end_byte], dialect, width, cut.first_record, malformed
            )
            for cut in cuts
        ]
    )


def _parse(
    content: bytes, cuts: Sequence[Cut], dataset: Dataset, layout: Layout
) -> tuple[int, list[Reject]]:
    """Return the number of records, and the rejects."""
    records, rejects = 0, []
    for cut in cuts:
        data = content[cut.first_byte : cut.end_byte]
        place: dict[str, Any] = {"first_line": cut.first_line, "first_record": cut.first_record}
        with parse_chunk(data, dataset, layout, **place) as parsed:
            records += parsed.records_read
            rejects += parsed.rejects
    return records, rejects
