"""Separates the well-formed records of a chunk from the malformed; works on bytes, not on columns.

The columnar reader accepts whatever resembles CSV. So quoting, encoding, NUL bytes and the number of
fields are checked here first, by the automaton of `sluice.csv`, and only records that can be read in one
way reach the reader. A malformed record becomes a reject of its own.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sluice.csv.canonical import Canonical, Records, canonical
from sluice.csv.dialects import Dialect
from sluice.csv.field_counts import count_fields, ends_with_delimiter, quote_strays, scanned_form
from sluice.csv.records import Flaw, RecordIndex, count_plain_records, index_records
from sluice.csv.rejects import BACKSLASH_HINT, LONE_CR_HINT, RECORD_REASONS, Finding
from sluice.csv.scanning import BOM
from sluice.csv.writing import LINE_END, RecordWriter, UnwritableError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sluice.csv.dialects import Dialect
    from sluice.csv.records import Malformed
    from sluice.datasets.model import Dataset
    from sluice.parsing.layout import Layout


_MARKS = re.compile(rb"(\A|[\r\n])(?:\xef\xbb\xbf)+")
_MARKS_ALONE = re.compile(rb"(?:\A|[\r\n])((?:\xef\xbb\xbf)+)(?=[\r\n]|\Z)")
_MARK_REASON = "has a byte order mark and nothing else"
#: A line end of one CR, with the byte after it.
_LONE_CRS = tuple(b"\r" + bytes((each,)) for each in range(256) if each != 0x0A)
#: Bytes in UTF-8 of what may be one byte in another encoding.
_LARGEST_CHARACTER = 4


@dataclass(frozen=True, eq=False)
class WellFormed:
    """The well-formed records of a chunk.

    Attributes:
        data: their bytes in UTF-8, with line ends.
        count: how many they are.
        records: how many records the chunk has, the malformed ones included.
        numbers: the position of each in the chunk, from 0; None where no record is malformed.
        malformed: what is wrong with the other records, by position.
        recovered: records that follow an unclosed quote and were recovered.
        longest_bytes: size of the longest of them, 0 where it is unknown.
        index: where all records of the chunk are; None where that was not needed.
        delimiter: of the records.
        quote: of the records, empty where there is none.
        escape: what precedes line ends that end no record, empty where there are none.
    """

    data: bytes
    count: int
    records: int
    delimiter: str
    quote: str
    numbers: NDArray[np.intp] | None = None
    malformed: dict[int, Finding] = field(default_factory=dict)
    recovered: int = 0
    longest_bytes: int = 0
    index: RecordIndex | None = None
    escape: str = ""

    @property
    def has_line_ends(self) -> bool:
        """Whether there may be line ends in fields."""
        return bool(self.escape) or (bool(self.quote) and self.quote.encode() in self.data)


def find_well_formed(data: bytes, dataset: Dataset, layout: Layout) -> WellFormed:
    """Return the well-formed records of a chunk.

    In the usual chunk no record is malformed, which counting shows. Counting misses a short and a long
    record that make up for each other, and bytes that are not UTF-8: the reader detects them, and needs
    `pick_well_formed` then.

    Args:
        data: whole records: no byte order mark, no header.
        dataset: the declaration.
        layout: how the file is laid out.
    """
    dialect = layout.dialect
    headers = _written_headers(layout)
    if not dialect.is_plain or dialect.trailing_delimiter or any(map(data.__contains__, headers)):
        return pick_well_formed(data, dataset, layout)
    text = _in_utf8(data, dialect)
    records = None if text is None else count_plain_records(text, dialect, layout.width)
    if text is None or records is None:
        return pick_well_formed(data, dataset, layout)
    data = without_marks(text, dialect)
    return WellFormed(data, records, records, dialect.delimiter, dialect.quote)


def pick_well_formed(data: bytes, dataset: Dataset, layout: Layout) -> WellFormed:
    """Return the well-formed records of a chunk, after checking each of them."""
    dialect, width = layout.dialect, layout.width
    index = index_records(data, dialect, width)
    malformed, rewritten = _flawed_quotes(data, index, dataset, layout)
    _add_flawed_texts(malformed, data, index, layout)
    kept = _keep(data, index, malformed, rewritten)
    scanned = scanned_form(kept.data, dialect)
    counts = count_fields(scanned, kept.starts, dialect)
    if dialect.trailing_delimiter:
        counts -= (counts == width + 1) & ends_with_delimiter(scanned, kept.ends, dialect)
    is_repaired = False
    for place in np.flatnonzero(counts != width).tolist():
        number, found = int(kept.numbers[place]), int(counts[place])
        is_repaired = True
        if found < width and dataset.ragged == "pad":
            record = rewritten.get(number) or data[index.starts[number] : index.ends[number]]
            rewritten[number] = record + dialect.delimiter_byte * (width - found)
        else:
            reason = _width_reason(found, width, dataset) + _line_end_hint(data, index, number)
            malformed[number] = (None, "columns", None, reason)
    if is_repaired:
        kept = _keep(data, index, malformed, rewritten)
        scanned = scanned_form(kept.data, dialect)
    plain = _plain_records(Records(kept.data, scanned, kept.starts, kept.ends), dialect, width)
    return WellFormed(
        data=plain.data,
        count=len(kept.numbers),
        records=len(index),
        numbers=kept.numbers,
        malformed=malformed,
        recovered=index.recovered,
        index=index,
        longest_bytes=_LARGEST_CHARACTER * int((index.ends - index.starts).max(initial=0)),
        delimiter=plain.delimiter,
        quote=plain.quote,
        escape=plain.escape,
    )


def _add_flawed_texts(
    malformed: dict[int, Finding], data: bytes, index: RecordIndex, layout: Layout
) -> None:
    """Add the records that are no text, no row, or no text that can be stored."""
    encoding = layout.dialect.encoding
    for number in _undecodable(data, index, encoding):
        reason = RECORD_REASONS["encoding"].format(encoding=encoding)
        malformed.setdefault(number, (None, "encoding", None, reason))
    for mark in _MARKS_ALONE.finditer(data) if BOM in data else ():
        number = _record_at(index, mark.start(1))
        if (index.starts[number], index.ends[number]) == mark.span(1):
            malformed[number] = (None, "columns", None, _MARK_REASON)
    for header in _written_headers(layout):
        for number in _equal_to(header, data, index):
            malformed[number] = (None, "header", None, RECORD_REASONS["header"])
    for number in _with_nul(data, index):
        malformed[number] = (None, "nul", None, RECORD_REASONS["nul"])


def _plain_records(records: Records, dialect: Dialect, width: int) -> Canonical:
    """Return records in UTF-8 as the reader understands them, without byte order marks before them."""
    is_utf8 = dialect.encoding == "utf-8"
    if dialect.is_plain and not dialect.trailing_delimiter:
        text = records.data if is_utf8 else _decoded(records.data, dialect)
        return Canonical(without_marks(text, dialect), dialect.delimiter, dialect.quote)
    found = canonical(records, dialect, width)
    text = found.data if is_utf8 else found.data.decode(dialect.encoding).encode()
    if text.startswith(BOM):
        text = (
            b"\n" + text
        )  # a mark that is part of a value, and not skipped by readers after a blank line
    return replace(found, data=text)


def _width_reason(found: int, width: int, dataset: Dataset) -> str:
    reason = RECORD_REASONS["columns"].format(found=found, expected=width)
    if found > width and dataset.ragged == "pad":
        return f"{reason}; ragged = pad adds missing columns, and drops none"
    return reason


def _line_end_hint(data: bytes, index: RecordIndex, number: int) -> str:
    """Return what to add where a lone CR begins or ends a record among lines that LF ends."""
    start, end = int(index.starts[number]), int(index.ends[number])
    is_lone = data[start - 1 : start] == b"\r" or (data[end : end + 2] + b" ")[:2] in _LONE_CRS
    return LONE_CR_HINT if is_lone and b"\n" in data else ""


def without_marks(text: bytes, dialect: Dialect) -> bytes:
    """Return text without the byte order marks at the start of records, where joined files leave them.

    Args:
        text: records in UTF-8, or with marks of UTF-8.
        dialect: a plain one.
    """
    if BOM[:1] not in text or BOM not in text:  # one byte is found much faster
        return text
    if not dialect.has_quotes(text):
        return _MARKS.sub(rb"\1", text)
    starts = index_records(text, dialect).starts.tolist()
    records = (text[a:b] for a, b in itertools.pairwise([*starts, len(text)]))
    return text[: starts[0] if starts else None] + b"".join(map(_without_mark, records))


def _without_mark(record: bytes) -> bytes:
    while record.startswith(BOM):
        record = record.removeprefix(BOM)
    return record


def _in_utf8(data: bytes, dialect: Dialect) -> bytes | None:
    """Return bytes as UTF-8, or None where some are not text in their encoding."""
    if dialect.encoding == "utf-8" or data.isascii():
        return data
    try:
        return _decoded(data, dialect)
    except UnicodeDecodeError:
        return None


def _decoded(data: bytes, dialect: Dialect) -> bytes:
    # A joined file can have marks of UTF-8, which other encodings would turn into characters.
    return without_marks(data, dialect).decode(dialect.encoding).encode()


def _flawed_quotes(
    data: bytes, index: RecordIndex, dataset: Dataset, layout: Layout
) -> tuple[dict[int, Finding], dict[int, bytes]]:
    """Return the records whose quotes are flawed, and those whose stray quotes are text, rewritten."""
    malformed: dict[int, Finding] = {}
    rewritten: dict[int, bytes] = {}
    for flaw in index.malformed:
        literal = None
        if dataset.stray_quotes == "literal" and flaw.kind is Flaw.STRAY_QUOTE:
            literal = quote_strays(_record(data, index, flaw), layout.dialect)
        if literal is None:
            reason = RECORD_REASONS[flaw.kind] + _backslash_hint(data, index, flaw, layout)
            malformed[flaw.record] = (None, flaw.kind.value, None, reason)
        else:
            rewritten[flaw.record] = literal
    return malformed, rewritten


def _backslash_hint(data: bytes, index: RecordIndex, flaw: Malformed, layout: Layout) -> str:
    """Return what to add where quotes seem to be escaped with backslashes, and no escape is declared."""
    dialect = layout.dialect
    is_escaped = b"\\" + dialect.quote_byte in _record(data, index, flaw)
    return BACKSLASH_HINT if is_escaped and not dialect.escape else ""


def _record(data: bytes, index: RecordIndex, flaw: Malformed) -> bytes:
    return data[index.starts[flaw.record] : index.ends[flaw.record]]


def _undecodable(data: bytes, index: RecordIndex, encoding: str) -> Iterator[int]:
    """Yield the records that are not text in their encoding."""
    view, offset = memoryview(data), 0
    while offset < len(data):
        try:
            str(view[offset:], encoding)
        except UnicodeDecodeError as error:
            number, offset = _record_with(index, offset + error.start, len(data))
            if number is not None:
                yield number
        else:
            return


def _written_headers(layout: Layout) -> Sequence[bytes]:
    """Return the header of a file as a record may repeat it: with quotes only where needed, and with all."""
    names, dialect = layout.header, layout.dialect
    if not names:
        return ()
    quoted = [each.replace(dialect.quote, dialect.quote * 2) for each in names if dialect.quote]
    full = dialect.delimiter.join(f"{dialect.quote}{each}{dialect.quote}" for each in quoted)
    try:
        record = RecordWriter(dialect).record(names).removesuffix(LINE_END)
        written = [each.encode(dialect.encoding) for each in (record, full) if each]
    except (UnwritableError, UnicodeEncodeError):
        return ()
    end = dialect.delimiter_byte if dialect.trailing_delimiter else b""
    return written if not end else [*written, *(each.removesuffix(end) for each in written)]


def _equal_to(record: bytes, data: bytes, index: RecordIndex) -> Iterator[int]:
    """Yield the records that have these bytes."""
    offset = data.find(record)
    while offset >= 0:
        number = _record_at(index, offset)
        end = offset + len(record)
        if number >= 0 and (index.starts[number], index.ends[number]) == (offset, end):
            yield number
        following = int(index.starts[number + 1]) if number + 1 < len(index) else len(data)
        offset = data.find(record, following)


def _with_nul(data: bytes, index: RecordIndex) -> Iterator[int]:
    """Yield the records that contain a NUL byte."""
    offset = data.find(b"\0")
    while offset >= 0:
        number, offset = _record_with(index, offset, len(data))
        if number is not None:
            yield number
        offset = data.find(b"\0", offset)


def _record_at(index: RecordIndex, offset: int) -> int:
    return int(np.searchsorted(index.starts, offset, side="right")) - 1


def _record_with(index: RecordIndex, offset: int, size: int) -> tuple[int | None, int]:
    """Return the record that holds an offset, None for a comment, and where the search continues."""
    number = _record_at(index, offset)
    if number >= 0 and offset < index.ends[number]:
        return number, int(index.ends[number])
    return None, int(index.starts[number + 1]) if number + 1 < len(index) else size


class _Kept(NamedTuple):
    """Some records of a chunk: their bytes, their offsets in these, their positions in the chunk."""

    data: bytes
    starts: NDArray[np.intp]
    ends: NDArray[np.intp]
    numbers: NDArray[np.intp]


def _keep(
    data: bytes, index: RecordIndex, malformed: dict[int, Finding], rewritten: dict[int, bytes]
) -> _Kept:
    """Return the records that are not malformed: runs of them as they are, rewritten ones one by one."""
    is_kept = np.ones(len(index), bool)
    is_kept[list(malformed)] = False
    pieces: list[bytes] = []
    starts: list[NDArray[np.intp]] = [np.empty(0, np.intp)]
    ends: list[NDArray[np.intp]] = [np.empty(0, np.intp)]
    size = 0
    breaks = sorted({*malformed, *rewritten})
    for first, end in zip([0, *(each + 1 for each in breaks)], [*breaks, len(index)], strict=True):
        if first < end:
            begin = index.starts[first]
            pieces.append(data[begin : index.ends[end - 1]] + b"\n")
            starts.append(index.starts[first:end] - begin + size)
            ends.append(index.ends[first:end] - begin + size)
            size += len(pieces[-1])
        if end in rewritten and end not in malformed:
            pieces.append(rewritten[end] + b"\n")
            starts.append(np.array([size], np.intp))
            size += len(pieces[-1])
            ends.append(np.array([size - 1], np.intp))
    return _Kept(
        b"".join(pieces), np.concatenate(starts), np.concatenate(ends), np.flatnonzero(is_kept)
    )
