"""Whatever the cells: what is inferred admits them, unchanged, in both readers, however they are split."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.datasets.declarations import parse_document
from sluice.datasets.grammars import WHITE_SPACE
from sluice.datasets.model import Dataset
from sluice.inference.names import ColumnName
from sluice.inference.typing.columns import InferredColumn, decide
from sluice.inference.typing.observations import Observations, merge_all
from sluice.inference.typing.observe import observe
from sluice.parsing.duckdb_session import open_cursor
from sluice.parsing.layout import lay_out
from sluice.parsing.parser import parse_chunk
from sluice.parsing.plan import compile_dataset
from sluice.parsing.thorough import Thorough, schema_of

#: Examples of each property; `SLUICE_EXAMPLES` raises it for a thorough run.
few = settings(max_examples=int(os.environ.get("SLUICE_EXAMPLES", "25")), deadline=None)

AWKWARD = """
    0 -0 +1 007 00.5 1.5 .5 5. -.5 1e5 1E-7 1e400 4.9e-324 NaN nan inf -Infinity 0x10 1_000 2147483648
    9223372036854775808 123456789012345678901 0.12345678901234567890 1,5 1,234 1.234 1.234,5 1,234.5
    1,234,567 12,34,567 1'234 5- (5) -(5) ($5) $5 -$5 5€ €5 5% -5% (5%) \u22125 +420123456789 1e5€ $1e5 5.% .%
    true FALSE t f yes No y n 1 2018-05-28 2018-5-8 28.05.2018 5/28/18 28/5/18 05/05/05 2018-02-30 29/02/2016
    0000-01-01 9999-12-31 2018-05-28T09:03 2018-05-28T09:03:40.123456Z 2018-05-28T24:00
    9999-12-31T23:59:59-05 0001-01-01T00:00+05 20180528 20180528T090340 9:03 09:03 23:59:60 9:03PM
    12:00am 0:30pm 28-May-2018 May May2018 28May18 8May18 2018-05-28T9:03
    2018-05-28T09:03:40+02 2018-05-28T09:03:40+0200 NA N/A null \\N - -- ? .
    POINT(1\t2) POINT(181\t0) POINT(180\t-90) POINT(1e2\t5e1) POINT(0200\t1) point(.5\t5.) POINT(100\t90.0001)
    6ba7b810-9dad-11d1-80b4-00c04fd430c8 12345678-1234-1234-1234-123456789012 a
    \u0663 \uff11 \u20ac 5\u00a0000
    {} [] [1] [01] [1e400] {"a":1} {"a":[]} {"a":1,"a":2} {'a':1} ["\\u0000"] [NaN]
""".split()  # noqa: SIM905  # a table
SPACED = [
    f"{left}{cell}{right}"
    for cell in ("5", "a", "2018-05-28", "NA", "")
    for left in (" ", "\u00a0", "")
    for right in ("\t", "")
]
SENTENCES = [
    "September 25, 2021", "May 5, 2020", "5 May 2020", "Mon, 28 May 2018", "Monday 28 May 2018", "1 234,5",
    "1 234", "12 %", "5 USD", "EUR 5", "5/28/2018 9:03 PM",
    "28.05.2018 09:03:40,5", "2018-05-28 09:03:40 UTC", "2018/05/28 09:03:40Z", "28/05/2018 09:03 +0200",
    "POINT (14.4 50.1)", "1. Mai 2018", "90 min", "- 5", "$ -5",
    "28/May/2018:09:03:40 +0200", "Mon May 28 09:03:40 2018", "Mon May 28 09:03:40 +0000 2018", "28. 5. 2018",
    "Mon, 28 May 2018 09:03:40 +0200", "777 123 456", "10.100.200.100",
]  # fmt: skip
CELLS = [*AWKWARD, *SPACED, *SENTENCES]


def column_of(cells: list[str]) -> pa.Array:
    return pa.array([cell or None for cell in cells], pa.string())


def infer(*batches: list[str]) -> InferredColumn:
    seen, first = Observations(), 0
    for cells in batches:
        seen = observe([column_of(cells)], first_record=first, earlier=seen)
        first += len(cells)
    return decide(seen, [ColumnName("a")])[0]


def written(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def dataset_of(column: InferredColumn) -> Dataset:
    return parse_document({"name": "things", "columns": [dict(column.document)], "header": False})


def loaded(dataset: Dataset, cells: list[str]) -> list[Any]:
    """Return the values of cells in the columnar reader; refuse rejects."""
    data = "".join(f"{written(cell)}\n" for cell in cells).encode()
    with parse_chunk(data, dataset, lay_out(dataset, None), first_line=1, first_record=0) as parsed:
        rejects = [(each.value, each.reason) for each in parsed.rejects]
        assert rejects == []
        return values_of(parsed.rows)


def loaded_thoroughly(dataset: Dataset, cells: list[str]) -> list[Any]:
    """Return the values of cells in the thorough reader; refuse rejects."""
    plan = compile_dataset(dataset)
    cursor = open_cursor()
    rows, findings = Thorough(plan, cursor, schema_of(dataset, plan)).check(
        pa.table({"_0": column_of(cells)})
    )
    cursor.close()
    assert findings == {}
    return values_of(rows)


def values_of(rows: pa.Table) -> list[Any]:
    return list(zip(*(each.to_pylist() for each in rows.columns), strict=True))


def check_admitted(cells: list[str]) -> list[Any]:
    """Check that both readers admit all cells, and return their values."""
    dataset = dataset_of(infer(cells))
    values, others = loaded(dataset, cells), loaded_thoroughly(dataset, cells)
    assert repr(values) == repr(others)
    if dataset.columns[0].type == "text":
        nulls = dataset.columns[0].nulls
        assert [value for (value,) in values] == [
            None if cell in ("", *nulls) else cell for cell in cells
        ]
    else:
        nulls = ("", *dataset.columns[0].nulls)
        assert [value[0] is None for value in values] == [
            cell.strip(WHITE_SPACE) in nulls for cell in cells
        ]
    return values


@pytest.mark.parametrize("cell", CELLS)
def test_a_single_cell_is_admitted(cell: str) -> None:
    check_admitted([cell])


@few
@given(st.lists(st.sampled_from(CELLS), min_size=1, max_size=5))
def test_any_cells_are_admitted(cells: list[str]) -> None:
    check_admitted(cells)


@few
@given(
    st.lists(st.sampled_from(CELLS), min_size=1, max_size=4),
    st.sampled_from(["0123456789", "09", "1"]),
    st.randoms(),
)
def test_cells_with_other_digits_are_admitted(
    cells: list[str], digits: str, chance: random.Random
) -> None:
    check_admitted(
        [
            "".join(chance.choice(digits) if c.isdigit() and c.isascii() else c for c in cell)
            for cell in cells
        ]
    )


@few
@given(
    st.lists(st.sampled_from(CELLS), min_size=1, max_size=12),
    st.lists(st.integers(0, 12), max_size=4),
    st.randoms(),
)
def test_any_split_in_any_order_gives_the_same_decision(
    cells: list[str], cuts: list[int], chance: random.Random
) -> None:
    bounds = [0, *sorted(min(cut, len(cells)) for cut in cuts), len(cells)]
    parts = [
        observe([column_of(cells[begin:end])], first_record=begin)
        for begin, end in itertools.pairwise(bounds)
    ]
    chance.shuffle(parts)
    middle = chance.randint(0, len(parts))
    merged = merge_all(parts[:middle]).merge(merge_all(parts[middle:]))
    merged = Observations.from_json(merged.to_json())
    assert decide(merged, [ColumnName("a")])[0] == infer(cells)
    assert merged == observe([column_of(cells)], first_record=0)
    assert infer(*(cells[b:e] for b, e in itertools.pairwise(bounds))) == infer(cells)


@few
@given(
    st.lists(st.sampled_from(CELLS), min_size=1, max_size=3), st.integers(300, 700), st.randoms()
)
def test_a_rare_cell_counts_wherever_it_is(
    cells: list[str], size: int, chance: random.Random
) -> None:
    """More cells than are looked at first, and more different ones than are kept."""
    many = [str(number) for number in range(size)]
    for cell in cells:
        many[chance.randrange(size)] = cell
    at = chance.randrange(size)
    parts = [
        observe([column_of(part)], first_record=begin)
        for begin, part in ((at, many[at:]), (0, many[:at]))
    ]
    assert merge_all(parts) == observe([column_of(many)], first_record=0)
    check_admitted(many)


def two(number: int) -> str:
    return f"{number:02}"


DATES: dict[str, Callable[[date], str]] = {
    "%d/%m/%Y": lambda day: f"{two(day.day)}/{two(day.month)}/{day.year:04}",
    "%m/%d/%Y": lambda day: f"{day.month}/{day.day}/{day.year:04}",
    "%m/%d/%y": lambda day: f"{day.month}/{day.day}/{two(day.year % 100)}",
    "%d.%m.%y": lambda day: f"{two(day.day)}.{two(day.month)}.{two(day.year % 100)}",
    "%Y-%m-%d": lambda day: f"{day.year:04}-{two(day.month)}-{two(day.day)}",
    "%Y/%m/%d": lambda day: f"{day.year:04}/{day.month}/{day.day}",
    "%y-%m-%d": lambda day: f"{two(day.year % 100)}-{two(day.month)}-{two(day.day)}",
    "%d-%b-%y": lambda day: f"{day.day}-{day:%b}-{two(day.year % 100)}",
    "%B %d, %Y": lambda day: f"{day:%B} {day.day}, {day.year:04}",
    "%a, %d %b %Y": lambda day: f"{day:%a}, {two(day.day)} {day:%b} {day.year:04}",
}
CLOCKS: dict[str, Callable[[time], str]] = {
    "%H:%M": lambda at: f"{at.hour}:{two(at.minute)}",
    "%H:%M:%S": lambda at: f"{two(at.hour)}:{two(at.minute)}:{two(at.second)}",
    "%I:%M:%S %p": lambda at: (
        f"{at.hour % 12 or 12}:{two(at.minute)}:{two(at.second)} {'AM' if at.hour < 12 else 'PM'}"
    ),
    "%H:%M:%S.%f": lambda at: (
        f"{two(at.hour)}:{two(at.minute)}:{two(at.second)}.{at.microsecond:06}"
    ),
}
NEAR_DAYS = st.dates(date(1969, 1, 1), date(2068, 12, 31))
NEAR_MOMENTS = st.builds(datetime.combine, NEAR_DAYS, st.times())
FAR_MOMENTS = st.builds(datetime.combine, st.dates(date(1, 1, 3), date(9999, 12, 29)), st.times())


@few
@given(st.sampled_from(sorted(DATES)), st.lists(NEAR_DAYS, min_size=1, max_size=30))
def test_a_date_has_the_value_that_was_written_or_is_text(
    written_as: str, days: list[date]
) -> None:
    cells = [DATES[written_as](day) for day in days]
    if (values := check_admitted(cells)) != [(cell,) for cell in cells]:
        assert values == [(day,) for day in days]


@few
@given(
    st.sampled_from(sorted(DATES)),
    st.sampled_from(sorted(CLOCKS)),
    st.lists(NEAR_MOMENTS, min_size=1, max_size=30),
)
def test_a_timestamp_has_the_value_that_was_written_or_is_text(
    day: str, clock: str, moments: list[datetime]
) -> None:
    kept = {"%H:%M": {"second": 0, "microsecond": 0}, "%H:%M:%S.%f": {}}
    moments = [each.replace(**kept.get(clock, {"microsecond": 0})) for each in moments]
    cells = [f"{DATES[day](each.date())} {CLOCKS[clock](each.time())}" for each in moments]
    if (values := check_admitted(cells)) != [(cell,) for cell in cells]:
        assert values == [(each,) for each in moments]


@few
@given(
    st.lists(FAR_MOMENTS, min_size=1, max_size=5),
    st.integers(-900, 900),
)
def test_an_instant_has_the_value_that_was_written(moments: list[datetime], minutes: int) -> None:
    zone = timezone(timedelta(minutes=minutes))
    written_moments = [each.replace(tzinfo=zone) for each in moments]
    cells = [each.isoformat() for each in written_moments]
    values = check_admitted(cells)
    if values != [(cell,) for cell in cells]:
        assert [value.replace(tzinfo=UTC) for (value,) in values] == written_moments


MARKS = {"": ".", ",": ".", ".": ",", " ": ",", "'": "."}


@few
@given(
    st.sampled_from(sorted(MARKS)),
    st.sampled_from(["{}", "{} €", "${}", "{}%", "-{}", "{}-"]),
    st.integers(0, 3),
    st.lists(st.decimals(0, 10**12, places=3), min_size=1, max_size=10),
)
def test_a_number_has_the_value_that_was_written_or_is_text(
    mark: str, pattern: str, places: int, numbers: list[Decimal]
) -> None:
    numbers = [round(each, places) for each in numbers]
    swap = str.maketrans({",": mark, ".": MARKS[mark]})
    cells = [
        pattern.format(f"{each:,.{places}f}".translate(swap) if mark else f"{each:.{places}f}")
        for each in numbers
    ]
    values = check_admitted(cells)
    is_plain = all(cell.count(".") <= 1 and "," not in cell for cell in cells)
    if values == [(cell,) for cell in cells] or (mark == "." and is_plain):
        return
    sign = -1 if "-" in pattern else 1
    scale = Decimal("0.01") if "%" in pattern else 1
    assert [Decimal(str(value)) for (value,) in values] == [sign * scale * each for each in numbers]
