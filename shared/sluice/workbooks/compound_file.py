"""Compound files (MS-CFB): the container of XLS, and of workbooks that a password protects."""

from __future__ import annotations

from typing import BinaryIO

_HEADER_BYTES = 512
#: What is examined of the directory, which names the streams: the first of them are the ones that matter.
_DIRECTORY_BYTES = 4096
_PROTECTED = "EncryptedPackage".encode("utf-16-le")


def is_protected(file: BinaryIO) -> bool:
    """Whether a compound file is an Office document that a password protects."""
    file.seek(0)
    header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES:
        return False
    sector_shift = int.from_bytes(header[30:32], "little")
    if sector_shift not in (9, 12):
        return False
    file.seek((int.from_bytes(header[48:52], "little") + 1) << sector_shift)
    return _PROTECTED in file.read(_DIRECTORY_BYTES)
