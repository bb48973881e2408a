"""Finds the dialect of a file before it is split: recorded by an earlier run, declared, or detected."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sluice.csv.dialects import Dialect
from sluice.datasets.model import Dataset, NewColumns
from sluice.inference.detection.dialects import Detection
from sluice.inference.further_files import detect_file, must_observe
from sluice.inference.inferred import check_inferable, malformed_policies
from sluice.ingestion.notifications import dialect_options
from sluice.parsing.layout import check_header, header_names, lay_out_names
from sluice.parsing.mismatches import check_first_records

if TYPE_CHECKING:
    from sluice.csv.splitting import Splitter
    from sluice.ingestion.model import Ingestion
    from sluice.ingestion.sources import Source
    from sluice.ports import Storage, StoredObject

#: Bytes by which a dialect is detected, at the start and at the end of a file.
HEAD_BYTES = 1024 * 1024
TAIL_BYTES = 64 * 1024
#: Members of the layout of a file until its types are decided.
OBSERVING = ("is_observing", "names", "evidence", "warnings", "malformed")


#: Stands for a dataset that nobody declared.
UNDECLARED = Dataset("undeclared", "", ())


@dataclass(frozen=True)
class Opened:
    """How a file is read.

    Attributes:
        blocks: its content, from the position at which split continues.
        detects_encoding: whether split watches for the encoding.
        detection: what was detected in this run, if anything was.
    """

    dialect: Dialect
    blocks: Iterator[bytes]
    detects_encoding: bool
    detection: Detection | None = None


def open_content(
    storage: Storage,
    ingestion: Ingestion,
    dataset: Dataset | None,
    source: Source,
    first_byte: int,
) -> Opened:
    """Find the dialect of a file.

    Args:
        storage: to read the end of the file.
        ingestion: of the file.
        dataset: None where nothing is declared.
        source: its content.
        first_byte: where split continues.

    Raises:
        DeclarationError: the uploader's options are no dialect.
        EmptyFileError: there is nothing in which a dialect could be detected.
    """
    blocks = source.blocks(first_byte)
    given = _given(ingestion.file, dataset, source)
    detects_encoding = "encoding" not in given
    if ingestion.layout is not None:
        is_detected = ingestion.layout.get("is_detected", False)
        dialect = Dialect.from_json(ingestion.layout["dialect"])
        return Opened(dialect, blocks, detects_encoding and not is_detected)
    if dataset is not None and source.sheet:
        return Opened(source.dialect or dataset.dialect, blocks, detects_encoding=False)
    if dataset is not None and not dataset.detects_dialect:
        return Opened(replace(dataset.dialect, **given), blocks, detects_encoding)  # type: ignore[arg-type]
    head, blocks, is_complete = _head(blocks)
    tail = b"" if is_complete or source.is_copied else _tail(storage, ingestion.file)
    found = detect_file(dataset, head, tail, is_complete=is_complete, given=given)
    return Opened(found.dialect, blocks, detects_encoding, found)


def _given(
    file: StoredObject, dataset: Dataset | None, source: Source
) -> Mapping[str, str | int | bool]:
    """Return the keys of the dialect that are declared, by the dataset or by the uploader."""
    declared = dict(dataset.given_dialect) if dataset else {}
    converted = {"encoding": source.encoding} if source.encoding else {}
    if source.sheet:
        return {**declared, **converted, "delimiter": ",", "quote": '"', "escape": ""}
    return {**declared, **dialect_options(file.options), **converted}


def _head(blocks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes], bool]:
    """Return the first bytes of a content, all of it, and whether the first bytes are all."""
    read: list[bytes] = []
    size_bytes = 0
    for block in blocks:
        read.append(block)
        size_bytes += len(block)
        if size_bytes > HEAD_BYTES:
            break
    head = b"".join(read)[:HEAD_BYTES]
    return head, itertools.chain(read, blocks), size_bytes <= HEAD_BYTES


def _tail(storage: Storage, file: StoredObject) -> bytes:
    first_byte = max(0, file.size_bytes - TAIL_BYTES)
    return storage.read(file.bucket, file.name, file.generation, first_byte, file.size_bytes)


def layout_document(
    opened: Opened,
    dataset: Dataset | None,
    splitter: Splitter,
    encoding: str | None,
    block: bytes,
) -> dict[str, Any]:
    """Return how a file is laid out, or what is known of that before its types are decided.

    Args:
        opened: the file.
        dataset: None where nothing is declared.
        splitter: has read the header.
        encoding: found in the file up to now.
        block: the first block.

    Raises:
        HeaderMismatchError: the header does not fit the dataset.
        EncodingMismatchError: the header is not text in the file's encoding.
        NotCsvError: the header cannot be declared.
    """
    dialect = replace(opened.dialect, encoding=encoding) if encoding else opened.dialect
    names = None if splitter.header is None else header_names(splitter.header, dialect)
    if dataset is not None and names is not None:
        check_header(dataset, names, dialect)
    if dataset is None or must_observe(dataset, names):
        document = _observing(opened, dataset, dialect, names)
        if dataset is None or dataset.new_columns is NewColumns.ADD:
            check_inferable(names, document["width"])
        return {**document, "is_detected": bool(encoding)}
    layout = lay_out_names(dataset, names, dialect, is_detected=bool(encoding))
    check_first_records(dataset, dialect.encoding, block)
    return layout.to_json()


def _observing(
    opened: Opened, dataset: Dataset | None, dialect: Dialect, names: Sequence[str] | None
) -> dict[str, Any]:
    found = opened.detection
    width = len(names) if names is not None else found.width if found else 0
    return {
        "is_observing": True,
        "dialect": dialect.to_json(),
        "names": names or [],
        "width": width,
        "evidence": [[each.key, each.value, each.reason] for each in found.evidence]
        if found
        else [],
        "warnings": list(found.warnings) if found else [],
        "malformed": malformed_policies(dataset),
    }
