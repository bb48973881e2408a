"""The ZIP archive of a workbook: its parts as streams, within limits of size."""

from __future__ import annotations

import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

from sluice.errors import WorkbookError

#: What is read and decompressed at a time.
BLOCK_BYTES = 64 * 1024
#: Of the archive itself.
MAX_ARCHIVE_BYTES = 256 * 1024 * 1024
#: Of a sheet, or of the shared texts, decompressed.
MAX_PART_BYTES = 2 * 1024 * 1024 * 1024
#: Of other parts, such as the styles.
MAX_SMALL_PART_BYTES = 32 * 1024 * 1024
#: Of one read, and so of the archive's directory.
_MAX_READ_BYTES = 1024 * 1024
_IS_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def damaged(what: str) -> WorkbookError:
    """Return the error of a workbook that Excel would not open either."""
    return WorkbookError(
        f"the workbook is damaged: {what}; open it in Excel, save it, and upload it again"
    )


class _Bounded:
    """A file whose reads are bounded: a directory of any size would be read at once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size_bytes: int = -1) -> bytes:
        if size_bytes < 0:
            size_bytes = _MAX_READ_BYTES
        if size_bytes > _MAX_READ_BYTES:
            raise damaged("the directory of its archive is too large")
        return self._file.read(size_bytes)

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


class Archive:
    """The parts of a workbook.

    Args:
        file: the workbook; it can be sought.

    Raises:
        WorkbookError: it is no ZIP archive, or larger than `MAX_ARCHIVE_BYTES`.
    """

    def __init__(self, file: BinaryIO) -> None:
        size_bytes = file.seek(0, 2)
        if size_bytes > MAX_ARCHIVE_BYTES:
            raise WorkbookError(
                f"the workbook has {size_bytes / 2**20:,.0f} MiB; at most"
                f" {MAX_ARCHIVE_BYTES // 2**20} can be read: save the sheet as CSV UTF-8"
            )
        try:
            self._zip = zipfile.ZipFile(cast("BinaryIO", _Bounded(file)))
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
            raise damaged(f"it is no complete ZIP archive ({error})") from None
        self._names = {each.filename.lower(): each for each in self._zip.infolist()}

    def has(self, name: str) -> bool:
        """Whether there is a part, in any case."""
        return name.lower() in self._names

    def blocks(self, name: str, max_bytes: int = MAX_SMALL_PART_BYTES) -> Iterator[bytes]:
        """Yield a part, decompressed.

        Raises:
            WorkbookError: it is missing, encrypted, damaged, or larger than `max_bytes`.
        """
        entry = self._names.get(name.lower())
        if entry is None:
            raise damaged(f"{name} is missing")
        if entry.flag_bits & _IS_ENCRYPTED or entry.compress_type not in _METHODS:
            raise damaged(f"{name} is encrypted, or compressed in an unknown way")
        size_bytes = 0
        try:
            with self._zip.open(entry) as part:
                while block := part.read(BLOCK_BYTES):
                    size_bytes += len(block)
                    if size_bytes > max_bytes:
                        raise _too_large(name, max_bytes)
                    yield block
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
            raise damaged(f"{name} cannot be decompressed ({error})") from None


def _too_large(name: str, max_bytes: int) -> WorkbookError:
    return WorkbookError(
        f"{name} of the workbook has more than {max_bytes // 2**20:,} MiB, decompressed: save the"
        " sheet as CSV UTF-8"
    )


def resolve(base: str, target: str) -> str:
    """Return the name of a part to which another one refers."""
    if target.startswith("/"):
        return posixpath.normpath(target).lstrip("/")
    return posixpath.normpath(posixpath.join(posixpath.dirname(base), target))
