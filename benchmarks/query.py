"""Measures queries as ratios to Datasette, which serves the same table on the same machine in one run.

Run `python benchmarks/query.py [--csv FILE] [--seconds 5] [--rounds 3]`. It needs network access to install
Datasette into a separate environment. The titles are generated, or from a CSV (`show_id,type,title,...`).
Each round sends, with several concurrent clients, requests for

  rows      a page of 100 rows
  filtered  a page of 100 rows of a year
  title     the rows of one exact title, one of 300 in turn

to Datasette (SQLite, with indexes on the filtered columns), to Sluice with default settings, and to Sluice
without a response cache (SLUICE_CACHE_S=0). All are warm: each has answered each of these requests before.
It also times the SQL statement of the title query alone. Quote the median of the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import itertools
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import aiohttp
import psycopg2

from sluice.datasets.declarations import folder_document
from sluice.datasets.sql_headers import parse_query
from sluice.datasets.sql_text import with_parameters
from sluice.local import postgres
from sluice.local.cloud import Cloud
from sluice.local.state import CHECKOUT, Ports, State

if TYPE_CHECKING:
    from collections.abc import Iterator

DATASET = CHECKOUT / "sql" / "datasets" / "titles"
STATEMENTS = 2000
TITLES = 300
#: As many as a catalogue of films and series has.
GENERATED_ROWS = 8_807
HEADER = (
    "show_id", "type", "title", "director", "cast", "country", "date_added", "release_year", "rating",
    "duration", "listed_in", "description",
)  # fmt: skip
WORDS = (
    "after", "the", "last", "night", "of", "a", "red", "river", "house", "without", "winter", "king",
    "in", "love", "and", "war", "lost", "summer", "girl", "from", "city", "dark", "water", "two", "hearts",
)  # fmt: skip
COUNTRIES = ("France", "India", "Japan", "Kenya", "Spain", "United States", "Peru", "Poland")
NextPath = "Callable[[], str]"


@dataclass(frozen=True)
class Rate:
    """The result of one server in one round: requests per second, and their 95th percentile."""

    per_s: float
    p95_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        where = Path(folder)
        path = options.csv or generate(where / "titles.csv")
        with (
            datasette(where, path) as other,
            sluice(where / "kept", path) as kept,
            sluice(where / "fresh", path, SLUICE_CACHE_S="0") as fresh,
        ):
            titles = random.Random(1).sample(titles_of(path), TITLES)
            servers = {"datasette": other, "sluice": kept.url, "sluice, no cache": fresh.url}
            measured = [
                measure(servers, titles, options.seconds, options.clients)
                for _ in range(options.rounds)
            ]
            report(measured)
            report_statement(fresh, titles)


def generate(path: Path) -> Path:
    """Write titles, the same at each run."""
    chance = random.Random(1)

    def words(least: int, most: int) -> str:
        return " ".join(chance.choices(WORDS, k=chance.randint(least, most)))

    def names(most: int) -> str:
        return ", ".join(words(2, 2).title() for _ in range(chance.randint(0, most)))

    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for number in range(1, GENERATED_ROWS + 1):
            is_film = chance.random() < 0.7
            country = ", ".join(chance.sample(COUNTRIES, chance.randint(0, 3)))
            added = date(2015, 1, 1) + timedelta(days=chance.randrange(2_500))
            year = added.year - int(chance.expovariate(0.3))
            length = (
                f"{chance.randint(60, 180)} min" if is_film else f"{chance.randint(1, 9)} Seasons"
            )
            kind, title = "Movie" if is_film else "TV Show", f"{words(1, 4)} {number}".title()
            people = names(1), names(9)
            listed = words(1, 3).title(), words(15, 30)
            when = f"{added:%B %d, %Y}", year
            writer.writerow(
                (f"s{number}", kind, title, *people, country, *when, "PG", length, *listed)
            )
    return path


def titles_of(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [row["title"] for row in csv.DictReader(file)]


@contextmanager
def sluice(folder: Path, path: Path, **settings: str) -> Iterator[Cloud]:
    """A local cloud with the titles loaded."""
    cloud = Cloud(State(folder), Ports.free(), loaders=1, flags=postgres.TEST_FLAGS)
    cloud.settings.update(settings)
    cloud.up()
    try:
        command = [sys.executable, "-m", "sluice.cli.main", "--url", cloud.url]
        load = [*command, "load", str(path), "--dataset", DATASET.name]
        subprocess.run(load, check=True, capture_output=True)
        yield cloud
    finally:
        cloud.down()


@contextmanager
def datasette(folder: Path, path: Path) -> Iterator[str]:
    """A Datasette over the same table, with indexes on the filtered columns."""
    environment, database = folder / "datasette", folder / "titles.db"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    subprocess.run(
        [environment / "bin/pip", "install", "--quiet", "datasette"],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    fill(database, path)
    port = Ports.free().gateway
    # Disable what Sluice does not do either: counting rows and suggesting facets with each page.
    settings = ("suggest_facets", "0"), ("default_page_size", "100"), ("num_sql_threads", "3")
    options = [text for each in settings for text in ("--setting", *each)]
    process = subprocess.Popen(
        [environment / "bin/datasette", "serve", database, "--port", str(port), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def fill(database: Path, path: Path) -> None:
    with (
        sqlite3.connect(database) as connection,
        path.open(encoding="utf-8-sig", newline="") as file,
    ):
        rows = csv.reader(file)
        names = ", ".join(f'"{name}"' for name in next(rows))
        connection.execute(f"CREATE TABLE titles ({names}, PRIMARY KEY (show_id))")
        places = ", ".join("?" * (names.count(",") + 1))
        connection.executemany(f"INSERT INTO titles VALUES ({places})", rows)
        connection.execute("CREATE INDEX titles_title ON titles (title)")
        connection.execute("CREATE INDEX titles_year ON titles (release_year)")


def paths(server: str, titles: list[str]) -> dict[str, NextPath]:
    """Return the kinds of requests of a server, each a function that returns the next path."""
    turn = itertools.cycle(titles)
    if server == "datasette":
        table = "/titles/titles.json?_shape=objects&_size=100&_nocount=1&_nofacet=1"
        return {
            "rows": lambda: table,
            "filtered": lambda: f"{table}&release_year=2019",
            "title": lambda: f"{table}&{urlencode({'title__exact': next(turn)})}",
        }
    base = f"/v1/datasets/{DATASET.name}"
    return {
        "rows": lambda: f"{base}/rows?limit=100",
        "filtered": lambda: f"{base}/rows?limit=100&release_year=eq.2019",
        "title": lambda: f"{base}/queries/title?{urlencode({'title': next(turn)})}",
    }


def measure(
    servers: dict[str, str], titles: list[str], seconds: float, clients: int
) -> dict[tuple[str, str], Rate]:
    """Send each kind of request to each server for the given time."""
    found = {}
    for kind in ("rows", "filtered", "title"):
        for server, url in servers.items():
            next_path = paths(server, titles)[kind]
            asyncio.run(warm(url, next_path, TITLES))
            found[kind, server] = asyncio.run(request(url, next_path, seconds, clients))
    return found


async def warm(url: str, next_path: NextPath, requests: int) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(requests):
            async with session.get(url + next_path()) as answer:
                await answer.read()
                answer.raise_for_status()


async def request(url: str, next_path: NextPath, seconds: float, clients: int) -> Rate:
    times_s: list[float] = []
    until = time.perf_counter() + seconds

    async def client(session: aiohttp.ClientSession) -> None:
        while (began := time.perf_counter()) < until:
            async with session.get(url + next_path()) as answer:
                await answer.read()
                answer.raise_for_status()
            times_s.append(time.perf_counter() - began)

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    return Rate(len(times_s) / seconds, statistics.quantiles(times_s, n=20)[-1] * 1000)


def report(measured: list[dict[tuple[str, str], Rate]]) -> None:
    print(f"{'request':10} {'server':18} {'requests/s':>10} {'p95 ms':>8} {'to datasette':>13}")
    for kind, server in measured[0]:
        rates = [each[kind, server] for each in measured]
        ratios = [each[kind, server].per_s / each[kind, "datasette"].per_s for each in measured]
        print(
            f"{kind:10} {server:18} {statistics.median(r.per_s for r in rates):10.0f}"
            f" {statistics.median(r.p95_ms for r in rates):8.1f} {statistics.median(ratios):12.2f}x"
        )


def report_statement(cloud: Cloud, titles: list[str]) -> None:
    """Time the SQL statement of the title query, sent directly to PostgreSQL."""
    query = parse_query("title", folder_document(DATASET)["queries"]["title"])
    sql = with_parameters(query.sql.replace("%", "%%"), ("title",), lambda name: f"%({name})s")
    times_ms = []
    address = cloud.database.url().replace("+pg8000", "")
    with psycopg2.connect(address) as connection, connection.cursor() as cursor:
        for number in range(STATEMENTS):
            began = time.perf_counter()
            cursor.execute(sql, {"title": titles[number % len(titles)]})
            cursor.fetchall()
            times_ms.append((time.perf_counter() - began) * 1000)
    p95 = statistics.quantiles(times_ms, n=20)[-1]
    print(
        f"title, the statement alone: median {statistics.median(times_ms):.2f} ms, p95 {p95:.2f} ms"
    )


if __name__ == "__main__":
    main()
