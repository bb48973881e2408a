"""What the pages of a Parquet file take when they are read, as their headers state it; decodes no values.

A page of few bytes may decompress to gigabytes, and one text of a dictionary may be the value of every row.
The metadata at the end of the file do not say so reliably: Arrow follows the headers of the pages, and so
does this. Formats: parquet.thrift of parquet-format, and Thrift's compact protocol.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from sluice.errors import DamagedBackupError

#: Decompresses some bytes with a codec to a size: `decompress(data, codec, size_bytes)`.
Decompress = Callable[[bytes, str, int], bytes]

#: Decompressed bytes of the pages of a row group, one of which is in memory for each column.
MAX_GROUP_BYTES = 256 * 1024 * 1024
#: Of the metadata at the end of the file, of which Arrow makes objects.
_MAX_FOOTER_BYTES = 16 * 1024 * 1024
#: A writer gives up a dictionary of more than 1 MiB, in which an empty text takes 4 bytes.
_MAX_DICTIONARY_VALUES = 1_000_000
_DATA, _INDEX, _DICTIONARY, _DATA_V2 = range(4)
#: PLAIN, PLAIN_DICTIONARY, RLE and RLE_DICTIONARY. A value of another encoding may repeat parts of others.
_ENCODINGS = (0, 2, 3, 8)
_END = struct.Struct("<I4s")
_SIZE = struct.Struct("<I")
_MAX_DEPTH = 4


class _Page(NamedTuple):
    """A page: its kind and encoding, the number of its values, and where its bytes are."""

    kind: int
    encoding: int
    values: int
    begin: int
    end: int
    size_bytes: int


@dataclass(frozen=True)
class Group:
    """A row group.

    Attributes:
        size_bytes: of its pages, decompressed.
        longest: the longest text of the dictionaries of each column with one, in bytes, summed up.
    """

    rows: int
    size_bytes: int
    longest: int


def check_footer(data: bytes) -> None:
    """Check the size of the metadata before they are read.

    Raises:
        DamagedBackupError: they are too large.
    """
    size, _ = _END.unpack(data[-_END.size :]) if len(data) >= _END.size else (0, b"")
    if size > _MAX_FOOTER_BYTES:
        raise DamagedBackupError(f"its metadata have more than {_MAX_FOOTER_BYTES:,} bytes")


def read_groups(data: bytes, metadata: Any, decompress: Decompress) -> list[Group]:
    """Return what the row groups take.

    Args:
        data: the file.
        metadata: Arrow's, of the file.
        decompress: for the dictionaries.

    Raises:
        DamagedBackupError: a page is not as Sluice writes one, or the pages are too large.
    """
    found, compressed = [], 0
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        size = longest = 0
        for number in range(group.num_columns):
            column = group.column(number)
            compressed += column.total_compressed_size
            if compressed > len(data):
                raise DamagedBackupError("its columns overlap")
            for page in _pages(data, column):
                size += page.size_bytes
                if size > MAX_GROUP_BYTES:
                    raise DamagedBackupError(
                        f"a row group has more than {MAX_GROUP_BYTES:,} bytes when it is decompressed"
                    )
                if page.kind == _DICTIONARY and column.physical_type == "BYTE_ARRAY":
                    longest += _longest(data, page, column.compression, decompress)
        found.append(Group(group.num_rows, size, longest))
    return found


def _pages(data: bytes, column: Any) -> Iterator[_Page]:
    """Yield the pages of a column in a row group, which are contiguous."""
    at = column.data_page_offset
    if column.has_dictionary_page and 0 < column.dictionary_page_offset < at:
        at = column.dictionary_page_offset
    end = at + column.total_compressed_size
    if not 0 < at <= end <= len(data):
        raise DamagedBackupError("a column is not within the file")
    while at < end:
        page = _page(data, at)
        if page.end > end or page.size_bytes < 0 or page.end < page.begin:
            raise DamagedBackupError("a page is not within its column")
        if page.kind == _INDEX or page.encoding not in _ENCODINGS:
            raise DamagedBackupError("a page has an encoding that Sluice does not write")
        yield page
        at = page.end


def _page(data: bytes, at: int) -> _Page:
    try:
        header, begin = _struct(data, at)
        kind = header[1]
        # The number of values is field 1 of all; the encoding field 4 of a data page of version 2.
        about = header[{_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}.get(kind, 6)]
        values, encoding = about.get(1, 0), about.get(4 if kind == _DATA_V2 else 2, 0)
        return _Page(kind, encoding, values, begin, begin + header[3], header[2])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise DamagedBackupError("the header of a page cannot be read") from error


def _longest(data: bytes, page: _Page, codec: str, decompress: Decompress) -> int:
    """Return the size of the longest text of a dictionary."""
    if page.values > _MAX_DICTIONARY_VALUES:
        raise DamagedBackupError(f"a dictionary has more than {_MAX_DICTIONARY_VALUES:,} texts")
    texts = data[page.begin : page.end]
    if codec != "UNCOMPRESSED":
        texts = decompress(texts, codec, page.size_bytes)
    at = longest = 0
    for _ in range(page.values):
        if at + _SIZE.size > len(texts):
            break
        (size,) = _SIZE.unpack_from(texts, at)
        longest = max(longest, size)
        at += _SIZE.size + size
    return min(longest, len(texts))


def _struct(data: bytes, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Return the fields of a struct by number, and where it ends; texts are left out."""
    if depth > _MAX_DEPTH:
        raise ValueError("it is nested too deep")
    fields: dict[int, Any] = {}
    number = 0
    while head := data[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _signed(data, at)
        fields[number], at = _value(data, at, head & 15, depth)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (1, 2):
        return kind == 1, at
    if kind == 3:
        return data[at], at + 1
    if kind in (4, 5, 6):
        return _signed(data, at)
    if kind == 7:
        return None, at + 8
    if kind == 8:
        size, at = _unsigned(data, at)
        return None, at + size
    if kind == 12:
        return _struct(data, at, depth + 1)
    raise ValueError("no header of a page has a field of this type")


def _signed(data: bytes, at: int) -> tuple[int, int]:
    found, at = _unsigned(data, at)
    return (found >> 1) ^ -(found & 1), at


def _unsigned(data: bytes, at: int) -> tuple[int, int]:
    found = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        found |= (byte & 127) << shift
        if byte < 128:
            return found, at
    raise ValueError("an integer has more than ten bytes")
