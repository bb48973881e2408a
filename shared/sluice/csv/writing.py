"""Writes records in any dialect, so that they are read back equal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluice.csv.dialects import Dialect

LINE_END = "\r\n"  # RFC 4180
_MARK = "\ufeff"


class UnwritableError(ValueError):
    """A text cannot be written in a dialect that has neither quotes nor an escape."""


def is_csv_of_python(dialect: Dialect) -> bool:
    """Whether Python's module csv, which is fast, writes the files of a dialect."""
    has_other_lines = dialect.skip_lines or dialect.footer_lines or dialect.header_lines > 1
    return dialect.is_plain and not (has_other_lines or dialect.trailing_delimiter)


class RecordWriter:
    """Writes the lines of a file in a dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._marks = {*dialect.delimiter, *dialect.quote, *dialect.escape, "\r", "\n"}
        self._special = re.compile("[" + "".join(map(re.escape, sorted(self._marks))) + "]")

    def head(self, names: Sequence[str] | None) -> str:
        """Return the lines before the first record: a blank preamble, and the header if there are names."""
        lines = [LINE_END] * self._dialect.skip_lines
        if names is not None:
            others = [""] * len(names)
            lines += [self.record(names), *[self.record(others)] * (self._dialect.header_lines - 1)]
        return "".join(lines)

    def foot(self) -> str:
        """Return the lines after the last record."""
        return LINE_END * self._dialect.footer_lines

    def records(self, rows: Iterable[Sequence[str | None]]) -> str:
        """Return some records, each with its line end."""
        return "".join(map(self.record, rows))

    def record(self, cells: Sequence[str | None]) -> str:
        """Return a record with its line end; a null and an empty text are an empty cell.

        Raises:
            UnwritableError: the dialect cannot express a cell.
        """
        written = [self.cell(each or "", is_first=not n) for n, each in enumerate(cells)]
        if self._dialect.trailing_delimiter:
            written.append("")
        elif written == [""]:
            written = [self._empty()]
        return self._dialect.delimiter.join(written) + LINE_END

    def cell(self, text: str, *, is_first: bool = False) -> str:
        """Return a cell of a record.

        Raises:
            UnwritableError: the dialect cannot express it.
        """
        if not (self._special.search(text) or self._is_misread(text, is_first=is_first)):
            return text
        quote, escape = self._dialect.quote, self._dialect.escape
        if quote:
            escaped = text.replace(escape, escape + escape) if escape else text
            return quote + escaped.replace(quote, quote + quote) + quote
        if not escape:
            raise UnwritableError(
                f"{text[:50]!r} contains a delimiter or a line end, and the dialect has no quote"
            )
        escaped = self._special.sub(lambda found: escape + found[0], text)
        return escaped if escaped[:1] == escape or not is_first else escape + escaped

    def _is_misread(self, text: str, *, is_first: bool) -> bool:
        """Whether a text without a mark would be read as something else where it begins or ends."""
        dialect = self._dialect
        if is_first and (
            text[:1] == _MARK or (dialect.comment and text.startswith(dialect.comment))
        ):
            return True
        return dialect.spaces_around_quotes and text != text.strip(" \t")

    def _empty(self) -> str:
        """Return the only cell of a record, which is empty, so that the line is not blank."""
        if self._dialect.quote:
            return self._dialect.quote * 2
        if self._dialect.escape:
            return self._dialect.escape + "N"
        raise UnwritableError("a record of one empty cell is a blank line without quotes")
