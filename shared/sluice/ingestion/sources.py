"""Where split reads the content of a file, and where loaders find the bytes of a chunk.

A plain object serves both: a chunk is a range of it. A compressed object is one stream, UTF-16 cannot
be split by bytes, and a workbook is no text, so their chunks are written to the outbox as objects of their
own, decompressed and in UTF-8. What an object is, its first bytes decide: names and metadata are often wrong.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sluice.csv.contents import foreign_kind_of, is_archive, is_compound
from sluice.csv.decompression import Content, read_content
from sluice.errors import NotCsvError
from sluice.ingestion.notifications import SHEET
from sluice.workbooks.compound_file import is_protected
from sluice.workbooks.sheet_text import SheetText, open_sheet

if TYPE_CHECKING:
    from sluice.csv.cuts import Cut
    from sluice.csv.dialects import Dialect
    from sluice.datasets.model import Dataset
    from sluice.ingestion.model import Ingestion
    from sluice.ports import Storage, StoredObject

_BLOCK_BYTES = 8 * 1024 * 1024
#: What is read of a workbook at a time: it is sought rarely.
_BUFFER_BYTES = 1024 * 1024
#: Folder of the outbox for the chunks of converted files; they may be deleted after a week.
CHUNKS_FOLDER = "chunks"


@dataclass(frozen=True)
class Location:
    """The object with a chunk's bytes; `offset` is the place of its first byte in the content."""

    bucket: str
    object: str
    generation: int
    offset: int = 0


class Source:
    """The content of a file, and its digest.

    Attributes:
        dialect: how the content is written; None where a source only locates chunks.
        encoding: of the content, where it was converted; None where it is as it was uploaded.
        written_in: the encoding that was converted, with its byte order; empty where none was.
        has_mark: whether that began with a byte order mark.
        is_copied: whether the chunks are objects of their own.
        sheet: the name of the sheet where the file is a workbook.
    """

    is_copied = False
    written_in = ""
    has_mark = False
    sheet = ""

    def __init__(self, file: StoredObject, content: Iterator[bytes]) -> None:
        self.dialect: Dialect | None = None
        self.encoding: str | None = None
        self._file = file
        self._content = content
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> bytes:
        """Digest of the content up to the last block that was read."""
        return self._digest.digest()

    def blocks(self, first_byte: int) -> Iterator[bytes]:
        """Yield the content from a byte on, once; what precedes it is read for the digest.

        A block is hashed in a thread, while it is scanned and the next one is read.
        """
        position = 0
        with ThreadPoolExecutor(1) as thread:
            hashed = thread.submit(self._digest.update, b"")
            for each in self._content:
                hashed.result()  # at most one block waits
                hashed = thread.submit(self._digest.update, each)
                block = each[max(0, first_byte - position) :]
                position += len(each)
                if block:
                    yield block

    def numbered(self, cut: Cut) -> Cut:
        """Return a chunk of the content that was read with the numbers of lines in the file."""
        return cut

    def letters(self) -> tuple[str, ...]:
        """Return the letters of the columns where the file is a workbook, once its header was read."""
        return ()

    def store(self, cut: Cut) -> None:
        """Make a chunk of the content that was read available to loaders: the object itself has it."""

    def location(self, cut: Cut) -> Location:  # noqa: ARG002
        """Return where loaders find a chunk."""
        return Location(self._file.bucket, self._file.name, self._file.generation)


def open_source(
    storage: Storage, file: StoredObject, dataset: Dataset, ingestion: int, outbox: str
) -> Source:
    """Return the content of a file.

    Raises:
        NotCsvError: its first bytes are those of another kind of file.
        CompressionError: the compressed stream is damaged.
        WorkbookError: it is a workbook that cannot be read, or without the sheet.
    """
    content = _content(storage, file)
    if _is_workbook(content):
        text = _sheet_text(storage, file, dataset)
        return _Workbook(storage, file, text, ingestion, outbox)
    foreign = None if content.encoding else foreign_kind_of(content.head, dataset.dialect)
    if foreign:
        if is_compound(content.head) and not content.is_converted:
            _check_protection(storage, file)
        raise foreign.refuse(file.url)
    if not content.is_converted:
        source = Source(file, content.blocks)
    else:
        source = _Converted(storage, file, content.blocks, ingestion, outbox)
        source.encoding = content.encoding
        source.written_in, source.has_mark = content.written_in, content.has_mark
    source.dialect = dataset.dialect
    if content.encoding:
        source.dialect = replace(dataset.dialect, encoding=content.encoding)
    return source


def recorded_source(storage: Storage, ingestion: Ingestion, outbox: str) -> Source:
    """Return the source of a file that was opened before, to locate its chunks; reads nothing."""
    nothing: Iterator[bytes] = iter(())
    if not (ingestion.layout or {}).get("is_copied"):
        return Source(ingestion.file, nothing)
    return _Converted(storage, ingestion.file, nothing, ingestion.id, outbox)


def content_sha256(storage: Storage, file: StoredObject, dataset: Dataset) -> bytes:
    """Read a file and return the digest of its content.

    Raises:
        WorkbookError: it is a workbook that cannot be read, or without the sheet.
        NotCsvError: it is compressed twice.
        CompressionError: the compressed stream is damaged.
        EncodingMismatchError: it is not text in its encoding.
    """
    digest = hashlib.sha256()
    for each in content_blocks(storage, file, dataset):
        digest.update(each)
    return digest.digest()


def content_blocks(storage: Storage, file: StoredObject, dataset: Dataset) -> Iterator[bytes]:
    """Yield the content of a file from its first byte; see `content_sha256`."""
    content = _content(storage, file)
    is_workbook = _is_workbook(content)
    yield from _sheet_text(storage, file, dataset).blocks() if is_workbook else content.blocks


def _content(storage: Storage, file: StoredObject) -> Content:
    return read_content(_stored(storage, file), file.url)


def _stored(storage: Storage, file: StoredObject) -> Iterator[bytes]:
    for first_byte in range(0, file.size_bytes, _BLOCK_BYTES):
        end = min(first_byte + _BLOCK_BYTES, file.size_bytes)
        yield storage.read(file.bucket, file.name, file.generation, first_byte, end)


def _is_workbook(content: Content) -> bool:
    """Whether a file is opened as a workbook; compressed once more, it is another kind of file."""
    return not content.is_converted and is_archive(content.head)


def _check_protection(storage: Storage, file: StoredObject) -> None:
    """Refuse a compound file by name, if it is a document that a password protects."""
    if is_protected(io.BufferedReader(_StoredFile(storage, file))):
        raise NotCsvError(
            f"{file.url} is protected with a password: remove the password in Excel, save it as"
            " .xlsx, and upload that"
        )


def _sheet_text(storage: Storage, file: StoredObject, dataset: Dataset) -> SheetText:
    """Open the sheet of a workbook that its metadata, or else its dataset, names."""
    stored = io.BufferedReader(_StoredFile(storage, file), _BUFFER_BYTES)
    name = file.options.get(SHEET) or dataset.sheet
    return open_sheet(stored, file.url, dataset, name)


class _StoredFile(io.RawIOBase):
    """An object as a file that can be sought."""

    def __init__(self, storage: Storage, file: StoredObject) -> None:
        self._storage = storage
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size_bytes}
        self._position = max(0, start[whence] + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        file, first = self._file, self._position
        end = min(first + len(buffer), file.size_bytes)
        if first >= end:
            return 0
        data = self._storage.read(file.bucket, file.name, file.generation, first, end)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


class _Converted(Source):
    """Buffers the content after the last stored chunk: at most a chunk and a block."""

    is_copied = True

    def __init__(
        self,
        storage: Storage,
        file: StoredObject,
        content: Iterator[bytes],
        ingestion: int,
        outbox: str,
    ) -> None:
        super().__init__(file, content)
        self._storage = storage
        self._folder = f"{CHUNKS_FOLDER}/{ingestion}"
        self._outbox = outbox
        self._buffer = bytearray()
        self._buffer_from = 0

    def blocks(self, first_byte: int) -> Iterator[bytes]:
        self._buffer_from = first_byte
        for block in super().blocks(first_byte):
            self._buffer += block
            yield block

    def store(self, cut: Cut) -> None:
        first, end = cut.first_byte - self._buffer_from, cut.end_byte - self._buffer_from
        location = self.location(cut)
        self._storage.write(location.bucket, location.object, bytes(self._buffer[first:end]))
        del self._buffer[:end]
        self._buffer_from = cut.end_byte

    def location(self, cut: Cut) -> Location:
        """The name determines the content, so no generation is needed."""
        name = f"{self._folder}/{cut.first_byte}-{cut.end_byte}.csv"
        return Location(self._outbox, name, 0, cut.first_byte)


class _Workbook(_Converted):
    """A sheet of a workbook, as CSV; its lines are numbered as its rows."""

    def __init__(
        self, storage: Storage, file: StoredObject, text: SheetText, ingestion: int, outbox: str
    ) -> None:
        super().__init__(storage, file, text.blocks(), ingestion, outbox)
        self.dialect = text.dialect
        self.encoding = text.dialect.encoding
        self.sheet = text.sheet
        self._text = text

    def numbered(self, cut: Cut) -> Cut:
        first, end = self._text.row_at(cut.first_byte), self._text.row_at(cut.end_byte)
        return replace(cut, first_line=first, lines=end - first)

    def letters(self) -> tuple[str, ...]:
        return self._text.columns
