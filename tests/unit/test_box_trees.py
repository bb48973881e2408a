"""Trees of box counts: packed, nested, and with every row once."""

from __future__ import annotations

import random
import struct
from typing import Any

import numpy as np
import pytest

from sluice.compaction.box_trees import Points, leaf_rows, tree_rows
from sluice.datasets.box_counts import tree_columns
from sluice.datasets.declarations import parse_document
from sluice.datasets.model import BoxTree

HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
DAY_US = 86_400_000_000
#: The number of an element's type, and its format.
KINDS = {"f8": (701, ">d"), "time": (1114, ">q"), "i2": (21, ">h"), "i4": (23, ">i")}
FORMATS = {21: ">h", 23: ">i", 20: ">q", 701: ">d", 1082: ">i"}
SCALARS = {"integer": ">i", "bigint": ">q", "smallint": ">h", "double precision": ">d"}


def trees(**changes: Any) -> list[BoxTree]:
    document = {
        "name": "visits",
        "columns": [
            {"name": "city", "type": "text", "dictionary": True, "required": True},
            {"name": "home", "type": "point"},
            {"name": "work", "type": "point"},
            {"name": "at", "type": "timestamp"},
            {"name": "cost", "type": "integer"},
        ],
        "projections": {
            "places": {
                "kind": "box_counts",
                "points": ["home", "work"],
                "time": "at",
                "partition": "city",
                "sums": ["cost"],
                **changes,
            }
        },
    }
    return [each.tree for each in parse_document(document).projections]


def message(columns: list[tuple[str, list[Any]]]) -> bytes:
    """A row of a binary COPY with an array for each column."""
    fields = [struct.pack(">h", len(columns))]
    for kind, values in columns:
        oid, form = KINDS[kind]
        items = b"".join(struct.pack(f">i{form[1]}", struct.calcsize(form), v) for v in values)
        array = struct.pack(">iiIii", 1, 0, oid, len(values), 1) + items
        fields.append(struct.pack(">i", len(array)) + array)
    return b"".join(fields)


def points_of(tree: BoxTree, rows: list[tuple[Any, ...]]) -> Points:
    """Rows of home, work, time, city and cost, in messages of a few rows."""
    kinds = ["f8", "f8", *(["f8", "f8"] if tree.other else []), "time", "i2", "i4"]
    points = Points(tree)
    for first in range(0, len(rows), 100):
        found = rows[first : first + 100]
        columns = [[each[n] for each in found] for n in range(len(kinds))]
        points.write((b"" if first else HEAD) + message(list(zip(kinds, columns, strict=True))))
    points.write(struct.pack(">h", -1))
    return points


def drawn(tree: BoxTree, count: int) -> list[tuple[Any, ...]]:
    draw = random.Random(3)
    nan = float("nan")
    rows = []
    for _ in range(count):
        other = draw.choice(((draw.uniform(-180, 180), draw.uniform(-90, 90)), (nan, nan)))
        second = other if tree.other else ()
        time = draw.choice((draw.randrange(-400 * DAY_US, 9000 * DAY_US), -(2**63)))
        place = draw.gauss(0, 1), draw.gauss(50, 1)
        rows.append((*place, *second, time, draw.choice((1, 2)), draw.randint(-(2**31), 2**31 - 1)))
    return rows


def nodes_of(tree: BoxTree, rows: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """The rows of the table, as PostgreSQL would read them."""
    data = memoryview(b"".join(tree_rows(tree, points_of(tree, rows), 5, 77)))
    kinds = [*tree_columns(tree), ("segment", "integer")]
    assert data[: len(HEAD)] == HEAD
    at, found = len(HEAD), []
    while (count := struct.unpack_from(">h", data, at)[0]) >= 0:
        assert count == len(kinds)
        at += 2
        node: dict[str, Any] = {}
        for name, kind in kinds:
            (size,) = struct.unpack_from(">i", data, at)
            at += 4
            node[name] = value(kind, data[at : at + max(size, 0)]) if size >= 0 else None
            at += max(size, 0)
        found.append(node)
    assert at + 2 == len(data)
    return found


def value(kind: str, field: memoryview) -> Any:
    if not kind.endswith("[]"):
        return struct.unpack(SCALARS[kind], field)[0]
    dimensions, _, oid = struct.unpack_from(">iiI", field)
    if not dimensions:
        return []
    count, first = struct.unpack_from(">ii", field, 12)
    form = FORMATS[oid]
    width = struct.calcsize(form) + 4
    assert (first, len(field)) == (1, 20 + count * width)
    return [struct.unpack_from(form, field, 24 + n * width)[0] for n in range(count)]


@pytest.mark.parametrize("at", [0, 1], ids=["first", "second"])
def test_leaves_have_every_row_once_and_are_full(at: int) -> None:
    tree = trees()[at]
    rows = drawn(tree, 3000)
    leaves = [each for each in nodes_of(tree, rows) if each["level"] == 0]
    assert sorted(
        (lon, lat) for e in leaves for lon, lat in zip(e["lons"], e["lats"], strict=True)
    ) == sorted((row[0], row[1]) for row in rows)
    assert sum(sum(each["values_1"]) for each in leaves) == sum(row[-1] for row in rows)
    partial = [each for each in leaves if len(each["lons"]) != leaf_rows(tree)]
    assert len(partial) <= 2  # the last of each city
    assert {each["segment"] for each in leaves} == {77}


@pytest.mark.parametrize("at", [0, 1], ids=["first", "second"])
def test_a_node_has_the_box_and_the_counts_of_those_below_it(at: int) -> None:
    tree = trees()[at]
    nodes = nodes_of(tree, drawn(tree, 6000))
    tops = [each for each in nodes if each["level"] == 7]
    assert [each["city"] for each in tops] == [1, 2]
    assert sum(sum(each["rows_of_periods"]) for each in tops) == 6000
    for parent in (each for each in nodes if each["level"]):
        below = [
            each
            for each in nodes
            if each["level"] == parent["level"] - 1 and each["node"] >> 2 == parent["node"]
        ]
        assert {each["city"] for each in below} == {parent["city"]}
        assert (parent["west"], parent["north"]) == (
            min(each["west"] for each in below),
            max(each["north"] for each in below),
        )
        if parent["level"] > 1:
            for name in ("rows", "sums_1"):
                assert added(below, name) == added([parent], name)


def added(nodes: list[dict[str, Any]], name: str) -> dict[int, int]:
    total: dict[int, int] = {}
    for each in nodes:
        for key, number in zip(each["periods"], each[f"{name}_of_periods"], strict=True):
            total[key] = total.get(key, 0) + number
    return total


def test_a_slice_without_rows_has_no_nodes() -> None:
    for tree in trees():
        assert nodes_of(tree, []) == []


@pytest.mark.parametrize(
    ("period", "first"),
    [
        ("day", "2018-05-30"),
        ("week", "2018-05-28"),
        ("month", "2018-05-01"),
        ("year", "2018-01-01"),
    ],
)
def test_a_time_is_in_the_period_that_begins_before_it(period: str, first: str) -> None:
    tree = trees(period=period)[1]
    time = int(
        (np.datetime64("2018-05-30T23:59:59.999999") - np.datetime64("2000-01-01")).astype(int)
    )
    (leaf, *_) = nodes_of(tree, [(1.0, 2.0, time, 1, 0)])
    assert np.datetime64("2000-01-01") + leaf["periods"][0] == np.datetime64(first)
