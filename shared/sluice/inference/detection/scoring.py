"""How well a form fits a sample: equal numbers of fields, recognisable cells, quotes that pair.

The score is a product, as in "Wrangling messy CSV files by detecting row and type patterns"
(van den Burg et al., 2019): pattern score times type score. Unlike there, lines are weighed rather
than records, so that a form that joins many lines gains nothing; and a title or a footnote costs little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from sluice.inference.detection.cell_kinds import VALUES, Kind, kind_of, weight_of
from sluice.inference.detection.plausibility import prior, quoting
from sluice.inference.detection.reading import Reading, Record

#: Records and fields whose cells are looked at.
MAX_RECORDS, MAX_FIELDS = 60, 60
#: Lines before and after the table that may be something else, and what one of them still costs.
MAX_AROUND, COST_AROUND = 20, 0.35
COMMENTS = ("#", "//")
#: What a record costs that has one field more or less.
COST_RAGGED = 0.65
#: The weight of a column whose cells should have been divided, and what it leaves of the mean.
UNDIVIDED, UNDIVIDED_COST = 0.15, 0.7
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
        prior(reading, width, types)
        * consistency**1.5
        * (1.0 if width == 1 else 1 - 0.3 / width)
        * (0.3 if width == 1 and reading.form.delimiter else 1.0)
        * (0.3 + 0.7 * types)
        * quoting(reading)
    )
    return Score(reading, total, width, len(fitting), consistency, types)


def _is_incomplete(record: Record, reading: Reading) -> bool:
    """Whether a record is the open end of a sample, short enough to be no sign of a wrong form."""
    is_last = record is reading.records[-1]
    return is_last and reading.is_open and len(reading.records) > 1 and record.lines <= 30


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
    weights = [_column(column) for column in columns]
    doubt = UNDIVIDED_COST if min(weights) < UNDIVIDED else 1.0
    return doubt * sum(weights) / len(columns)


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
