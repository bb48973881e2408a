r"""Measures loading and querying with many rows: one run, one machine, one PostgreSQL.

Run `make scale ROWS=1000000` (1 %), `ROWS=10000000` (10 %), `ROWS=100000000`, or
`python benchmarks/scale.py --rows N [--files 4] [--json FILE]`. In a local cloud of its own, with the
deployed functions and without a cache of answers, it

  loads       N trips of the generator in a few objects, notified together
  compacts    their projections
  queries     each kind of query many times, with all kinds of boxes, and checks some answers by counting
  loads more  while it repeats the queries
  adds        a file of 10,000 rows to the full table, and undoes all ingestions

It needs about 350 bytes of disk space per row.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import ingest
import psutil
import psycopg2
import seeding
from generator import REGIONS, write_trips

from sluice.local.sample import DATASOURCES

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluice.local.cloud import Cloud

BROKEN = 4
COPIED_ROWS = 2_000_000
BOXES = ("small", "large", "cutting", "across regions", "degenerate")
CHECKED = 3
#: Ends of trips that may be in the box.
ENDS = ("origin", "destination", "both", "either")
#: Cells in degrees and buckets in hours that are not the default.
OTHER_GROUPS = ((0.1, 1), (0.05, 6), (0.5, 12))
BOX = ("min_lon", "min_lat", "max_lon", "max_lat")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--loaders", type=int, default=psutil.cpu_count() or 2)
    parser.add_argument(
        "--asked", type=int, default=40, help="number of requests of each kind of query"
    )
    parser.add_argument(
        "--folder", type=Path, help="a folder with enough space; by default a temporary one"
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="sluice-scale-", dir=options.folder) as folder,
        ingest.cloud_in(Path(folder), options.loaders, SLUICE_CACHE_S="0") as cloud,
    ):
        figures = Scale(cloud, Path(folder), options).run()
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=1))


class Scale:
    """One run; `figures` are its results."""

    def __init__(self, cloud: Cloud, folder: Path, options: argparse.Namespace) -> None:
        self.cloud = cloud
        self.folder = folder
        self.options = options
        self.database = psycopg2.connect(ingest.libpq(cloud))
        self.database.autocommit = True
        self.client = httpx.Client(base_url=cloud.url, timeout=600)
        self.figures: dict[str, Any] = {
            "rows": options.rows,
            "files": options.files,
            "loaders": options.loaders,
            "machine": machine(),
        }

    def run(self) -> dict[str, Any]:
        """Run all steps in order."""
        ingest.warm_up(self.cloud, self.folder)
        self.sql("UPDATE sluice.ingestions SET state = 'undone'")
        self.sql("DELETE FROM sluice.publications")
        self.sql("DELETE FROM sluice.segments")
        self.sql("TRUNCATE store.trips")
        self.copy()
        self.load()
        self.wait_for_compaction()
        self.measure_size()
        idle = self.query("idle")
        self.check_boxes()
        self.query_while_loading(idle)
        self.add_small_file()
        self.undo()
        return self.figures

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        with self.database.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def record(self, name: str, value: Any, words: str) -> None:
        """Record a figure and print it."""
        self.figures[name] = value
        print(words, flush=True)

    def copy(self) -> None:
        r"""Time `\copy` of raw trips into five text columns."""
        path = self.folder / "copied.csv"
        write_trips(path, min(COPIED_ROWS, self.options.rows))
        rate = statistics.median(ingest.copy_rate(self.cloud, path) for _ in range(3))
        path.unlink()
        self.record("copy_rows_s", rate, f"\\copy, raw: {rate:,.0f} rows/s")

    def load(self) -> None:
        """Create the objects and load them."""
        objects = {}
        each = -(-self.options.rows // self.options.files)
        for number in range(self.options.files):
            name = f"trips/part-{number}.csv"
            path = seeding.place(self.cloud, name)
            rows = min(each, self.options.rows - number * each)
            write_trips(path, rows, first=number * each, broken=BROKEN)
            objects[name] = seeding.seal(path)
        size = sum(int(facts["size"]) for facts in objects.values())
        print(
            f"{self.options.rows:,} trips, {size / 1e9:.2f} GB, {len(objects)} objects", flush=True
        )
        self.sql("CHECKPOINT")
        with ingest.resident() as peaks:
            course = self.watch(objects)
        self.report_load(course, dict(peaks))

    def watch(self, objects: dict[str, dict[str, str]]) -> list[tuple[float, int]]:
        """Publish notifications of the objects; return (seconds, rows) until all are done."""
        began = time.perf_counter()
        seeding.notify(self.cloud, objects)
        course = [(0.0, 0)]
        while True:
            ((rows, done, ended),) = self.sql(
                "SELECT coalesce(sum(rows_loaded), 0), count(*) FILTER (WHERE state = 'done'),"
                " count(*) FILTER (WHERE state IN ('failed', 'skipped', 'cancelled'))"
                " FROM sluice.ingestions WHERE object = ANY (%s)",
                list(objects),
            )
            course.append((time.perf_counter() - began, int(rows)))
            if ended:
                sys.exit(f"{ended} ingestions failed")
            if done == len(objects):
                return course
            time.sleep(0.05 if self.options.rows < 5_000_000 else 0.5)

    def report_load(self, course: list[tuple[float, int]], resident: dict[str, float]) -> None:
        """Record and print the figures of the load."""
        seconds, rows = course[-1]
        tenths = [rate_between(course, rows * n / 10, rows * (n + 1) / 10) for n in range(10)]
        rate = rows / seconds
        ((read, loaded, rejected, kept),) = self.sql(
            "SELECT sum(records_read), sum(rows_loaded), sum(rows_rejected),"
            " (SELECT count(*) FROM sluice.rejects) FROM sluice.ingestions WHERE state = 'done'"
        )
        ((stored,),) = self.sql("SELECT count(*) FROM store.trips")
        balanced = read == self.options.rows == loaded + rejected
        balanced = balanced and stored >= loaded and kept == rejected
        self.figures |= {
            "load_s": seconds,
            "load_rows_s": rate,
            "load_to_copy": rate / self.figures["copy_rows_s"],
            "tenths_rows_s": tenths,
            "resident_mib": resident,
            "account": {
                "read": int(read),
                "loaded": int(loaded),
                "rejected": int(rejected),
                "balanced": balanced,
            },
        }
        print(
            f"loaded in {seconds:.1f} s: {rate:,.0f} rows/s, {self.figures['load_to_copy']:.2f} x \\copy;"
            f" last tenth {tenths[-1] / tenths[0]:.2f} x the first\n"
            f"account: {read:,} read = {loaded:,} loaded + {rejected:,} rejected, balanced: {balanced}\n"
            f"peak resident memory: {', '.join(f'{k} {v:.0f} MiB' for k, v in sorted(resident.items()))}",
            flush=True,
        )

    def wait_for_compaction(self, name: str = "compaction_s") -> None:
        """Wait until the projections are complete."""
        ((done,),) = self.sql("SELECT max(published_at) FROM sluice.publications")
        while self.sql("SELECT 1 FROM sluice.publications WHERE segment IS NULL LIMIT 1"):
            time.sleep(0.2)
        ((seconds,),) = self.sql(
            "SELECT extract(epoch FROM max(compacted_at) - %s) FROM sluice.segments", done
        )
        self.record(
            name, float(seconds), f"compacted {seconds:.1f} s after `done`, in the background"
        )

    def measure_size(self) -> None:
        """Record the bytes per row of each table, including indexes."""
        sizes = {
            name: int(size)
            for name, size in self.sql(
                "SELECT relname, pg_total_relation_size(oid) FROM pg_class"
                " WHERE relnamespace = 'store'::regnamespace AND relkind = 'r' AND relname LIKE 'trips%%'"
                " AND pg_relation_size(oid) > 0"
            )
        }
        rows = self.figures["account"]["loaded"]
        each = {name: size / rows for name, size in sorted(sizes.items())}
        self.record(
            "bytes_per_row",
            each,
            "bytes per row: " + ", ".join(f"{k} {v:.1f}" for k, v in each.items()),
        )

    def query(self, when: str) -> dict[str, dict[str, float]]:
        """Send each query many times; return the percentiles of each in milliseconds."""
        times_ms: dict[str, list[float]] = {}
        for name, make in questions().items():
            draw = random.Random(name)
            for _ in range(3):
                self.answer(make(draw))
            times_ms[name] = [self.answer(make(draw)) for _ in range(self.options.asked)]
        return self.percentiles(when, times_ms)

    def percentiles(
        self, when: str, times_ms: dict[str, list[float]]
    ) -> dict[str, dict[str, float]]:
        """Record and print the percentiles of latencies."""
        found = {}
        for name, each in times_ms.items():
            p95 = sorted(each)[min(len(each) - 1, int(len(each) * 0.95))]
            found[name] = {"p50_ms": statistics.median(each), "p95_ms": p95}
            print(
                f"  {when}: {name:34} p50 {found[name]['p50_ms']:7.1f} ms  p95 {p95:7.1f} ms",
                flush=True,
            )
        self.figures[f"questions_{when}"] = found
        return found

    def answer(self, question: tuple[str, dict[str, Any]]) -> float:
        """Send one query; return its latency in milliseconds."""
        query, parameters = question
        began = time.perf_counter()
        answer = self.client.get(f"/v1/datasets/trips/queries/{query}", params=parameters)
        answer.raise_for_status()
        return (time.perf_counter() - began) * 1000

    def check_boxes(self) -> None:
        """Compare answers with counts of all trips in the box."""
        draw = random.Random("checked")
        wrong = 0
        conditions = {"origin": _within("origin"), "destination": _within("destination")}
        conditions["both"] = " AND ".join(conditions.values())
        conditions["either"] = f"({' OR '.join(map(_within, ENDS[:2]))})"
        kinds = [(kind, by) for kind in BOXES for by in ENDS for _ in range(CHECKED)]
        boxes = [(make_box(draw, kind), by) for kind, by in kinds]
        for box, by in boxes:
            edges = [box[each] for each in ("min_lon", "max_lon", "min_lat", "max_lat")]
            answer = self.client.get(
                "/v1/datasets/trips/queries/weekly_average", params={**box, "by": by}
            ).json()
            row = answer["rows"][0] if "rows" in answer else answer
            answered = {each["monday"]: each["trips"] for each in row["per_week"]}
            counted = self.sql(
                "SELECT CAST(CAST(date_trunc('week', started_at) AS date) AS text), count(*) FROM store.trips"
                f" JOIN sluice.publications USING (ingestion) WHERE {conditions[by]} GROUP BY 1",
                *edges * conditions[by].count("lon"),
            )
            wrong += answered != dict(counted)
        self.record(
            "wrong_boxes",
            wrong,
            f"{len(boxes)} boxes compared with counts of each trip: {wrong} wrong",
        )

    def query_while_loading(self, idle: dict[str, dict[str, float]]) -> None:
        """Repeat the queries, all kinds in turn, while a tenth more is loaded."""
        name = "trips/meanwhile.csv"
        path = seeding.place(self.cloud, name)
        rows = max(2_000_000, self.options.rows // 10)
        write_trips(path, rows, first=self.options.rows, broken=BROKEN)
        facts = seeding.seal(path)
        loading = threading.Thread(target=self.keep_loading, args=({name: facts},))
        loading.start()
        time.sleep(1)
        draw = random.Random("meanwhile")
        times_ms: dict[str, list[float]] = {name: [] for name in questions()}
        while loading.is_alive():
            for name, make in questions().items():
                times_ms[name].append(self.answer(make(draw)))
        loading.join()
        busy = self.percentiles("while loading", times_ms)
        slower = {each: busy[each]["p95_ms"] / idle[each]["p95_ms"] for each in idle}
        self.record(
            "slower_while_loading",
            slower,
            f"while loading at most {max(slower.values()):.1f} x slower",
        )
        self.wait_for_compaction("more_compaction_s")

    def keep_loading(self, objects: dict[str, dict[str, str]]) -> None:
        """Load more objects, on a separate connection."""
        twin = Scale(self.cloud, self.folder, self.options)
        twin.watch(objects)

    def add_small_file(self) -> None:
        """Add a small file to the full table."""
        path = self.folder / "little.csv"
        write_trips(path, 10_000, first=self.options.rows * 2)
        row = ingest.ingest(self.cloud, path, "little.csv")
        began = time.perf_counter()
        self.wait_for_compaction("little_compaction_s")
        compacted = time.perf_counter() - began
        self.record("little_s", row["seconds"], f"10,000 more rows: done in {row['seconds']:.2f} s")
        self.figures["little_compacted_s"] = row["seconds"] + compacted

    def undo(self) -> None:
        """Undo all ingestions."""
        began = time.perf_counter()
        for (ingestion,) in self.sql("SELECT ingestion FROM sluice.publications ORDER BY 1"):
            self.client.post(f"/v1/ingestions/{ingestion}/undo").raise_for_status()
        seconds = time.perf_counter() - began
        ((left,),) = self.sql("SELECT count(*) FROM trips_latest")
        self.record("undo_s", seconds, f"all undone in {seconds:.2f} s; {left} left")


def _within(end: str) -> str:
    return f"{end}_lon BETWEEN %s AND %s AND {end}_lat BETWEEN %s AND %s"


def rate_between(course: list[tuple[float, int]], first: float, end: float) -> float:
    """Return the rate between two numbers of rows, interpolated linearly."""

    def when(rows: float) -> float:
        for (t0, r0), (t1, r1) in pairwise(course):
            if r0 <= rows <= r1 and r1 > r0:
                return t0 + (t1 - t0) * (rows - r0) / (r1 - r0)
        return course[-1][0]

    return (end - first) / max(when(end) - when(first), 1e-9)


def questions() -> dict[str, Callable[[random.Random], tuple[str, dict[str, Any]]]]:
    """Return the kinds of queries by name, each a function that draws a query and its parameters."""
    names = [each[0] for each in REGIONS]
    made: dict[str, Callable[[random.Random], tuple[str, dict[str, Any]]]] = {
        "weekly average, region": lambda draw: ("weekly_average", {"region": draw.choice(names)}),
        "latest datasource of top regions": lambda draw: (
            "latest_datasource_of_top_regions",
            {"regions": draw.randint(1, 5)},
        ),
        "regions of a datasource": lambda draw: (
            "regions_of_datasource",
            {"datasource": draw.choice(DATASOURCES)},
        ),
        "groups, region": lambda draw: ("groups", {"region": draw.choice(names)}),
    }
    for query, title in (("weekly_average", "weekly average"), ("groups", "groups")):
        for kind in BOXES:
            made[f"{title}, {kind} box"] = lambda draw, query=query, kind=kind: (
                query,
                make_box(draw, kind),
            )
    for by in ENDS[1:]:
        for kind in BOXES:
            made[f"weekly average by {by}, {kind} box"] = lambda draw, by=by, kind=kind: (
                "weekly_average",
                {**make_box(draw, kind), "by": by},
            )
    for cell, hours in OTHER_GROUPS:
        given = {"cell_size": cell, "bucket_hours": hours}
        title = f"groups of {cell:g} degrees and {hours} h"
        made[f"{title}, region"] = lambda draw, given=given: (
            "groups",
            {**given, "region": draw.choice(names)},
        )
        made[f"{title}, cutting box"] = lambda draw, given=given: (
            "groups",
            {**given, **make_box(draw, "cutting")},
        )
    return made


def make_box(draw: random.Random, kind: str) -> dict[str, float]:
    """Return a box: a few streets, more than a region, across cells, several regions, or a point."""
    _, lon, lat, _ = draw.choice(REGIONS)
    lon, lat = lon + draw.gauss(0, 0.05), lat + draw.gauss(0, 0.05)
    if kind == "across regions":
        west, south = draw.uniform(-10, 5), draw.uniform(38, 46)
        edges = (west, south, west + draw.uniform(5, 15), south + draw.uniform(3, 12))
    else:
        low, high = {
            "small": (0.002, 0.02),
            "large": (0.3, 2.0),
            "cutting": (0.03, 0.2),
            "degenerate": (0.0, 0.0),
        }[kind]
        width, height = draw.uniform(low, high), draw.uniform(low, high)
        edges = (lon - width / 2, lat - height / 2, lon + width / 2, lat + height / 2)
    return dict(zip(BOX, edges, strict=True))


def machine() -> dict[str, Any]:
    return {
        "cpu": next(
            (
                line.partition(":")[2].strip()
                for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")
            ),
            platform.processor(),
        ),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    main()
