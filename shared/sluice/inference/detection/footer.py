"""Which lines at the end of a file are no records: totals, notes, marks of the end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sluice.inference.detection.cell_kinds import VALUES, Kind, kind_of
from sluice.inference.detection.header import main_kind, plain
from sluice.inference.detection.reading import Form, Reading, Record, read

#: Lines that may be a footer.
MAX_FOOTER = 30
#: Rows with which it is compared.
_MAX_ROWS = 100
_NOTE = re.compile(
    r"(?i)\W*(?:(?:grand |sub)?totals?|sum|summe|gesamt|average|mean|count|rows?|records?|lines?"
    r"|sources?|notes?|footnotes?|end|eof|generated|created|exported|report|copyright|\(c\)|page|legend|disclaimer|updated"
    r"|last updated|\d+ (?:rows?|records?|lines?))\b"
)
_TOTAL = re.compile(r"(?i)\W*(?:(?:grand |sub)?[ \-]?totals?|sum|summe|gesamt|total general)\b\W*")
_COUNT = re.compile(r"(?i)\(?\d+ (?:rows?|records?|lines?)(?: \w+)?\)?\.?")
_RULE = re.compile(r"\W+")
_LONG_RULE = re.compile(r"[\-=*#]{2,}.*")
_ENDING_MARK = re.compile(r"(?:-{2,}|={2,}|\*{1,}|#|\(|\[|<|\u00a9|//).*")


@dataclass(frozen=True)
class Footer:
    """The lines at the end that are no records, and their text."""

    lines: int
    text: str


NONE = Footer(0, "")


@dataclass(frozen=True)
class _Rows:
    """What rows look like: number of fields, kinds of the columns, fields that are filled on average."""

    width: int
    kinds: tuple[Kind | None, ...]
    filled: float

    @classmethod
    def of(cls, rows: Sequence[Sequence[str]], width: int) -> _Rows:
        rows = rows[:_MAX_ROWS]
        filled = sum(sum(map(bool, map(plain, row))) for row in rows) / max(1, len(rows))
        return cls(width, tuple(main_kind(each) for each in zip(*rows, strict=False)), filled)

    @property
    def first_kind(self) -> Kind | None:
        return self.kinds[0] if self.kinds else None


def find_footer(
    tail: str, form: Form, width: int, rows: Sequence[Sequence[str]], comment: str, first_line: int
) -> Footer:
    """Find the footer of a file.

    Args:
        tail: the end of the file, whole lines.
        form: the form of the file.
        width: number of fields of its records.
        rows: masked cells of rows of the table, for comparison.
        comment: the prefix of comments.
        first_line: line of the tail after which a footer may begin.
    """
    reading = _read_tail(tail, form, width)
    records = [each for each in reading.records if each.line > first_line]
    found = records[_find_start(records, reading, _Rows.of(rows, width), comment) :]
    text = " / ".join(" ".join(filter(None, map(plain, reading.cells(r)))) for r in found)
    return Footer(sum(each.lines for each in found), text[:100]) if found else NONE


def _find_start(records: Sequence[Record], reading: Reading, rows: _Rows, comment: str) -> int:
    """Return the index of the first record of the footer, or the number of records."""
    start = len(records)
    for index in range(len(records) - 1, max(-1, len(records) - 1 - MAX_FOOTER), -1):
        record = records[index]
        if record.is_blank or (comment and record.text.startswith(comment)):
            continue
        after_blank = index > 0 and records[index - 1].is_blank
        if _is_note(reading.cells(record), rows, after_blank=after_blank):
            start = index
        elif any(map(plain, reading.cells(record))):
            break
    while 0 < start < len(records) and _is_empty(records[start - 1], reading):
        start -= 1
    return start


def _is_empty(record: Record, reading: Reading) -> bool:
    """Whether a record has delimiters only."""
    return record.width > 1 and not any(map(plain, reading.cells(record)))


def _read_tail(tail: str, form: Form, width: int) -> Reading:
    """Read the end of a file, which may begin inside quotes."""
    outside = read(tail, form, is_whole=True)
    if not form.quote or form.quote not in tail:
        return outside
    inside = read(form.quote + tail, form, is_whole=True)

    def fitting(reading: Reading) -> int:
        return sum(each.width == width for each in reading.records) - reading.unclosed

    return max(outside, inside, key=fitting)


def _is_note(cells: Sequence[str], rows: _Rows, *, after_blank: bool) -> bool:
    """Whether a record at the end is no row."""
    present = [each for each in map(plain, cells) if each]
    if not present:
        return False
    if rows.width == 1:
        return len(cells) == 1 and _is_single_note(present[0], rows, after_blank=after_blank)
    is_padded = len(present) == 1 and bool(plain(cells[0])) and rows.width > 2 and rows.filled > 2
    if len(cells) == 1 or is_padded:
        return _is_text_note(present[0], rows, after_blank=after_blank)
    return _is_divided_note(cells, rows, after_blank=after_blank) or _is_total(cells, rows)


def _is_single_note(text: str, rows: _Rows, *, after_blank: bool) -> bool:
    """Whether a line under a single column is a note."""
    is_other = rows.first_kind in VALUES and kind_of(text) not in VALUES
    is_mark = bool(_LONG_RULE.fullmatch(text))
    return (is_other and bool(_NOTE.match(text) or after_blank)) or is_mark


def _is_text_note(text: str, rows: _Rows, *, after_blank: bool) -> bool:
    """Whether a line without delimiter is a note rather than the beginning of a broken row."""
    if _NOTE.match(text) or _ENDING_MARK.fullmatch(text) or _RULE.fullmatch(text) or after_blank:
        return True
    if not text[0].isalpha() and len(text.split()) < 2:
        return False  # more likely a row that is cut off
    kind, first = kind_of(text), rows.first_kind
    if first in VALUES:
        return kind in (Kind.WORDS, Kind.OTHER) and kind_of(text.split(maxsplit=1)[0]) not in VALUES
    return len(text.split()) > 2 and first is not None and kind is not first


def _is_divided_note(cells: Sequence[str], rows: _Rows, *, after_blank: bool) -> bool:
    """Whether a line is a note in which the delimiter occurs."""
    texts = [plain(each) for each in cells]
    if _ENDING_MARK.match(texts[0]) or (after_blank and _NOTE.match(texts[0])):
        is_typed = rows.first_kind in VALUES | {Kind.CODE}
        return len(cells) != rows.width or (is_typed and all(texts))
    return len(cells) != rows.width and bool(_COUNT.fullmatch(" ".join(texts)))


def _is_total(cells: Sequence[str], rows: _Rows) -> bool:
    """Whether a record sums up: it says so, where other rows have values, or has fewer of them."""
    texts = [plain(each) for each in cells]
    at, label = next((i, each) for i, each in enumerate(texts) if each)
    if not _TOTAL.match(label):
        return False
    is_typed = at < len(rows.kinds) and rows.kinds[at] in VALUES | {Kind.CODE}
    return is_typed or len(cells) < rows.width or sum(map(bool, texts)) < rows.filled - 0.5
