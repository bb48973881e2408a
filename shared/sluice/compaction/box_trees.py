"""Builds the trees of box counts: packed R-trees with counts in their nodes. Values in, values out; no I/O.

The rows of a partition are in the order of a Hilbert curve, some dozen to a leaf, so that leaves fill their
pages. Four nodes of a level make one of the next, whose number is a quarter of theirs; partitions and slices
have separate numbers. A row of the table is a node: its box, and its number of rows and its sums by period
and by flow.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from sluice.datasets.box_counts import FLOWS, HOURLY_LEVEL, flow_bits, half_cells, tree_columns
from sluice.datasets.model import SEGMENT_COLUMN, BoxTree, Period
from sluice.postgres.box_counts_sql import TOP_LEVEL

#: A numpy array.
Values = Any

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_HEAD = _SIGNATURE + bytes(8)
_ARRAY_HEAD_BYTES = 20
#: Types of PostgreSQL: of an array's element the number, and the format in a binary COPY.
_TYPES = {
    "smallint": (21, "i2"),
    "integer": (23, "i4"),
    "bigint": (20, "i8"),
    "double precision": (701, "f8"),
    "date": (1082, "i4"),
}
#: Bits of a node's number for a slice's leaves, and for a partition.
_LEAF_BITS, _PARTITION_BITS = 21, 15
#: Levels of the curve: a cell is 2^-18 of the width of a slice.
_CURVE_BITS = 18
_STEP_BITS = 6
#: Bytes of a page that three or four leaves share, and what a leaf needs besides its rows and arrays.
_PAGE_BYTES, _NODE_BYTES, _ARRAY_BYTES = 8136, 140, 31
_LEAST_LEAF_ROWS = 64
_DAYS_TO_1970 = 10_957
_DAY_US = 86_400_000_000
_NEVER = np.iinfo(np.int64).min
_NO_DAY = np.iinfo(np.int32).min
#: Edges of boxes, by longitude and latitude of a point and of the other.
_LOWS = ("west", "south", "other_west", "other_south")
_HIGHS = ("east", "north", "other_east", "other_north")
_NODES_AT_ONCE = 1024
#: Slots for each row, up to which rows are counted in slots instead of being sorted.
_MOST_SLOTS = 2
_NULL = struct.pack(">i", -1)


class Points:
    """Collects the rows of a slice as PostgreSQL sends them: see `select_points`."""

    def __init__(self, tree: BoxTree) -> None:
        points = 4 if tree.other else 2
        partition = ["i2"] if tree.counts.partition else []
        self._formats = [*["f8"] * points, "time", *partition, *["i4"] * len(tree.counts.sums)]
        self._tree = tree
        self._blocks: list[list[Values]] = []

    def write(self, data: bytes) -> None:
        """Take one message: a row of the binary COPY, the first after the head."""
        at = len(_HEAD) if data.startswith(_SIGNATURE) else 0
        (count,) = struct.unpack_from(">h", data, at)
        at += 2
        if count < 0:
            return
        block = []
        for kind in self._formats:
            (size,) = struct.unpack_from(">i", data, at)
            block.append(_elements(memoryview(data)[at + 4 : at + 4 + size], kind))
            at += 4 + size
        self._blocks.append(block)

    def columns(self) -> list[Values]:
        """Return the columns, in the order of `select_points`, and forget the rows."""
        columns = []
        for number, kind in enumerate(self._formats):
            pieces = [each[number] for each in self._blocks]
            for each in self._blocks:
                each[number] = None
            empty = np.empty(0, np.int64 if kind == "time" else kind)
            columns.append(np.concatenate(pieces) if pieces else empty)
        self._blocks.clear()
        return columns


def _elements(array: memoryview, kind: str) -> Values:
    """Return the elements of an array as it is sent; a date or timestamp as microseconds since 2000."""
    (oid,) = struct.unpack_from(">I", array, 8)
    is_date = oid == _TYPES["date"][0]
    sent = ("i4" if is_date else "i8") if kind == "time" else kind
    items = np.frombuffer(
        array[_ARRAY_HEAD_BYTES:], np.dtype([("n", ">i4"), ("value", f">{sent}")])
    )
    values = items["value"].astype(sent)
    if not is_date:
        return values
    return np.where(values == _NO_DAY, _NEVER, values.astype(np.int64) * _DAY_US)


def tree_rows(tree: BoxTree, points: Points, part: int, segment: int) -> Iterator[bytes]:
    """Yield the table's rows of a slice's tree as a binary COPY, in blocks.

    Args:
        tree: what is built.
        points: the rows of the slice.
        part: a number that no other slice has.
        segment: the number of the segment, the last column.
    """
    kinds = {**dict(tree_columns(tree)), SEGMENT_COLUMN: "integer"}
    yield _HEAD
    sorted_rows = _Rows.sorted(tree, points.columns(), part)
    if len(sorted_rows.leaves):
        leaves = sorted_rows.leaf_nodes()
        yield from _copied_leaves(kinds, _with_segment(leaves, segment))
        for nodes in sorted_rows.higher_nodes():
            yield from _copied_nodes(kinds, _with_segment(nodes, segment))
    yield struct.pack(">h", -1)


def _with_segment(columns: Mapping[str, Values], segment: int) -> Mapping[str, Values]:
    return {**columns, SEGMENT_COLUMN: np.full(len(columns["node"]), segment)}


@dataclass(frozen=True)
class _Lists:
    """A list for each node: all of them one after the other, and where each begins and ends."""

    values: Values
    bounds: Values


@dataclass(frozen=True)
class _Counts:
    """Rows and sums by node and key, in the order of nodes."""

    nodes: Values
    keys: Values
    measures: Sequence[Values]

    @classmethod
    def grouped(cls, nodes: Values, keys: Values, measures: Sequence[Values]) -> _Counts:
        """Add the measures of the same node and key; keys are small numbers."""
        width = int(keys.max(initial=0)) + 1
        combined = nodes * width + keys
        size = (int(nodes.max(initial=-1)) + 1) * width
        if size <= _MOST_SLOTS * len(combined):
            # Sums of a slice are below 2^53, so that doubles add them exactly.
            found = np.flatnonzero(np.bincount(combined, minlength=size))
            added = [np.bincount(combined, each, size)[found].astype(np.int64) for each in measures]
            return cls(found // width, found % width, added)
        order = np.argsort(combined)
        ordered = combined[order]
        starts = _starts(ordered)
        added = [
            np.add.reduceat(each[order], starts) if len(starts) else each[:0] for each in measures
        ]
        first = order[starts]
        return cls(nodes[first], keys[first], added)

    def above(self, parents: Values) -> _Counts:
        """Return the counts of the next level, given the number of each node's parent."""
        return _Counts.grouped(parents[self.nodes], self.keys, self.measures)

    def lists(self, name: str, values: Values, nodes: int) -> Mapping[str, _Lists]:
        """Return the columns of the keys, whose values are given, and of the measures."""
        bounds = np.searchsorted(self.nodes, np.arange(nodes + 1))
        columns = {
            name: _Lists(values[self.keys], bounds),
            f"rows_of_{name}": _Lists(self.measures[0], bounds),
        }
        for number, each in enumerate(self.measures[1:], 1):
            columns[f"sums_{number}_of_{name}"] = _Lists(each, bounds)
        return columns


@dataclass(frozen=True)
class _Rows:
    """The rows of a slice in the order of its leaves."""

    tree: BoxTree
    leaves: Values
    partitions: Values
    points: Sequence[Values]
    times: Values
    sums: Sequence[Values]

    @classmethod
    def sorted(cls, tree: BoxTree, columns: Sequence[Values], part: int) -> _Rows:
        """Sort rows by partition and place on the curve, and number their leaves."""
        count = 4 if tree.other else 2
        points, times, rest = columns[:count], columns[count], list(columns[count + 1 :])
        partitions = rest.pop(0) if tree.counts.partition else np.zeros(len(times), "i2")
        places = partitions.astype(np.int64) << 2 * _CURVE_BITS | _places(points[0], points[1])
        order = np.argsort(places)
        ordered = partitions[order].astype(np.int64)
        starts = _starts(ordered)
        sizes = np.diff([*starts, len(ordered)])
        within = np.arange(len(ordered)) - np.repeat(starts, sizes)
        top = ((part << _PARTITION_BITS) + ordered) << _LEAF_BITS
        leaves = top + within // leaf_rows(tree)
        return cls(
            tree,
            leaves,
            ordered,
            [e[order] for e in points],
            times[order],
            [e[order] for e in rest],
        )

    def leaf_nodes(self) -> Mapping[str, Values]:
        """Return the columns of the leaves."""
        starts = _starts(self.leaves)
        bounds = np.append(starts, len(self.leaves))
        columns = {"level": np.zeros(len(starts), np.int64), **self._facts(starts)}
        columns |= _boxes(self.points, self.points, starts)
        names = ("lons", "lats", "other_lons", "other_lats")
        columns |= {n: _Lists(each, bounds) for n, each in zip(names, self.points, strict=False)}
        columns["periods"] = _Lists(_periods(self.times, self.tree.counts.period), bounds)
        if self.tree.is_first:
            columns["minutes"] = _Lists(_minutes(self.times), bounds)
        for number, each in enumerate(self.sums, 1):
            columns[f"values_{number}"] = _Lists(each, bounds)
        return columns

    def higher_nodes(self) -> Iterator[Mapping[str, Values]]:
        """Yield the columns of the nodes of each level from 1 on."""
        numbers = self.leaves >> 2
        starts = _starts(numbers)
        nodes = numbers[starts]
        dense = np.repeat(np.arange(len(starts)), np.diff([*starts, len(numbers)]))
        measures = [np.ones(len(numbers), np.int64), *(each.astype(np.int64) for each in self.sums)]
        values, keys = np.unique(_periods(self.times, self.tree.counts.period), return_inverse=True)
        keyed = {"periods": (values, _Counts.grouped(dense, keys, measures))}
        if self.tree.is_first:
            values, keys, has_flow = self._hourly_flows()
            counted = _Counts.grouped(dense[has_flow], keys, [each[has_flow] for each in measures])
            keyed["hourly_flows"] = values, counted
            buckets = values - values % 32 + values % 32 // self.tree.counts.bucket_hours
            values, of_hours = np.unique(buckets, return_inverse=True)
            keys = of_hours[counted.keys]
            keyed["flows"] = values, _Counts.grouped(counted.nodes, keys, counted.measures)
        boxes = _boxes(self.points, self.points, starts)
        facts = self._facts(starts)
        for level in range(1, TOP_LEVEL + 1):
            columns = {**facts, **boxes, "level": np.full(len(nodes), level), "node": nodes}
            for name, (values, counts) in keyed.items():
                if name != "hourly_flows" or level >= HOURLY_LEVEL:
                    columns |= counts.lists(name, values, len(nodes))
            yield columns
            above = nodes >> 2
            starts = _starts(above)
            parents = np.repeat(np.arange(len(starts)), np.diff([*starts, len(above)]))
            keyed = {
                name: (values, counts.above(parents)) for name, (values, counts) in keyed.items()
            }
            lows = [boxes[name] for name in _LOWS if name in boxes]
            highs = [boxes[name] for name in _HIGHS if name in boxes]
            boxes = _boxes(lows, highs, starts)
            facts = {name: each[starts] for name, each in facts.items()}
            nodes = above[starts]

    def _facts(self, starts: Values) -> dict[str, Values]:
        """Return the partition and the number of the leaves that begin here."""
        columns = {"node": self.leaves[starts]}
        if self.tree.counts.partition:
            columns[self.tree.counts.partition] = self.partitions[starts]
        return columns

    def _hourly_flows(self) -> tuple[Values, Values, Values]:
        """Return all flows with the hour, the flow of each row that has one, and which rows these are.

        A row without one of the points or without a time has none.
        """
        counts = self.tree.counts
        has_flow = self.times != _NEVER
        for each in self.points:
            has_flow &= ~np.isnan(each)
        bits, halves = flow_bits(counts), half_cells(counts)
        flows = np.zeros(int(has_flow.sum()), np.int64)
        for number, each in enumerate(self.points):
            cells = np.rint(each[has_flow] / counts.cell_size).astype(np.int64)
            flows = flows << bits[number % 2] | cells + halves[number % 2]
        hours = self.times[has_flow] % _DAY_US // (_DAY_US // 24)
        values, keys = np.unique(flows << 5 | hours, return_inverse=True)
        return values, keys, has_flow


def leaf_rows(tree: BoxTree) -> int:
    """Return how many rows a leaf has: as many that four fill a page, or three if they are few."""
    kinds = [
        kind.removesuffix("[]")
        for name, kind in tree_columns(tree)
        if kind.endswith("[]") and name not in FLOWS and "_of_" not in name
    ]
    row_bytes = sum(np.dtype(_TYPES[each][1]).itemsize for each in kinds)
    four, three = (
        (_PAGE_BYTES // leaves - _NODE_BYTES - _ARRAY_BYTES * len(kinds)) // row_bytes
        for leaves in (4, 3)
    )
    return int(four if four >= _LEAST_LEAF_ROWS else three)


def _starts(numbers: Values) -> Values:
    """Return where the runs of equal numbers begin."""
    if not len(numbers):
        return np.empty(0, np.int64)
    return np.concatenate(([0], np.flatnonzero(numbers[1:] != numbers[:-1]) + 1))


def _boxes(lows: Sequence[Values], highs: Sequence[Values], starts: Values) -> dict[str, Values]:
    """Return the edges of the boxes around runs. Not-a-number, no coordinate, is beyond any edge."""
    west = [np.fmin.reduceat(each, starts) for each in lows]
    east = [np.maximum.reduceat(each, starts) for each in highs]
    return dict(zip((*_LOWS[: len(west)], *_HIGHS[: len(east)]), (*west, *east), strict=True))


def _periods(times: Values, period: Period) -> Values:
    """Return the first days of periods, as days since 2000; a week begins on Monday."""
    days = times // _DAY_US
    if period is Period.WEEK:
        days = days - (days + 5) % 7
    elif period is not Period.DAY:
        unit = {Period.MONTH: "M", Period.YEAR: "Y"}[period]
        dates = (np.where(times == _NEVER, 0, days) + _DAYS_TO_1970).astype("M8[D]")
        days = dates.astype(f"M8[{unit}]").astype("M8[D]").astype(np.int64) - _DAYS_TO_1970
    return np.where(times == _NEVER, _NO_DAY, days).astype(np.int32)


def _minutes(times: Values) -> Values:
    """Return the minutes since midnight; -1 for no time."""
    minutes = times % _DAY_US // (_DAY_US // 1440)
    return np.where(times == _NEVER, -1, minutes).astype(np.int16)


@cache
def _steps() -> Values:
    """Return six levels of a Hilbert curve: of a state and a cell the place and the next state.

    The next six levels begin in that state; an element is 4 * place + state.
    """
    width = 1 << _STEP_BITS
    start, x, y = np.meshgrid(np.arange(4), np.arange(width), np.arange(width), indexing="ij")
    state, place = start, np.zeros_like(start)
    for bit in reversed(range(_STEP_BITS)):
        bit_x, bit_y = x >> bit & 1, y >> bit & 1
        is_plain = state & 1 == 0
        turned_x = np.where(is_plain, bit_x, bit_y) ^ state >> 1
        turned_y = np.where(is_plain, bit_y, bit_x) ^ state >> 1
        place = 4 * place + (3 * turned_x ^ turned_y)
        state = np.where(turned_y == 0, state ^ (2 * turned_x + 1), state)
    return (4 * place + state).astype(np.int32)


def _places(lons: Values, lats: Values) -> Values:
    """Return the places of points on a Hilbert curve through the box around them."""
    if not len(lons):
        return np.empty(0, np.int64)
    west, south = lons.min(), lats.min()
    scale = ((1 << _CURVE_BITS) - 1) / max(lons.max() - west, lats.max() - south, 1e-9)
    x, y = (
        np.rint((each - low) * scale).astype(np.int32)
        for each, low in ((lons, west), (lats, south))
    )
    steps, mask = _steps(), (1 << _STEP_BITS) - 1
    state, places = np.zeros(len(x), np.int32), np.zeros(len(x), np.int64)
    for shift in reversed(range(0, _CURVE_BITS, _STEP_BITS)):
        step = steps[state & 3, x >> shift & mask, y >> shift & mask]
        places, state = places << 2 * _STEP_BITS | step >> 2, step
    return places


def _copied_leaves(kinds: Mapping[str, str], columns: Mapping[str, Values]) -> Iterator[bytes]:
    """Yield leaves as rows of a binary COPY: those with the same number of rows at once, as one array."""
    bounds = columns["lons"].bounds
    sizes = np.diff(bounds)
    runs = [*_starts(sizes).tolist(), len(sizes)]
    for begin, end in pairwise(runs):
        for first in range(begin, end, _NODES_AT_ONCE):
            last = min(first + _NODES_AT_ONCE, end)
            yield _uniform(kinds, columns, first, last, int(sizes[begin]))


def _uniform(
    kinds: Mapping[str, str], columns: Mapping[str, Values], first: int, last: int, size: int
) -> bytes:
    """Return some leaves with `size` rows each as rows of a binary COPY."""
    types = {name: _TYPES[kind.removesuffix("[]")] for name, kind in kinds.items()}
    layout: list[tuple[Any, ...]] = [("fields", ">i2")]
    for name, (_, stored) in types.items():
        item = [("bytes", ">i4"), ("value", f">{stored}")]
        if name not in columns:
            layout.append((name, ">i4"))
        elif isinstance(columns[name], _Lists):
            layout.append(
                (name, [("bytes", ">i4"), ("head", ">i4", (5,)), ("items", item, (size,))])
            )
        else:
            layout.append((name, item))
    rows = np.empty(last - first, np.dtype(layout))
    rows["fields"] = len(kinds)
    for name, (oid, stored) in types.items():
        column, width = columns.get(name), np.dtype(stored).itemsize
        if column is None:
            rows[name] = -1
        elif isinstance(column, _Lists):
            values = column.values[column.bounds[first] : column.bounds[last]]
            rows[name]["bytes"] = _ARRAY_HEAD_BYTES + size * (4 + width)
            rows[name]["head"] = (1, 0, oid, size, 1)
            rows[name]["items"]["bytes"] = width
            rows[name]["items"]["value"] = values.reshape(-1, size)
        else:
            rows[name]["bytes"] = width
            rows[name]["value"] = column[first:last]
    return rows.tobytes()


def _copied_nodes(kinds: Mapping[str, str], columns: Mapping[str, Values]) -> Iterator[bytes]:
    """Yield nodes as rows of a binary COPY, in blocks; columns that are not given are null."""
    head, nodes = struct.pack(">h", len(kinds)), len(columns["node"])
    for first in range(0, nodes, _NODES_AT_ONCE):
        last = min(first + _NODES_AT_ONCE, nodes)
        fields = [_encoded(kind, columns.get(name), first, last) for name, kind in kinds.items()]
        yield b"".join(piece for row in zip(*fields, strict=True) for piece in (head, *row))


def _encoded(kind: str, column: Values, first: int, last: int) -> Iterator[bytes]:
    """Yield a field of some nodes, each with its length."""
    if column is None:
        for _ in range(first, last):
            yield _NULL
        return
    oid, stored = _TYPES[kind.removesuffix("[]")]
    is_list = isinstance(column, _Lists)
    bounds = column.bounds[first : last + 1].tolist() if is_list else list(range(first, last + 1))
    values = (column.values if is_list else column)[bounds[0] : bounds[-1]]
    items = np.empty(len(values), np.dtype([("n", ">i4"), ("value", f">{stored}")]))
    items["n"], items["value"] = np.dtype(stored).itemsize, values
    data, width = items.tobytes(), items.itemsize
    for begin, end in pairwise((each - bounds[0]) * width for each in bounds):
        if not is_list:
            yield data[begin:end]
        elif begin == end:
            yield struct.pack(">iiiI", 12, 0, 0, oid)
        else:
            size = _ARRAY_HEAD_BYTES + end - begin
            yield (
                struct.pack(">iiiIii", size, 1, 0, oid, (end - begin) // width, 1) + data[begin:end]
            )
