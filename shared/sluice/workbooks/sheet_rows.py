"""Reads the rows of a sheet one after the other, each with its number and its cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sluice.errors import RecordTooLongError, WorkbookError
from sluice.workbooks.archive import MAX_PART_BYTES, damaged
from sluice.workbooks.markup import events
from sluice.workbooks.number_formats import Kind
from sluice.workbooks.values import Number, serial_of, unescape
from sluice.workbooks.workbook import Sheet, Texts, Workbook

MAX_ROWS = 1_048_576
MAX_COLUMNS = 16_384
#: Cells of a sheet, with or without a value: the time to read them is bounded.
MAX_CELLS = 30_000_000
#: Elements of a sheet: of a cell, its value or formula, and texts in it.
_MAX_ELEMENTS = 4 * MAX_CELLS
#: Texts of a row together.
_MAX_ROW_BYTES = 32 * 1024 * 1024
_DIGITS = "0123456789"

#: A text, a text that is a field of CSV already, or a number.
Value = str | bytes | Number


@dataclass(slots=True)
class Row:
    """A row with at least one value.

    Attributes:
        number: in the sheet, from 1.
        columns: the 0-based columns of its values, in order.
        values: the values that are not empty.
    """

    number: int
    columns: list[int] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)


def rows_of(workbook: Workbook, sheet: Sheet, texts: Texts) -> Iterator[Row]:
    """Yield the rows of a sheet that have a value.

    Raises:
        WorkbookError: the sheet is damaged, too large, or has a formula without a value.
        RecordTooLongError: a row is larger than a loader could read.
    """
    reader = _RowReader(workbook, sheet, texts)
    blocks = workbook.archive.blocks(sheet.part, MAX_PART_BYTES)
    for _ in events(blocks, sheet.part, reader, _MAX_ELEMENTS):
        if reader.rows:
            yield from reader.rows
            reader.rows = []


def column_number(letters: str) -> int:
    """Return the 0-based number of a column such as `AB`.

    Raises:
        WorkbookError: there is no such column.
    """
    number = 0
    for letter in letters.upper():
        if not "A" <= letter <= "Z" or number > MAX_COLUMNS:
            raise damaged(f"there is no column {letters[:20]!r}")
        number = number * 26 + ord(letter) - ord("A") + 1
    if not 1 <= number <= MAX_COLUMNS:
        raise damaged(f"there is no column {letters[:20]!r}")
    return number - 1


def column_letters(number: int) -> str:
    """Return the letters of a 0-based column."""
    letters, left = "", number + 1
    while left:
        left, digit = divmod(left - 1, 26)
        letters = chr(ord("A") + digit) + letters
    return letters


class _RowReader:
    """Receives the elements of a sheet; `rows` are those that ended."""

    def __init__(self, workbook: Workbook, sheet: Sheet, texts: Texts) -> None:
        self.rows: list[Row] = []
        self._kinds = workbook.kinds
        self._is_1904 = workbook.is_1904
        self._sheet = sheet
        self._texts = texts
        self._letters: dict[str, int] = {}
        self._row = Row(0)
        self._cells = self._row_bytes = 0
        self._column = -1
        self._type = self._style = ""
        self._parts: list[str] = []
        self._is_inside = self._is_taken = self._is_phonetic = self._has_formula = False

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if not self._is_inside:
            self._is_inside = name == "sheetData"
        elif name == "c":
            self._begin_cell(attributes)
        elif name in ("v", "t"):
            self._is_taken = not self._is_phonetic
        elif name == "row":
            self._begin_row(attributes)
        elif name == "f":
            self._has_formula = True
        elif name == "rPh":
            self._is_phonetic = True

    def end(self, name: str) -> None:
        if not self._is_inside:
            return
        if name == "c":
            self._end_cell()
        elif name in ("v", "t"):
            self._is_taken = False
        elif name == "row":
            if self._row.values:
                self.rows.append(self._row)
        elif name == "rPh":
            self._is_phonetic = False
        elif name == "sheetData":
            self._is_inside = False

    def text(self, data: str) -> None:
        if self._is_taken:
            self._parts.append(data)
            self._grow(len(data))

    def _begin_row(self, attributes: Mapping[str, str]) -> None:
        before, given = self._row.number, attributes.get("r")
        number = int(given) if given and given.isdecimal() and len(given) < 9 else before + 1
        if not before < number <= MAX_ROWS:
            raise damaged(f"row {number} of {self._sheet.name} follows row {before}")
        self._row = Row(number)
        self._row_bytes = 0
        self._column = -1

    def _begin_cell(self, attributes: Mapping[str, str]) -> None:
        self._cells += 1
        if self._cells > MAX_CELLS:
            raise WorkbookError(
                f"the sheet {self._sheet.name} has more than {MAX_CELLS:,} cells: save it as CSV UTF-8"
            )
        reference = attributes.get("r")
        column = self._place(reference) if reference else self._column + 1
        if not self._column < column < MAX_COLUMNS:
            raise damaged(
                f"the cells of row {self._row.number} of {self._sheet.name} are not in order"
            )
        self._column = column
        self._type = attributes.get("t", "n")
        self._style = attributes.get("s", "0")
        self._has_formula = False
        self._parts.clear()

    def _place(self, reference: str) -> int:
        letters = reference.rstrip(_DIGITS)
        column = self._letters.get(letters)
        if column is None:
            column = self._letters[letters] = column_number(letters)
        return column

    def _end_cell(self) -> None:
        text = "".join(self._parts)
        if not text:
            if self._has_formula and self._type != "str":
                raise WorkbookError(
                    f"{self._address} has a formula without a value, because the workbook was never"
                    " calculated: open it in Excel, save it, and upload it again"
                )
            return
        value = self._value(text)
        if value:
            self._row.columns.append(self._column)
            self._row.values.append(value)

    def _value(self, text: str) -> Value:
        match self._type:
            case "s":
                found = self._texts[text]
                self._grow(len(found))
                return found
            case "n":
                return Number(self._kind(), text.strip())
            case "b":
                return "true" if text.strip() in ("1", "true") else "false"
            case "d":
                serial = serial_of(text.strip(), self._is_1904)
                return text if serial is None else Number(self._kind(), serial)
            case "e":
                return text
            case _:
                return unescape(text)

    def _kind(self) -> Kind:
        try:
            return self._kinds[int(self._style)]
        except (ValueError, IndexError):
            return Kind.NUMBER

    def _grow(self, size: int) -> None:
        self._row_bytes += size
        if self._row_bytes > _MAX_ROW_BYTES:
            raise RecordTooLongError(
                f"row {self._row.number} of {self._sheet.name} is larger than"
                f" {_MAX_ROW_BYTES // 2**20} MiB; no loader could read it",
                line=self._row.number,
            )

    @property
    def _address(self) -> str:
        return f"{self._sheet.name}!{column_letters(self._column)}{self._row.number}"
