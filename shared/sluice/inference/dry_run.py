"""What loading a file would do: dialect, types, the first problems; uses the code that loads, does no I/O."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sluice.csv.contents import foreign_kind_of, is_archive
from sluice.csv.decompression import Expansion, read_content
from sluice.csv.dialects import Dialect
from sluice.csv.encodings import EncodingWatch
from sluice.csv.splitting import Splitter
from sluice.datasets.declarations import parse_document
from sluice.datasets.model import Dataset, NewColumns
from sluice.errors import EmptyFileError, WorkbookError
from sluice.inference.detection.dialects import Detection
from sluice.inference.evolution import evolved
from sluice.inference.further_files import detect_file, must_observe
from sluice.inference.inferred import (
    Inferred,
    check_inferable,
    infer_declaration,
    malformed_policies,
)
from sluice.inference.typing.observations import Observations, merge_all
from sluice.inference.typing.records import observe_records
from sluice.parsing.layout import Layout, header_names, lay_out_names
from sluice.parsing.parser import parse_chunk
from sluice.workbooks.sheet_text import TEXT_KEYS, UNDECLARED, open_sheet

if TYPE_CHECKING:
    from sluice.csv.cuts import Cut
    from sluice.csv.rejects import Reject

_CHUNK_BYTES = 4 * 1024 * 1024
#: Of the content, which may be much larger than a compressed sample; the rest is not read.
_MAX_CONTENT_BYTES = 32 * 1024 * 1024
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
        dataset: the dataset as the rows were checked: with what the file adds and widens.
        document: its declaration.
        dialect: how the file is written.
        records, rows: read and good ones of the sample.
        rejects: the first rejects.
        rejected: number of rejects of the sample.
        bytes_read: size of the sample that was read, decompressed.
        is_complete: whether that is the complete file.
        seconds: about how long the file takes, from one loader's time for the sample.
    """

    detection: Detection | None
    inferred: Inferred | None
    dataset: Dataset
    document: Mapping[str, Any]
    dialect: Dialect
    records: int
    rows: int
    rejects: tuple[Reject, ...]
    rejected: int
    bytes_read: int
    is_complete: bool
    seconds: float


@dataclass(frozen=True)
class Sample:
    """A file, or its first bytes.

    Attributes:
        name: what to call it in errors.
        is_complete: whether it is the complete file.
        size_bytes: of the complete file.
        sheet: that is loaded, where it is a workbook; empty for the first one.
    """

    data: bytes
    name: str
    is_complete: bool
    size_bytes: int
    sheet: str = ""


@dataclass(frozen=True)
class Declared:
    """A dataset and its declaration, which a file may change."""

    dataset: Dataset
    document: Mapping[str, Any]


def dry_run(
    sample: Sample,
    name: str,
    declared: Declared | None,
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
    opened = _open(sample, declared.dataset if declared else None, given)
    splitter, cuts = _split(opened.content, opened.dialect, is_complete=opened.is_complete)
    dialect, names = opened.dialect, None
    if splitter.header is not None:
        names = header_names(splitter.header, dialect)
    inferred = None
    if declared is None:
        assert opened.detection is not None  # noqa: S101  # detected where nothing is declared
        check_inferable(names, opened.detection.width if names is None else len(names))
        observations = _observe(opened, cuts, names, None, sample.name)
        inferred = infer_declaration(name, opened.detection, names, observations)
        declared = Declared(parse_document(inferred.document), inferred.document)
    elif must_observe(declared.dataset, names) and cuts:
        if names is not None and declared.dataset.new_columns is NewColumns.ADD:
            check_inferable(names, len(names))
        observations = _observe(opened, cuts, names, declared.dataset, sample.name)
        declared = _evolved(declared, names, observations)
    layout = lay_out_names(declared.dataset, names, dialect, is_detected=opened.is_detected)
    records, rejects = _parse(opened.content, cuts, declared.dataset, layout)
    read = sum(cut.end_byte - cut.first_byte for cut in cuts)
    spent_s = time.monotonic() - started
    return DryRun(
        detection=opened.detection,
        inferred=inferred,
        dataset=declared.dataset,
        document=declared.document,
        dialect=dialect,
        records=records,
        rows=records - len(rejects),
        rejects=tuple(rejects[:max_rejects]),
        rejected=len(rejects),
        bytes_read=len(opened.content),
        is_complete=opened.is_complete,
        seconds=spent_s / _SHARE_OF_PARSING * max(1.0, sample.size_bytes / max(1, read)),
    )


@dataclass(frozen=True)
class _Opened:
    """The content of a file, or its beginning, and how it is written."""

    content: bytes
    is_complete: bool
    dialect: Dialect
    is_detected: bool
    detection: Detection | None = None


def _open(
    sample: Sample, dataset: Dataset | None, given: Mapping[str, str | int | bool]
) -> _Opened:
    """Return the decompressed content of a file and its dialect, as split finds it."""
    if is_archive(sample.data):
        return _open_workbook(sample, dataset)
    found = read_content(iter([sample.data]), sample.name, sample.size_bytes, Expansion())
    dialect = dataset.dialect if dataset else Dialect()
    foreign = None if found.encoding else foreign_kind_of(found.head, dialect)
    if foreign:
        raise foreign.refuse(sample.name)
    content, is_complete = _beginning(found.blocks, is_complete=sample.is_complete)
    given = {**given, "encoding": found.encoding} if found.encoding else given
    detection = None
    if dataset is None or dataset.detects_dialect:
        known = {**dict(dataset.given_dialect if dataset else ()), **given}
        detection = detect_file(dataset, content, b"", is_complete=is_complete, given=known)
        dialect = detection.dialect
    else:
        dialect = replace(dialect, **given)  # type: ignore[arg-type]  # checked by the class
    dialect, is_detected = _with_encoding(dialect, content, given)
    return _Opened(content, is_complete, dialect, is_detected, detection)


def _beginning(blocks: Iterable[bytes], *, is_complete: bool) -> tuple[bytes, bool]:
    """Return content up to a limit, and whether it is all of a file."""
    content = bytearray()
    for block in blocks:
        content += block
        if len(content) > _MAX_CONTENT_BYTES:
            return bytes(content[:_MAX_CONTENT_BYTES]), False
    return bytes(content), is_complete


def _open_workbook(sample: Sample, dataset: Dataset | None) -> _Opened:
    """Return the CSV of a sheet; where nothing is declared, the dialect is that of the sheet's table.

    Raises:
        WorkbookError: only the beginning of the workbook is known, or it cannot be read.
    """
    if not sample.is_complete:
        raise WorkbookError(
            f"{sample.name} is a workbook of {sample.size_bytes / 1024**2:.0f} MiB, too large for a request:"
            " `sluice infer` sends its first rows; or load it"
        )
    text = open_sheet(io.BytesIO(sample.data), sample.name, dataset or UNDECLARED, sample.sheet)
    content, is_complete = _beginning(text.blocks(), is_complete=True)
    if dataset is not None:
        return _Opened(content, is_complete, text.dialect, is_detected=False)
    detection = detect_file(None, content, b"", is_complete=is_complete, given=dict(TEXT_KEYS))
    return _Opened(content, is_complete, detection.dialect, is_detected=False, detection=detection)


def _evolved(
    declared: Declared, names: Sequence[str] | None, observations: Observations
) -> Declared:
    """Return the dataset with what a file adds and widens."""
    document = evolved(declared.document, declared.dataset, names, observations)
    return Declared(parse_document(document), document) if document else declared


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
    opened: _Opened,
    cuts: Sequence[Cut],
    names: Sequence[str] | None,
    dataset: Dataset | None,
    name: str,
) -> Observations:
    if not cuts:
        raise EmptyFileError(
            f"{name} has a header and no rows, so its types cannot be inferred; use a file with rows"
        )
    malformed = malformed_policies(dataset)
    detection = opened.detection
    width = len(names) if names is not None else detection.width if detection else 0
    return merge_all(
        [
            observe_records(
                opened.content[cut.first_byte : cut.end_byte],
                opened.dialect,
                width,
                cut.first_record,
                malformed,
                names,
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
