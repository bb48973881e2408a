"""Which lines at the end of a file are no records: totals, notes, marks of the end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sluice.inference.cell_kinds import VALUES, Kind, kind_of
from sluice.inference.header import main_kind, plain
from sluice.inference.reading import Form, Reading, Record, read

#: Lines that may be a footer.
MAX_FOOTER = 30
_NOTE = re.compile(
    r"(?i)\W*(?:(?:grand |sub)?totals?|sum|summe|gesamt|average|mean|count|rows?|records?|lines?"
    r"|sources?|notes?|footnotes?|end|eof|generated|created|exported|report|copyright|\(c\)|page|legend|disclaimer|updated"
    r"|last updated|\d+ (?:rows?|records?|lines?))\b"
)
_TOTAL = re.compile(r"(?i)\W*(?:(?:grand |sub)?[ \-]?totals?|sum|summe|gesamt|total general)\b\W*")
_RULE = re.compile(r"\W+")
_ENDING_MARK = re.compile(r"(?:-{2,}|={2,}|\*{1,}|#|\(|\[|<|\u00a9|//).*")


@dataclass(frozen=True)
class Footer:
    """The lines at the end that are no records, and their text."""

    lines: int
    text: str


NONE = Footer(0, "")


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
    kinds = [main_kind(column) for column in zip(*rows[:100], strict=False)]
    filled = sum(sum(map(bool, map(plain, row))) for row in rows[:100]) / max(1, len(rows[:100]))
    start = len(records)
    for index in range(len(records) - 1, max(-1, len(records) - 1 - MAX_FOOTER), -1):
        record = records[index]
        if record.is_blank or (comment and record.text.startswith(comment)):
            continue
        above = records[index - 1] if index else None
        after_blank = above is not None and above.is_blank
        if _is_note(reading.cells(record), width, kinds, filled, after_blank=after_blank):
            start = index
        elif any(map(plain, reading.cells(record))):
            break
    while 0 < start < len(records) and _is_empty(records[start - 1], reading):
        start -= 1
    found = records[start:]
    if not found:
        return NONE
    text = " / ".join(" ".join(filter(None, map(plain, reading.cells(r)))) for r in found)
    return Footer(sum(each.lines for each in found), text[:100])


def _is_empty(record: Record, reading: Reading) -> bool:
    """Whether a record has delimiters only."""
    return record.width > 1 and not any(map(plain, reading.cells(record)))


def _read_tail(tail: str, form: Form, width: int) -> Reading:
    """Read the end of a file, which may begin inside quotes."""
    outside = read(tail, form)
    if not form.quote or form.quote not in tail:
        return outside
    inside = read(form.quote + tail, form)

    def fitting(reading: Reading) -> int:
        return sum(each.width == width for each in reading.records) - reading.is_open

    return max(outside, inside, key=fitting)


def _is_note(
    cells: Sequence[str],
    width: int,
    kinds: Sequence[Kind | None],
    filled: float,
    *,
    after_blank: bool,
) -> bool:
    """Whether a record at the end is no row."""
    texts = [plain(each) for each in cells]
    present = [each for each in texts if each]
    if not present:
        return False
    if width == 1:
        return len(cells) == 1 and _is_single_note(present[0], kinds, after_blank=after_blank)
    if len(cells) == 1:
        return _is_text_note(cells[0], kinds, after_blank=after_blank)
    if len(present) == 1 and width > 2 and filled > 2:
        return _is_text_note(present[0], kinds, after_blank=after_blank) or bool(
            _RULE.fullmatch(present[0])
        )
    if len(cells) != width and _ENDING_MARK.match(texts[0]):
        return True
    return _is_total(cells, width, kinds, filled)


def _is_single_note(text: str, kinds: Sequence[Kind | None], *, after_blank: bool) -> bool:
    """Whether a line under a single column is a note."""
    is_other = bool(kinds) and kinds[0] in VALUES and kind_of(text) not in VALUES
    is_mark = bool(re.fullmatch(r"[\-=*#]{2,}.*", text))
    return (is_other and bool(_NOTE.match(text) or after_blank)) or is_mark


def _is_text_note(cell: str, kinds: Sequence[Kind | None], *, after_blank: bool) -> bool:
    """Whether a line without delimiter is a note rather than the beginning of a broken row."""
    text = plain(cell)
    if _NOTE.match(text) or _ENDING_MARK.fullmatch(text) or after_blank:
        return True
    kind, first = kind_of(cell), kinds[0] if kinds else None
    if first in VALUES:
        return kind in (Kind.WORDS, Kind.OTHER) and kind_of(text.split()[0]) not in VALUES
    return len(text.split()) > 2 and first is not None and kind is not first


def _is_total(
    cells: Sequence[str], width: int, kinds: Sequence[Kind | None], filled: float
) -> bool:
    """Whether a record sums up: it says so, where other rows have values, or has fewer of them."""
    texts = [plain(each) for each in cells]
    at, label = next((i, each) for i, each in enumerate(texts) if each)
    if not _TOTAL.match(label):
        return False
    is_typed = at < len(kinds) and kinds[at] in VALUES | {Kind.CODE}
    return is_typed or len(cells) < width or sum(map(bool, texts)) < filled - 0.5
