"""A sample of trips for the demo: made from a seed, the same on every machine.

Trips run between the hubs of some cities over weeks of 2018, more by day than by night, and a few
rows are broken the way real files are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

HEADER = "region,origin_coord,destination_coord,datetime,datasource"
FIRST_DAY = np.datetime64("2018-04-30T00:00:00")  # a Monday
WEEKS = 8
DATASOURCES = ("funny_car", "baba_car", "cheap_mobile", "bad_diesel_vehicles", "pt_search_app")
DATASOURCE_SHARES = (0.31, 0.24, 0.21, 0.14, 0.10)
# Trips that begin in each hour of the day, relative: a morning and an evening peak.
HOURS = (2, 1, 1, 1, 2, 4, 9, 15, 17, 11, 9, 10, 11, 10, 10, 12, 16, 19, 17, 13, 9, 7, 5, 3)
HUB_SPREAD_DEGREES = 0.012
BLOCK_ROWS = 50_000


@dataclass(frozen=True)
class City:
    """A region and its hubs as (longitude, latitude)."""

    region: str
    share: float
    hubs: tuple[tuple[float, float], ...]


CITIES = (
    City("Prague", 0.34, ((14.4208, 50.0880), (14.4660, 50.1030), (14.2632, 50.1018), (14.4890, 50.0340))),
    City("Turin", 0.26, ((7.6781, 45.0621), (7.6433, 45.1097), (7.6550, 45.0313), (7.6520, 45.2000))),
    City("Hamburg", 0.22, ((9.9937, 53.5511), (10.0067, 53.5528), (9.9882, 53.6304), (9.9350, 53.5480))),
    City("Brno", 0.11, ((16.6068, 49.1951), (16.6100, 49.1900), (16.5760, 49.2270))),
    City("Lyon", 0.07, ((4.8357, 45.7640), (4.8590, 45.7606), (5.0810, 45.7256))),
)  # fmt: skip

# What real files hold: each is refused with its line, its column and the reason.
BROKEN_ROWS = (
    "Prague,POINT (14.4973794438195),POINT (14.43 50.04),2018-05-28 09:03:40,funny_car",
    "Turin,POINT (7.672837913286881 44.9957109242058),,2018-05-21 02:54:04,baba_car",
    "Hamburg,POINT (9.99 53.55),POINT (10.01 53.56),2018-02-30 10:00:00,cheap_mobile",
    "Prague,POINT (14.41 50.08),POINT (14.44 50.07),yesterday,pt_search_app",
    "Lyon,4.8357 45.7640,POINT (4.85 45.75),2018-05-09 17:45:00,cheap_mobile",
    ",POINT (16.6 49.19),POINT (16.61 49.2),2018-06-01 08:15:30,funny_car",
    "Turin,POINT (7.68 145.06),POINT (7.65 45.03),2018-05-30 21:12:09,bad_diesel_vehicles",
    "Brno,POINT (16.6 49.19),POINT (16.61 49.2),2018-06-04 07:58:00,funny_car,sent again",
)  # fmt: skip

#: A file that nobody declared, as a shop in Germany would write it.
STATIONS = """\
Stand: 01.06.2018
Nr.;Station;Eröffnet;Breite;Länge;Preis je Stunde;aktiv
0017;Dammtor;03.04.2017;53,5608;9,9897;1.250,50;ja
0018;Altona;28.05.2017;53,5527;9,9350;975,00;ja
0019;"Hafen; Ost";15.11.2017;53,5406;10,0131;1.100,00;nein
0020;Ohlsdorf;31.01.2018;53,6304;9,9882;820,25;ja
0021;Barmbek;;53,5872;10,0447;;nein
"""


def write_stations(path: Path) -> None:
    """Write the file of stations."""
    path.write_text(STATIONS, encoding="cp1252")


def write_sample(path: Path, rows: int, seed: int = 2018) -> None:
    """Write a CSV file of trips, its few broken rows among them.

    Args:
        path: the file; written atomically.
        rows: number of valid rows.
        seed: of the random generator.
    """
    generator = np.random.default_rng(seed)
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(f"{HEADER}\n")
        for first in range(0, rows, BLOCK_ROWS):
            lines = list(trip_lines(generator, min(BLOCK_ROWS, rows - first)))
            if first == 0:
                _break(lines, generator)
            file.write("\n".join(lines) + "\n")
    partial.replace(path)


def trip_lines(generator: np.random.Generator, rows: int) -> Iterator[str]:
    """Yield `rows` trips as CSV lines."""
    cities = generator.choice(len(CITIES), rows, p=[city.share for city in CITIES])
    origins, destinations = _places(generator, cities), _places(generator, cities)
    sources = generator.choice(len(DATASOURCES), rows, p=DATASOURCE_SHARES)
    times = np.datetime_as_string(_times(generator, rows))
    columns = (cities.tolist(), origins.tolist(), destinations.tolist(), times.tolist())
    for city, (lon, lat), (to_lon, to_lat), time, source in zip(
        *columns, sources.tolist(), strict=True
    ):
        yield (
            f"{CITIES[city].region},POINT ({lon} {lat}),POINT ({to_lon} {to_lat}),"
            f"{time.replace('T', ' ')},{DATASOURCES[source]}"
        )


def _places(generator: np.random.Generator, cities: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a place near a hub of each trip's city: an array of shape (trips, 2)."""
    places = generator.normal(0.0, HUB_SPREAD_DEGREES, (len(cities), 2))
    for number, city in enumerate(CITIES):
        here = cities == number
        hubs = np.asarray(city.hubs)
        places[here] += hubs[generator.integers(len(hubs), size=int(here.sum()))]
    return places


def _times(generator: np.random.Generator, rows: int) -> NDArray[np.datetime64]:
    days = generator.integers(0, 7 * WEEKS, rows)
    hours = generator.choice(24, rows, p=np.asarray(HOURS) / sum(HOURS))
    seconds = days * 86_400 + hours * 3_600 + generator.integers(0, 3_600, rows)
    return FIRST_DAY + seconds.astype("timedelta64[s]")


def _break(lines: list[str], generator: np.random.Generator) -> None:
    for row in BROKEN_ROWS:
        lines.insert(int(generator.integers(len(lines))), row)
