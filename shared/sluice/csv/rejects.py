"""A reject: a refused row, kept whole, with where it stands and which rule it broke."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluice.csv.records import RecordIndex

#: Column, rule, value and reason of a reject.
Finding = tuple[str | None, str, str | None, str]
#: What to tell about a record that is not well-formed CSV, by the kind of damage.
RECORD_REASONS = {
    "stray_quote": "a quote stands inside an unquoted field; quote the field and double the quote",
    "junk_after_quote": "text follows a closing quote; double the quotes inside the field",
    "unclosed_quote": "a quote opens a field and never closes",
    "columns": "has {found} columns instead of {expected}",
    "encoding": "is not text in {encoding}",
    "nul": "holds a NUL byte, which no text may",
}


@dataclass(frozen=True)
class Reject:
    """A refused row.

    Attributes:
        record: number in the file, from 0, the header not counted.
        line: physical line of the file on which the record begins, from 1.
        column: the declared column, or None where the record as a whole is refused.
        rule: `type`, `required`, ... or a kind of `RECORD_REASONS`.
        value: the cell as written, or None.
        original: the bytes of the record as they stand in the file, without the line end.
    """

    record: int
    line: int
    column: str | None
    rule: str
    value: str | None
    reason: str
    original: bytes


def rejects_of(
    data: bytes,
    index: RecordIndex,
    found: Mapping[int, Finding],
    first_line: int,
    first_record: int,
) -> list[Reject]:
    """Return the rejects of a chunk from what was found wrong, by record of the chunk."""
    return [
        Reject(
            record=first_record + number,
            line=first_line + int(index.lines[number]),
            column=column,
            rule=rule,
            value=value,
            reason=reason,
            original=bytes(data[index.starts[number] : index.ends[number]]),
        )
        for number, (column, rule, value, reason) in sorted(found.items())
    ]
