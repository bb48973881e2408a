"""How plausible a form is: how common its marks are, and whether its quotes pair."""

from __future__ import annotations

import re

from sluice.inference.detection.candidates import prior_of
from sluice.inference.detection.cell_kinds import VALUES, Kind, kind_of
from sluice.inference.detection.reading import DELIMITER, ESCAPE, LF, QUOTE, QUOTED, Reading, Record

#: What a file of one column is worth, compared with one of two columns.
SINGLE_PRIOR = 0.62
#: The same if a name is followed by values of one kind.
NAMED_PRIOR = 0.95
#: Records that outweigh how common a form is.
_MANY = 5
_MARK_AT_QUOTE = re.compile(r"[\"'][,;\t|]|[,;\t|][\"']")
#: Records and fields that are looked at.
_MAX_RECORDS, _MAX_FIELDS = 300, 60


def prior(reading: Reading, width: int, types: float) -> float:
    """Return how common a form is; less so if many recognised cells speak for it."""
    form = reading.form
    found = prior_of(form.delimiter) if form.delimiter else _single_prior(reading)
    if width > 1 and form.delimiter:
        evidence = min(1.0, (len(reading.contents) - 1) / _MANY)
        found += (1 - found) * 0.7 * evidence * max(0.0, types - 0.8) / 0.2 * (1 - 1 / width)
    if width == 2 and form.delimiter.strip() == ",":
        found *= 0.75 if _is_prose(reading) else 1.0
    if form.quote == "'":
        found *= 0.97
    if form.escape:
        found *= _escape_prior(reading)
    return found * (0.985 if form.spaces else 1.0)


def _single_prior(reading: Reading) -> float:
    """Return more if all lines after a name are of one kind, less if quotes are next to delimiters."""
    if _has_marks_at_quotes(reading):
        return SINGLE_PRIOR * 0.6
    name, *values = [kind_of(each.text) for each in reading.contents[:_MAX_RECORDS]]
    is_named = name is Kind.WORDS and len(set(values)) == 1 and values[0] in VALUES
    is_value = name in VALUES - {Kind.NUMBER} and set(values) <= {name}
    return NAMED_PRIOR if is_named or is_value else SINGLE_PRIOR


def _is_prose(reading: Reading) -> bool:
    """Whether the two fields of a record are text with a comma and a space between, as in "Last, First"."""
    rows = [reading.cells(each) for each in reading.contents[:_MAX_RECORDS] if each.width == 2]
    is_spaced = reading.form.delimiter != "," or all(row[1][:1] == " " for row in rows)
    return is_spaced and all(kind_of(cell) is Kind.WORDS for row in rows for cell in row)


def _escape_prior(reading: Reading) -> float:
    """Return more than 1 if all escapes are escaped, as by a writer that knows them."""
    text = "".join(each.text for each in reading.contents[:_MAX_RECORDS])
    is_doubled = ESCAPE in text and reading.form.escape not in text and QUOTE * 2 not in text
    return 1.01 if is_doubled else 0.985


def _has_marks_at_quotes(reading: Reading) -> bool:
    """Whether most lines have a quote next to a common delimiter."""
    lines = reading.contents[:_MAX_RECORDS]
    return sum(bool(_MARK_AT_QUOTE.search(each.text)) for each in lines) * 2 >= len(lines)


def quoting(reading: Reading) -> float:
    """Return 1 if quotes pair, less for each field that they do not enclose."""
    form = reading.form
    if not form.quote:
        return _unquoted(reading)
    apart = _apart(reading)
    if not (reading.quoted or reading.junk or reading.is_open or reading.unclosed or apart):
        return 1.0 if form.quote == "'" else _unquoted(reading)
    if not (reading.quoted or reading.is_open or apart):
        return _unpaired(reading)
    is_open = reading.is_open * (1 if reading.quoted > 1 else 3)
    bad = reading.junk + is_open + apart + reading.unclosed / 2
    factor = 1 - 0.6 * bad / (reading.quoted + bad) - min(0.06, 0.03 * bad)
    if form.quote == "'" and reading.quoted < 2 and not _encloses_marks(reading):
        factor *= 0.8
    return factor


def _unpaired(reading: Reading) -> float:
    """Return how plausible quotes are that enclose no field: a single one may be a mistake."""
    records = reading.contents[:_MAX_RECORDS]
    has_strays = any(_has_stray_quote(each, reading) for each in records)
    if reading.form.quote == "'" or has_strays or reading.unclosed > 1:
        return 0.8
    return 0.95 if reading.junk * 3 <= max(3, len(reading.contents)) else 0.8


def _has_stray_quote(record: Record, reading: Reading) -> bool:
    """Whether a quote is within a field that does not begin with it."""
    if reading.form.quote not in record.text:
        return False
    quote = reading.form.quote
    return any(
        quote in cell[1:] and cell[0] not in (quote, QUOTED) for cell in reading.cells(record)
    )


def _apart(reading: Reading) -> int:
    """Count the quoted fields that spaces keep from being quoted."""
    quote = reading.form.quote
    if reading.form.spaces or not reading.form.delimiter:
        return 0
    cells = (
        cell.strip(" \t")
        for record in reading.contents
        if f" {quote}" in record.text
        for cell in reading.cells(record)
        if cell[:1] in (" ", "\t")
    )
    return sum(len(cell) > 1 and cell[0] == cell[-1] == quote for cell in cells)


def _encloses_marks(reading: Reading) -> bool:
    return any(DELIMITER in each.text or LF in each.text for each in reading.contents)


def _unquoted(reading: Reading) -> float:
    """Return how plausible it is that quotes have no meaning: little if they enclose fields."""
    pairs = starts = 0
    for record in reading.contents[:_MAX_RECORDS]:
        for cell in reading.cells(record)[:_MAX_FIELDS]:
            text = cell.strip()
            starts += text[:1] in ('"', "'")
            pairs += len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return 0.93 - 0.65 * pairs / starts if starts else 1.0
