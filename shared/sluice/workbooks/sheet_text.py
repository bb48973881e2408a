"""The CSV of a sheet: a record or a blank line for each row, up to the last one with a value.

Rows without values, and rows that a dataset declares to be no records, are blank lines. A table may begin
in any column: its columns are those with a name. A value beside them is appended to the record of its
row, which so has too many fields and is rejected.
"""

from __future__ import annotations

import itertools
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from sluice.csv.dialects import Dialect
from sluice.datasets.grammars import WHITE_SPACE
from sluice.datasets.model import Dataset
from sluice.errors import EmptyFileError, WorkbookError
from sluice.parsing.mismatches import match_names
from sluice.workbooks.fields import field, record, text_of
from sluice.workbooks.notation import Notation, notation_of
from sluice.workbooks.sheet_rows import Row, Value, column_letters, rows_of
from sluice.workbooks.values import Number
from sluice.workbooks.workbook import Sheet, Texts, Workbook, open_workbook

#: Of the CSV of a sheet.
MAX_TEXT_BYTES = 8 * 1024 * 1024 * 1024
_BLOCK_BYTES = 1024 * 1024
#: Rows from which the columns are known, where none are declared.
_SAMPLE_ROWS = 1000
_BLANK = b"\n"
#: How the text of a sheet is written, as keys of a dialect; the others are those of its table.
TEXT_KEYS: Mapping[str, str] = {"encoding": "utf-8", "delimiter": ",", "quote": '"', "escape": ""}
UNDECLARED = Dataset("undeclared", "", ())


def first_rows(file: BinaryIO, name: str, sheet: str, max_bytes: int) -> tuple[bytes, bool]:
    """Return the text of the first rows of a sheet of at least some size, and whether these are all rows.

    Raises:
        WorkbookError: the workbook or the sheet cannot be read.
    """
    text = b""
    for block in open_sheet(file, name, UNDECLARED, sheet).blocks():
        text += block
        if len(text) >= max_bytes:
            return text, False
    return text, True


@dataclass(frozen=True)
class Table:
    """The columns of the table in a sheet.

    Attributes:
        places: the position in a record of each 0-based column of the sheet.
        notations: how the numbers of each position are written, and last those beside the table.
    """

    places: dict[int, int]
    notations: Sequence[Notation]

    def record(self, row: Row) -> bytes:
        """Return a row as a record."""
        fields, beside = [b""] * len(self.places), []
        for column, value in zip(row.columns, row.values, strict=True):
            place = self.places.get(column)
            if place is None:
                beside.append(_field(value, self.notations[-1]))
            else:
                fields[place] = _field(value, self.notations[place])
        return record((*fields, *beside))


class SheetText:
    """The text of one sheet, and where its rows are in it.

    Attributes:
        sheet: its name.
        dialect: how the text is written.
        columns: the letters of the table's columns, once its header was read.
    """

    def __init__(self, workbook: Workbook, sheet: Sheet, texts: Texts, dataset: Dataset) -> None:
        self.sheet = sheet.name
        self.dialect = Dialect(header=dataset.dialect.header)
        self.columns: tuple[str, ...] = ()
        self._rows = rows_of(workbook, sheet, texts)
        self._dataset = dataset
        self._declared = dataset.dialect
        self._plain = notation_of(None, workbook.is_1904)
        self._is_1904 = workbook.is_1904
        self._table: Table | None = None
        self._head: list[Row] = []
        self._starts = array("Q")

    def blocks(self) -> Iterator[bytes]:
        """Yield the text, once.

        Raises:
            WorkbookError: the sheet is damaged or too large, or has a formula without a value.
            RecordTooLongError: a row is larger than a loader could read.
        """
        block, position = bytearray(), 0
        for line in self._lines():
            self._starts.append(position)
            position += len(line)
            block += line
            if len(block) >= _BLOCK_BYTES:
                yield bytes(block)
                block.clear()
                self._check_size(position)
        yield bytes(block)

    def row_at(self, byte: int) -> int:
        """Return the number of the row that begins at a byte, which was read; at the end, the next one."""
        before = bisect_right(self._starts, byte)
        is_start = before and self._starts[before - 1] == byte
        return before if is_start else before + 1

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > MAX_TEXT_BYTES:
            raise WorkbookError(
                f"the sheet {self.sheet} has more than {MAX_TEXT_BYTES // 2**30} GiB of text: split it"
            )

    def _lines(self) -> Iterator[bytes]:
        number = 0
        rows = self._rows if self._dataset.columns else self._begin_undeclared()
        for row, is_footer in _with_footers(rows, self._declared.footer_lines):
            yield from itertools.repeat(_BLANK, row.number - number - 1)
            number = row.number
            is_record = not is_footer and number > self._declared.skip_lines
            yield self._line(row) if is_record and not self._is_comment(row) else _BLANK

    def _line(self, row: Row) -> bytes:
        if self._table is not None:
            return self._table.record(row)
        self._head.append(row)
        if not self._declared.header:
            self._begin(range(len(self._dataset.columns)), None)
            return self._line(row)
        if len(self._head) < self._declared.header_lines:
            return _BLANK
        names = self._names()
        self._begin(sorted(names), names)
        return record(field(names[each]) for each in sorted(names))

    def _is_comment(self, row: Row) -> bool:
        comment = self._declared.comment
        if not comment:
            return False
        first = 0 if self._table is None else next(iter(self._table.places), 0)
        is_first = self._table is None or row.columns[0] <= first
        return is_first and self._text(row.values[0]).startswith(comment)

    def _names(self) -> dict[int, str]:
        """Return the name of each column of the table; one may be empty only if that is declared."""
        found: dict[int, list[str]] = {}
        for row in self._head:
            for column, value in zip(row.columns, row.values, strict=True):
                if name := self._text(value).strip(WHITE_SPACE):
                    found.setdefault(column, []).append(name)
        declared = {name.casefold() for each in self._dataset.columns for name in each.headers}
        if "" in declared:
            found = {each: found.get(each, [""]) for each in range(max(found, default=-1) + 1)}
        names = {column: " ".join(parts) for column, parts in found.items()}
        return {
            column: name if name.casefold() in declared else " ".join(name.split())
            for column, name in names.items()
        }

    def _begin(self, columns: Sequence[int], names: dict[int, str] | None) -> None:
        """Set the table; the header is compared with the declaration later, with all that is wrong."""
        declared = self._dataset.columns
        notations = [self._plain] * (len(columns) + 1)
        order = (
            tuple(range(len(columns)))
            if names is None
            else match_names(self._dataset, [names[each] for each in columns]).order
        )
        for column, place in zip(declared, order, strict=True):
            if isinstance(place, int):
                notations[place] = notation_of(column, self._is_1904)
        self.columns = tuple(column_letters(each) for each in columns)
        self._table = Table({each: place for place, each in enumerate(columns)}, notations)

    def _begin_undeclared(self) -> Iterator[Row]:
        """Set a table of all columns that the first rows have, and return the rows."""
        sample = list(itertools.islice(self._rows, _SAMPLE_ROWS))
        first = min((each.columns[0] for each in sample), default=0)
        last = max((each.columns[-1] for each in sample), default=0)
        columns = range(first, last + 1)
        self.columns = tuple(column_letters(each) for each in columns)
        places = {each: place for place, each in enumerate(columns)}
        self._table = Table(places, [self._plain] * (len(columns) + 1))
        return itertools.chain(sample, self._rows)

    def _text(self, value: Value) -> str:
        if isinstance(value, bytes):
            return text_of(value)
        return self._plain(value) if isinstance(value, Number) else value


def open_sheet(file: BinaryIO, url: str, dataset: Dataset, name: str = "") -> SheetText:
    """Open a sheet of a workbook: that of a name, or the first visible one with a value.

    Args:
        file: the workbook; it can be sought.
        url: what to call it in errors.
        dataset: how the table is laid out, and its numbers are written; without columns, all are taken.
        name: the sheet; empty for the first one.

    Raises:
        NotCsvError: it is another kind of document.
        EmptyFileError: no visible sheet has a value.
        WorkbookError: it is damaged or too large, or has no sheet of that name.
    """
    workbook = open_workbook(file, url)
    texts = workbook.texts()
    if name:
        return SheetText(workbook, workbook.sheet(name), texts, dataset)
    for sheet in workbook.sheets:
        if sheet.is_visible and next(rows_of(workbook, sheet, texts), None):
            return SheetText(workbook, sheet, texts, dataset)
    raise EmptyFileError(f"{url}: no visible sheet of the workbook has a value")


def _with_footers(rows: Iterator[Row], footer_lines: int) -> Iterator[tuple[Row, bool]]:
    """Yield each row, and whether it is one of the last rows of the sheet."""
    held: deque[Row] = deque()
    for row in rows:
        while held and held[0].number <= row.number - footer_lines:
            yield held.popleft(), False
        held.append(row)
    last = held[-1].number if held else 0
    for row in held:
        yield row, row.number > last - footer_lines


def _field(value: Value, notation: Notation) -> bytes:
    if isinstance(value, bytes):
        return value
    return field(notation(value) if isinstance(value, Number) else value)
