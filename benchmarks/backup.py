r"""Measures backups and restores, as ratios to pg_dump and pg_restore in the same run.

Run `python benchmarks/backup.py [--rows 5000000] [--rounds 3]`. In a local cloud of its own, with rows loaded
from files, each round times, with backups and archives on the same disk,

  sluice       `POST /v1/backups`, then a restore of it to a copy, for Avro and for Parquet
  PostgreSQL   `pg_dump -Fc` of the dataset's tables, then `pg_restore` into an empty database, both with
               their defaults

and prints the rows per second of both steps together, the ratio of each round, and the size of the backup.
The copy is compared with the dataset once. Quote the median of the ratios.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from generator import write_trips
from ingest import cloud_in, ingest, sql

from sluice.client import Client
from sluice.local import postgres

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluice.local.cloud import Cloud

FILE_ROWS = 1_000_000
DATASET = "trips"
TARGET_DATABASE = "restored"
FORMATS = ("avro", "parquet")


@dataclass(frozen=True)
class Timing:
    """Seconds of a backup and its restore, and the size of the backup."""

    backup_s: float
    restore_s: float
    size_bytes: int

    @property
    def seconds(self) -> float:
        """Seconds of both."""
        return self.backup_s + self.restore_s

    def line(self, rows: int) -> str:
        """One line of the report."""
        return (
            f"{rows / self.seconds:>9,.0f} rows/s: backup {self.backup_s:5.1f} s, restore "
            f"{self.restore_s:5.1f} s, {self.size_bytes / 1e6:,.0f} MB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ratios: dict[str, list[float]] = {kind: [] for kind in FORMATS}
    with (
        tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder,
        cloud_in(Path(folder), loaders=2) as cloud,
    ):
        rows = fill(cloud, Path(folder), options.rows)
        print(f"{rows:,} trips")
        for number in range(1, options.rounds + 1):
            theirs = dump_and_restore(cloud, Path(folder))
            print(f"round {number}  PostgreSQL  {theirs.line(rows)}")
            for kind in FORMATS:
                ours = back_up_and_restore(cloud, kind)
                ratios[kind].append(theirs.seconds / ours.seconds)
                print(
                    f"         {kind:<10}  {ours.line(rows)}: {ratios[kind][-1]:.2f} x PostgreSQL"
                )
        with Client(cloud.url) as client:
            newest = client.backups.all()[0]["id"]
            equal = client.backups.compare(newest)["equal"]
    for kind, found in ratios.items():
        print(f"{kind}: {statistics.median(found):.2f} x pg_dump and pg_restore (median)")
    print(f"the copy is equal: {equal}")


def fill(cloud: Cloud, folder: Path, rows: int) -> int:
    """Load files until the dataset has the given number of rows; return the actual number."""
    path = folder / "trips.csv"
    for seed, first in enumerate(range(0, rows, FILE_ROWS)):
        write_trips(path, min(FILE_ROWS, rows - first), seed=seed)
        ingest(cloud, path, f"{seed}.csv")
    path.unlink()
    sql(cloud, f"VACUUM ANALYZE store.{DATASET}")
    return int(sql(cloud, f"SELECT count(*) FROM {DATASET}"))


def dump_and_restore(cloud: Cloud, folder: Path) -> Timing:
    archive = folder / "trips.dump"
    tables = ("-t", f"store.{DATASET}", "-t", f"store.{DATASET}__*")
    sql(cloud, f"DROP DATABASE IF EXISTS {TARGET_DATABASE}")
    sql(cloud, f"CREATE DATABASE {TARGET_DATABASE}")
    program(cloud, "psql", TARGET_DATABASE, "-XAtqc", "CREATE SCHEMA store")
    flush(cloud)
    backup_s = timed(
        lambda: program(cloud, "pg_dump", postgres.DATABASE, "-Fc", *tables, "-f", str(archive))
    )
    flush(cloud)
    restore_s = timed(lambda: program(cloud, "pg_restore", TARGET_DATABASE, str(archive)))
    return Timing(backup_s, restore_s, archive.stat().st_size)


def back_up_and_restore(cloud: Cloud, kind: str) -> Timing:
    with Client(cloud.url) as client:
        flush(cloud)
        began = time.perf_counter()
        backup = client.backups.make([DATASET], kind)
        backup_s = time.perf_counter() - began
        flush(cloud)
        restore_s = timed(lambda: client.backups.restore(backup["id"]))
    return Timing(backup_s, restore_s, backup["size_bytes"])


def flush(cloud: Cloud) -> None:
    """Flush pending writes, so that no step pays for those of another."""
    sql(cloud, "CHECKPOINT")
    os.sync()


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def program(cloud: Cloud, name: str, database: str, *arguments: str) -> None:
    place = ["-h", "127.0.0.1", "-p", str(cloud.ports.postgres), "-U", postgres.SUPERUSER]
    command = [str(postgres.binaries() / name), *place, "-d", database, *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
