"""The SQL of box counts: tables of trees, what compaction reads, and functions. Imports no database.

A search begins at the top of a tree: a node inside the box is counted, one outside is skipped, and one that
an edge cuts is opened. So only the leaves along the edges are read row by row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sluice.datasets.box_counts import BOTH, EITHER, FLOWS, flow_bits, half_cells, tree_columns
from sluice.datasets.identifiers import literal, quote, rollup_table, store_table, view
from sluice.datasets.model import (
    INGESTION_COLUMN,
    UNCOMPACTED,
    BoxCounts,
    BoxTree,
    Dataset,
    Period,
    Projection,
)
from sluice.datasets.types import ColumnType

#: Level of the nodes at which a search begins; compaction builds as many.
TOP_LEVEL = 7
#: Messages, a power of two, in which the rows of a slice are sent to compaction.
_BLOCKS = 32
#: Least size of a cell: the numbers of its longitude and latitude, of 2^25 and 2^24, fit into a double.
_MIN_CELL = 0.00001
_CELL_STEP = 1 << 26
#: What stands for no time among the periods of a tree.
_NO_PERIOD = "date '-infinity'"
_EDGES = ("min_lon", "min_lat", "max_lon", "max_lat")


def tree_table_sql(dataset: Dataset, projection: Projection, tree: BoxTree) -> str:
    """Return the statement that creates the empty table of a tree."""
    columns = ", ".join(f"{quote(name)} {kind}" for name, kind in tree_columns(tree))
    return f"CREATE TABLE {rollup_table(dataset.name, projection.name)} ({columns})"


def select_points(dataset: Dataset, tree: BoxTree, condition: str) -> str:
    """Return the SELECT of the rows for a tree, in blocks: each row of it has an array for each column.

    The columns are the longitude and latitude of the point and of the other point, the time, the partition
    and the sums. Not-a-number stands for no coordinate, `-infinity` for no time, and 0 for no value.

    Args:
        dataset: whose rows.
        tree: what is built.
        condition: which rows, in SQL; those without the point are in no tree.
    """
    counts = tree.counts
    points = [tree.point, *([tree.other] if tree.other else [])]
    values = [
        f"coalesce({quote(each + axis)}, 'NaN')" for each in points for axis in ("_lon", "_lat")
    ]
    values.append(f"coalesce({quote(counts.time)}, '-infinity')")
    values += [quote(counts.partition)] if counts.partition else []
    values += [f"coalesce({quote(each)}, 0)" for each in counts.sums]
    arrays = ", ".join(f"array_agg({value})" for value in values)
    return (
        f"SELECT {arrays} FROM {store_table(dataset.name)}"
        f" WHERE {condition} AND {quote(tree.point + '_lon')} IS NOT NULL"
        f" GROUP BY hashtid(ctid) & {_BLOCKS - 1}"
    )


def function_names(dataset: Dataset) -> Iterator[str]:
    """Yield the quoted names of the functions of a dataset's box counts."""
    for each in dataset.box_counts:
        for result in ("counts", "groups"):
            yield view(dataset.name, f"{each.name}_{result}")


def functions_sql(dataset: Dataset) -> Iterator[str]:
    """Yield the statements that create the functions of a dataset's box counts, or replace their bodies.

    Queries that run meanwhile go on; a changed declaration drops the functions first.
    """
    for each in dataset.box_counts:
        yield _counts_sql(dataset, each)
        yield _groups_sql(dataset, each)


@dataclass(frozen=True)
class _Box:
    """A box of parameters by their positions; one that is null is no edge."""

    first: int

    @property
    def edges(self) -> tuple[str, str, str, str]:
        limits = ("'-Infinity'", "'-Infinity'", "'Infinity'", "'Infinity'")
        numbered = enumerate(limits, self.first)
        west, south, east, north = (f"coalesce(${at}, {limit})" for at, limit in numbered)
        return west, south, east, north

    def overlaps(self, prefix: str = "") -> str:
        """The condition of nodes that have a part of the box."""
        west, south, east, north = self.edges
        return (
            f"{prefix}west <= {east} AND {prefix}east >= {west}"
            f" AND {prefix}south <= {north} AND {prefix}north >= {south}"
        )

    def encloses(self, prefix: str = "") -> str:
        """The condition of nodes that are inside the box."""
        west, south, east, north = self.edges
        return (
            f"{prefix}west >= {west} AND {prefix}east <= {east}"
            f" AND {prefix}south >= {south} AND {prefix}north <= {north}"
        )

    def has(self, point: str = "") -> str:
        """The condition of points in the box, which includes its edges; by default of the point of a leaf."""
        west, south, east, north = self.edges
        lon, lat = (quote(f"{point}_{axis}" if point else axis) for axis in ("lon", "lat"))
        return f"({lon} BETWEEN {west} AND {east} AND {lat} BETWEEN {south} AND {north})"


def _search(
    name: str,
    nodes: str,
    is_wanted: str,
    inside: str,
    overlaps: str,
    columns: Sequence[str],
    kept: str = "",
) -> str:
    """Return the common table expression of a tree's nodes that overlap a box, down to those inside it.

    Args:
        name: its name.
        nodes: the nodes of the tree, with this alias.
        is_wanted: the condition of top nodes.
        inside: whether a node is counted as a whole.
        overlaps: whether a node has a part of the box.
        columns: of the counted nodes.
        kept: a column of the top node that the nodes below it get, and a comma.
    """
    listed = ", ".join(["level", "node", *columns])
    below = ", ".join(f"below.{each}" for each in ["level", "node", *columns])
    return f"""{name} AS (
    SELECT {kept}{listed}, {inside} AS is_inside
    FROM {nodes}
    WHERE level = {TOP_LEVEL} AND {is_wanted} AND {overlaps}
    UNION ALL
    SELECT {kept and f"above.{kept}"}{below}, below.is_inside
    FROM {name} AS above, LATERAL (
        SELECT {listed}, {inside} AS is_inside
        FROM {nodes}
        WHERE nodes.level = above.level - 1 AND nodes.node BETWEEN above.node * 4 AND above.node * 4 + 3
            AND {overlaps}
        OFFSET 0
    ) AS below
    WHERE NOT above.is_inside AND above.level > 1
)"""


def _leaves(name: str, tree: str, columns: Sequence[str], overlaps: str, opened: str) -> str:
    """Return the FROM and WHERE clauses of the leaves below nodes of a search, with the alias `leaf`."""
    return f"""FROM {name} AS above, LATERAL (
            SELECT {", ".join(columns)}
            FROM {tree} AS nodes
            WHERE nodes.level = 0
                AND nodes.node >= above.node << (2 * above.level)
                AND nodes.node < (above.node + 1) << (2 * above.level)
                AND {overlaps}
            OFFSET 0
        ) AS leaf
        WHERE {opened}"""


def _counts_sql(dataset: Dataset, counts: BoxCounts) -> str:
    """Return the statement that creates the function of the counts by period."""
    first, *others = counts.points
    choices = {first: [_Part(first)]}
    for other in others:
        choices[other] = [_Part(other)]
        choices[BOTH] = [_Part(first, is_both=True)]
        # Rows with both points in the box are counted twice, and subtracted once.
        choices[EITHER] = [_Part(first), _Part(other), _Part(first, is_both=True, sign="-1 * ")]
    lines = [
        f"    {'IF' if by == first else 'ELSIF'} $5 = {literal(by)} THEN\n"
        f"        RETURN QUERY {_counts_of(dataset, counts, by, parts)};"
        for by, parts in choices.items()
    ]
    lines += [
        "    ELSE",
        f"        RAISE invalid_parameter_value USING MESSAGE = 'by is one of {', '.join(choices)}';",
        "    END IF;",
    ]
    parameters = [f"{each} double precision" for each in _EDGES]
    parameters += [f"by text DEFAULT {literal(first)}"]
    returned = ["period date", "rows bigint", *(f"{quote(each)} bigint" for each in counts.sums)]
    name = view(dataset.name, f"{counts.name}_counts")
    return _function(name, counts, parameters, returned, "\n".join(lines))


@dataclass(frozen=True)
class _Part:
    """Rows with a point in the box, or with both points, that are counted once, or subtracted."""

    point: str
    is_both: bool = False
    sign: str = ""


def _counts_of(dataset: Dataset, counts: BoxCounts, by: str, parts: Sequence[_Part]) -> str:
    """Return the query of the counts for a value of the parameter `by`."""
    box = _Box(1)
    measures = ["rows", *(f"sum_{number}" for number in _numbers(counts))]
    searches, found = [], []
    for number, part in enumerate(parts):
        search, *selects = _counted(dataset, counts, part, f"nodes_{number}")
        searches.append(search)
        found += selects
    within = [box.has(each) for each in counts.points]
    where = {BOTH: " AND ".join(within), EITHER: f"({' OR '.join(within)})"}.get(by) or box.has(by)
    sums = "".join(f", coalesce(sum({quote(each)}), 0)" for each in counts.sums)
    found.append(
        f"SELECT {_period_of(dataset, counts)}, count(*){sums}\n"
        f"FROM {_uncompacted(dataset)} AND {where}{_and_partition(counts, '$6')}\nGROUP BY 1"
    )
    totals = ", ".join(f"CAST(sum({each}) AS bigint)" for each in measures)
    return f"""WITH RECURSIVE {", ".join(searches)}
SELECT nullif(period, {_NO_PERIOD}), {totals}
FROM (
{" UNION ALL ".join(found)}
) AS found (period, {", ".join(measures)})
GROUP BY period
HAVING sum(rows) > 0"""


def _counted(dataset: Dataset, counts: BoxCounts, part: _Part, name: str) -> Iterator[str]:
    """Yield the search of a part, and the queries of what is in its nodes and in its leaves."""
    box, numbers = _Box(1), _numbers(counts)
    tree = view(dataset.name, f"{counts.name}_{part.point}")
    points = ["", "other_"] if part.is_both else [""]
    overlaps = " AND ".join(box.overlaps(each) for each in points)
    inside = " AND ".join(box.encloses(each) for each in points)
    lists = ["periods", "rows_of_periods", *(f"sums_{each}_of_periods" for each in numbers)]
    is_partition = _is_partition(counts, "$6") if counts.partition else "true"
    yield _search(name, f"{tree} AS nodes", is_partition, inside, overlaps, lists)
    signed = ", ".join(f"{part.sign}unnest({each})" for each in lists[1:])
    yield f"SELECT unnest(periods), {signed} FROM {name} WHERE is_inside"
    # The coordinates of a leaf inside the box are not read.
    leaf = ["periods", *(f"values_{each}" for each in numbers), "lons", "lats"]
    read = ["unnest(leaf.periods) AS period", *(f"unnest(leaf.{e}) AS {e}" for e in leaf[1:-2])]
    read += [
        f"unnest(CASE WHEN NOT leaf.is_inside THEN leaf.{e} END) AS {e[:-1]}" for e in leaf[-2:]
    ]
    conditions = [f"(lon IS NULL OR {box.has()})"]
    if part.is_both:
        leaf += ["other_lons", "other_lats"]
        read += [f"unnest(leaf.{each}) AS {each[:-1]}" for each in leaf[-2:]]
        conditions.append(box.has("other"))
    leaf.append(f"{box.encloses()} AS is_inside")
    values = "".join(f", {part.sign}values_{each}" for each in numbers)
    opened = "NOT above.is_inside AND above.level = 1"
    yield f"""SELECT period, {part.sign}1{values}
FROM (
    SELECT {", ".join(read)}
    {_leaves(name, tree, leaf, overlaps, opened)}
) AS opened
WHERE {" AND ".join(conditions)}"""


def _groups_sql(dataset: Dataset, counts: BoxCounts) -> str:
    """Return the statement that creates the function of groups: rows in the same cells and bucket of time."""
    keys = _group_keys(counts)
    named = [(each, "integer") for each in keys]
    if counts.partition:
        named[0] = (keys[0], "text")
    named += [(each, "bigint") for each in ("rows", *counts.sums)]
    usual, hourly = (_flow_groups(dataset, counts, name) for name in FLOWS)
    stored = _stored_groups(dataset, counts, f"{view(dataset.name)} WHERE true")
    # The minutes of the day are in the leaves, for buckets of whole minutes.
    refusal = f"cell_size is {_MIN_CELL:f} or more, bucket_hours more than 0"
    body = f"""    IF $1 < {_MIN_CELL:f} OR $2 <= 0 THEN
        RAISE invalid_parameter_value USING MESSAGE = {literal(refusal)};
    ELSIF $1 = {counts.cell_size!r} AND $2 = {counts.bucket_hours} THEN
        RETURN QUERY {usual};
    ELSIF $1 = {counts.cell_size!r} AND $2 = floor($2) THEN
        RETURN QUERY {hourly};
    ELSIF $2 * 60 = floor($2 * 60) AND $2 * 3600 = 60 * floor($2 * 60) THEN
        RETURN QUERY {_leaf_groups(dataset, counts)};
    ELSE
        RETURN QUERY {stored};
    END IF;"""
    parameters = ["cell_size double precision", "bucket_hours double precision"]
    parameters += [f"{each} double precision DEFAULT NULL" for each in _EDGES]
    name = view(dataset.name, f"{counts.name}_groups")
    returned = [f"{quote(each)} {kind}" for each, kind in named]
    return _function(name, counts, parameters, returned, body)


def _flow_groups(dataset: Dataset, counts: BoxCounts, flows: str) -> str:
    """Return the query of groups with the declared size of cells, which are in the nodes inside the box.

    Args:
        dataset: whose rows.
        counts: what is declared.
        flows: which of the lists of nodes is read.
    """
    sums = [f"sum_{number}" for number in _numbers(counts)]
    lists = [f"{flows}", f"rows_of_{flows}", *(f"sums_{n}_of_{flows}" for n in _numbers(counts))]
    search, leaves = _group_search(dataset, counts, lists, f"above.{flows} IS NULL")
    partition = f"{quote(counts.partition)}, " if counts.partition else ""
    is_usual = flows == FLOWS[0]
    minutes = 60 * (counts.bucket_hours if is_usual else 1)
    bits, halves = flow_bits(counts), half_cells(counts)
    flow = "0"
    for number, each in enumerate(_coordinates(counts)):
        cell = f"CAST(round({each} / $1) AS bigint) + {halves[number % 2]}"
        flow = cell if flow == "0" else f"(({flow}) << {bits[number % 2]} | {cell})"
    bucket = "flow & 31" if is_usual else "floor((flow & 31) / $2)"
    decoded = [*_decoded_cells(counts), f"CAST({bucket} AS integer)"]
    keys = ", ".join(quote(each) for each in _group_keys(counts))
    added = "".join(f", CAST(sum({each}) AS bigint) AS {each}" for each in ("rows", *sums))
    values = "".join(f", values_{number}" for number in _numbers(counts))
    return f"""WITH RECURSIVE {search}
SELECT {keys}{added}
FROM (
    SELECT {partition}{", ".join(decoded)}, {", ".join(["rows", *sums])}
    FROM (
        SELECT {partition}flow{added}
        FROM (
            SELECT {partition}{", ".join(f"unnest({each})" for each in lists)} FROM found WHERE is_inside
            UNION ALL
            SELECT {partition}({flow}) << 5 | minute / {minutes}, 1{values} FROM {leaves}
        ) AS listed ({partition}flow, {", ".join(["rows", *sums])})
        GROUP BY {partition}flow
    ) AS flows
    UNION ALL
    {_stored_groups(dataset, counts, _uncompacted(dataset))}
) AS found ({keys}, {", ".join(["rows", *sums])})
GROUP BY {keys}"""


def _leaf_groups(dataset: Dataset, counts: BoxCounts) -> str:
    """Return the query of groups with any size of cells, which reads all leaves of the box row by row.

    A cell is one double while rows are grouped, as that is faster than two integers.
    """
    search, leaves = _group_search(dataset, counts, [], "true")
    points = [f"point_{number}" for number, _ in enumerate(counts.points)]
    named = [*([quote(counts.partition)] if counts.partition else []), *points, "bucket"]
    cells = [f"round({each} / $1)" for each in _coordinates(counts)]
    partition = f"{quote(counts.partition)}, " if counts.partition else ""
    values = "".join(f", values_{number}" for number in _numbers(counts))
    stored_keys, condition = _stored_keys(dataset, counts)
    stored_cells = [
        f"round({quote(f'{point}_{axis}')} / $1)"
        for point in counts.points
        for axis in ("lon", "lat")
    ]
    stored_values = "".join(f", {quote(each)}" for each in counts.sums)
    sums = [f"sum_{number}" for number in _numbers(counts)]
    added = "".join(f", coalesce(sum({each}), 0) AS {each}" for each in sums)
    numbers = [f"CAST({each} AS integer)" for point in points for each in _unpacked(point)]
    results = [*named[: 1 if partition else 0], *numbers, "bucket", "rows", *sums]
    return f"""WITH RECURSIVE {search}
SELECT {", ".join(results)}
FROM (
    SELECT {", ".join(named)}, count(*) AS rows{added}
    FROM (
        SELECT
            {partition}{", ".join(_packed(cells))},
            CAST(floor(CAST(minute * 60 AS double precision) / ($2 * 3600)) AS integer){values}
        FROM {leaves}
        UNION ALL
        SELECT {partition}{", ".join(_packed(stored_cells))}, {stored_keys[-1]}{stored_values}
        FROM {_uncompacted(dataset)} AND {condition}
    ) AS read ({", ".join([*named, *sums])})
    GROUP BY {", ".join(named)}
) AS grouped"""


def _packed(cells: Sequence[str]) -> list[str]:
    """Return a double for the numbers of each cell, by longitude and latitude."""
    pairs = zip(cells[::2], cells[1::2], strict=True)
    return [f"{x} * {_CELL_STEP} + {y}" for x, y in pairs]


def _unpacked(point: str) -> tuple[str, str]:
    """Return the numbers of a cell, by longitude and latitude."""
    x = f"round({point} / {_CELL_STEP})"
    return x, f"({point} - {x} * {_CELL_STEP})"


def _group_search(
    dataset: Dataset, counts: BoxCounts, lists: Sequence[str], is_opened: str
) -> tuple[str, str]:
    """Return the search for the nodes of groups, and a source of the rows of leaves that are read.

    Args:
        dataset: whose rows.
        counts: what is declared.
        lists: the columns of nodes inside the box that are read.
        is_opened: whether the leaves of a node inside the box are read instead.
    """
    box = _Box(3)
    tree = view(dataset.name, f"{counts.name}_{counts.points[0]}")
    partition = f"{quote(counts.partition)}, " if counts.partition else ""
    is_partition = _is_partition(counts, "$7") if counts.partition else "true"
    inside, overlaps = box.encloses(), box.overlaps()
    search = _search("found", f"{tree} AS nodes", is_partition, inside, overlaps, lists, partition)
    coordinates = _coordinates(counts)
    leaf = [*(f"{each}s" for each in coordinates), "minutes"]
    read = [f"unnest(leaf.{each}) AS {each[:-1]}" for each in leaf]
    values = [f"values_{number}" for number in _numbers(counts)]
    read += [f"unnest(leaf.{each}) AS {each}" for each in values]
    opened = f"CASE WHEN above.is_inside THEN {is_opened} ELSE above.level = 1 END"
    has_other = " AND other_lon <> 'NaN'" if "other_lon" in coordinates else ""
    return (
        search,
        f"""(
        SELECT {partition}{", ".join(read)}
        {_leaves("found", tree, [*leaf, *values], overlaps, opened)}
    ) AS opened
    WHERE {box.has()} AND minute >= 0{has_other}""",
    )


def _stored_groups(dataset: Dataset, counts: BoxCounts, source: str) -> str:
    """Return the query of groups of stored rows."""
    keys, condition = _stored_keys(dataset, counts)
    sums = "".join(f", CAST(coalesce(sum({quote(each)}), 0) AS bigint)" for each in counts.sums)
    positions = ", ".join(str(at) for at, _ in enumerate(keys, 1))
    return f"""SELECT {", ".join(keys)}, count(*){sums}
    FROM {source} AND {condition}
    GROUP BY {positions}"""


def _stored_keys(dataset: Dataset, counts: BoxCounts) -> tuple[list[str], str]:
    """Return the group of a stored row, and the condition of those that have a time and all points."""
    keys = [quote(counts.partition)] if counts.partition else []
    keys += [
        f"CAST(round({quote(f'{point}_{axis}')} / $1) AS integer)"
        for point in counts.points
        for axis in ("lon", "lat")
    ]
    time = f"CAST({_local_time(dataset, counts)} AS time)"
    keys.append(f"CAST(floor(date_part('epoch', {time}) / ($2 * 3600)) AS integer)")
    required = [counts.time, *(f"{each}_lon" for each in counts.points)]
    conditions = [_Box(3).has(counts.points[0])]
    conditions += [f"{quote(each)} IS NOT NULL" for each in required]
    return keys, " AND ".join(conditions) + _and_partition(counts, "$7")


def _coordinates(counts: BoxCounts) -> list[str]:
    """Return the names of the coordinates of a row of a leaf."""
    points = ["", "other_"][: len(counts.points)]
    return [f"{point}{axis}" for point in points for axis in ("lon", "lat")]


def _group_keys(counts: BoxCounts) -> list[str]:
    """Return the names of the columns that identify a group."""
    cells = [f"{point}_{axis}" for point in counts.points for axis in ("x", "y")]
    return [*([counts.partition] if counts.partition else []), *cells, "bucket"]


def _numbers(counts: BoxCounts) -> range:
    return range(1, len(counts.sums) + 1)


def _decoded_cells(counts: BoxCounts) -> list[str]:
    """Return the cells of a flow, by the point."""
    bits, halves = flow_bits(counts), half_cells(counts)
    shift, cells = 5, []
    for _ in counts.points:
        for axis in (1, 0):
            mask = (1 << bits[axis]) - 1
            cells.append(f"CAST(((flow >> {shift}) & {mask}) - {halves[axis]} AS integer)")
            shift += bits[axis]
    return cells[::-1]


def _function(
    name: str, counts: BoxCounts, parameters: Sequence[str], returned: Sequence[str], body: str
) -> str:
    """Return the statement that creates a function; it plans only the query that it runs."""
    if counts.partition:
        parameters = [*parameters, "partition_value text DEFAULT NULL"]
    return (
        f"CREATE OR REPLACE FUNCTION {name} ({', '.join(parameters)}) RETURNS TABLE ({', '.join(returned)})"
        " LANGUAGE plpgsql STABLE PARALLEL SAFE AS $function$\n#variable_conflict use_column\n"
        f"BEGIN\n{body}\nEND\n$function$"
    )


def _is_partition(counts: BoxCounts, value: str) -> str:
    return f"({value} IS NULL OR {quote(counts.partition)} = {value})"


def _and_partition(counts: BoxCounts, value: str) -> str:
    return f" AND {_is_partition(counts, value)}" if counts.partition else ""


def _uncompacted(dataset: Dataset) -> str:
    """Return the published rows that are in no tree yet."""
    waiting = view(dataset.name, UNCOMPACTED)
    return f"""{view(dataset.name)}
    WHERE EXISTS (SELECT FROM {waiting})
        AND {INGESTION_COLUMN} >= (SELECT min({INGESTION_COLUMN}) FROM {waiting})
        AND {INGESTION_COLUMN} IN (SELECT {INGESTION_COLUMN} FROM {waiting})"""


def _local_time(dataset: Dataset, counts: BoxCounts) -> str:
    """Return the time of a row as a timestamp; an instant in UTC."""
    kind = next(each.type for each in dataset.columns if each.name == counts.time)
    column = quote(counts.time)
    return (
        f"timezone('UTC', {column})"
        if kind is ColumnType.INSTANT
        else f"CAST({column} AS timestamp)"
    )


def _period_of(dataset: Dataset, counts: BoxCounts) -> str:
    start = f"CAST(date_trunc('{Period(counts.period)}', {_local_time(dataset, counts)}) AS date)"
    return f"coalesce({start}, {_NO_PERIOD})"
