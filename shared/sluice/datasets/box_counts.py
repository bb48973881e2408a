"""Reads and checks `[projections.<name>]` tables of kind `box_counts`; names the columns of their trees."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sluice.datasets.identifiers import NAME
from sluice.datasets.model import SEGMENT_COLUMN, BoxCounts, BoxTree, Column, Period, Projection
from sluice.datasets.types import ColumnType

KIND = "box_counts"
#: Keys of a table: the type of the value, and its description for errors.
KEYS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "kind": (str, KIND),
    "description": (str, "a sentence"),
    "points": (list, "a list of one or two point columns"),
    "time": (str, "the name of a column"),
    "period": (str, "one of " + ", ".join(Period)),
    "partition": (str, "the name of a column"),
    "cell_size": ((int, float), "a number of degrees"),
    "bucket_hours": (int, "a number of hours"),
    "sums": (list, "a list of integer columns"),
}
#: Values of the parameter `by` of the counts, besides the names of the points.
BOTH, EITHER = "both", "either"
#: Side of a cell: two cells and a bucket fit into 63 bits.
MIN_CELL, MAX_CELL = 0.02, 90.0
#: Lists of flows of a node: with the declared bucket, and with the hour.
FLOWS = ("flows", "hourly_flows")
HOURLY_LEVEL = 3
_DEFAULT_CELL = 0.1
_DEFAULT_BUCKET = 6
_MAX_SUMS = 8
_TIMES = (ColumnType.TIMESTAMP, ColumnType.INSTANT, ColumnType.DATE)
_EDGES = ("west", "south", "east", "north")


class BoxCountsError(Exception):
    """A table is wrong: the key, and what is wrong with it."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(problem)
        self.key = key


def table_schema() -> dict[str, Any]:
    """Return the JSON Schema of a table."""
    names = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    return {
        "type": "object",
        "properties": {
            "kind": {"type": "string", "enum": [KIND]},
            "description": {"type": "string"},
            "points": {**names, "minItems": 1, "maxItems": 2},
            "time": {"type": "string"},
            "period": {"type": "string", "enum": [str(each) for each in Period]},
            "partition": {"type": "string"},
            "cell_size": {"type": "number", "minimum": MIN_CELL, "maximum": MAX_CELL},
            "bucket_hours": {"type": "integer", "minimum": 1, "maximum": 24},
            "sums": {**names, "maxItems": _MAX_SUMS},
        },
        "required": ["kind", "points", "time"],
        "additionalProperties": False,
    }


def parse_box_counts(
    name: str, table: Mapping[str, Any], columns: Sequence[Column]
) -> Iterator[Projection]:
    """Yield the projections of a table: a tree for each point.

    Raises:
        BoxCountsError: names the key, and what is wrong with it.
    """
    _check_values(name, table)
    known = {each.name: each for each in columns}
    points = _columns(known, table, "points", (ColumnType.POINT,))
    if not 1 <= len(points) <= 2:
        raise BoxCountsError("points", f"{len(points)} columns are not one or two")
    for each in points:
        if each.name in (BOTH, EITHER):
            what = f"{each.name!r} is a value of the parameter `by`; give the column another name"
            raise BoxCountsError("points", what)
    (time,) = _columns(known, {"time": [table["time"]]}, "time", _TIMES)
    sums = _columns(known, table, "sums", (ColumnType.INTEGER,))
    if len(sums) > _MAX_SUMS:
        raise BoxCountsError("sums", f"{len(sums)} columns are more than {_MAX_SUMS}")
    counts = BoxCounts(
        name=name,
        description=table.get("description", ""),
        points=tuple(each.name for each in points),
        time=time.name,
        period=Period(table.get("period", Period.WEEK)),
        partition=_partition(known, table),
        cell_size=float(table.get("cell_size", _DEFAULT_CELL)),
        bucket_hours=table.get("bucket_hours", _DEFAULT_BUCKET),
        sums=tuple(each.name for each in sums),
    )
    _check_results(counts)
    for point in counts.points:
        tree = BoxTree(counts, point)
        yield Projection(
            name=f"{name}_{point}",
            description=counts.description,
            columns=tuple(column for column, _ in tree_columns(tree)),
            sql="",
            slice=f"{point}_lon",
            indexes=(("level", "node"),),
            tree=tree,
        )


def _check_values(name: str, table: Mapping[str, Any]) -> None:
    """Check the keys of a table, and the types of their values."""
    if not NAME.fullmatch(name):
        what = f"{name!r} is not a name: lowercase letters, digits and _, 48 at most"
        raise BoxCountsError("", what)
    for key in ("kind", "points", "time"):
        if key not in table:
            raise BoxCountsError(key, "is missing")
    if table["kind"] != KIND:
        raise BoxCountsError("kind", f"{table['kind']!r} is not {KIND}")
    for key, value in table.items():
        if key not in KEYS:
            raise BoxCountsError(key, f"no such key; known: {', '.join(KEYS)}")
        kind, expected = KEYS[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise BoxCountsError(key, f"{value!r} is not {expected}")
    _check_limits(table)


def _check_limits(table: Mapping[str, Any]) -> None:
    period, cell = table.get("period", Period.WEEK), table.get("cell_size", _DEFAULT_CELL)
    if period not in tuple(Period):
        raise BoxCountsError("period", f"{period!r} is not {KEYS['period'][1]}")
    if not MIN_CELL <= cell <= MAX_CELL:
        limits = f"{MIN_CELL:g} to {MAX_CELL:g} degrees"
        raise BoxCountsError("cell_size", f"{cell!r} is not within {limits}")
    bucket = table.get("bucket_hours", _DEFAULT_BUCKET)
    if not 1 <= bucket <= 24:
        raise BoxCountsError("bucket_hours", f"{bucket} is not within 1 to 24")


def _columns(
    known: Mapping[str, Column], table: Mapping[str, Any], key: str, kinds: Sequence[ColumnType]
) -> list[Column]:
    """Return the columns that a key lists, each once and of the right type."""
    found: list[Column] = []
    for name in table.get(key, ()):
        column = known.get(name) if isinstance(name, str) else None
        if column is None:
            right = ", ".join(each.name for each in known.values() if each.type in kinds)
            suitable = f"those of type {' or '.join(kinds)} are: {right or 'none'}"
            raise BoxCountsError(key, f"{name!r} is not a column; {suitable}")
        if column.type not in kinds:
            what = f"{name!r} is of type {column.type}, not {' or '.join(kinds)}"
            raise BoxCountsError(key, what)
        if column in found:
            raise BoxCountsError(key, f"{name!r} is listed twice")
        found.append(column)
    return found


def _partition(known: Mapping[str, Column], table: Mapping[str, Any]) -> str:
    name: str = table.get("partition", "")
    if not name:
        return ""
    column = known.get(name)
    if column is None:
        raise BoxCountsError("partition", f"{name!r} is not a column; known: {', '.join(known)}")
    if not (column.dictionary and column.required):
        what = f"{name!r} needs `dictionary = true` and `required = true`"
        raise BoxCountsError("partition", what)
    return name


def _check_results(counts: BoxCounts) -> None:
    """Refuse columns whose name another column of a result has."""
    taken = ["period", "rows", "bucket"]
    taken += [f"{point}_{axis}" for point in counts.points for axis in ("x", "y")]
    for key, names in (("partition", (counts.partition,)), ("sums", counts.sums)):
        for name in names:
            if name in taken:
                raise BoxCountsError(key, f"the results have another column {name!r}")
            taken.append(name)
    engine = [name for name, _ in _engine_columns(counts, is_first=True, has_other=True)]
    if counts.partition in (*engine, SEGMENT_COLUMN):
        raise BoxCountsError("partition", f"{counts.partition!r} is reserved for the engine")


def tree_columns(tree: BoxTree) -> list[tuple[str, str]]:
    """Return the columns of the table of a tree, with their types in PostgreSQL, in order.

    A leaf, level 0, has its rows. A higher node has the number of its rows and their sums by period and, in
    the tree of the first point, by flow: the cells of a row's points, and its bucket of time. Nodes from
    `HOURLY_LEVEL` on also have flows with the hour, for other buckets.
    """
    counts = tree.counts
    partition = [(counts.partition, "smallint")] if counts.partition else []
    columns = _engine_columns(counts, is_first=tree.is_first, has_other=bool(tree.other))
    return [*columns[:1], *partition, *columns[1:]]


def _engine_columns(counts: BoxCounts, *, is_first: bool, has_other: bool) -> list[tuple[str, str]]:
    numbers = range(1, len(counts.sums) + 1)
    columns = [("level", "integer"), ("node", "bigint")]
    columns += [(edge, "double precision") for edge in _EDGES]
    if has_other:
        columns += [(f"other_{edge}", "double precision") for edge in _EDGES]
    columns += [("lons", "double precision[]"), ("lats", "double precision[]")]
    if has_other:
        columns += [("other_lons", "double precision[]"), ("other_lats", "double precision[]")]
    columns += [("periods", "date[]")]
    if is_first:
        columns += [("minutes", "smallint[]")]
    columns += [(f"values_{number}", "integer[]") for number in numbers]
    columns += [("rows_of_periods", "integer[]")]
    columns += [(f"sums_{number}_of_periods", "bigint[]") for number in numbers]
    for name in FLOWS if is_first else ():
        columns += [(name, "bigint[]"), (f"rows_of_{name}", "integer[]")]
        columns += [(f"sums_{number}_of_{name}", "bigint[]") for number in numbers]
    return columns


def flow_bits(counts: BoxCounts) -> tuple[int, int]:
    """Return how many bits of a flow a cell's number has, by longitude and latitude."""
    half_x, half_y = half_cells(counts)
    return (2 * half_x).bit_length(), (2 * half_y).bit_length()


def half_cells(counts: BoxCounts) -> tuple[int, int]:
    """Return the largest number of a cell, by longitude and latitude: that of 180 and of 90 degrees."""
    return math.ceil(180 / counts.cell_size), math.ceil(90 / counts.cell_size)
