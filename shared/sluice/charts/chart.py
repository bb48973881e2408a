"""Turns the rows of a query into a chart: bars, lines or map cells, captions, and notes on what was omitted.

Does not import a plotting library. Rows of the same place are added up, so that a result with many
columns can be drawn by two of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

from sluice.datasets.model import Drawing, Query
from sluice.errors import NotDrawableError

#: Most rows that are read for a picture or a page; the other formats have all rows.
MAX_ROWS = 10_000
MAX_BARS = 40
MAX_PLACES = 400
MAX_SERIES = 8
MAX_CELLS = 5000
NO_VALUE = "(none)"

#: The position of a bar or a point: a name, or a value on a scale.
Place = str | float | datetime


@dataclass(frozen=True)
class Caption:
    """The texts above and below a picture.

    Attributes:
        title: what the query answers.
        subtitle: the dataset and the parameters.
        notes: what was added up or omitted.
    """

    title: str
    subtitle: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Series:
    """One line, or the bars of one colour: a value for each place, None where there is none."""

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Chart:
    """Bars or lines.

    Attributes:
        kind: `bar` or `line`.
        places: all names, all numbers or all times; the latter two in ascending order.
    """

    kind: str
    caption: Caption
    places: tuple[Place, ...]
    series: tuple[Series, ...]
    place_label: str
    value_label: str

    @property
    def is_named(self) -> bool:
        """Whether the places are names, not values on a scale."""
        return any(isinstance(each, str) for each in self.places)


@dataclass(frozen=True)
class Cells:
    """A map: rectangles around points, each with a value; sizes are in degrees."""

    caption: Caption
    points: tuple[tuple[float, float, float], ...]
    size: tuple[float, float]
    value_label: str


Picture = Chart | Cells
Row = Mapping[str, Any]


def make_picture(
    query: Query, caption: Caption, rows: Sequence[Row], values: Mapping[str, object]
) -> Picture:
    """Return the picture of a query's rows.

    Args:
        query: it declares a drawing.
        caption: the function adds notes.
        rows: the rows of the result, at most `MAX_ROWS`.
        values: the values of the parameters.

    Raises:
        NotDrawableError: the result lacks a column that the drawing names, or a value is not a number.
    """
    drawing = query.drawing
    if drawing is None:
        raise NotDrawableError(f"{query.name} declares no drawing; ask for format=html, a table")
    options = dict(drawing.options)
    found = _nested(rows, options["rows"]) if "rows" in options else list(rows)
    _check_columns(drawing, found)
    if drawing.kind == "map":
        return _cells(options, caption, found, values)
    return _chart(drawing, options, caption, found)


def words(name: str) -> str:
    """Return the name of a column with spaces."""
    return name.replace("_", " ")


def _nested(rows: Iterable[Row], name: str) -> list[Row]:
    """Return the objects of the JSON lists in a column."""
    found: list[Row] = []
    for row in rows:
        value = row.get(name)
        inner = json.loads(value) if isinstance(value, str) else value
        found += [each for each in inner or [] if isinstance(each, dict)]
    return found


def _check_columns(drawing: Drawing, rows: Sequence[Row]) -> None:
    if not rows:
        return
    missing = [name for name in drawing.columns if name not in rows[0]]
    if missing:
        raise NotDrawableError(
            f"draw: {', '.join(missing)}: the result has {', '.join(rows[0])};"
            " fix the line `-- draw:` of the query"
        )


def _number(value: object, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise NotDrawableError(f"draw: {name}: {str(value)[:40]!r} is not a number")
    number = float(value)
    return number if math.isfinite(number) else None


def _place(value: object) -> Place:
    """Return a value as a place: a number, a time, or else a name."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001  # a day has no zone
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, bool):
        return str(value).lower()
    return NO_VALUE if value is None else str(value).strip() or NO_VALUE


def _time(text: str) -> Place:
    if text[4:5] != "-":  # 20180102 may be any number
        return text
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        return text


# Bars and lines


def _chart(
    drawing: Drawing, options: Mapping[str, str], caption: Caption, rows: Sequence[Row]
) -> Chart:
    table, repeated = _added_up(options, rows)
    notes = list(caption.notes)
    if repeated:
        notes.append(f"rows of the same {words(options['x'])} are added up")
    totals = _of_equal_kind(_totals(table), drawing.kind)
    places = _kept_places(totals, drawing.kind, words(options["x"]), notes)
    names = _kept_series(table, words(options.get("series", "series")), notes)
    series = tuple(
        Series(name, tuple(table[name].get(place) for place in totals.values_of(places)))
        for name in names
    )
    value_label = options.get("label") or (options["y"] if "," not in options["y"] else "")
    return Chart(
        kind=drawing.kind,
        caption=Caption(caption.title, caption.subtitle, tuple(notes)),
        places=tuple(places),
        series=series,
        place_label=words(options["x"]),
        value_label=words(value_label),
    )


Table = dict[str, dict[Place, float]]


def _added_up(options: Mapping[str, str], rows: Sequence[Row]) -> tuple[Table, bool]:
    """Return the value of each series at each place, and whether rows were added up."""
    table: Table = {}
    repeated = False
    for row in rows:
        place = _place(row[options["x"]])
        for column in options["y"].split(","):
            value = _number(row[column], column)
            if value is None:
                continue
            name = str(_place(row[options["series"]])) if "series" in options else words(column)
            values = table.setdefault(name, {})
            repeated = repeated or place in values
            values[place] = values.get(place, 0) + value
    return table, repeated


@dataclass(frozen=True)
class _Totals:
    """The places in drawing order, with their keys in the table."""

    keys: Mapping[Place, Place]
    totals: Mapping[Place, float]

    def values_of(self, places: Iterable[Place]) -> list[Place]:
        return [self.keys[each] for each in places]


def _totals(table: Table) -> dict[Place, float]:
    totals: dict[Place, float] = {}
    for values in table.values():
        for place, value in values.items():
            totals[place] = totals.get(place, 0) + value
    return totals


def _of_equal_kind(totals: Mapping[Place, float], kind: str) -> _Totals:
    """Put the places on a scale if all of them are times or all are numbers; else keep them as names."""
    known = [each for each in totals if each != NO_VALUE]
    times = {_time(each) if isinstance(each, str) else each: each for each in known}
    for scale in (datetime, float):
        if known and all(isinstance(each, scale) for each in times):
            if kind == "bar" and len(known) < len(totals):
                break  # the bar of null needs a name
            ordered: dict[Place, Place] = {each: times[each] for each in sorted(times)}
            return _Totals(ordered, {each: totals[key] for each, key in ordered.items()})
    named: dict[Place, Place] = {_name(each): each for each in totals}
    return _Totals(named, {name: totals[key] for name, key in named.items()})


def _name(place: Place) -> str:
    if isinstance(place, float):
        return f"{place:.15g}"
    return place.isoformat(sep=" ") if isinstance(place, datetime) else place


def _kept_places(found: _Totals, kind: str, what: str, notes: list[str]) -> list[Place]:
    """Return the places to draw, in order: the largest, if there are too many.

    A line over a scale keeps all of them: without its low points it would mislead.
    """
    places = list(found.totals)
    is_named = any(isinstance(each, str) for each in places)
    most = MAX_BARS if is_named else MAX_ROWS if kind == "line" else MAX_PLACES
    if len(places) <= most:
        return places
    largest = set(sorted(places, key=lambda each: -abs(found.totals[each]))[:most])
    left = sum(value for each, value in found.totals.items() if each not in largest)
    notes.append(
        f"the {most} largest of {len(places):,} by {what}; "
        f"{len(places) - most:,} omitted, {left:,.{0 if left >= 100 else 2}f} in all"
    )
    return [each for each in places if each in largest]


def _kept_series(table: Table, what: str, notes: list[str]) -> list[str]:
    names = list(table)
    if len(names) <= MAX_SERIES:
        return names
    largest = set(sorted(names, key=lambda each: -abs(sum(table[each].values())))[:MAX_SERIES])
    notes.append(f"the {MAX_SERIES} largest of {len(names):,} by {what}; the others omitted")
    return [each for each in names if each in largest]


# Maps


def _cells(
    options: Mapping[str, str],
    caption: Caption,
    rows: Sequence[Row],
    values: Mapping[str, object],
) -> Cells:
    found: dict[tuple[float, float], float] = {}
    for row in rows:
        x, y = (_number(row[options[each]], options[each]) for each in ("x", "y"))
        value = _number(row[options["size"]], options["size"])
        if x is not None and y is not None and value is not None:
            found[x, y] = found.get((x, y), 0) + value
    notes = list(caption.notes)
    points = sorted(((*at, value) for at, value in found.items()), key=lambda each: each[2])
    if len(points) > MAX_CELLS:
        notes.append(f"the {MAX_CELLS:,} largest of {len(points):,} cells; the others omitted")
    size = _number(values.get(options.get("cell", "")), "cell")
    return Cells(
        caption=Caption(caption.title, caption.subtitle, tuple(notes)),
        points=tuple(points[-MAX_CELLS:]),
        size=(size, size) if size else (_step(x for x, _ in found), _step(y for _, y in found)),
        value_label=words(options.get("label") or options["size"]),
    )


def _step(values: Iterable[float]) -> float:
    """Return the least difference of two values; a hundredth of a degree for a single value."""
    ordered = sorted(set(values))
    steps = [b - a for a, b in pairwise(ordered) if b - a > 1e-9]
    return min(steps, default=0.01)
