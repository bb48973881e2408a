"""Measures what inference costs: the same file into an undeclared and into a declared dataset.

Run `python benchmarks/infer.py [--rows 2000000] [--rounds 3]`. In a local cloud of its own, each round
loads a file of trips into a folder that nobody declared, then into a dataset declared with the columns that
were inferred, and prints the ratio of the two times, from the notification of the object to `done`. The
target is 1.5. Also printed: the peak resident memory of the functions, which inference must not raise.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import psycopg2
from generator import write_trips
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from ingest import cloud_in, libpq, resident, warm_up

from sluice.postgres.connection import new_engine
from sluice.postgres.declare import declare
from sluice.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sluice.local.cloud import Cloud

POLL_S = 0.01
#: What makes a declaration change with further files; a declared dataset has none of it.
_CHANGING = ("dialect", "new_columns", "unfitting")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loaders", type=int, default=psutil.cpu_count() or 2)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="sluice-infer-") as folder,
        cloud_in(Path(folder), options.loaders) as cloud,
    ):
        path = Path(folder) / "trips.csv"
        write_trips(path, options.rows)
        size_mb = path.stat().st_size / 1e6
        print(f"{options.rows:,} trips, {size_mb:,.0f} MB, {options.loaders} loaders")
        warm_up(cloud, Path(folder))
        small = Path(folder) / "small.csv"
        write_trips(small, 20_000, seed=7)
        load(cloud, small, "warm")
        ratios = [measure(cloud, path, number) for number in range(options.rounds)]
    print(f"median: undeclared takes {statistics.median(ratios):.2f} x declared (target 1.5)")


def measure(cloud: Cloud, path: Path, number: int) -> float:
    with resident() as peaks:
        undeclared_s = load(cloud, path, f"undeclared_{number}")
    inferred = dict(peaks)
    declare_same(cloud, f"undeclared_{number}", f"declared_{number}")
    with resident() as peaks:
        declared_s = load(cloud, path, f"declared_{number}")
    ratio = undeclared_s / declared_s
    print(
        f"round {number + 1}: undeclared {undeclared_s:.2f} s, declared {declared_s:.2f} s,"
        f" ratio {ratio:.2f}; MiB undeclared {_memory(inferred)}, declared {_memory(dict(peaks))}"
    )
    return ratio


def _memory(peaks: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {peak:.0f}" for name, peak in sorted(peaks.items()))


def load(cloud: Cloud, path: Path, dataset: str) -> float:
    """Upload a file and wait until it is published; return the seconds since its notification."""
    client = storage.Client(
        project="local",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": cloud.storage.url},
    )
    client.bucket("inbox").blob(f"{dataset}/trips.csv").upload_from_filename(path)
    with psycopg2.connect(libpq(cloud)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        while True:
            cursor.execute(
                "SELECT state, problem, extract(epoch FROM finished_at - received_at)"
                " FROM sluice.ingestions WHERE dataset = %s AND finished_at IS NOT NULL",
                (dataset,),
            )
            if row := cursor.fetchone():
                break
            time.sleep(POLL_S)
    if row[0] != "done":
        sys.exit(f"the ingestion is {row[0]}: {row[1]}")
    return float(row[2])


def declare_same(cloud: Cloud, inferred: str, name: str) -> None:
    """Declare a dataset with the columns of another, which does not change with its files."""
    with psycopg2.connect(libpq(cloud)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT declaration FROM sluice.datasets WHERE name = %s", (inferred,))
        (found,) = cursor.fetchone() or ({},)
    document: dict[str, Any] = {key: found[key] for key in found if key not in _CHANGING}
    engine = new_engine(Settings(database_url=cloud.database.url()))
    declare(engine, {**document, "name": name}, origin="api")
    engine.dispose()


if __name__ == "__main__":
    main()
