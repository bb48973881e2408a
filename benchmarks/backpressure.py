"""Measures a flood: many files at once into one dataset, beside a quiet one that gets a file at a time.

Run `python benchmarks/backpressure.py [--files 10000] [--keyed] [--connections N] [--json FILE]`. In a local
cloud of its own it uploads small files of a quiet dataset, one after the other, and measures the time of
each from the upload to `done`: first alone, then until the flood is done. For the flood it places files of
another dataset in the inbox and publishes their notifications together. It prints the ratio of the 95th
percentiles, and the peaks of memory and of connections of each function. It checks that every file is done,
that the accounts balance, and that no message became a dead letter; exits with 1 if not.

With `--keyed` both datasets have a key, so that each file passes split, load and finish; without, they are
loaded by group commit. With `--connections` the database takes no more connections than that.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import ingest
import psutil
import psycopg2
import seeding

from sluice.local import postgres
from sluice.local.cloud import Cloud
from sluice.local.postgres import SUPERUSER
from sluice.local.pubsub import ControlClient
from sluice.local.state import PROJECT, Ports, State

if TYPE_CHECKING:
    from collections.abc import Sequence

ROWS = 50
QUIET_ROWS = 20
PAUSE_S = 0.3
POLL_S = 0.05
TIMEOUT_S = 3600.0
ALONE = 20
HEADER = "id,name\n"
COLUMNS = [{"name": "id", "type": "integer", "required": True}, {"name": "name", "type": "text"}]
FLOOD, QUIET = "flooded", "quiet"


@dataclass
class Figures:
    """The result of a run: times in seconds, memory in MiB."""

    files: int
    seconds: float = 0.0
    alone_s: list[float] = field(default_factory=list)
    quiet_s: list[float] = field(default_factory=list)
    states: dict[str, int] = field(default_factory=dict)
    unbalanced: int = 0
    dead_letters: int = 0
    resident_mib: dict[str, float] = field(default_factory=dict)
    connections: dict[str, int] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Of the 95th percentile beside the flood to that alone."""
        return p95(self.quiet_s) / p95(self.alone_s)

    @property
    def has_failed(self) -> bool:
        """Whether anything but slowness happened."""
        return bool(self.unbalanced or self.dead_letters or set(self.states) - {"done"})

    def report(self) -> str:
        """Return the figures as text."""
        memory = ", ".join(f"{n} {size:.0f} MiB" for n, size in sorted(self.resident_mib.items()))
        connections = ", ".join(f"{n} {count}" for n, count in sorted(self.connections.items()))
        return (
            f"{self.files:,} files in {self.seconds:.0f} s, {self.files / self.seconds:.1f} files/s\n"
            f"{len(self.alone_s)} small files alone: {shown(self.alone_s)}\n"
            f"{len(self.quiet_s)} small files beside the flood: {shown(self.quiet_s)}\n"
            f"95th percentile beside the flood / alone: {self.ratio:.1f}\n"
            f"states {self.states}, {self.unbalanced} unbalanced, {self.dead_letters} dead letters\n"
            f"peak resident memory: {memory}\n"
            f"peak connections: {connections}"
        )


def p95(times_s: Sequence[float]) -> float:
    """Return the 95th percentile."""
    if len(times_s) == 1:
        return times_s[0]
    return statistics.quantiles(times_s, n=20, method="inclusive")[-1]


def shown(times_s: Sequence[float]) -> str:
    """Return median, 95th percentile and maximum as text."""
    median_s = statistics.median(times_s)
    return f"median {median_s:.2f} s, 95th percentile {p95(times_s):.2f} s, maximum {max(times_s):.2f} s"


def main() -> None:
    """Run the flood and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--loaders", type=int, default=psutil.cpu_count() or 2)
    parser.add_argument("--keyed", action="store_true", help="both datasets have a key")
    parser.add_argument("--connections", type=int, help="max_connections of the database")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    flags = dict(postgres.FLAGS)
    if options.connections:
        flags["max_connections"] = str(options.connections)
    with tempfile.TemporaryDirectory(prefix="sluice-flood-") as folder:
        cloud = Cloud(State(Path(folder)), Ports.free(), loaders=options.loaders, flags=flags)
        cloud.up()
        try:
            figures = Flood(cloud, is_keyed=options.keyed).run(options.files)
        finally:
            cloud.down()
    sys.stdout.write(figures.report() + "\n")
    if options.json:
        document = {**asdict(figures), "ratio": figures.ratio}
        options.json.write_text(json.dumps(document, indent=1))
    sys.exit(1 if figures.has_failed else 0)


class Flood:
    """One run in a local cloud."""

    def __init__(self, cloud: Cloud, *, is_keyed: bool) -> None:
        self._cloud = cloud
        self._is_keyed = is_keyed
        self._database = psycopg2.connect(ingest.libpq(cloud), user=SUPERUSER)
        self._database.autocommit = True

    def run(self, files: int) -> Figures:
        """Load the files, and small ones beside them."""
        figures = Figures(files)
        for name in (FLOOD, QUIET):
            key = {"key": ["id"]} if self._is_keyed else {}
            document = {"name": name, "columns": COLUMNS, **key}
            httpx.put(
                f"{self._cloud.url}/v1/datasets/{name}", json=document, timeout=60
            ).raise_for_status()
        self._load_quiet(0)  # the first file pays for imports and connections
        figures.alone_s = [self._load_quiet(1 + number) for number in range(ALONE)]
        objects = {}
        for number in range(files):
            name = f"{FLOOD}/{number}.csv"
            path = seeding.place(self._cloud, name)
            path.write_text(HEADER + "".join(f"{number * ROWS + n},name\n" for n in range(ROWS)))
            objects[name] = seeding.seal(path)
        with ingest.resident() as peaks, self._connections() as connections:
            began = time.perf_counter()
            seeding.notify(self._cloud, objects)
            number = ALONE
            while not self._is_done(files):
                number += 1
                figures.quiet_s.append(self._load_quiet(number))
                time.sleep(PAUSE_S)
                if time.perf_counter() - began > TIMEOUT_S:
                    break
            figures.seconds = time.perf_counter() - began
        figures.resident_mib, figures.connections = dict(peaks), dict(connections)
        self._check(figures)
        return figures

    def _sql(self, statement: str, *values: object) -> Sequence[tuple[object, ...]]:
        with self._database.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()

    def _load_quiet(self, number: int) -> float:
        """Upload a small file; return the time until it is done."""
        rows = "".join(f"{number * QUIET_ROWS + n},name\n" for n in range(QUIET_ROWS))
        name = f"{QUIET}/{number}.csv"
        url = f"{self._cloud.storage.url}/upload/storage/v1/b/inbox/o"
        began = time.perf_counter()
        answer = httpx.post(
            url,
            params={"uploadType": "media", "name": name},
            content=HEADER + rows,
            timeout=60,
        )
        answer.raise_for_status()
        while True:
            found = self._sql("SELECT state FROM sluice.ingestions WHERE object = %s", name)
            took_s = time.perf_counter() - began
            if (found and str(found[0][0]) in ("done", "failed")) or took_s > TIMEOUT_S:
                return took_s
            time.sleep(POLL_S)

    def _is_done(self, files: int) -> bool:
        ((ended,),) = self._sql(
            "SELECT count(*) FROM sluice.ingestions WHERE dataset = %s"
            " AND state IN ('done', 'failed', 'skipped', 'cancelled')",
            FLOOD,
        )
        return ended == files

    @contextmanager
    def _connections(self) -> Iterator[dict[str, int]]:
        """Record the most connections that each function has at a time."""
        peaks: dict[str, int] = {}
        watching = psycopg2.connect(ingest.libpq(self._cloud), user=SUPERUSER)
        watching.autocommit = True

        def sample() -> None:
            with watching.cursor() as cursor:
                cursor.execute(
                    "SELECT usename, count(*) FROM pg_stat_activity"
                    " WHERE usename IS NOT NULL AND usename <> %s GROUP BY usename",
                    (SUPERUSER,),
                )
                counts = dict(cursor.fetchall())
            counts["all"] = sum(counts.values())
            for name, count in counts.items():
                peaks[name] = max(peaks.get(name, 0), count)

        try:
            with ingest.sampled(sample):
                yield peaks
        finally:
            watching.close()

    def _check(self, figures: Figures) -> None:
        states = self._sql("SELECT CAST(state AS text), count(*) FROM sluice.ingestions GROUP BY 1")
        figures.states = {str(state): int(str(count)) for state, count in states}
        ((figures.unbalanced, rows),) = self._sql(  # type: ignore[misc]
            "SELECT count(*) FILTER (WHERE records_read <> rows_loaded + rows_rejected + duplicates),"
            " sum(rows_loaded) FILTER (WHERE dataset = %s) FROM sluice.ingestions",
            FLOOD,
        )
        figures.unbalanced += int(int(str(rows)) != figures.files * ROWS)
        with ControlClient(self._cloud.pubsub_address) as control:
            letters = control.backlogs()[f"projects/{PROJECT}/subscriptions/dead-letters"]
        figures.dead_letters = letters.undelivered + letters.outstanding


if __name__ == "__main__":
    main()
