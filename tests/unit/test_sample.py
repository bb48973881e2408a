"""The demo's sample: trips that look like trips, the same each time."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING

from case_files import run

from sluice.local.sample import (
    BROKEN_ROWS,
    CITIES,
    DATASOURCES,
    HEADER,
    write_sample,
    write_stations,
)

if TYPE_CHECKING:
    from pathlib import Path

POINT = re.compile(r"POINT \((-?\d+\.\d+) (-?\d+\.\d+)\)")


def test_the_sample_has_the_given_number_of_trips_and_the_broken_rows(tmp_path: Path) -> None:
    write_sample(tmp_path / "trips.csv", 1000)
    header, *lines = (tmp_path / "trips.csv").read_text().splitlines()
    assert header == HEADER
    assert len(lines) == 1000 + len(BROKEN_ROWS)
    assert set(BROKEN_ROWS) <= set(lines)


def test_trips_are_valid_and_near_their_city(tmp_path: Path) -> None:
    write_sample(tmp_path / "trips.csv", 1000)
    hubs = {city.region: city.hubs for city in CITIES}
    with (tmp_path / "trips.csv").open() as file:
        rows = [row for row in csv.reader(file) if ",".join(row) not in BROKEN_ROWS][1:]
    assert len(rows) == 1000
    for region, origin, destination, time, source in rows:
        assert source in DATASOURCES
        assert re.fullmatch(r"2018-0[456]-\d\d \d\d:\d\d:\d\d", time)
        for place in (origin, destination):
            lon, lat = map(float, POINT.fullmatch(place).groups())
            assert min(abs(lon - x) + abs(lat - y) for x, y in hubs[region]) < 0.2


def test_a_seed_gives_the_same_sample(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_sample(tmp_path / name, 200, seed)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_the_stations_are_understood_without_a_declaration(tmp_path: Path) -> None:
    write_stations(tmp_path / "stations.csv")
    found = run((tmp_path / "stations.csv").read_bytes())
    assert (found.records, found.rows) == (5, 5)
    assert {each.name: str(each.type) for each in found.dataset.columns} == {
        "nr": "text",
        "station": "text",
        "eroffnet": "date",
        "breite": "numeric",
        "lange": "numeric",
        "preis_je_stunde": "numeric",
        "aktiv": "text",
    }
