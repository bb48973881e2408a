"""Whether lines that begin with a mark are comments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sluice.inference.detection.candidates import is_allowed
from sluice.inference.detection.cell_kinds import VALUES, kind_of
from sluice.inference.detection.reading import Reading, Record

PREFIXES = ("#", "//")


@dataclass(frozen=True)
class Comments:
    """The prefix of comments, or empty, and why."""

    prefix: str
    reason: str


NONE = Comments("", "no line looks like a comment")


def find_comments(reading: Reading, width: int) -> Comments:
    """Find the prefix of lines that are no records of a table of this width."""
    for prefix in PREFIXES:
        marked = [each for each in reading.contents if each.text.startswith(prefix)]
        if not is_allowed(reading.form, {"comment": prefix * 2}):
            continue
        if marked and (found := _judge(prefix, marked, reading, width)):
            return found
    return NONE


def _judge(prefix: str, marked: Sequence[Record], reading: Reading, width: int) -> Comments | None:
    others = [each for each in marked if each.width != width]
    if width == 1:
        others = [each for each in marked if each.text[len(prefix) :].startswith(" ")]
        if len(marked) == len(reading.contents):
            return None
    if not others or len(others) * 2 < len(marked):
        return None
    fitting = [each for each in marked if each.width == width and width > 1]
    if len(fitting) == 1 and _is_header(fitting[0], reading):
        return _before_header(prefix, others, fitting[0])
    return Comments(
        prefix,
        f"{_lines(len(marked))} with {prefix!r}, the first is line {marked[0].line},"
        f" and {len(others)} of them have no {width} fields",
    )


def _is_header(record: Record, reading: Reading) -> bool:
    """Whether a marked record has the names of the columns: the record before the first row."""
    rows = [each for each in reading.contents if not each.text.startswith(PREFIXES)]
    is_before_rows = not rows or (
        record.line < rows[0].line
        and any(kind_of(each) in VALUES for each in reading.cells(rows[0]))
    )
    cells = reading.cells(record)
    return is_before_rows and len(cells) > 2 and not any(kind_of(c) in VALUES for c in cells)


def _before_header(prefix: str, others: Sequence[Record], header: Record) -> Comments | None:
    """Return a longer prefix that the header does not have, if there is one."""
    longer = prefix + prefix[0]
    if header.text.startswith(longer) or not all(each.text.startswith(longer) for each in others):
        return None
    return Comments(
        longer, f"{_lines(len(others))} with {longer!r}, and line {header.line} has names"
    )


def _lines(count: int) -> str:
    return "1 line begins" if count == 1 else f"{count} lines begin"
