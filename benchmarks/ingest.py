r"""Measures the load of a file, from the inbox to published rows, as ratios within one run.

Run `make bench`, or `python benchmarks/ingest.py [--rows 4000000] [--rounds 3]`. In a local cloud of its own,
with the same PostgreSQL, each round times

  sluice           from the notification of the object to `done`: split, type, check, load, roll up
  psql \copy       the raw file into five text columns, without types or checks
  execute_values   the csv module and psycopg2's execute_values, on the first rows of the file: the
                   usual hand-written function

and prints the rates, the ratio to `\copy` of each round, the share of each stage and the peak resident
memory of the functions. Quote the median of the ratios.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import psycopg2
from generator import write_trips
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from psycopg2.extras import execute_values

from sluice.local import postgres
from sluice.local.cloud import Cloud
from sluice.local.state import Ports, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1024 * 1024
POLL_S = 0.01
WARMING_FILES = 4
USUAL_ROWS = 200_000
USUAL_PAGE = 1000


@dataclass(frozen=True)
class Round:
    """The result of one round; rates are rows per second."""

    sluice: float
    copy: float
    usual: float
    stages: dict[str, float]
    resident_mib: dict[str, float]

    @property
    def to_copy(self) -> float:
        r"""The rate as a multiple of `\copy`."""
        return self.sluice / self.copy

    @property
    def to_usual(self) -> float:
        """The rate as a multiple of `execute_values`."""
        return self.sluice / self.usual


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loaders", type=int, default=psutil.cpu_count() or 2)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder,
        cloud_in(Path(folder), options.loaders) as cloud,
    ):
        path = Path(folder) / "trips.csv"
        write_trips(path, options.rows)
        print(
            f"{options.rows:,} trips, {path.stat().st_size / 1e6:,.0f} MB, {options.loaders} loaders"
        )
        warm_up(cloud, Path(folder))
        rounds = [measure(cloud, path, number) for number in range(options.rounds)]
    report(rounds)
    if options.json:
        options.json.write_text(json.dumps([asdict(each) for each in rounds], indent=1))


@contextmanager
def cloud_in(folder: Path, loaders: int, **settings: str) -> Iterator[Cloud]:
    """A new local cloud, with settings of its functions."""
    cloud = Cloud(State(folder / "cloud"), Ports.free(), loaders=loaders)
    cloud.settings.update(settings)
    cloud.up()
    try:
        yield cloud
    finally:
        cloud.down()


def warm_up(cloud: Cloud, folder: Path) -> None:
    """Load large and small files concurrently, so that each function has imports and connections ready."""
    path = folder / "warm.csv"
    names = [f"warm-{number}.csv" for number in range(2 * WARMING_FILES)]
    for number, name in enumerate(names):
        write_trips(path, 20_000 if number % 2 else 1000, seed=100 + number)
        upload(cloud, path, name)
    for name in names:
        wait(cloud, name)


def measure(cloud: Cloud, path: Path, number: int) -> Round:
    with psycopg2.connect(libpq(cloud)) as connection, connection.cursor() as cursor:
        cursor.execute("CHECKPOINT")
    copy = copy_rate(cloud, path)
    with resident() as peaks:
        row = ingest(cloud, path, f"round-{number}.csv")
    rate = row["rows"] / row["seconds"]
    result = Round(rate, copy, usual_rate(cloud, path), row["stages"], dict(peaks))
    print(
        f"round {number + 1}: sluice {rate:,.0f} rows/s, \\copy {copy:,.0f}, execute_values "
        f"{result.usual:,.0f}: {result.to_copy:.2f} x \\copy, {result.to_usual:.1f} x execute_values"
    )
    result.stages["compaction, in the background"] = wait_for_compaction(cloud)
    forget(cloud, row["id"])
    return result


def ingest(cloud: Cloud, path: Path, name: str) -> dict[str, Any]:
    """Upload a file and wait until it is published; the time starts with its notification."""
    upload(cloud, path, name)
    return wait(cloud, name)


def upload(cloud: Cloud, path: Path, name: str) -> None:
    """Upload a file of trips."""
    client = storage.Client(
        project="local",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": cloud.storage.url},
    )
    client.bucket("inbox").blob(f"trips/{name}").upload_from_filename(path)


def wait(cloud: Cloud, name: str) -> dict[str, Any]:
    """Wait until a file is published; return its ingestion, rows and timings."""
    with psycopg2.connect(libpq(cloud)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        while True:
            cursor.execute(
                "SELECT id, state, rows_loaded + rows_rejected, problem FROM sluice.ingestions"
                " WHERE object = %s AND state IN ('done', 'failed', 'skipped')",
                (f"trips/{name}",),
            )
            if row := cursor.fetchone():
                break
            time.sleep(POLL_S)
        if row[1] != "done":
            sys.exit(f"the ingestion is {row[1]}: {row[3]}")
        cursor.execute(
            "SELECT state, extract(epoch FROM max(created_at)) FROM sluice.events"
            " WHERE ingestion = %s GROUP BY state",
            (row[0],),
        )
        at = {state: float(second) for state, second in cursor.fetchall()}
    stages = {
        "split, with concurrent loads": at["loading"] - at["received"],
        "load the rest": at["publishing"] - at["loading"],
        "finish": at["done"] - at["publishing"],
    }
    return {
        "id": row[0],
        "rows": row[2],
        "seconds": at["done"] - at["received"],
        "stages": stages,
    }


def wait_for_compaction(cloud: Cloud) -> float:
    """Wait until the projections are complete; return the seconds since `done`."""
    with psycopg2.connect(libpq(cloud)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        while True:
            cursor.execute(
                "SELECT extract(epoch FROM max(compacted_at - published_at)) FROM sluice.publications"
                " LEFT JOIN sluice.segments ON segments.id = segment"
                " HAVING bool_and(compacted_at IS NOT NULL)"
            )
            if row := cursor.fetchone():
                return float(row[0])
            time.sleep(POLL_S)


def forget(cloud: Cloud, ingestion: int) -> None:
    """Empty the tables, so that the same content can be loaded again."""
    with psycopg2.connect(libpq(cloud)) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE sluice.ingestions SET state = 'undone' WHERE id = %s", (ingestion,))
        cursor.execute("DELETE FROM sluice.publications")
        cursor.execute("DELETE FROM sluice.segments")
        cursor.execute(
            "SELECT string_agg(CAST(pg_class.oid AS regclass)::text, ', ') FROM pg_class JOIN pg_attribute"
            " ON attrelid = pg_class.oid WHERE relnamespace = 'store'::regnamespace AND relkind = 'r'"
            " AND relname LIKE 'trips%' AND attname IN ('ingestion', 'segment')"
        )
        found = cursor.fetchone()
        cursor.execute(f"TRUNCATE {found[0] if found else ''}")


def copy_rate(cloud: Cloud, path: Path) -> float:
    columns = "region text, origin text, destination text, started_at text, datasource text"
    sql(cloud, f"DROP TABLE IF EXISTS raw_trips; CREATE TABLE raw_trips ({columns})")
    started = time.perf_counter()
    sql(cloud, f"\\copy raw_trips FROM '{path}' (FORMAT csv, HEADER)")
    seconds = time.perf_counter() - started
    rows = int(sql(cloud, "SELECT count(*) FROM raw_trips"))
    sql(cloud, "DROP TABLE raw_trips")
    return rows / seconds


def usual_rate(cloud: Cloud, path: Path) -> float:
    """The usual hand-written function: parse, convert and insert in pages."""
    with psycopg2.connect(libpq(cloud)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE usual_trips (region text, origin_lon float8, origin_lat float8,"
            " destination_lon float8, destination_lat float8, started_at timestamp, datasource text)"
        )
        started = time.perf_counter()
        with path.open(newline="") as file:
            rows = islice(usual_rows(file), USUAL_ROWS)
            statement = "INSERT INTO usual_trips VALUES %s"
            execute_values(cursor, statement, rows, page_size=USUAL_PAGE)
        connection.commit()
        seconds = time.perf_counter() - started
        cursor.execute("SELECT count(*) FROM usual_trips")
        found = cursor.fetchone()
    return (found[0] if found else 0) / seconds


def usual_rows(file: Any) -> Iterator[tuple[Any, ...]]:
    for row in csv.DictReader(file):
        try:
            lon, lat = row["origin_coord"][7:-1].split(" ")
            to_lon, to_lat = row["destination_coord"][7:-1].split(" ")
            started_at = time.strptime(row["datetime"], "%Y-%m-%d %H:%M:%S")
            yield (
                row["region"],
                float(lon),
                float(lat),
                float(to_lon),
                float(to_lat),
                time.strftime("%Y-%m-%d %H:%M:%S", started_at),
                row["datasource"],
            )
        except ValueError:
            continue


@contextmanager
def sampled(sample: Callable[[], object], every_s: float = 0.2) -> Iterator[None]:
    """Call a function every so often in another thread, until the block ends."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(every_s):
            sample()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def resident() -> Iterator[dict[str, float]]:
    """Record the peak resident memory of each function of this cloud, in MiB."""
    peaks: dict[str, float] = {}

    def sample() -> None:
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                words = process.cmdline()
                if "functions_framework" in words and "--target" in words:
                    name = words[words.index("--target") + 1]
                    size = process.memory_info().rss / MIB
                    peaks[name] = max(peaks.get(name, 0.0), size)

    with sampled(sample):
        yield peaks


def report(rounds: list[Round]) -> None:
    best = sorted(rounds, key=lambda each: each.to_copy)[len(rounds) // 2]
    compaction_s = best.stages.pop("compaction, in the background")
    total = sum(best.stages.values())
    for name, seconds in best.stages.items():
        print(f"  {name:26} {seconds:6.2f} s  {seconds / total:4.0%}")
    print(f"  {'compaction, afterwards':26} {compaction_s:6.2f} s")
    for name, size in sorted(best.resident_mib.items()):
        print(f"  {name:26} {size:6.0f} MiB peak resident memory")
    to_copy = statistics.median(each.to_copy for each in rounds)
    to_usual = statistics.median(each.to_usual for each in rounds)
    print(f"median: {to_copy:.2f} x \\copy, {to_usual:.1f} x csv + execute_values")


def libpq(cloud: Cloud) -> str:
    url = cloud.database.url()
    return url.replace("postgresql+pg8000://", "postgresql://")


def sql(cloud: Cloud, statement: str) -> str:
    psql = postgres.binaries() / "psql"
    command = [str(psql), "-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", libpq(cloud), "-c"]
    commands = statement.split("; ") if not statement.startswith("\\") else [statement]
    outputs = [
        subprocess.run([*command, each], check=True, capture_output=True, text=True).stdout
        for each in commands
    ]
    return outputs[-1].strip()


if __name__ == "__main__":
    main()
