"""Projections: made once an ingestion is done, in slices, and no answer differs before, meanwhile, after."""

from __future__ import annotations

import itertools
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from flow import HEADER, IDLE_S, THINGS, Flow, Killed, lines

from sluice.compaction import compact
from sluice.errors import DeclarationError, ParameterError
from sluice.ingestion.merge import withdraw
from sluice.postgres.connection import transaction

if TYPE_CHECKING:
    from collections.abc import Iterator

NUMBERS = """-- The numbers of the things of a kind, in order.
-- columns: kind, tens, ids
-- slice: id
-- index: tens
SELECT kind, id / 10 AS tens, array_agg(id ORDER BY id) AS ids FROM rows GROUP BY 1, 2
"""
PROJECTED = {**THINGS, "projections": {"numbers": NUMBERS}}
FILE = HEADER + lines(1, 60)
#: An attempt on the regular path, through all functions.
ALONE = 9
BOX = ("min_lon", "min_lat", "max_lon", "max_lat")
TRIPS = "region,origin_coord,destination_coord,datetime,datasource\n"

pytestmark = pytest.mark.flow(chunk_bytes=4096, declared=PROJECTED)


def projected(flow: Flow) -> list[int]:
    """The numbers that readers find in the projection, whatever arrangement they have."""
    rows = flow.all("SELECT unnest(ids) AS id FROM things_numbers")
    return sorted(row.id for row in rows)


def uncompacted(flow: Flow) -> list[int]:
    return [row.ingestion for row in flow.all("SELECT ingestion FROM things_uncompacted")]


def load_only(flow: Flow, data: bytes, name: str = "things/a.csv") -> int:
    """Bring a file to `done`, and compact nothing."""
    held = flow.compact
    flow.compact = lambda _dataset: False  # type: ignore[method-assign, misc, assignment]
    try:
        return flow.run(data, name)
    finally:
        flow.compact = held  # type: ignore[method-assign]


def test_what_is_done_is_compacted(flow: Flow) -> None:
    flow.run(FILE)
    assert projected(flow) == list(range(1, 61))
    assert uncompacted(flow) == []
    (one,) = flow.all("SELECT kind, ids FROM things_numbers WHERE tens = 2")
    assert (one.kind, one.ids) == ("a", list(range(20, 30)))


@pytest.mark.parametrize("slice_rows", [1, 7, 60])
def test_any_size_of_slices_gives_every_row_once(flow: Flow, slice_rows: int) -> None:
    ingestion = load_only(flow, FILE)
    assert (projected(flow), uncompacted(flow)) == ([], [ingestion])
    assert flow.compact("things", slice_rows=slice_rows)
    assert (projected(flow), uncompacted(flow)) == (list(range(1, 61)), [])


@pytest.mark.parametrize("slices", [0, 1, 3])
def test_after_a_killed_handler_the_next_one_continues(
    flow: Flow, monkeypatch: pytest.MonkeyPatch, slices: int
) -> None:
    load_only(flow, FILE)
    made = itertools.count()
    insert = compact.insert_slice

    def killed(*arguments: Any) -> None:
        insert(*arguments)
        if next(made) == slices:
            raise Killed  # inside the transaction of the slice

    monkeypatch.setattr(compact, "insert_slice", killed)
    with pytest.raises(Killed):
        flow.compact("things", slice_rows=10)
    assert projected(flow) == []
    monkeypatch.setattr(compact, "insert_slice", insert)
    until = time.monotonic() + 60
    while not flow.compact(
        "things", slice_rows=10
    ):  # until PostgreSQL noticed that the other is gone
        assert time.monotonic() < until
    assert projected(flow) == list(range(1, 61))


def test_an_ingestion_undone_meanwhile_is_left_out(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingestion = load_only(flow, FILE)
    twin = flow.twin()
    undoing = threading.Thread(target=twin.undo, args=(ingestion,))
    starting = threading.Lock()
    insert = compact.insert_slice

    def undone_meanwhile(*arguments: Any) -> None:
        insert(*arguments)
        with starting:  # slices are inserted concurrently
            if undoing.ident is None:
                undoing.start()
        undoing.join(0.1)  # it waits for the slice's transaction

    monkeypatch.setattr(compact, "insert_slice", undone_meanwhile)
    flow.compact("things", slice_rows=1)
    undoing.join()
    assert flow.state(ingestion) == "undone"
    assert projected(flow) == []
    assert uncompacted(flow) == []


def test_an_ingestion_undone_just_before_its_segment_begins_is_left_out(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingestion = load_only(flow, FILE)
    chosen = compact._next_group

    def undone_meanwhile(*arguments: Any) -> Any:
        group = chosen(*arguments)
        if group is not None and flow.state(ingestion) == "done":
            twin = flow.twin()
            twin.undo(ingestion)
            twin.close()
        return group

    monkeypatch.setattr(compact, "_next_group", undone_meanwhile)
    flow.compact("things")
    assert flow.state(ingestion) == "undone"
    assert projected(flow) == []
    other = load_only(flow, FILE, "things/b.csv")
    flow.compact("things")
    assert segments(flow) == [[other]]


def segments(flow: Flow) -> list[list[int]]:
    """The ingestions of each segment that readers use."""
    sql = "SELECT ingestions FROM sluice.segments WHERE compacted_at IS NOT NULL AND retired_at IS NULL"
    return sorted(row.ingestions for row in flow.all(sql))


def test_files_that_wait_become_one_segment(flow: Flow) -> None:
    loaded = [
        load_only(flow, HEADER + lines(first, first + 9), f"things/{first}.csv")
        for first in (1, 11, 21)
    ]
    assert flow.compact("things")
    assert segments(flow) == [loaded]
    assert (projected(flow), uncompacted(flow)) == (list(range(1, 31)), [])


def test_eight_segments_become_one_and_the_old_ones_are_deleted(flow: Flow) -> None:
    loaded = []
    for number in range(8):
        first = number * 10 + 1
        loaded.append(flow.run(HEADER + lines(first, first + 9), f"things/{number}.csv"))
        assert projected(flow) == list(range(1, first + 10))
    assert segments(flow) == [loaded]
    rows = flow.one("SELECT count(*) AS n FROM store.things__numbers").n
    assert rows > flow.one("SELECT count(*) AS n FROM things_numbers").n
    delete_retired(flow)
    left = flow.one("SELECT count(*) AS n FROM store.things__numbers").n
    assert left == flow.one("SELECT count(*) AS n FROM things_numbers").n
    assert flow.all("SELECT 1 FROM sluice.segments WHERE retired_at IS NOT NULL") == []


def delete_retired(flow: Flow) -> None:
    """Collect garbage a while after segments were retired."""
    flow.run_sql(f"UPDATE sluice.segments SET retired_at = retired_at - interval '{IDLE_S + 1} s'")
    flow.recover()


def test_undoing_one_file_of_a_segment_keeps_the_others(flow: Flow) -> None:
    loaded = [
        load_only(flow, HEADER + lines(first, first + 9), f"things/{first}.csv")
        for first in (1, 11, 21)
    ]
    flow.compact("things")
    flow.undo(loaded[1])
    assert (projected(flow), uncompacted(flow)) == ([], [loaded[0], loaded[2]])
    assert flow.compact("things")
    assert segments(flow) == [[loaded[0], loaded[2]]]
    assert (projected(flow), uncompacted(flow)) == ([*range(1, 11), *range(21, 31)], [])
    delete_retired(flow)
    assert projected(flow) == [*range(1, 11), *range(21, 31)]


def test_a_restore_retires_segments(flow: Flow) -> None:
    loaded = [load_only(flow, HEADER + lines(n, n), f"things/{n}.csv") for n in (1, 2)]
    flow.compact("things")
    with transaction(flow.engine) as connection:
        withdraw(connection, None, [loaded[0]], None, "project")
    assert (projected(flow), uncompacted(flow)) == ([], [loaded[1]])


def test_an_ingestion_undone_while_segments_are_merged_is_left_out(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = [flow.run(HEADER + lines(n, n), f"things/{n}.csv") for n in range(1, 8)]
    twin = flow.twin()
    insert = compact.insert_slice

    def undone_meanwhile(*arguments: Any) -> None:
        insert(*arguments)
        monkeypatch.setattr(compact, "insert_slice", insert)
        twin.undo(loaded[3])

    monkeypatch.setattr(compact, "insert_slice", undone_meanwhile)
    eighth = flow.run(HEADER + lines(8, 8), "things/8.csv")
    assert uncompacted(flow) == []
    assert sorted(each for one in segments(flow) for each in one) == sorted(
        {*loaded, eighth} - {loaded[3]}
    )
    assert projected(flow) == [1, 2, 3, 5, 6, 7, 8]


def test_compaction_waits_while_files_load(flow: Flow) -> None:
    first = load_only(flow, FILE)
    second = flow.split(flow.put(HEADER + lines(61, 70), "things/b.csv"), ALONE)
    assert not flow.compact("things")
    flow.deliver()
    assert flow.state(second) == "done"
    assert uncompacted(flow) == []
    assert projected(flow) == list(range(1, 71))
    assert flow.state(first) == "done"


def test_recovery_compacts_what_was_left(flow: Flow) -> None:
    ingestion = load_only(flow, FILE)
    flow.split(flow.put(HEADER + lines(61, 70), "things/b.csv"), ALONE)  # never ends
    flow.recover()
    assert uncompacted(flow) == [ingestion]
    flow.run_sql(f"UPDATE sluice.publications SET published_at = now() - interval '{IDLE_S + 1} s'")
    flow.recover()
    assert uncompacted(flow) == []
    assert projected(flow) == list(range(1, 61))


def test_handlers_do_not_compact_the_same_rows(flow: Flow) -> None:
    load_only(flow, FILE)
    flows = [flow.twin() for _ in range(4)]
    threads = [
        threading.Thread(target=each.compact, args=("things",), kwargs={"slice_rows": 5})
        for each in flows
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert projected(flow) == list(range(1, 61))


def test_a_changed_projection_is_built_again(flow: Flow) -> None:
    flow.run(FILE)
    other = NUMBERS.replace("id / 10", "id / 20")
    flow.declare({**PROJECTED, "projections": {"numbers": other}})
    assert (projected(flow), len(uncompacted(flow))) == ([], 1)
    assert flow.compact("things")
    assert projected(flow) == list(range(1, 61))
    assert flow.one("SELECT count(*) AS n FROM things_numbers").n == 4
    flow.declare(THINGS)
    assert flow.all("SELECT 1 FROM pg_class WHERE relname = 'things__numbers'") == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"projections": {"a": NUMBERS.replace("tens, ids", "tens")}}, "ids"),
        ({"projections": {"a": NUMBERS.replace("slice: id", "slice: size")}}, "'size'"),
        ({"projections": {"a": NUMBERS.replace("slice: id", "slice: name")}}, "'name'"),
        ({"projections": {"a": NUMBERS.replace("FROM rows", "FROM row")}}, "row"),
        ({"projections": {"a": NUMBERS.replace("-- columns", "-- column")}}, "columns"),
        ({"projections": {"a": "-- measure a: sum\n" + NUMBERS}}, "measure"),
        ({"projections": {"kinds": NUMBERS}}, "taken"),
        ({"projections": {"uncompacted": NUMBERS}}, "taken"),
        ({"key": ["id"], "rollups": {}}, "key"),
    ],
    ids=["columns", "slice", "nullable", "sql", "header", "measure", "name", "engine", "key"],
)  # fmt: skip
def test_a_wrong_projection_is_refused(flow: Flow, changes: dict[str, Any], words: str) -> None:
    document = {**PROJECTED, "name": "others", **changes}
    with pytest.raises(DeclarationError, match=words):
        flow.declare(document)
    assert flow.all("SELECT 1 FROM sluice.datasets WHERE name = 'others'") == []


def trips(seed: int, rows: int) -> bytes:
    """Trips around the corners of cells, many on the same lines."""
    draw = random.Random(seed)

    def point() -> str:
        lon = draw.choice((7.6, 7.62, 7.61, 7.58, -7.6, 0.0)) + draw.choice(
            (0, 1e-9, draw.random() / 9)
        )
        lat = 45 + draw.choice((0, 0.02, 0.3)) + draw.choice((0, draw.random() / 9))
        return f"POINT ({lon!r} {lat!r})"

    return TRIPS.encode() + b"".join(
        f"{draw.choice(('Turin', 'Lyon'))},{point()},{point()},"
        f"2018-{draw.randint(1, 3):02}-{draw.randint(1, 28):02} {draw.randint(0, 23):02}:00:00,a\n".encode()
        for _ in range(rows)
    )


def boxes(flow: Flow, count: int) -> Iterator[dict[str, float]]:
    """Boxes of any size, whose edges often go through trips."""
    draw = random.Random(7)
    rows = flow.all("SELECT origin_lon, origin_lat FROM trips ORDER BY 1, 2")
    for _ in range(count):
        one, other = draw.choice(rows), draw.choice(rows)
        spread = draw.choice((0.0, 0.0, 0.1, 1.0))
        lons = sorted((one.origin_lon, other.origin_lon + spread * draw.random()))
        lats = sorted((one.origin_lat, other.origin_lat + spread * draw.random()))
        yield dict(zip(BOX, (lons[0], lats[0], lons[1], lats[1]), strict=True))


def counted(flow: Flow, box: dict[str, float], region: str | None) -> dict[str, int]:
    """Trips of a box by week, each looked at."""
    within = "origin_lon BETWEEN :min_lon AND :max_lon AND origin_lat BETWEEN :min_lat AND :max_lat"
    rows = flow.all(
        "SELECT CAST(CAST(date_trunc('week', started_at) AS date) AS text) AS week, count(*) AS trips"
        f" FROM trips WHERE {within} AND region = coalesce(:region, region) GROUP BY 1",
        **box,
        region=region,
    )
    return {row.week: row.trips for row in rows}


def grouped(flow: Flow, box: dict[str, float]) -> list[tuple[Any, ...]]:
    """Groups of a box, each trip looked at; a cell size that is next to the usual one does that."""
    found = flow.ask("trips", "groups", **box, limit=10000, cell_size=0.1 + 1e-16)
    return [tuple(each.values()) for each in found]


@pytest.mark.parametrize("state", ["stored", "compacted", "sliced", "mixed"])
def test_boxes_are_exact_to_the_trip(flow: Flow, state: str) -> None:
    load_only(flow, trips(1, 400), "trips/a.csv")
    if state != "stored":
        flow.compact("trips", slice_rows=90 if state == "sliced" else 1000)
    if state == "mixed":
        load_only(flow, trips(2, 100), "trips/b.csv")
    for number, box in enumerate(boxes(flow, 40)):
        region = ("Turin", None)[number % 2]
        given = {**box, "region": region} if region else box
        (found,) = flow.ask("trips", "weekly_average", **given)
        weeks = {each["monday"]: each["trips"] for each in found["per_week"]}
        assert weeks == counted(flow, box, region), box
        groups = flow.ask("trips", "groups", **box, limit=10000)
        assert [tuple(each.values()) for each in groups] == grouped(flow, box), box


def test_a_box_inside_out_is_refused(flow: Flow) -> None:
    box = dict(zip(BOX, (8.0, 46.0, 7.0, 44.0), strict=True))
    for query in ("weekly_average", "groups"):
        with pytest.raises(ParameterError, match="min_lon"):
            flow.ask("trips", query, **box)
