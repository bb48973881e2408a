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
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sluice.csv.canonical import Canonical, Records, canonical
from sluice.csv.dialects import Dialect
from sluice.csv.field_counts import (
    count_fields,
    ends_with_delimiter,
    quote_strays,
    scanned_form,
    split_after,
)
from sluice.csv.records import Flaw, RecordIndex, count_plain_records, index_records
from sluice.csv.rejects import (
    BACKSLASH_HINT,
    LONE_CR_HINT,
    MAX_REJECTS,
    RECORD_REASONS,
    Finding,
    Findings,
)
from sluice.csv.scanning import BOM, without_first_marks
from sluice.csv.writing import RecordWriter, UnwritableError
from sluice.datasets.model import RESCUED
from sluice.errors import TooManyCellsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sluice.csv.dialects import Dialect
    from sluice.csv.records import Malformed
    from sluice.datasets.model import Dataset
    from sluice.parsing.layout import Layout


#: Records are decoded in so many bytes at a time: an error has a copy of all that is decoded.
_DECODED_BYTES = 16 * 1024
_MARKS = re.compile(rb"(\A|[\r\n])(?:\xef\xbb\xbf)++")
_MARKS_ALONE = re.compile(rb"(?:\A|[\r\n])((?:\xef\xbb\xbf)++)(?=[\r\n]|\Z)")
_MARK_REASON = "has a byte order mark and nothing else"
#: A line end of one CR, with the byte after it.
_LONE_CRS = tuple(b"\r" + bytes((each,)) for each in range(256) if each != 0x0A)
#: Bytes in UTF-8 of what may be one byte in another encoding.
_LARGEST_CHARACTER = 4
#: Cells that are added to the short records of a chunk: as many as a chunk of the usual size may have.
_MAX_ADDED_CELLS = 32 * 1024 * 1024


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
        extras: the cells of long records that have no column, by position.
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
    extras: dict[int, Sequence[str | None]] = field(default_factory=dict)

    @property
    def has_line_ends(self) -> bool:
        """Whether there may be line ends in fields."""
        return bool(self.escape) or (bool(self.quote) and self.quote.encode() in self.data)


def find_well_formed(
    data: bytes, dataset: Dataset, layout: Layout, max_rejects: int = MAX_REJECTS
) -> WellFormed:
    """Return the well-formed records of a chunk.

    In the usual chunk no record is malformed, which counting shows. Counting misses a short and a long
    record that make up for each other, and bytes that are not UTF-8: the reader detects them, and needs
    `pick_well_formed` then.

    Args:
        data: whole records: no byte order mark, no header.
        dataset: the declaration.
        layout: how the file is laid out.
        max_rejects: how many records may be malformed.

    Raises:
        TooManyFindingsError: more are malformed.
        TooManyCellsError: padded records would be too large.
    """
    dialect = layout.dialect
    if not dialect.is_plain or dialect.trailing_delimiter or _repeats_header(data, layout):
        return pick_well_formed(data, dataset, layout, max_rejects)
    text = _in_utf8(data, dialect)
    records = None if text is None else count_plain_records(text, dialect, layout.width)
    if text is None or records is None:
        return pick_well_formed(data, dataset, layout, max_rejects)
    data = without_marks(text, dialect)
    return WellFormed(data, records, records, dialect.delimiter, dialect.quote)


def pick_well_formed(
    data: bytes, dataset: Dataset, layout: Layout, max_rejects: int = MAX_REJECTS
) -> WellFormed:
    """Return the well-formed records of a chunk, after checking each of them; see `find_well_formed`."""
    dialect, width = layout.dialect, layout.width
    index = index_records(data, dialect, width)
    malformed = Findings(max_rejects)
    rewritten = _flawed_quotes(malformed, data, index, dataset, layout)
    _add_flawed_texts(malformed, data, index, layout)
    padding = _Padding(dialect.delimiter_byte, np.zeros(len(index), np.int16))
    kept = _keep(data, index, malformed, rewritten, padding)
    scanned = scanned_form(kept.data, dialect)
    counts = count_fields(scanned, kept.starts, dialect)
    if dialect.trailing_delimiter:
        counts -= (counts == width + 1) & ends_with_delimiter(scanned, kept.ends, dialect)
    _check_padding(counts, dataset, width)
    is_repaired = False
    extras: dict[int, Sequence[str | None]] = {}
    for place in np.flatnonzero(counts != width):  # as a list they take five times the memory
        number, found = int(kept.numbers[place]), int(counts[place])
        is_repaired = True
        if found < width and dataset.ragged != "reject":
            padding.counts[number] = width - found
            continue
        record = rewritten.get(number) or data[index.starts[number] : index.ends[number]]
        if (
            found > width
            and _rescues(dataset, layout)
            and (cut := split_after(record, width, dialect))
        ):
            rewritten[number], cells = cut
            extras[number] = [each.decode(dialect.encoding) if each else None for each in cells]
        else:
            reason = _width_reason(found, width, dataset) + _line_end_hint(data, index, number)
            malformed.add(number, (None, "columns", None, reason))
    if is_repaired:
        kept = _keep(data, index, malformed, rewritten, padding)
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
        extras=extras,
    )


def _check_padding(counts: NDArray[np.intp], dataset: Dataset, width: int) -> None:
    """Refuse short records that would be much larger when they are padded."""
    added = int(np.maximum(width - counts, 0).sum()) if dataset.ragged != "reject" else 0
    if added > _MAX_ADDED_CELLS:
        raise TooManyCellsError(
            f"the records of a chunk lack {added:,} of their {width:,} columns, more than can be padded:"
            " declare the columns that the file has, or ragged = reject"
        )


def _rescues(dataset: Dataset, layout: Layout) -> bool:
    """Whether there is a place for the cells of long records: not if the file has a column for it."""
    is_taken = dataset.rescues and layout.order[-1] is not None
    return dataset.ragged == "rescue" and not is_taken


def _add_flawed_texts(malformed: Findings, data: bytes, index: RecordIndex, layout: Layout) -> None:
    """Add the records that are no text, no row, or no text that can be stored."""
    encoding = layout.dialect.encoding
    for number in _undecodable(data, index, encoding):
        reason = RECORD_REASONS["encoding"].format(encoding=encoding)
        if number not in malformed:
            malformed.add(number, (None, "encoding", None, reason))
    for mark in _MARKS_ALONE.finditer(data) if BOM in data else ():
        number = _record_at(index, mark.start(1))
        if (index.starts[number], index.ends[number]) == mark.span(1):
            malformed.add(number, (None, "columns", None, _MARK_REASON))
    header = _header_pattern(layout.header, layout.dialect)
    for found in header.lines.finditer(data) if header and _repeats_header(data, layout) else ():
        number = _record_at(index, found.start())
        if number >= 0 and (index.starts[number], index.ends[number]) == found.span():
            malformed.add(number, (None, "header", None, RECORD_REASONS["header"]))
    for number in _with_nul(data, index):
        malformed.add(number, (None, "nul", None, RECORD_REASONS["nul"]))


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
        return f"{reason}; ragged = pad adds missing columns, and drops none; rescue keeps them"
    if found > width and dataset.ragged == "rescue":
        return f"{reason}, and the file has a column {RESCUED} itself"
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
    return text[: starts[0] if starts else None] + b"".join(map(without_first_marks, records))


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
    malformed: Findings, data: bytes, index: RecordIndex, dataset: Dataset, layout: Layout
) -> dict[int, bytes]:
    """Add the records whose quotes are flawed; return those whose stray quotes are text, rewritten."""
    rewritten: dict[int, bytes] = {}
    for flaw in index.malformed:
        literal = None
        if dataset.stray_quotes == "literal" and flaw.kind is Flaw.STRAY_QUOTE:
            literal = quote_strays(_record(data, index, flaw), layout.dialect)
        if literal is None:
            reason = RECORD_REASONS[flaw.kind] + _backslash_hint(data, index, flaw, layout)
            malformed.add(flaw.record, (None, flaw.kind.value, None, reason))
        else:
            rewritten[flaw.record] = literal
    return rewritten


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
        end = _start_after(index, offset + _DECODED_BYTES, len(data))
        try:
            str(view[offset:end], encoding)
        except UnicodeDecodeError as error:
            number, offset = _record_with(index, offset + error.start, len(data))
            if number is not None:
                yield number
        else:
            offset = end


class _HeaderPattern(NamedTuple):
    """What matches a header, and the beginnings that a line with it may have, which are found faster."""

    beginnings: tuple[bytes, ...]
    lines: re.Pattern[bytes]


@lru_cache(maxsize=64)
def _header_pattern(names: Sequence[str], dialect: Dialect) -> _HeaderPattern | None:
    """Return what matches a header as a record may repeat it: with quotes round any of its names.

    Returns:
        None without names, or where the dialect cannot express them.
    """
    if not names:
        return None
    quote, writer = dialect.quote, RecordWriter(dialect)
    try:
        cells = [
            {
                each.encode(dialect.encoding)
                for each in (
                    name,
                    quote + name.replace(quote, quote * 2) + quote if quote else name,
                    writer.cell(name),
                )
            }
            for name in names
        ]
    except (UnwritableError, UnicodeEncodeError):
        return None
    delimiter = dialect.delimiter_byte
    fields = (b"(?:%b)" % b"|".join(map(re.escape, sorted(each))) for each in cells)
    end = b"(?:%b)?" % re.escape(delimiter) if dialect.trailing_delimiter else b""
    line = b"(?<![^\r\n])%b%b(?![^\r\n])" % (re.escape(delimiter).join(fields), end)
    return _HeaderPattern(tuple(each + delimiter for each in cells[0]), re.compile(line))


def _repeats_header(data: bytes, layout: Layout) -> bool:
    """Whether a line of a chunk is the header of its file."""
    header = _header_pattern(layout.header, layout.dialect)
    if header is None:
        return False
    begins = data.startswith(header.beginnings) or any(
        end + each in data for each in header.beginnings for end in (b"\n", b"\r")
    )
    return begins and header.lines.search(data) is not None


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


def _start_after(index: RecordIndex, offset: int, size: int) -> int:
    """Return where the first record after an offset begins, or the size of the chunk."""
    following = _record_at(index, offset) + 1
    return int(index.starts[following]) if following < len(index) else size


def _record_with(index: RecordIndex, offset: int, size: int) -> tuple[int | None, int]:
    """Return the record that holds an offset, None for a comment, and where the search continues."""
    number = _record_at(index, offset)
    if number >= 0 and offset < index.ends[number]:
        return number, int(index.ends[number])
    return None, _start_after(index, offset, size)


class _Kept(NamedTuple):
    """Some records of a chunk: their bytes, their offsets in these, their positions in the chunk."""

    data: bytes
    starts: NDArray[np.intp]
    ends: NDArray[np.intp]
    numbers: NDArray[np.intp]


class _Padding(NamedTuple):
    """What is added to each record of a chunk: a number of delimiters."""

    delimiter: bytes
    counts: NDArray[np.int16]


def _keep(
    data: bytes,
    index: RecordIndex,
    malformed: dict[int, Finding],
    rewritten: dict[int, bytes],
    padding: _Padding,
) -> _Kept:
    """Return the records that are not malformed: runs of them as they are, others one by one."""
    is_kept = np.ones(len(index), bool)
    is_kept[list(malformed)] = False
    is_changed = padding.counts > 0
    is_changed[list(rewritten)] = True
    numbers = np.flatnonzero(is_kept)
    starts, ends = np.empty_like(numbers), np.empty_like(numbers)
    kept, place = bytearray(), 0  # pieces in a list would take several times the memory
    breaks = np.append(np.flatnonzero(is_changed | ~is_kept), len(index))
    first = 0
    for end in map(int, breaks):
        if first < end:
            run, begin = slice(place, place + end - first), index.starts[first]
            starts[run] = index.starts[first:end] - begin + len(kept)
            ends[run] = index.ends[first:end] - begin + len(kept)
            kept += data[begin : index.ends[end - 1]] + b"\n"
            place = run.stop
        if end < len(index) and is_kept[end]:
            starts[place] = len(kept)
            kept += rewritten.get(end) or data[index.starts[end] : index.ends[end]]
            kept += padding.delimiter * int(padding.counts[end])
            ends[place] = len(kept)
            kept += b"\n"
            place += 1
        first = end + 1
    return _Kept(bytes(kept), starts, ends, numbers)
