"""Says why: a sentence for each decision, and one for each doubt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sluice.inference.detection.file_parts import FileParts
from sluice.inference.detection.forms import EMPTY_COLUMNS, Choice, widths_of
from sluice.inference.detection.reading import Reading
from sluice.inference.detection.sampling import Sample

_GAP = "  "


@dataclass(frozen=True)
class Evidence:
    """Why a key of a dialect has its value, in a sentence."""

    key: str
    value: object
    reason: str


def explain_form(sample: Sample, choice: Choice, separator: str) -> Iterator[Evidence]:
    """Explain encoding, delimiter, quote and escape."""
    found, form = choice.score, choice.score.reading.form
    if sample.is_encoding_certain:
        yield Evidence("encoding", sample.encoding, f"the text is {sample.encoding}")
    yield Evidence("delimiter", choice.delimiter, _delimiter_reason(choice, separator))
    yield Evidence("quote", form.quote, _quote_reason(found.reading))
    yield Evidence("escape", form.escape, _escape_reason(form.escape))
    if form.spaces:
        reason = "white space between delimiters and quotes, and quotes pair only without it"
        yield Evidence("spaces_around_quotes", True, f"there is {reason}")
    else:
        yield Evidence("spaces_around_quotes", False, "no quotes are apart from the delimiters")


def _delimiter_reason(choice: Choice, separator: str) -> str:
    found = choice.score
    total = len(found.reading.contents)
    if separator:
        return f"line 1 names it: sep={separator}"
    if not found.reading.form.delimiter:
        return "no delimiter divides the lines into equal numbers of fields; there is one column"
    reason = f"{found.fitting} of {total} records have {_fields(found.width)} with it"
    other = next((each for each in choice.others if each.reading.form.delimiter), None)
    if other is None:
        return reason
    return f"{reason}; with {other.reading.form.delimiter!r} they have {widths_of(other)}"


def _fields(count: int) -> str:
    return "1 field" if count == 1 else f"{count} fields"


def _quote_reason(reading: Reading) -> str:
    quote = reading.form.quote
    if not quote:
        return "quotes do not enclose fields"
    if not (reading.quoted or reading.junk or reading.is_open):
        return "no field is quoted; this is the usual one"
    reason = f"{_count(reading.quoted, 'field is', 'fields are')} enclosed in it"
    return f"{reason}, {reading.junk} have text after the closing one" if reading.junk else reason


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _escape_reason(escape: str) -> str:
    if not escape:
        return "quotes in quoted fields are doubled, or there are none"
    return "backslashes precede quotes, delimiters or line ends, and records are regular only so"


def explain_parts(parts: FileParts) -> Iterator[Evidence]:
    """Explain comments, preamble, header and footer."""
    yield Evidence("comment", parts.comments.prefix, parts.comments.reason)
    skip = parts.table.skip_lines
    first = parts.table.records[0].line if parts.table.records else skip + 1
    reason = f"the table begins in line {first}"
    yield Evidence(
        "skip_lines", skip, f"{reason}, after {parts.table.skipped!r}" if skip else reason
    )
    yield Evidence("header", parts.header.is_present, parts.header.reason)
    is_double = parts.header.lines > 1
    reason = "the second line is text above values too" if is_double else "the second line is a row"
    yield Evidence("header_lines", parts.header.lines, reason)
    reason = "all records end with one" if parts.is_trailing else "not all records end with one"
    yield Evidence("trailing_delimiter", parts.is_trailing, reason)
    reason = (
        f"the file ends with {parts.footer.text!r}"
        if parts.footer.lines
        else "the last line is a row"
    )
    yield Evidence("footer_lines", parts.footer.lines, reason)


def find_doubts(
    choice: Choice, parts: FileParts, names: Sequence[str], repeated_line: int
) -> Iterator[str]:
    """Report what is ambiguous, and what will be rejected.

    Args:
        choice: the form of the file.
        parts: its parts.
        names: the names of its columns.
        repeated_line: a line after the sample that is the header again, or 0.
    """
    rival = choice.rival
    if rival:
        other = (
            repr(rival.reading.form.delimiter) if rival.reading.form.delimiter else "no delimiter"
        )
        yield f"the delimiter is probably {choice.delimiter!r}, but {other} fits about as well; declare it"
    if not choice.score.reading.form.delimiter and _is_aligned(parts.reading):
        yield "the columns are of fixed width, without a delimiter; each line is read as one column"
    doubled = choice.delimiter * 2
    if doubled in EMPTY_COLUMNS and _is_doubled(parts, doubled):
        yield f"each record has an empty field; declare the delimiter if it is {doubled!r}"
    if not parts.header.is_certain:
        yield f"it is not certain whether there is a header: {parts.header.reason}; declare `header`"
    if parts.table.next_line:
        yield f"line {parts.table.next_line} begins another table; only the first one is read"
    if parts.may_be_trailing:
        found = "ends the record" if parts.is_trailing else "is followed by an empty last column"
        yield f"the last delimiter of each record {found}; declare `trailing_delimiter` if not"
    if choice.has_pairs_of_backslashes:
        is_escape = choice.score.reading.form.escape
        found, other = ("an escape", "text") if is_escape else ("text", "an escape")
        yield f"all backslashes are in pairs, and the first is {found}; declare `escape` if it is {other}"
    skipped = parts.table.ragged_line
    if skipped and not names:
        yield (
            f"line {skipped} may be the header, but cannot be read as {_fields(parts.width)}; it is skipped,"
            " and the columns have no names"
        )
    yield from _header_warnings(parts, names, repeated_line)
    reading = parts.reading
    if reading.is_open:
        yield "a quoted field is not closed"


def _is_doubled(parts: FileParts, doubled: str) -> bool:
    """Whether each record has two delimiters in one place, and no others."""
    records = parts.table.records
    return all(each.width == 3 and doubled in each.text for each in records)


def _is_aligned(reading: Reading) -> bool:
    """Whether most lines have words that several spaces divide."""
    lines = [each.text.strip() for each in reading.contents]
    return sum(_GAP in each for each in lines) * 2 > len(lines)


def _header_warnings(parts: FileParts, names: Sequence[str], repeated_line: int) -> Iterator[str]:
    if not names:
        return
    first = parts.table.records[0]
    rows = parts.table.records[parts.header.lines :]
    again = [each.line for each in rows if each.text == first.text]
    if again or repeated_line:
        line = again[0] if again else repeated_line
        yield f"line {line} repeats the header and will be rejected"
    empty = [index + 1 for index, name in enumerate(names) if not name]
    if empty:
        yield f"column {empty[0]} has no name"
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        yield f"more than one column is called {twice[0]!r}"
    if len(names) != parts.width:
        yield f"the header has {_fields(len(names))}, most records have {parts.width}"
