"""Where the table of a file begins, how wide it is, and where another one begins.

The first table of a file is loaded. Titles, metadata and blank lines before it are its preamble.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from sluice.inference.detection.cell_kinds import VALUES, Kind, kind_of
from sluice.inference.detection.header import are_names, main_kind, plain
from sluice.inference.detection.reading import QUOTE, Reading, Record
from sluice.inference.detection.scoring import Score

#: Records of equal width that make a table, with and without a border before it.
_TABLE, _TABLE_AFTER_BORDER = 4, 2
#: Records of a preamble of `key, value` lines, and how many times longer the table must be.
_MAX_METADATA, _MUCH_LONGER, _FEW = 30, 2, 5
_LOOK_AHEAD = 5
#: Rows that show that the header has a name too many, or too few.
_MANY = 10
_NO_NAMES = VALUES | {Kind.BROKEN}
_TITLE = re.compile(r":|\d{4}")
#: Lines above a table that may be its preamble.
MAX_PREAMBLE = 60


@dataclass(frozen=True)
class Table:
    """The first table of a file.

    Attributes:
        records: its records, with the header, and with ragged ones among them.
        width: number of fields of most of them.
        skip_lines: number of physical lines before its first record that are no records.
        skipped: the preamble, as text.
        next_line: physical line of the first record of another table; 0 if there is none.
        ragged_line: the skipped line directly above, if it is divided but not like the table; else 0.
        has_broken_header: whether the skipped line directly above is a header that does not fit the rows.
    """

    records: tuple[Record, ...]
    width: int
    skip_lines: int
    skipped: str
    next_line: int
    ragged_line: int
    has_broken_header: bool = False


def find_table(
    found: Score, comment: str, skip_lines: int | None, *, may_have_header: bool = True
) -> Table:
    """Find the first table.

    Args:
        found: the form of the file.
        comment: the prefix of comments.
        skip_lines: number of lines that are skipped, if that is known.
        may_have_header: whether the first record may be a header.
    """
    reading = found.reading
    contents = [each for each in reading.contents if not _is_comment(each, comment)]
    if skip_lines is not None:
        contents = [each for each in contents if each.line > skip_lines]
    if not contents:
        return Table((), found.width, skip_lines or 0, "", 0, 0)
    width, start = found.width, 0
    if skip_lines is None:
        width, start = _find_start(contents, found.width, reading)
    is_broken = (
        skip_lines is None
        and may_have_header
        and _has_broken_header(contents[start:], width, reading)
    )
    start += is_broken
    table = contents[start:]
    end = _find_next(table, width, reading)
    skipped = contents[:start]
    return Table(
        records=tuple(table[:end]),
        width=width,
        skip_lines=_skip_lines(skipped, table[0], reading, comment)
        if skip_lines is None
        else skip_lines,
        skipped=" / ".join(" ".join(filter(None, map(plain, reading.cells(r)))) for r in skipped)[
            :100
        ],
        next_line=table[end].line if end < len(table) else 0,
        ragged_line=skipped[-1].line if is_broken else _ragged_line(skipped, table[0]),
        has_broken_header=is_broken,
    )


def _ragged_line(skipped: Sequence[Record], first: Record) -> int:
    last = skipped[-1] if skipped else None
    is_ragged = last and 1 < last.width != first.width and last.line + last.lines == first.line
    return last.line if last and is_ragged else 0


def _is_comment(record: Record, comment: str) -> bool:
    return bool(comment) and record.text.startswith(comment)


def _skip_lines(skipped: Sequence[Record], first: Record, reading: Reading, comment: str) -> int:
    """Return the lines before the first record; comments alone need not be skipped."""
    is_commented = any(
        _is_comment(each, comment) for each in reading.contents if each.line < first.line
    )
    return first.line - 1 if skipped or not is_commented else 0


def _find_start(contents: Sequence[Record], width: int, reading: Reading) -> tuple[int, int]:
    """Return the width of the first table, and the index of its first record."""
    fits = [index for index, each in enumerate(contents) if each.width == width]
    if not fits:
        return width, 0
    earlier = _find_earlier(
        contents[: fits[0]],
        width,
        len(fits),
        reading,
        ends_apart=_is_after_blank(contents, fits[0]),
    )
    if earlier:
        return earlier
    start = _after_titles(fits, contents, reading)
    broken = (at for at in range(start) if _is_broken_row(contents[at], width, reading))
    start = next(broken, start)
    if start and _is_named(contents, start, reading):
        start = 0
    if start and _is_ragged_header(contents, start, reading):
        start -= 1
    return width, start if start <= max(MAX_PREAMBLE, len(fits)) else 0


def _is_after_blank(records: Sequence[Record], index: int) -> bool:
    """Whether there are blank lines before a record."""
    before = records[index - 1] if index else None
    return before is not None and before.line + before.lines < records[index].line


def _find_earlier(
    before: Sequence[Record], width: int, count: int, reading: Reading, *, ends_apart: bool
) -> tuple[int, int] | None:
    """Find a table of another width before the one with most records.

    Args:
        before: the records before that.
        width: its number of fields.
        count: its number of records.
        reading: all records.
        ends_apart: whether there are blank lines before it.
    """
    start = 0
    for other, group in groupby(before, key=lambda each: each.width):
        run = list(group)
        is_short = len(run) <= _MAX_METADATA and count >= len(run) * _MUCH_LONGER
        is_metadata = other <= 2 < width and is_short and not _has_values(run, reading)
        start += len(run)
        if other > 1 and len(run) >= _TABLE and not is_metadata:
            return other, start - len(run)
    borders = [at for at in range(1, len(before)) if _is_after_blank(before, at)]
    ends = [*borders, len(before)] if ends_apart else borders
    found = (_wide_block(before, first, end, width) for first, end in pairwise([0, *ends]))
    return next(filter(None, found), None)


def _wide_block(
    records: Sequence[Record], first: int, end: int, width: int
) -> tuple[int, int] | None:
    """Return width and first index of a small table between blank lines, wider than the one after it."""
    widths = Counter(each.width for each in records[first:end])
    other, count = widths.most_common(1)[0]
    if other <= width or count < _TABLE_AFTER_BORDER or count * 2 < end - first:
        return None
    return other, next(at for at in range(first, end) if records[at].width == other)


def _has_values(run: Sequence[Record], reading: Reading) -> bool:
    """Whether the last fields of records are values of one kind, as in a table."""
    kind = main_kind([reading.cells(each)[-1] for each in run[1:]])
    return len(run) > _FEW and kind in VALUES


def _after_titles(fits: Sequence[int], contents: Sequence[Record], reading: Reading) -> int:
    """Return the index of the first record of full width that is no title."""
    has_title = False
    for index in fits:
        is_empty = not _filled(contents[index], reading)
        if not (has_title and is_empty) and not _is_title(index, contents, reading):
            return index
        has_title = True
    return fits[0]


def _is_title(index: int, contents: Sequence[Record], reading: Reading) -> bool:
    """Whether a record of full width has only one text, or none, above a record with names."""
    record = contents[index]
    texts = [plain(each) for each in reading.cells(record)]
    filled = [i for i, text in enumerate(texts) if text]
    if index + 2 >= len(contents) or record.width < 2 or (filled and filled != [0]):
        return False
    below = next((r for r in contents[index + 1 :] if _filled(r, reading) > 1), None)
    if below is None or below.width != record.width:
        return False
    if filled and kind_of(texts[0]) in VALUES:
        return False
    is_apart = contents[index + 1].line > record.line + record.lines
    is_prose = texts[0].count(" ") > 1 or _TITLE.search(texts[0]) is not None
    if is_apart or is_prose:
        return True
    has_words = record.width > 2 or " " in texts[0]
    return has_words and _is_above_header(below, contents, reading)


def _is_above_header(record: Record, contents: Sequence[Record], reading: Reading) -> bool:
    """Whether a record has no values, and later ones have."""
    rows = [each for each in contents if record.line < each.line][:_LOOK_AHEAD]
    has_values = [
        any(kind_of(cell) in VALUES for cell in reading.cells(each)) for each in (record, *rows)
    ]
    return not has_values[0] and any(has_values)


def _filled(record: Record, reading: Reading) -> int:
    return sum(bool(plain(each)) for each in reading.cells(record))


def _is_broken_row(record: Record, width: int, reading: Reading) -> bool:
    """Whether a record has a few fields more or less than rows, and mostly values."""
    values = sum(kind_of(each) in VALUES for each in reading.cells(record))
    is_near = 0 < abs(record.width - width) <= max(1, width // 3)
    return record.width > 2 and is_near and values * 2 > record.width


def _is_named(contents: Sequence[Record], start: int, reading: Reading) -> bool:
    """Whether the first record has names, with nothing but rows between it and the first of full width."""
    names, *rows = (reading.cells(each) for each in contents[:start])
    are_rows = all(any(kind_of(cell) in VALUES for cell in row) for row in rows)
    return (
        are_names(names) and are_rows and not _is_above_header(contents[start], contents, reading)
    )


def _is_ragged_header(contents: Sequence[Record], start: int, reading: Reading) -> bool:
    """Whether the record before the first of full width has names, and that one has none."""
    header, first = contents[start - 1], contents[start]
    names = reading.cells(header)
    is_near = header.width > 1 and abs(header.width - first.width) <= max(1, first.width // 3)
    is_named = all(kind_of(each) not in VALUES for each in names)
    is_named = is_named and _filled(header, reading) * 2 > len(names)
    has_values = any(kind_of(each) in VALUES for each in reading.cells(first))
    return is_near and is_named and has_values and header.line + header.lines == first.line


def _has_broken_header(table: Sequence[Record], width: int, reading: Reading) -> bool:
    """Whether the first record has names, and a quote that is not closed or a width that no row has."""
    if len(table) < 2 or table[0].lines > 1:
        return False
    header, rows = table[0], table[1:]
    names = reading.cells(header)
    if any(kind_of(each) in VALUES for each in names) or _filled(header, reading) * 2 <= len(names):
        return False
    if any(each.startswith(QUOTE) for each in names):
        return any(kind_of(each) in VALUES for each in reading.cells(rows[0]))
    fits = [each for each in rows if each.width == width]
    is_terminated = header.width == width - 1 and not any(
        plain(reading.cells(each)[-1]) for each in fits
    )
    is_alone = header.width not in {width, *(each.width for each in rows)}
    are_most = len(fits) >= max(_MANY, len(rows) * 0.9)
    return are_most and is_alone and not is_terminated


def _find_next(table: Sequence[Record], width: int, reading: Reading) -> int:
    """Return the index of the first record of another table, or the number of records."""
    index = 0
    for other, group in groupby(table, key=lambda each: each.width):
        run = list(group)
        if index and other != width and other > 1 and _is_table(run, table, index, width):
            return _with_title(table, index)
        for at in range(index, index + len(run)):
            if at > 1 and other == width and _is_new_header(table, at, reading):
                return _with_title(table, at)
        index += len(run)
    return len(table)


def _is_table(run: Sequence[Record], records: Sequence[Record], index: int, width: int) -> bool:
    """Whether a run of records of another width is a table, rather than rows that are too long or short."""
    before = records[index - 1]
    if run[0].line > before.line + before.lines or before.width == 1:
        return len(run) >= _TABLE_AFTER_BORDER
    others = [each.width for each in (*records[:index], *records[index + len(run) :])]
    return len(run) >= _TABLE and run[0].width not in others and width not in others[index:]


def _with_title(table: Sequence[Record], index: int) -> int:
    """Return the index of the line of text directly above the record at an index, or that index."""
    is_titled = table[0].width > 1 and index > 1 and table[index - 1].width == 1
    return index - 1 if is_titled else index


def _is_new_header(table: Sequence[Record], index: int, reading: Reading) -> bool:
    """Whether names of columns come after a blank line, in a table with values."""
    record = table[index]
    if not _is_after_blank(table, index) or index + 1 >= len(table) or record.width < 2:
        return False
    cells = reading.cells(record)
    if any(kind_of(each) in _NO_NAMES or not plain(each) for each in cells):
        return False
    before = reading.cells(table[index - 1])
    if any(kind_of(a) is kind_of(b) is Kind.CODE for a, b in zip(cells, before, strict=False)):
        return False
    if _is_first_border(table, index) and _has_new_names(table, index, reading):
        return True
    return (
        any(
            kind_of(a) in VALUES and kind_of(b) in VALUES
            for a, b in zip(
                reading.cells(table[index - 1]), reading.cells(table[index + 1]), strict=False
            )
        )
        and record.text != table[0].text
    )


def _is_first_border(table: Sequence[Record], index: int) -> bool:
    """Whether no blank lines are between earlier records."""
    return not any(_is_after_blank(table, at) for at in range(1, index))


def _has_new_names(table: Sequence[Record], index: int, reading: Reading) -> bool:
    """Whether a record has words that occur above in no cell, and values of one kind below any of them."""
    cells = reading.cells(table[index])
    rows = [reading.cells(each) for each in table[index + 1 :] if each.width == len(cells)]
    above = {plain(cell) for each in table[:index] for cell in reading.cells(each)}
    if len(rows) < 2 or any(
        kind_of(each) is not Kind.WORDS or plain(each) in above for each in cells
    ):
        return False
    columns = zip(*rows, strict=True)
    return any(all(kind_of(cell) in VALUES for cell in column) for column in columns)
