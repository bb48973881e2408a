"""What a file consists of, apart from its form: preamble, comments, header, rows, footer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sluice.inference.detection.comments import Comments, find_comments
from sluice.inference.detection.footer import NONE as NO_FOOTER
from sluice.inference.detection.footer import Footer, find_footer
from sluice.inference.detection.forms import Choice
from sluice.inference.detection.header import Header, find_header, plain
from sluice.inference.detection.reading import QUOTED, Reading, Record
from sluice.inference.detection.sampling import Sample
from sluice.inference.detection.table import Table, find_table
from sluice.parsing.mismatches import is_rule, joined_names

#: Lines after the table that a dialect can leave out (`footer_lines`).
_MAX_FOOTER_LINES = 1_000
_TERMINATORS = re.compile(r"[|\x01-\x08\x0e-\x1f]")


@dataclass(frozen=True)
class FileParts:
    """The parts of a file.

    Attributes:
        reading: the sample, read in its form.
        comments: the lines that are comments.
        table: the first table.
        is_trailing: whether its records end with a delimiter.
        may_be_trailing: whether all records end with one, and no name decides.
        header: whether it has names.
        footer: the lines at the end that are no records.
        width: number of its columns.
        skips_header: whether there is a header that does not fit the rows, and is part of the preamble.
    """

    reading: Reading
    comments: Comments
    table: Table
    is_trailing: bool
    may_be_trailing: bool
    header: Header
    footer: Footer
    width: int
    skips_header: bool

    @classmethod
    def of(cls, sample: Sample, choice: Choice, known: Mapping[str, object]) -> FileParts:
        """Divide a file whose form is known into its parts."""
        found = choice.score
        reading = found.reading
        comments = find_comments(reading, found.width)
        if "comment" in known:
            comments = Comments(str(known["comment"]), "declared")
        skip = known.get("skip_lines")
        table = find_table(
            found,
            comments.prefix,
            None if skip is None else int(str(skip)),
            may_have_header=bool(known.get("header", True)),
        )
        masked = [reading.cells(each) for each in table.records]
        header = _header(masked, table.width, known)
        skips_header = table.has_broken_header or _is_above(masked, table, known)
        if skips_header:
            header = Header(False, 1, "the header does not fit the rows", True)
        ends_empty = _ends_empty(table, reading)
        is_trailing = ends_empty and _is_trailing(table, reading, has_header=header.is_present)
        is_trailing = bool(known.get("trailing_delimiter", is_trailing))
        rows = [_cells(each, reading, trailing=is_trailing) for each in table.records]
        width = table.width - (is_trailing and ends_empty)
        body = rows[header.lines if header.is_present else 0 :]
        footer = _footer(
            sample, table, reading, [row for row in body if len(row) == width], comments
        )
        may_be = ends_empty and not header.is_present and "trailing_delimiter" not in known
        return cls(
            reading, comments, table, is_trailing, may_be, header, footer, width, skips_header
        )

    @property
    def header_line(self) -> int:
        """The physical line of the header, 0 if there is none or it has several."""
        records = self.table.records if self.header.is_present else ()
        return records[0].line if records and records[0].lines == 1 else 0

    def names(self) -> tuple[str, ...]:
        """Return the names of the columns, none without header; two header lines are joined."""
        lines = self.header.lines if self.header.is_present else 0
        return tuple(joined_names([self._values(each) for each in self.table.records[:lines]]))

    def _values(self, record: Record) -> list[str]:
        values = [each.strip() for each in self.reading.values(record)]
        return values[:-1] if self.is_trailing and len(values) > 1 and not values[-1] else values


def _is_above(rows: Sequence[Sequence[str]], table: Table, known: Mapping[str, object]) -> bool:
    """Whether the header that is declared is the line above the table: its first record has only values."""
    if not (table.skipped and known.get("header")) or "skip_lines" in known:
        return False
    found = _header(rows, table.width, {})
    return not found.is_present and (found.is_certain or table.ragged_line > 0)


def _ends_empty(table: Table, reading: Reading) -> bool:
    """Whether all records end with a delimiter."""
    last = [reading.cells(each)[-1] for each in table.records if each.width == table.width]
    return table.width > 1 and not any(plain(each) or each.startswith(QUOTED) for each in last)


def _is_trailing(table: Table, reading: Reading, *, has_header: bool) -> bool:
    """Whether the delimiters at the end of all records separate nothing.

    Without header, an empty last column looks the same. Files with pipes or control characters end
    their records so, as those of TPC-H; others rarely do.
    """
    if not has_header:
        return len(table.records) > 1 and bool(_TERMINATORS.search(reading.form.delimiter))
    *names, last_name = reading.cells(table.records[0])
    return len(names) + 1 < table.width or (not plain(last_name) and bool(plain(names[-1])))


def _cells(record: Record, reading: Reading, *, trailing: bool) -> list[str]:
    cells = reading.cells(record)
    return cells[:-1] if trailing and len(cells) > 1 and not plain(cells[-1]) else cells


def _header(rows: Sequence[Sequence[str]], width: int, known: Mapping[str, object]) -> Header:
    if not rows:
        return Header(False, 1, "there is no record", False)
    if len(rows) > 1 and is_rule(rows[1]):
        found = Header(True, 2, "the second line is a rule below names", True)
    else:
        regular = [row for row in rows[1:] if len(row) == width]
        found = find_header(rows[0], regular or [_padded(row, width) for row in rows[1:]])
    if "header" in known:
        found = replace(found, is_present=bool(known["header"]), is_certain=True)
    if "header_lines" in known:
        lines = int(str(known["header_lines"]))
        found = replace(found, lines=lines, is_present=found.is_present or lines > 1)
    return found


def _padded(row: Sequence[str], width: int) -> Sequence[str]:
    return [*row[:width], *[""] * (width - len(row))]


def _footer(
    sample: Sample,
    table: Table,
    reading: Reading,
    rows: Sequence[Sequence[str]],
    comments: Comments,
) -> Footer:
    first_line = 0
    if sample.tail_is_text and table.records:
        first_line = table.records[0].line
    if table.next_line and sample.is_whole:
        lines = sum(each.lines for each in reading.records if each.line >= table.next_line)
        if lines > _MAX_FOOTER_LINES:
            return NO_FOOTER
        return Footer(lines, f"another table, from line {table.next_line}")
    if not sample.tail or not rows:
        return NO_FOOTER
    return find_footer(sample.tail, reading.form, table.width, rows, comments.prefix, first_line)
