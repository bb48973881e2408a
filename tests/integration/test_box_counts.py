"""Box counts: declared for any dataset, and equal to a scan of the published rows at every moment."""

from __future__ import annotations

import random
import re
import tomllib
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from real_files import ROOT
from sluice.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flow import Flow

PLACES = {
    "kind": "box_counts",
    "points": ["pickup", "dropoff"],
    "time": "at",
    "partition": "courier",
    "sums": ["parcels"],
}
DELIVERIES: Mapping[str, Any] = {
    "name": "deliveries",
    "columns": [
        {"name": "courier", "type": "text", "required": True, "dictionary": True},
        {"name": "pickup", "type": "point"},
        {"name": "dropoff", "type": "point"},
        {"name": "at", "type": "timestamp"},
        {"name": "parcels", "type": "integer"},
    ],
    "reupload": "replace",
    "projections": {"places": PLACES},
}
SENSORS: Mapping[str, Any] = {
    "name": "sensors",
    "columns": [
        {"name": "place", "type": "point", "required": True},
        {"name": "seen", "type": "instant", "required": True},
    ],
    "projections": {
        "around": {
            "kind": "box_counts",
            "points": ["place"],
            "time": "seen",
            "period": "month",
            "cell_size": 1,
            "bucket_hours": 1,
        }
    },
}
ENDS = ("pickup", "dropoff")
BYS = (*ENDS, "both", "either")
COURIERS = ("Anna", "Béla")
#: Of the poles and the antimeridian, of edges of cells, and next to them.
LONS = (-180.0, 180.0, -0.05, 0.0, 0.05, 14.45, -71.25)
LATS = (-90.0, 90.0, -0.05, 0.0, 50.05, -33.95)
WORLD = (-180.0, -90.0, 180.0, 90.0)

pytestmark = pytest.mark.flow(chunk_bytes=65_536, declared=DELIVERIES)


def deliveries(seed: int, rows: int, without: float = 0.05) -> bytes:
    """Deliveries of which many have the same coordinates, and some lack a value."""
    draw = random.Random(seed)

    def axis(values: Sequence[float], limit: float) -> float:
        value = draw.choice(values) + draw.choice((0, 1e-9, -1e-9, draw.random() / 5))
        return min(limit, max(-limit, value))

    def point() -> str:
        is_null = draw.random() < without
        return "" if is_null else f"POINT ({axis(LONS, 180)!r} {axis(LATS, 90)!r})"

    def time() -> str:
        day, hour = draw.randint(1, 28), draw.randint(0, 23)
        minute, second = draw.choice((0, 15, draw.randint(0, 59))), draw.randint(0, 59)
        is_null = draw.random() < without
        month = draw.randint(1, 3)
        return "" if is_null else f"2018-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"

    def parcels() -> str:
        return "" if draw.random() < without else str(draw.randint(-2_000_000_000, 2_000_000_000))

    lines = (
        f"{draw.choice(COURIERS)},{point()},{point()},{time()},{parcels()}\n" for _ in range(rows)
    )
    return ("courier,pickup,dropoff,at,parcels\n" + "".join(lines)).encode()


def boxes(count: int, seed: int = 7) -> Iterator[tuple[float, ...]]:
    """Boxes of any size, whose edges often go through points; some are points or lines."""
    draw = random.Random(seed)
    yield WORLD
    for _ in range(count):
        lons = sorted(draw.choice(LONS) + draw.choice((0, 0, draw.random() / 5)) for _ in range(2))
        lats = sorted(draw.choice(LATS) + draw.choice((0, 0, draw.random() / 5)) for _ in range(2))
        yield lons[0], lats[0], lons[1], lats[1]


def within(end: str) -> str:
    return f"({end}_lon BETWEEN :west AND :east AND {end}_lat BETWEEN :south AND :north)"


TIMES = "-- Times.\n-- key: at\n-- measure n: sum\nSELECT at, count(*) AS n FROM rows GROUP BY 1"
CONDITIONS = {
    **{end: within(end) for end in ENDS},
    "both": " AND ".join(map(within, ENDS)),
    "either": f"({' OR '.join(map(within, ENDS))})",
}


def assert_counts(flow: Flow, box: tuple[float, ...], by: str, courier: str | None) -> int:
    """Compare the counts of a box with a scan; return the number of rows."""
    edges = dict(zip(("west", "south", "east", "north"), box, strict=True))
    of_courier = {"courier": courier}
    counted = flow.all(
        "SELECT period, rows, parcels FROM deliveries_places_counts("
        ":west, :south, :east, :north, :by, :courier) ORDER BY period",
        **edges, **of_courier, by=by,
    )  # fmt: skip
    scanned = flow.all(
        "SELECT CAST(date_trunc('week', at) AS date) AS period, count(*) AS rows,"
        " coalesce(sum(parcels), 0) AS parcels FROM deliveries"
        f" WHERE {CONDITIONS[by]} AND courier = coalesce(:courier, courier) GROUP BY 1 ORDER BY 1",
        **edges, **of_courier,
    )  # fmt: skip
    assert [tuple(row) for row in counted] == [tuple(row) for row in scanned], (box, by)
    return sum(row.rows for row in counted)


def assert_groups(
    flow: Flow, box: tuple[float, ...], cell: float, hours: float, courier: str | None = None
) -> int:
    """Compare the groups of a box with a scan; return their number."""
    edges = dict(zip(("west", "south", "east", "north"), box, strict=True))
    given = {**edges, "courier": courier, "cell": cell, "hours": hours}
    grouped = flow.all(
        "SELECT * FROM deliveries_places_groups(:cell, :hours, :west, :south, :east, :north, :courier)",
        **given,
    )
    cells = ", ".join(
        f"CAST(round({end}_{axis} / CAST(:cell AS float8)) AS integer)"
        for end in ENDS
        for axis in ("lon", "lat")
    )
    scanned = flow.all(
        f"SELECT courier, {cells}, CAST(floor(date_part('epoch', CAST(at AS time))"
        " / (CAST(:hours AS float8) * 3600)) AS integer), count(*), coalesce(sum(parcels), 0)"
        f" FROM deliveries WHERE {within('pickup')} AND dropoff_lon IS NOT NULL AND at IS NOT NULL"
        " AND courier = coalesce(:courier, courier) GROUP BY 1, 2, 3, 4, 5, 6",
        **given,
    )
    assert Counter(map(tuple, grouped)) == Counter(map(tuple, scanned)), (box, cell, hours)
    return len(grouped)


def assert_all(flow: Flow, count: int = 12) -> int:
    """Compare counts and groups of many boxes; return the number of rows in the world."""
    for number, box in enumerate(boxes(count)):
        courier = (None, *COURIERS)[number % 3]
        for by in BYS:
            assert_counts(flow, box, by, courier)
        assert_groups(flow, box, *((0.1, 6), (0.1, 1), (0.1, 5), (0.013, 24))[number % 4], courier)
    return assert_counts(flow, WORLD, "either", None)


def load_only(flow: Flow, data: bytes, name: str) -> int:
    """Bring a file to `done`, and compact nothing."""
    held = flow.compact
    flow.compact = lambda _dataset: False  # type: ignore[method-assign, misc, assignment]
    try:
        return flow.run(data, name)
    finally:
        flow.compact = held  # type: ignore[method-assign]


@pytest.mark.parametrize("state", ["stored", "compacted", "sliced", "mixed"])
def test_any_box_has_the_counts_of_a_scan(flow: Flow, state: str) -> None:
    load_only(flow, deliveries(1, 1500), "deliveries/a.csv")
    if state != "stored":
        flow.compact("deliveries", slice_rows=200 if state == "sliced" else 10_000)
        assert flow.all("SELECT 1 FROM deliveries_uncompacted") == []
    if state == "mixed":
        load_only(flow, deliveries(2, 300), "deliveries/b.csv")
    assert assert_all(flow, 20) > 1000


@pytest.mark.parametrize("cell", [0.00001, 0.02, 0.1, 0.25, 1, 90])
@pytest.mark.parametrize("hours", [0.25, 1, 6, 12, 24, 0.1, 5.3, 7.77])
def test_groups_have_any_cell_and_bucket(flow: Flow, cell: float, hours: float) -> None:
    flow.run(deliveries(1, 800), "deliveries/a.csv")
    for box in ((-1.0, -90.0, 20.0, 90.0), WORLD):
        assert assert_groups(flow, box, cell, hours) > 0


@pytest.mark.parametrize("size", ["coarse", "hour", "deep"])
def test_cells_and_buckets_are_declared(flow: Flow, size: str) -> None:
    changes = {
        "coarse": {"cell_size": 0.5, "bucket_hours": 24},
        "hour": {"cell_size": 0.02, "bucket_hours": 1},
        "deep": {"cell_size": 90, "bucket_hours": 5, "period": "day"},
    }[size]
    flow.declare({**DELIVERIES, "projections": {"places": {**PLACES, **changes}}})
    flow.run(deliveries(3, 1500, without=0), "deliveries/a.csv")
    for box in boxes(4):
        for hours in (changes["bucket_hours"], 1, 2, 24):
            assert_groups(flow, box, changes["cell_size"], hours)


def test_many_rows_of_one_place_are_counted(flow: Flow) -> None:
    line = "Anna,POINT (180 90),POINT (-180 -90),2018-01-01,1\n"
    flow.run(f"courier,pickup,dropoff,at,parcels\n{line * 2000}".encode(), "deliveries/a.csv")
    for by in ENDS:
        assert assert_counts(flow, WORLD, by, None) == 2000
    corner = (180.0, 90.0, 180.0, 90.0)
    assert assert_counts(flow, corner, "pickup", None) == 2000
    assert assert_counts(flow, corner, "dropoff", None) == 0
    assert assert_counts(flow, corner, "both", None) == 0
    assert assert_counts(flow, corner, "either", None) == 2000


def test_counts_follow_undo_redo_and_another_file(flow: Flow) -> None:
    first = flow.run(deliveries(1, 400, without=0), "deliveries/a.csv")
    second = flow.run(deliveries(2, 500, without=0), "deliveries/b.csv")
    assert assert_all(flow, 3) == 900
    flow.undo(first)
    assert assert_all(flow, 3) == 500
    flow.compact("deliveries")
    assert assert_all(flow, 3) == 500
    flow.redo(first)
    flow.deliver()
    assert assert_all(flow, 3) == 900
    flow.undo(first)
    flow.undo(second)
    assert assert_all(flow, 1) == 0


def test_a_new_generation_replaces_what_is_counted(flow: Flow) -> None:
    flow.run(deliveries(1, 400, without=0), "deliveries/a.csv")
    flow.run(deliveries(2, 100, without=0), "deliveries/b.csv")
    flow.run(deliveries(3, 250, without=0), "deliveries/a.csv")
    assert assert_all(flow, 3) == 350
    flow.compact("deliveries")
    assert assert_all(flow, 3) == 350


def test_segments_are_merged(flow: Flow) -> None:
    for number in range(9):
        flow.run(deliveries(number, 60, without=0), f"deliveries/{number}.csv")
    assert assert_all(flow, 3) == 540


def test_rows_without_points_or_times_are_in_no_tree_or_in_no_period(flow: Flow) -> None:
    flow.run(deliveries(5, 300, without=1), "deliveries/a.csv")
    flow.compact("deliveries")
    assert assert_all(flow, 1) == 0
    flow.run(b"courier,pickup,dropoff,at,parcels\nAnna,POINT (1 1),,,\n", "deliveries/b.csv")
    (row,) = flow.all("SELECT * FROM deliveries_places_counts(0, 0, 2, 2, by => 'either')")
    assert tuple(row) == (None, 1, 0)


def test_an_edge_that_is_null_is_open(flow: Flow) -> None:
    flow.run(deliveries(1, 300, without=0), "deliveries/a.csv")
    open_box = (
        "SELECT coalesce(sum(rows), 0) AS n FROM deliveries_places_counts(NULL, 0, NULL, NULL)"
    )
    northern = flow.one("SELECT count(*) AS n FROM deliveries WHERE pickup_lat >= 0")
    assert flow.one(open_box).n == northern.n > 0


def test_an_unknown_end_is_refused(flow: Flow) -> None:
    with pytest.raises(Exception, match="by is one of pickup, dropoff, both, either"):
        flow.all("SELECT * FROM deliveries_places_counts(0, 0, 1, 1, 'pick up')")


@pytest.mark.parametrize(("cell", "hours"), [(0.000009, 6), (0, 6), (-1, 6), (0.1, 0)])
def test_cells_and_buckets_without_a_size_are_refused(
    flow: Flow, cell: float, hours: float
) -> None:
    with pytest.raises(Exception, match=r"cell_size is 0.000010 or more, bucket_hours more than 0"):
        flow.all(f"SELECT * FROM deliveries_places_groups({cell}, {hours})")


def test_one_point_with_an_instant_and_without_a_partition(flow: Flow) -> None:
    flow.declare(SENSORS)
    draw = random.Random(4)
    lines = (
        f"POINT ({draw.uniform(-3, 3)!r} {draw.uniform(-3, 3)!r}),"
        f"{draw.choice(('0001', '1969', '9999'))}-{draw.randint(1, 12):02}-01T00:30:00+02:00\n"
        for _ in range(900)
    )
    # The first instant of year 1 is in the year before it, which PostgreSQL can store.
    flow.run(("place,seen\n" + "".join(lines)).encode(), "sensors/a.csv")
    for state in ("stored", "compacted"):
        for box in ((-1, -1, 1, 2), (0, 0, 0.5, 0.5), WORLD):
            edges = "{}, {}, {}, {}".format(*box)
            where = "place_lon BETWEEN {0} AND {2} AND place_lat BETWEEN {1} AND {3}".format(*box)
            months = f"date_trunc('month', timezone('UTC', seen)) FROM sensors WHERE {where}"
            scanned = flow.all(
                f"SELECT CAST({months.replace(' FROM', ' AS date), count(*) FROM', 1)} GROUP BY 1"
            )
            counted = flow.all(f"SELECT * FROM sensors_around_counts({edges})")
            assert Counter(map(tuple, counted)) == Counter(map(tuple, scanned)), state
            groups = flow.all(f"SELECT * FROM sensors_around_groups(1, 12, {edges})")
            cells = "CAST(round(place_lon) AS integer), CAST(round(place_lat) AS integer)"
            hour = "CAST(extract(hour FROM timezone('UTC', seen)) AS integer) / 12"
            scanned = flow.all(
                f"SELECT {cells}, {hour}, count(*) FROM sensors WHERE {where} GROUP BY 1, 2, 3"
            )
            assert Counter(map(tuple, groups)) == Counter(map(tuple, scanned)), state
        flow.compact("sensors")


def test_a_query_calls_the_functions_and_its_answer_depends_on_the_dataset(flow: Flow) -> None:
    query = (
        "-- Deliveries of a box in each week.\n-- param west number!: Western edge.\n"
        "SELECT period, rows FROM deliveries_places_counts(:west, -90, 180, 90) ORDER BY 1"
    )
    flow.declare({**DELIVERIES, "queries": {"weeks": query}})
    flow.run(deliveries(1, 100, without=0), "deliveries/a.csv")
    assert sum(row["rows"] for row in flow.ask("deliveries", "weeks", west=-180)) == 100
    (found,) = flow.all("SELECT dependencies FROM sluice.datasets WHERE name = 'deliveries'")
    assert found.dependencies["weeks"] == {
        "datasets": ["deliveries"], "is_cacheable": True, "columns": ["deliveries.*"],
    }  # fmt: skip


def test_the_example_of_the_docs_counts_deliveries(flow: Flow) -> None:
    pages = (ROOT / "docs" / "datasets.md").read_text("utf-8")
    example = pages.split("\n### Box counts\n")[1]
    toml, sql = (
        re.search(f"```{kind}\n(.*?)```", example, re.DOTALL)[1] for kind in ("toml", "sql")
    )
    document = {**tomllib.loads(toml), "name": "deliveries", "queries": {"weeks": sql}}
    flow.declare(document)
    flow.run(
        b"courier,pickup,dropoff,at,parcels\n"
        b"Anna,POINT (14.42 50.08),POINT (14.5 50.1),2018-05-28 09:03:40,2\n"
        b"Anna,POINT (14.4 50.1),POINT (14.42 50.08),2018-06-03 23:59:59,3\n"
        b"Emil,POINT (14.42 50.08),POINT (14.43 50.09),2018-06-04 00:00:00,5\n",
        "deliveries/a.csv",
    )
    box = {"min_lon": 14.42, "min_lat": 50.08, "max_lon": 14.43, "max_lat": 50.09}
    first, second = "2018-05-28", "2018-06-04"
    expected = {
        "pickup": [(first, 1, 2), (second, 1, 5)],
        "dropoff": [(first, 1, 3), (second, 1, 5)],
        "both": [(second, 1, 5)],
        "either": [(first, 2, 5), (second, 1, 5)],
    }
    for by, rows in expected.items():
        found = flow.ask("deliveries", "weeks", **box, by=by)
        assert [tuple(each.values()) for each in found] == rows, by
    assert flow.ask("deliveries", "weeks", **box, by="both", courier="Anna") == []


def test_a_changed_declaration_builds_other_functions(flow: Flow) -> None:
    flow.run(deliveries(1, 200, without=0), "deliveries/a.csv")
    changed = {**PLACES, "points": ["dropoff"], "sums": []}
    flow.declare({**DELIVERIES, "projections": {"ends": changed}})
    sql = "SELECT sum(rows) AS n FROM deliveries_ends_counts(-180, -90, 180, 90)"
    assert flow.one(sql).n == 200
    flow.compact("deliveries")
    assert flow.one(sql).n == 200
    names = flow.all("SELECT proname FROM pg_proc WHERE proname LIKE 'deliveries%' ORDER BY 1")
    assert [row.proname for row in names] == ["deliveries_ends_counts", "deliveries_ends_groups"]
    flow.declare({**DELIVERIES, "projections": {}})
    assert flow.all("SELECT 1 FROM pg_proc WHERE proname LIKE 'deliveries%'") == []
    tables = flow.all("SELECT 1 FROM pg_class WHERE relname LIKE 'deliveries\\_\\_%\\_pickup'")
    assert tables == []


def test_box_counts_replace_a_projection_of_sql(flow: Flow) -> None:
    tree = "-- Times.\n-- columns: at, minute\nSELECT at, 1 AS minute FROM rows"
    flow.declare({**DELIVERIES, "projections": {"tree": tree}})
    flow.run(deliveries(1, 200, without=0), "deliveries/a.csv")
    flow.declare(DELIVERIES)
    assert assert_all(flow, 1) == 200
    flow.compact("deliveries")
    assert assert_all(flow, 1) == 200
    assert flow.all("SELECT 1 FROM pg_class WHERE relname LIKE 'deliveries%tree'") == []


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"kind": "boxes"}, "places.kind: 'boxes' is not box_counts"),
        ({"point": ["pickup"]}, "places.point: no such key; known: kind, description, points"),
        ({"points": []}, "places.points: 0 columns are not one or two"),
        ({"points": ["pickup", "at"]}, "places.points: 'at' is of type timestamp, not point"),
        ({"points": ["pick"]}, "'pick' is not a column; those of type point are: pickup, dropoff"),
        ({"points": ["pickup", "pickup"]}, "places.points: 'pickup' is listed twice"),
        ({"points": "pickup"}, "places.points: 'pickup' is not a list of one or two point columns"),
        ({"time": "parcels"}, "places.time: 'parcels' is of type integer, not timestamp or"),
        ({"period": "decade"}, "places.period: 'decade' is not one of day, week, month, year"),
        ({"partition": "parcels"}, "places.partition: 'parcels' needs `dictionary = true` and"),
        ({"partition": "city"}, "places.partition: 'city' is not a column; known: courier,"),
        ({"cell_size": 0.01}, "places.cell_size: 0.01 is not within 0.02 to 90 degrees"),
        ({"cell_size": 10**400}, "is not within 0.02 to 90 degrees"),
        ({"points": [{}, []]}, "places.points: {} is not a column; those of type point are:"),
        ({"kind": []}, "places.kind: [] is not box_counts"),
        ({"bucket_hours": 25}, "places.bucket_hours: 25 is not within 1 to 24"),
        ({"bucket_hours": 1.5}, "places.bucket_hours: 1.5 is not a number of hours"),
        ({"sums": ["courier"]}, "places.sums: 'courier' is of type text, not integer"),
        ({"time": None}, "places.time: None is not the name of a column"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_wrong_declaration_is_refused(flow: Flow, changes: dict[str, Any], error: str) -> None:
    document = {**DELIVERIES, "projections": {"places": {**PLACES, **changes}}}
    with pytest.raises(DeclarationError) as caught:
        flow.declare(document)
    assert error in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"key": ["parcels"]}, "has no projections: its rows may change later"),
        ({"rollups": {"places_pickup": TIMES}}, "'places_pickup' is taken"),
        ({"projections": {"places": 1}}, "is not a text"),
        ({"projections": {"Places": PLACES}}, "'Places' is not a name"),
        ({"rollups": {"places_counts": TIMES}}, "places_counts"),
    ],
    ids=["key", "rollup", "number", "name", "function"],
)  # fmt: skip
def test_names_and_keys_of_the_dataset_are_respected(
    flow: Flow, changes: dict[str, Any], error: str
) -> None:
    document = {**DELIVERIES, **changes}
    if "key" in changes:
        document["columns"] = [
            {**each, **({"required": True} if each["name"] == "parcels" else {})}
            for each in DELIVERIES["columns"]
        ]
        document["name"] = "others"
    with pytest.raises(DeclarationError) as caught:
        flow.declare(document)
    assert error in str(caught.value)
