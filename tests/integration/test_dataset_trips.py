"""The dataset `trips`: equal trips all count, weekly averages, groups, and the two files for psql."""

from __future__ import annotations

import csv
import io
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flow import Flow

from real_files import DATA, ROOT, expected_json, expected_records, needs_real_files
from sluice.local.postgres import SUPERUSER, binaries

if TYPE_CHECKING:
    from sluice.local.postgres import Server

BY_HAND = ROOT / "sql" / "by-hand"
SAMPLE = (Path(__file__).parents[1] / "cases" / "datasets" / "trips.csv").read_bytes()
BOX = ("min_lon", "min_lat", "max_lon", "max_lat")

pytestmark = pytest.mark.flow(chunk_bytes=4096, declared=None)


def test_equal_trips_all_count(flow: Flow) -> None:
    ingestion = flow.run(SAMPLE, "trips/a.csv")
    assert flow.account(ingestion) == (6, 6, 0)
    groups = flow.ask("trips", "groups", min_trips=2)
    assert [(each["region"], each["trips"]) for each in groups] == [("Prague", 2)]


def test_points_are_longitude_first(flow: Flow) -> None:
    flow.run(SAMPLE, "trips/a.csv")
    row = flow.one("SELECT origin_lon, origin_lat FROM trips WHERE region = 'Hamburg'")
    assert tuple(row) == (9.9937, 53.5511)


def test_the_edges_of_a_box_belong_to_it(flow: Flow) -> None:
    flow.run(SAMPLE, "trips/a.csv")
    box = dict(zip(BOX, (14.42, 50.08, 14.42, 50.08), strict=True))
    (found,) = flow.ask("trips", "weekly_average", **box)
    assert (found["trips"], found["weekly_average"]) == (2, 2)


@pytest.mark.parametrize(("weeks", "average"), [("observed", 1.5), ("spanned", 1.0)])
def test_weeks_are_those_with_trips_or_all_between(flow: Flow, weeks: str, average: float) -> None:
    flow.run(SAMPLE, "trips/a.csv")
    (found,) = flow.ask("trips", "weekly_average", region="Turin", weeks=weeks)
    assert (found["weeks_observed"], found["weeks_spanned"]) == (2, 3)
    assert found["weekly_average"] == average


def by_hand(server: Server, flow: Flow, name: str) -> list[list[str]]:
    place = ["-h", "127.0.0.1", "-p", str(server.port), "-U", SUPERUSER]
    command = [str(binaries() / "psql"), "-X", "--csv", *place, "-d", str(flow.engine.url.database)]
    answer = subprocess.run(
        [*command, "-f", str(BY_HAND / f"{name}.sql")], capture_output=True, text=True, check=True
    )
    return list(csv.reader(io.StringIO(answer.stdout)))[1:]


def test_the_files_for_psql_answer_what_the_queries_answer(
    flow: Flow, database_server: Server
) -> None:
    flow.run(SAMPLE, "trips/a.csv")
    assert by_hand(database_server, flow, "latest_datasource_of_top_regions") == [
        ["Turin", "3", "pt_search_app", "2018-05-31 06:20:59", "t"],
        ["Prague", "2", "cheap_mobile", "2018-05-28 09:03:40", "f"],
    ]
    asked = flow.ask("trips", "latest_datasource_of_top_regions")
    assert [each["datasource"] for each in asked] == ["pt_search_app", "cheap_mobile"]
    found = by_hand(database_server, flow, "regions_of_cheap_mobile")
    assert found == [["Prague", "2"], ["Turin", "1"]]


@pytest.fixture
def real(flow: Flow) -> Flow:
    ingestion = flow.run((DATA / "trips" / "trips.csv").read_bytes(), "trips/trips.csv")
    assert flow.account(ingestion) == (100, 100, 0)
    return flow


def assert_weeks(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare an answer with the expected one; groups without trips may be missing."""
    assert found["trips"] == expected["total_trips"]
    assert found["weeks_observed"] == expected["observed_weeks"]
    assert found["weekly_average"] == expected["weekly_average_observed"]
    assert found["weeks_spanned"] == expected.get("span_weeks", 0)
    weeks = {each["week"]: each["trips"] for each in found["per_week"]}
    assert weeks == expected.get("per_week", {})


@needs_real_files
def test_the_real_trips_give_the_expected_weekly_averages(real: Flow) -> None:
    summary = expected_json("trips/summary.json")
    for region, expected in summary["weekly_by_region"].items():
        (found,) = real.ask("trips", "weekly_average", region=region)
        assert_weeks(found, expected)
    for box in summary["weekly_by_bbox"].values():
        for by in ("origin", "destination", "both", "either"):
            expected = next(v for k, v in box.items() if k.startswith(f"by_{by}"))
            (found,) = real.ask("trips", "weekly_average", by=by, **{k: box[k] for k in BOX})
            assert_weeks(found, expected)


@needs_real_files
def test_the_real_trips_form_the_expected_groups(real: Flow) -> None:
    found = real.ask("trips", "groups", limit=1000)
    assert (len(found), found[0]["trips"]) == (93, 3)
    parts = {0: "night", 6: "morning", 12: "afternoon", 18: "evening"}
    names = ("origin_lon", "origin_lat", "destination_lon", "destination_lat")
    groups = Counter(
        (e["region"], *(float(e[n]) for n in names), parts[e["from_hour"]], e["trips"])
        for e in found
    )
    rows = expected_records("trips/groups_region_round1_part_of_day_6h.csv")
    assert groups == Counter((r[0], *map(float, r[1:5]), r[5], int(r[6])) for r in rows)


@needs_real_files
def test_cell_size_and_time_bucket_are_parameters(real: Flow) -> None:
    found = real.ask("trips", "groups", limit=1000, cell_size=0.1, bucket_hours=1)
    groups = Counter(int(each["trips"]) for each in found)
    rows = expected_records("trips/groups_region_round1_hour.csv")
    assert groups == Counter(int(row[-1]) for row in rows)
    hours = Counter((each["region"], int(each["from_hour"])) for each in found)
    assert hours == Counter((row[0], int(row[5].removeprefix("h"))) for row in rows)
    fine = real.ask("trips", "groups", limit=1000, cell_size=0.001)
    assert {each["trips"] for each in fine} == {1}
    coarse = real.ask("trips", "groups", limit=1000, cell_size=5, bucket_hours=24)
    assert sum(each["trips"] for each in coarse) == 100
    assert [each["trips"] for each in coarse] == [38, 34, 28]


@needs_real_files
def test_the_real_trips_answer_the_two_questions(real: Flow, database_server: Server) -> None:
    summary = expected_json("trips/summary.json")
    latest = summary["bonus1"]["latest_per_region"]
    found = by_hand(database_server, real, "latest_datasource_of_top_regions")
    assert [row[0] for row in found] == summary["bonus1"]["two_most_common"]
    answers = {row[0]: {"datasource": row[2], "datetime": row[3]} for row in found}
    assert answers == latest
    assert [row[0] for row in found if row[4] == "t"] == [
        summary["bonus1"]["latest_overall"]["region"]
    ]
    counts = summary["bonus2"]["counts"]
    regions = real.ask("trips", "regions_of_datasource", datasource="cheap_mobile")
    assert {each["region"]: each["trips"] for each in regions} == counts
    by_file = by_hand(database_server, real, "regions_of_cheap_mobile")
    assert {region: int(trips) for region, trips in by_file} == counts


@needs_real_files
def test_the_real_bike_trips_are_all_kept(database: str) -> None:
    flow = Flow(database, chunk_bytes=500_000)
    data = (DATA / "trips" / "jersey_city_2017.csv").read_bytes()
    ingestion = flow.run(data, "trips/jersey_city_2017.csv")
    assert flow.account(ingestion) == (25_127, 25_127, 0)
    facts = flow.one(
        "SELECT count(*) AS trips, count(*) - count(datasource) AS unknown,"
        " count(*) FILTER (WHERE destination_lon = 0 AND destination_lat = 0) AS nowhere,"
        " to_char(min(started_at), 'IYYY-\"W\"IW') AS first_week FROM trips"
    )
    assert tuple(facts) == (25_127, 51, 1, "2016-W52")
    equal = "SELECT region, origin_lon, origin_lat, destination_lon, destination_lat, started_at, datasource"
    repeated = flow.one(
        f"SELECT sum(n - 1) AS n FROM ({equal}, count(*) AS n FROM trips GROUP BY 1, 2, 3, 4, 5, 6, 7)"
    )
    assert repeated.n == 521
    flow.close()
