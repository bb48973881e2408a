"""Where split reads the content of a file, and where loaders find the bytes of a chunk.

A plain object serves both: a chunk is a range of it. A compressed object is one stream, UTF-16 cannot
be split by bytes, and a workbook is no text, so their chunks are written to the outbox as objects of their
own, decompressed and in UTF-8. What an object is, its first bytes decide: names and metadata are often wrong.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sluice.csv.contents import foreign_kind_of, is_archive, is_compound
from sluice.csv.decompression import Content, Expansion, read_content
from sluice.errors import NotCsvError
from sluice.ingestion.notifications import SHEET
from sluice.workbooks.compound_file import is_protected
from sluice.workbooks.sheet_text import SheetText, open_sheet

if TYPE_CHECKING:
    from sluice.csv.cuts import Cut
    from sluice.csv.dialects import Dialect
    from sluice.datasets.model import Dataset
    from sluice.ingestion.model import Ingestion
    from sluice.ports import Environment, Storage, StoredObject

_BLOCK_BYTES = 8 * 1024 * 1024
#: What a resumed split reads again for the digest of a plain file: less than a minute. More could take all of
#: its time, however often it is resumed.
MAX_REREAD_BYTES = 4 * 1024**3
#: What is read of a workbook at a time: it is sought rarely.
_BUFFER_BYTES = 1024 * 1024
#: Workbooks that are open at the same time: the texts of one may take half of the memory of split.
_WORKBOOKS = threading.BoundedSemaphore(1)
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
        self._has_digest = True

    @property
    def sha256(self) -> bytes | None:
        """Digest of the content up to the last block that was read; None where its start was not read."""
        return self._digest.digest() if self._has_digest else None

    def skip(self, content: Iterator[bytes]) -> None:
        """Continue with the rest of the content instead, which has no digest then."""
        self._content = content
        self._has_digest = False

    def blocks(self, first_byte: int) -> Iterator[bytes]:
        """Yield the content from a byte on, once; what precedes it is read for the digest.

        A block is hashed in a thread, while it is scanned and the next one is read.
        """
        position = 0 if self._has_digest else first_byte
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

    def close(self) -> None:
        """Let go of what the content takes."""


def open_source(
    env: Environment, file: StoredObject, dataset: Dataset, ingestion: int, first_byte: int = 0
) -> Source:
    """Return the content of a file; close it. Another workbook is opened when one is closed.

    Args:
        env: settings `outbox`, `max_content_bytes`, `max_expansion`.
        file: the object.
        dataset: the dataset to which it belongs.
        ingestion: of the file.
        first_byte: where a resumed split continues.

    Raises:
        NotCsvError: its first bytes are those of another kind of file.
        CompressionError: the compressed stream is damaged.
        ExpansionError: its content is larger than allowed.
        WorkbookError: it is a workbook that cannot be read, or without the sheet.
    """
    storage, outbox = env.storage, env.settings.outbox
    content = _content(env, file)
    if _is_workbook(content):
        return _open_workbook(env, file, dataset, ingestion)
    foreign = None if content.encoding else foreign_kind_of(content.head, dataset.dialect)
    if foreign:
        if is_compound(content.head) and not content.is_converted:
            _check_protection(storage, file)
        raise foreign.refuse(file.url)
    if not content.is_converted:
        source = Source(file, content.blocks)
        if first_byte > MAX_REREAD_BYTES:
            source.skip(_stored(storage, file, first_byte))
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


def content_sha256(env: Environment, file: StoredObject, dataset: Dataset) -> bytes:
    """Read a file and return the digest of its content.

    Raises:
        WorkbookError: it is a workbook that cannot be read, or without the sheet.
        NotCsvError: it is compressed twice.
        CompressionError: the compressed stream is damaged.
        ExpansionError: its content is larger than allowed.
        EncodingMismatchError: it is not text in its encoding.
    """
    digest = hashlib.sha256()
    for each in content_blocks(env, file, dataset):
        digest.update(each)
    return digest.digest()


def content_blocks(env: Environment, file: StoredObject, dataset: Dataset) -> Iterator[bytes]:
    """Yield the content of a file from its first byte; see `content_sha256`."""
    content = _content(env, file)
    if _is_workbook(content):
        with _one_workbook():
            yield from _bounded(env, file, _sheet_text(env.storage, file, dataset))
    else:
        yield from content.blocks


def _content(env: Environment, file: StoredObject) -> Content:
    stored = _stored(env.storage, file)
    return read_content(stored, file.url, file.size_bytes, _expansion(env))


def _bounded(env: Environment, file: StoredObject, text: SheetText) -> Iterator[bytes]:
    """Yield the text of a sheet: a text that many cells share is a bomb too."""
    return _expansion(env).bounded(text.blocks(), file.size_bytes, file.url)


def _expansion(env: Environment) -> Expansion:
    return Expansion(env.settings.max_content_bytes, env.settings.max_expansion)


def _stored(storage: Storage, file: StoredObject, position: int = 0) -> Iterator[bytes]:
    for first_byte in range(position, file.size_bytes, _BLOCK_BYTES):
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
        with memoryview(self._buffer) as buffer:
            data = bytes(buffer[first:end])
        self._storage.write(location.bucket, location.object, data)
        del self._buffer[:end]
        self._buffer_from = cut.end_byte

    def location(self, cut: Cut) -> Location:
        """The name determines the content, so no generation is needed."""
        name = f"{self._folder}/{cut.first_byte}-{cut.end_byte}.csv"
        return Location(self._outbox, name, 0, cut.first_byte)


def _open_workbook(
    env: Environment, file: StoredObject, dataset: Dataset, ingestion: int
) -> _Workbook:
    with ExitStack() as stack:
        stack.enter_context(_one_workbook())
        text = _sheet_text(env.storage, file, dataset)
        return _Workbook(env, file, text, ingestion, stack.pop_all())


class _Workbook(_Converted):
    """A sheet of a workbook, as CSV; its lines are numbered as its rows."""

    def __init__(
        self,
        env: Environment,
        file: StoredObject,
        text: SheetText,
        ingestion: int,
        turn: ExitStack,
    ) -> None:
        content = _bounded(env, file, text)
        super().__init__(env.storage, file, content, ingestion, env.settings.outbox)
        self.dialect = text.dialect
        self.encoding = text.dialect.encoding
        self.sheet = text.sheet
        self._text = text
        self._turn = turn

    def numbered(self, cut: Cut) -> Cut:
        first, end = self._text.row_at(cut.first_byte), self._text.row_at(cut.end_byte)
        return replace(cut, first_line=first, lines=end - first)

    def letters(self) -> tuple[str, ...]:
        return self._text.columns

    def close(self) -> None:
        self._turn.close()


@contextmanager
def _one_workbook() -> Iterator[None]:
    """Wait until no other workbook is open; afterwards return its memory, which glibc would keep."""
    with _WORKBOOKS:
        try:
            yield
        finally:
            with suppress(OSError, AttributeError):  # another C library
                ctypes.CDLL(None).malloc_trim(0)
