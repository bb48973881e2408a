"""Writes and reads CSV files of any dialect, one character at a time: the reference for detection."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sluice.csv.dialects import Dialect

Records = list[list[str]]
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+\Z")


@dataclass
class _Reader:
    """A position in a text, read in a dialect."""

    text: str
    dialect: Dialect
    at: int = 0

    def records(self) -> Iterator[list[str]]:
        while self.at < len(self.text):
            if self.dialect.comment and self.text.startswith(self.dialect.comment, self.at):
                self._skip_line()
                continue
            record = self._record()
            if self.dialect.trailing_delimiter and len(record) > 1 and not record[-1]:
                record.pop()
            if len(record) > 1 or record[0].strip():
                yield record

    def _skip_line(self) -> None:
        while self.at < len(self.text) and self.text[self.at] not in "\r\n":
            self.at += 1
        self._skip_line_end()

    def _skip_line_end(self) -> None:
        self.at += 2 if self.text.startswith("\r\n", self.at) else 1

    def _record(self) -> list[str]:
        record = [self._field()]
        while self._is_delimiter():
            self.at += len(self.dialect.delimiter)
            record.append(self._field())
        self._skip_line_end()
        return record

    def _is_delimiter(self) -> bool:
        return self.text.startswith(self.dialect.delimiter, self.at)

    def _field(self) -> str:
        start = self.at
        self._skip_spaces()
        cell = ""
        if self.dialect.quote and self.text.startswith(self.dialect.quote, self.at):
            self.at += 1
            cell = "".join(self._quoted())
            self._skip_spaces()
        else:
            self.at = start
        return cell + "".join(self._plain())

    def _skip_spaces(self) -> None:
        while self.dialect.spaces_around_quotes and self.text[self.at : self.at + 1] in (" ", "\t"):
            if self._is_delimiter():
                return
            self.at += 1

    def _quoted(self) -> Iterator[str]:
        quote = self.dialect.quote
        while self.at < len(self.text):
            if self.text.startswith(quote * 2, self.at) or self._is_escape():
                self.at += 1
            elif self.text[self.at] == quote:
                self.at += 1
                return
            yield self.text[self.at]
            self.at += 1

    def _is_escape(self) -> bool:
        escape = self.dialect.escape
        return bool(escape) and self.text[self.at] == escape and self.at + 1 < len(self.text)

    def _plain(self) -> Iterator[str]:
        while self.at < len(self.text) and self.text[self.at] not in "\r\n":
            if self._is_delimiter():
                return
            self.at += self._is_escape()
            yield self.text[self.at]
            self.at += 1


def read_records(text: str, dialect: Dialect) -> Records:
    """Read the records of a file, without preamble, comments, blank lines and footer."""
    lines = _LINE.findall(text.removeprefix("\ufeff"))
    kept = lines[dialect.skip_lines : len(lines) - dialect.footer_lines]
    return list(_Reader("".join(kept), dialect).records())


def read_rows(text: str, dialect: Dialect) -> Records:
    """Read the records after the header."""
    return read_records(text, dialect)[dialect.header_records :]


def write_records(
    records: Sequence[Sequence[str]], dialect: Dialect, *, line_end: str, quotes_all: bool
) -> str:
    """Write records; what must be quoted or escaped is."""
    end = dialect.delimiter * dialect.trailing_delimiter + line_end
    return "".join(
        dialect.delimiter.join(_written(cell, dialect, quotes_all=quotes_all) for cell in record)
        + end
        for record in records
    )


def _written(cell: str, dialect: Dialect, *, quotes_all: bool) -> str:
    quote, escape = dialect.quote, dialect.escape
    marks = {*dialect.delimiter, "\r", "\n", quote} - {""}
    must = bool(marks & set(cell)) or cell[:1] in ("", " ", "\t", "'", '"')
    if escape:
        cell = cell.replace(escape, escape * 2)
    if quote and (quotes_all or must):
        return quote + cell.replace(quote, (escape or quote) + quote) + quote
    if escape and not quote:
        return "".join(escape + each if each in marks else each for each in cell)
    return cell
