"""How well a form fits a sample: equal numbers of fields, recognisable cells, quotes that pair.

The score is a product, as in "Wrangling messy CSV files by detecting row and type patterns"
(van den Burg et al., 2019): pattern score times type score. Unlike there, lines are weighed rather
than records, so that a form that joins many lines gains nothing; and a title or a footnote costs little.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from sluice.inference.candidates import prior_of
from sluice.inference.cell_kinds import VALUES, Kind, kind_of, weight_of
from sluice.inference.reading import DELIMITER, ESCAPE, LF, QUOTE, Reading, Record

#: Records and fields whose cells are looked at.
MAX_RECORDS, MAX_FIELDS = 60, 60
#: Lines before and after the table that may be something else, and what one of them still costs.
MAX_AROUND, COST_AROUND = 20, 0.35
#: What a file of one column is worth, compared with one of two columns.
SINGLE_PRIOR = 0.62
#: The same if a name is followed by values of one kind.
NAMED_PRIOR = 0.95
COMMENTS = ("#", "//")
#: What a record costs that has one field more or less.
COST_RAGGED = 0.65
#: Records that outweigh how common a form is.
_MANY = 5
_MARK_AT_QUOTE = re.compile(r"[\"'][,;\t|]|[,;\t|][\"']")
#: Records of equal width that make a table.
_RUN = 4


@dataclass(frozen=True)
class Score:
    """How well a form fits.

    Attributes:
        reading: the sample, read in that form.
        total: the product of all parts, from 0 to 1.
        width: the most frequent number of fields.
        fitting: number of records of that width.
        consistency: share of lines of that width, or in tables of any width.
        types: mean weight of the cells.
    """

    reading: Reading
    total: float
    width: int
    fitting: int
    consistency: float
    types: float


def score(reading: Reading) -> Score:
    """Compare the records of a reading with each other, and their cells with known types."""
    records = [each for each in reading.contents if not _is_incomplete(each, reading)]
    if not records:
        return Score(reading, 0.0, 1, 0, 0.0, 0.0)
    width = _main_width(records, reading)
    fitting = [each for each in records if each.width == width]
    consistency = _consistency(records, width)
    types = _types(reading, fitting)
    total = (
        _prior(reading, width, types)
        * consistency**1.5
        * (1.0 if width == 1 else 1 - 0.3 / width)
        * (0.3 if width == 1 and reading.form.delimiter else 1.0)
        * (0.3 + 0.7 * types)
        * _quoting(reading)
    )
    return Score(reading, total, width, len(fitting), consistency, types)


def _is_incomplete(record: Record, reading: Reading) -> bool:
    """Whether a record is the open end of a sample, short enough to be no sign of a wrong form."""
    is_last = record is reading.records[-1]
    return is_last and reading.is_open and len(reading.records) > 1 and record.lines <= 30


def _prior(reading: Reading, width: int, types: float) -> float:
    """Return how common a form is; less so if many recognised cells speak for it."""
    form = reading.form
    prior = prior_of(form.delimiter) if form.delimiter else _single_prior(reading)
    if width > 1 and form.delimiter:
        evidence = min(1.0, (len(reading.contents) - 1) / _MANY)
        prior += (1 - prior) * 0.7 * evidence * max(0.0, types - 0.8) / 0.2 * (1 - 1 / width)
    if width == 2 and form.delimiter.strip() == ",":
        prior *= 0.75 if _is_prose(reading) else 1.0
    if form.quote == "'":
        prior *= 0.97
    if form.escape:
        prior *= _escape_prior(reading)
    return prior * (0.985 if form.spaces else 1.0)


def _single_prior(reading: Reading) -> float:
    """Return more if all lines after a name are of one kind, less if quotes are next to delimiters."""
    if _has_marks_at_quotes(reading):
        return SINGLE_PRIOR * 0.6
    name, *values = [kind_of(each.text) for each in reading.contents[:MAX_RECORDS]]
    is_named = name is Kind.WORDS and len(set(values)) == 1 and values[0] in VALUES
    is_value = name in VALUES - {Kind.NUMBER} and set(values) <= {name}
    return NAMED_PRIOR if is_named or is_value else SINGLE_PRIOR


def _is_prose(reading: Reading) -> bool:
    """Whether the two fields of a record are text with a comma and a space between, as in "Last, First"."""
    rows = [reading.cells(each) for each in reading.contents[:MAX_RECORDS] if each.width == 2]
    is_spaced = reading.form.delimiter != "," or all(row[1][:1] == " " for row in rows)
    return is_spaced and all(kind_of(cell) is Kind.WORDS for row in rows for cell in row)


def _escape_prior(reading: Reading) -> float:
    """Return more than 1 if all escapes are escaped, as by a writer that knows them."""
    text = "".join(each.text for each in reading.contents[:500])
    is_doubled = ESCAPE in text and reading.form.escape not in text and QUOTE * 2 not in text
    return 1.01 if is_doubled else 0.985


def _has_marks_at_quotes(reading: Reading) -> bool:
    """Whether most lines have a quote next to a common delimiter."""
    lines = reading.contents[:200]
    return sum(bool(_MARK_AT_QUOTE.search(each.text)) for each in lines) * 2 >= len(lines)


def _main_width(records: Sequence[Record], reading: Reading) -> int:
    """Return the number of fields of most lines; of several, if possible."""
    if not reading.form.delimiter:
        return 1
    lines: Counter[int] = Counter()
    for each in records:
        if not is_commented(each):
            lines[each.width] += min(each.lines, 50)
    several = {width: count for width, count in lines.items() if width > 1}
    if not several:
        return 1
    return max(several, key=lambda width: (several[width] * (1 - 0.3 / width), width))


def is_commented(record: Record) -> bool:
    """Whether a record begins as comments do."""
    return record.text.startswith(COMMENTS)


def _consistency(records: Sequence[Record], width: int) -> float:
    """Return the share of lines in records of a width, or of the tables of a file."""
    fits = [each.width == width for each in records]
    first = fits.index(True) if True in fits else len(fits)
    last = len(fits) - fits[::-1].index(True) if True in fits else 0
    total = good = 0.0
    for index, (each, is_fitting) in enumerate(zip(records, fits, strict=True)):
        is_around = (index < first <= MAX_AROUND) or index >= max(last, len(fits) - MAX_AROUND)
        if is_fitting:
            good += each.lines
            total += each.lines
            continue
        if is_commented(each):
            continue
        if is_around and each.width == 1:
            total += COST_AROUND * each.lines
            continue
        if abs(each.width - width) == 1 and min(width, each.width) > 2:
            good += (1 - COST_RAGGED) * min(each.lines, 3)
        total += each.lines
    one = good / total if total else 0.0
    return max(one, 0.85 * _tables(records)) if width > 1 else one


def _tables(records: Sequence[Record]) -> float:
    """Return the share of lines in at most three runs of records of equal width."""
    runs = [(width, list(run)) for width, run in groupby(records, key=lambda each: each.width)]
    sizes = sorted(
        (sum(r.lines for r in run) for width, run in runs if width > 1 and len(run) >= _RUN),
        reverse=True,
    )
    total = sum(each.lines for each in records if not is_commented(each))
    return sum(sizes[:3]) / total if total and len(sizes) > 1 else 0.0


def _types(reading: Reading, fitting: Sequence[Record]) -> float:
    """Return the mean weight of the cells, more if those of a column are of one kind."""
    step = max(1, len(fitting) // MAX_RECORDS)
    rows = [reading.cells(each)[:MAX_FIELDS] for each in fitting[::step][:MAX_RECORDS]]
    columns = list(zip(*rows, strict=False))
    if not columns:
        return 0.0
    return sum(_column(column) for column in columns) / len(columns)


def _column(cells: Sequence[str]) -> float:
    weight = sum(map(weight_of, cells)) / len(cells)
    kinds = Counter(kind_of(cell) for cell in cells)
    kinds.pop(Kind.EMPTY, None)
    if not kinds:
        return weight
    kind, count = kinds.most_common(1)[0]
    share = count / kinds.total()
    spaced = sum(cell[:1] == " " for cell in cells) / len(cells)
    return weight * (0.85 + (0.15 if kind in VALUES else 0.1) * share) * (1 - 0.05 * spaced)


def _quoting(reading: Reading) -> float:
    """Return 1 if quotes pair, less for each field that they do not enclose."""
    form = reading.form
    if not form.quote:
        return _unquoted(reading)
    apart = _apart(reading)
    if not (reading.quoted or reading.junk or reading.is_open or apart):
        return 1.0 if form.quote == "'" else _unquoted(reading)
    if not (reading.quoted or reading.is_open or apart):
        return 0.95 if reading.junk * 3 <= max(3, len(reading.contents)) else 0.8
    bad = reading.junk + reading.is_open * (1 if reading.quoted > 1 else 3) + apart
    factor = 1 - 0.6 * bad / (reading.quoted + bad) - min(0.06, 0.03 * bad)
    if form.quote == "'" and reading.quoted < 2 and not _encloses_marks(reading):
        factor *= 0.8
    return factor


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
    for record in reading.contents[:300]:
        for cell in reading.cells(record)[:MAX_FIELDS]:
            text = cell.strip()
            starts += text[:1] in ('"', "'")
            pairs += len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return 0.93 - 0.65 * pairs / starts if starts else 1.0
