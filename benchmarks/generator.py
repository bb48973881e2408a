"""Generates trips as the taxis of cities might report them, up to hundreds of millions, from a seed.

Regions of different size, with centres around which origins and destinations are scattered, a year of weeks,
five datasources, and a few malformed rows per million. Row n depends only on the seed, so any part of the
file can be generated alone.

    python benchmarks/generator.py 4000000 trips.csv [--first 0] [--broken 4] [--quoted] [--accented]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from sluice.local.sample import DATASOURCES, HEADER

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Name, longitude, latitude, share of the trips in percent.
REGIONS = (
    ("Paris", 2.3522, 48.8566, 17),
    ("Berlin", 13.405, 52.52, 15),
    ("Madrid", -3.7038, 40.4168, 13),
    ("Rome", 12.4964, 41.9028, 11),
    ("Vienna", 16.3738, 48.2082, 9),
    ("Hamburg", 9.9937, 53.5511, 8),
    ("Warsaw", 21.0122, 52.2297, 7),
    ("Prague", 14.4378, 50.0755, 6),
    ("Lisbon", -9.1393, 38.7223, 5),
    ("Turin", 7.6869, 45.0703, 4),
    ("Oslo", 10.7522, 59.9139, 3),
    ("Zagreb", 15.9819, 45.815, 2),
)
#: The same regions under names that are not ASCII.
ACCENTED = (
    "São Paulo", "Łódź", "Málaga", "Göteborg", "Zürich", "Düsseldorf",
    "Kraków", "Besançon", "Győr", "A Coruña", "Århus", "Plzeň",
)  # fmt: skip
#: One row in so many has a quoted field, in a file with quotes.
QUOTED_EVERY = 5
#: Centres of a region, and the spread of centres and of ends around them, in degrees.
CENTRES = 12
SPREAD_OF_CENTRES = 0.07
SPREAD_OF_ENDS = 0.025
SECONDS_OF_YEAR = 364 * 24 * 3600
FIRST_MONDAY = "2018-01-01"
HASHES = 2.0**64


#: Malformed rows as in real files; each breaks another rule.
BROKEN = (
    "'Paris,POINT (2.3522),POINT (2.36 48.85),2018-05-28 09:03:40,funny_car'",
    "'Berlin,POINT (13.4 52.5),,2018-05-21 02:54:04,baba_car'",
    "'Madrid,POINT (-3.7 40.4),POINT (-3.71 40.41),2018-02-30 10:00:00,cheap_mobile'",
    "',POINT (16.6 49.19),POINT (16.61 49.2),2018-06-01 08:15:30,funny_car'",
)


def write_trips(
    path: Path,
    rows: int,
    *,
    first: int = 0,
    seed: int = 1,
    broken: int = 0,
    threads: int = 2,
    is_quoted: bool = False,
    is_accented: bool = False,
) -> None:
    """Write rows `first` to `first + rows` of the trips of a seed as a CSV file with a header.

    Args:
        path: the file.
        rows: number of rows.
        first: number of the first row.
        seed: seed of the trips.
        broken: malformed rows in a million.
        threads: number of threads.
        is_quoted: quote the datasource in a fifth of the rows.
        is_accented: name the regions with characters that are not ASCII.
    """
    with duckdb.connect(config={"threads": threads}) as connection:
        connection.execute(_TABLES)
        region = "accented" if is_accented else "name"
        source = _quoted("datasource") if is_quoted else "datasource"
        lines = _lines(first, rows, seed, broken, region, source)
        connection.execute(
            f"COPY ({lines}) TO '{path}' (HEADER, DELIMITER '\x01', QUOTE '', ESCAPE '')"
        )


def _listed(rows: Iterable[tuple[object, ...]]) -> str:
    return ", ".join(f"({', '.join(repr(each) for each in row)})" for row in rows)


#: A region for each percent, and the datasources.
_TABLES = f"""
    CREATE TABLE regions AS
    SELECT row_number() OVER (ORDER BY share DESC, name, part) - 1 AS percent, name, accented, lon, lat
    FROM (SELECT *, unnest(range(share)) AS part
        FROM (VALUES {_listed((*each, name) for each, name in zip(REGIONS, ACCENTED, strict=True))})
            AS _(name, lon, lat, share, accented));
    CREATE TABLE datasources AS
    SELECT * FROM (VALUES {_listed(enumerate(DATASOURCES))}) AS _(number, datasource);
"""


def _uniform(seed: int, salt: int) -> str:
    """A number in [0, 1) that depends only on the row, the seed and the salt."""
    return f"(hash(row * 64 + {(seed << 40) + salt}) / {HASHES})"


def _normal(seed: int, salt: int) -> str:
    """A number of the standard normal distribution (Box and Muller)."""
    radius = f"sqrt(-2 * ln(1 - {_uniform(seed, salt)}))"
    return f"({radius} * cos(2 * pi() * {_uniform(seed, salt + 1)}))"


def _end(seed: int, end: str, centre: str, salt: int) -> str:
    """The longitude and latitude of an end, around a centre of the region."""
    return ", ".join(
        f"{axis} + {2 * SPREAD_OF_CENTRES} * (hash(name || {centre} || '{axis}') / {HASHES} - 0.5)"
        f" + {SPREAD_OF_ENDS} * {_normal(seed, salt + 2 * number)} AS {end}_{axis}"
        for number, axis in enumerate(("lon", "lat"))
    )


def _drawn(seed: int, salt: int, values: int, power: int = 1) -> str:
    """An integer below `values`; small ones are more frequent if the power is more than 1."""
    return f"CAST(floor({values} * {_uniform(seed, salt)} ** {power}) AS bigint)"


def _quoted(column: str) -> str:
    return f"CASE WHEN row % {QUOTED_EVERY} = 0 THEN '\"' || {column} || '\"' ELSE {column} END"


def _lines(first: int, rows: int, seed: int, broken: int, region: str, source: str) -> str:
    line = (
        f"{region} || ',POINT (' || origin_lon || ' ' || origin_lat || '),POINT (' || destination_lon || ' '"
        f" || destination_lat || '),' || started_at || ',' || {source}"
    )
    shown = f"list_value({', '.join(BROKEN)})[1 + row % {len(BROKEN)}]"
    return f"""
        SELECT CASE WHEN {_uniform(seed, 0)} < {broken} / 1e6 THEN {shown} ELSE {line} END AS "{HEADER}"
        FROM (
            SELECT row, name, accented, datasource,
                {_end(seed, "origin", "leaves", 10)}, {_end(seed, "destination", "reaches", 20)},
                TIMESTAMP '{FIRST_MONDAY}' + to_seconds({_drawn(seed, 1, SECONDS_OF_YEAR)}) AS started_at
            FROM (
                SELECT row, {_drawn(seed, 2, 100)} AS percent, {_drawn(seed, 3, len(DATASOURCES))} AS number,
                    {_drawn(seed, 4, CENTRES, 2)} AS leaves, {_drawn(seed, 5, CENTRES, 2)} AS reaches
                FROM range({first}, {first + rows}) AS _(row)
            ) JOIN regions USING (percent) JOIN datasources USING (number)
        )
    """


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rows", type=int)
    parser.add_argument("path", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--broken", type=int, default=4, help="malformed rows in a million")
    parser.add_argument(
        "--quoted", action="store_true", help="quote a field in a fifth of the rows"
    )
    parser.add_argument("--accented", action="store_true", help="region names that are not ASCII")
    options = parser.parse_args()
    write_trips(
        options.path,
        options.rows,
        first=options.first,
        seed=options.seed,
        broken=options.broken,
        is_quoted=options.quoted,
        is_accented=options.accented,
    )


if __name__ == "__main__":
    main()
