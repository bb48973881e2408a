"""Reads a sample in one form: where records and fields end, by the automaton of `csv/scanning.py`.

A quoted field, or an escaped character, is replaced by text in which delimiters, quotes and line ends
are noncharacters. What is left splits at line ends and delimiters, in C. Noncharacters (U+FDD0 and
following) occur in no text (Unicode, section 23.7).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

DELIMITER, QUOTE, LF, CR, ESCAPE, CUT, QUOTED = map(chr, range(0xFDD0, 0xFDD7))
#: Quotes that are read as text because they are never closed; each needs the text to be read again.
_MAX_UNCLOSED = 6
#: What stands for a line end inside quotes.
_INNER_LINE_ENDS = re.compile(f"[{LF}{CR}]")


@dataclass(frozen=True)
class Form:
    """The marks with which a sample is read.

    Attributes:
        delimiter: one or more characters; empty: each line is one field.
        quote: a character, or empty.
        escape: a character, or empty.
        spaces: whether white space between delimiter and quote is no part of a field.
    """

    delimiter: str
    quote: str = '"'
    escape: str = ""
    spaces: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a sample.

    Attributes:
        line: number of its first physical line, from 1.
        lines: number of its physical lines.
        text: its text, masked.
        width: number of its fields.
    """

    line: int
    lines: int
    text: str
    width: int

    @property
    def is_blank(self) -> bool:
        """Whether it is an empty line or has only white space."""
        return not self.text or self.text.isspace()


@dataclass(frozen=True)
class Reading:
    """A sample, read in one form.

    Attributes:
        form: the form.
        records: all lines outside quotes, also blank ones.
        quoted: number of quoted fields that end before a delimiter or line end.
        junk: number of quoted fields with other text after the closing quote.
        is_open: whether the last quoted field is not closed.
        unclosed: number of quotes before it that are not closed, and were read as text.
        has_long_junk: whether any of the fields with junk is of several lines.
    """

    form: Form
    records: tuple[Record, ...]
    quoted: int
    junk: int
    is_open: bool
    unclosed: int = 0
    has_long_junk: bool = False

    def cells(self, record: Record) -> list[str]:
        """Return the masked fields of a record; those in quotes begin with `QUOTED`."""
        mark = mark_of(self.form)
        return record.text.split(mark) if mark else [record.text]

    def values(self, record: Record) -> list[str]:
        """Return the values of the fields of a record."""
        return [unmask(cell, self.form) for cell in self.cells(record)]

    @cached_property
    def contents(self) -> tuple[Record, ...]:
        """The records that are not blank."""
        return tuple(each for each in self.records if not each.is_blank)


def mark_of(form: Form) -> str:
    """Return the character at which masked text splits into fields."""
    return form.delimiter if len(form.delimiter) < 2 else CUT


@dataclass(slots=True)
class _Masked:
    """Text in which quoted and escaped parts are masked, and what was found in it; see `Reading`."""

    text: str
    quoted: int = 0
    junk: int = 0
    open_at: int = -1
    junk_at: int = -1
    unclosed: int = 0


def read(text: str, form: Form, *, is_whole: bool = False, ends_lines: bool = False) -> Reading:
    """Read text as records of a form.

    Args:
        text: a file or a part of it.
        form: its marks.
        is_whole: whether it is the whole file, so that a quote that is not closed in it never is.
        ends_lines: whether a quote is not closed either that another one with junk after it closes in a
            later line.
    """
    found = _mask(text, form, is_whole=is_whole, ends_lines=ends_lines)
    masked = found.text
    if "\r" in masked:
        masked = masked.replace("\r\n", "\n").replace("\r", "\n")
    lines = masked.split("\n")
    if not lines[-1]:
        lines.pop()
    records = tuple(_number(lines, mark_of(form)))
    return Reading(
        form,
        records,
        found.quoted,
        found.junk,
        found.open_at >= 0,
        found.unclosed,
        found.junk_at >= 0,
    )


def _number(lines: list[str], mark: str) -> list[Record]:
    records, line = [], 1
    for text in lines:
        has_inner = LF in text or CR in text
        count = 1 + len(_INNER_LINE_ENDS.findall(text)) if has_inner else 1
        records.append(Record(line, count, text, text.count(mark) + 1 if mark else 1))
        line += count
    return records


def _mask(text: str, form: Form, *, is_whole: bool, ends_lines: bool) -> _Masked:
    """Mask quoted and escaped text; count quoted fields, those with junk, and those that are not closed."""
    if form.escape:
        text = _mask_escapes(text, form)
    if len(form.delimiter) > 1:
        text = text.replace(form.delimiter, CUT)
    if not form.quote or form.quote not in text:
        return _Masked(text)
    found = _mask_quoted(text, form)
    while found.unclosed < _MAX_UNCLOSED:
        at = found.junk_at if ends_lines else -1
        if at < 0:
            at = found.open_at if is_whole else -1
        if at < 0:
            break
        text = text[:at] + QUOTE + text[at + 1 :]
        found = replace(_mask_quoted(text, form), unclosed=found.unclosed + 1)
    return found


def _mask_quoted(text: str, form: Form) -> _Masked:
    table = _inner_table(form.delimiter, form.quote)
    result = _Masked("")

    def mask(found: re.Match[str]) -> str:
        body = found[1].replace("\r\n", LF).translate(table)
        if found[2] is not None:
            result.junk += 1
            if result.junk_at < 0 and (LF in body or CR in body):
                result.junk_at = found.start(1) - 1
            return form.quote + body + form.quote
        if found[3] is not None:
            result.open_at = found.start(1) - 1
            return form.quote + body
        result.quoted += 1
        return QUOTED + body

    result.text = _quoted_pattern(form).sub(mask, text)
    return result


@lru_cache(maxsize=64)
def _inner_table(delimiter: str, quote: str) -> dict[int, str]:
    table = {quote: QUOTE, "\n": LF, "\r": CR}
    if len(delimiter) == 1:
        table[delimiter] = DELIMITER
    elif delimiter:
        table[CUT] = DELIMITER
    return str.maketrans(table)


@lru_cache(maxsize=64)
def _quoted_pattern(form: Form) -> re.Pattern[str]:
    """Return the pattern of a quoted field from its border; linear in the length of the text."""
    mark, quote = re.escape(mark_of(form)), re.escape(form.quote)
    white = "".join(each for each in " \t" if each != form.delimiter)
    spaces = f"[{white}]*+" if form.spaces else ""
    border = f"{mark}\r\n"
    return re.compile(
        rf"(?<![^{border}]){spaces}{quote}((?:[^{quote}]++|{quote}{quote})*+)"
        rf"(?:{quote}{spaces}(?=[{border}]|\Z)|({quote})|(\Z))"
    )


def _mask_escapes(text: str, form: Form) -> str:
    if form.escape not in text:
        return text
    names = {"\r\n": LF, "\n": LF, "\r": CR, form.quote: QUOTE, form.escape: ESCAPE}
    names |= {form.delimiter[:1]: DELIMITER} if form.delimiter else {}

    def mask(found: re.Match[str]) -> str:
        return names.get(found[1], found[0])

    return re.sub(re.escape(form.escape) + r"(\r\n|[\s\S])", mask, text)


def unmask(cell: str, form: Form) -> str:
    """Return the value of a masked field."""
    if cell.startswith(QUOTED):
        cell = cell[1:].replace(QUOTE * 2, QUOTE)
    cell = cell.replace(QUOTE, form.quote).replace(LF, "\n").replace(CR, "\r")
    return (
        cell.replace(DELIMITER, form.delimiter)
        .replace(CUT, form.delimiter)
        .replace(ESCAPE, form.escape)
    )
