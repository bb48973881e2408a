"""Runs a mixed load for a long time, and draws memory, connections, latency and disk over the time.

Run `python benchmarks/soak.py [--minutes 60] [--clients 10] [--folder docs/reliability]`. In a local cloud of
its own, clients send rows, upload files and query, and each answer is checked (`clients.py`). Every few
seconds the resident memory of each function, the connections, the 95th percentile of the requests of that
time, and the size of the database and of the storage are recorded. Writes `soak.json` and `soak.svg`;
exits with 1 if a request failed or an answer was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import clients
import ingest
import matplotlib as mpl
import psutil
import psycopg2
from plots import STYLE

from sluice.local.postgres import SUPERUSER

mpl.use("svg")
from matplotlib import pyplot as plt  # after the choice of the backend

if TYPE_CHECKING:
    from sluice.local.cloud import Cloud

MIB = 1024 * 1024
FOLDER = Path(__file__).parents[1] / "docs" / "reliability"


def main() -> None:
    """Run, record and draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two samples")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="sluice-soak-") as folder,
        ingest.cloud_in(Path(folder), psutil.cpu_count() or 2) as cloud,
    ):
        soak = Soak(cloud, options.every)
        errors = soak.run(options.clients, options.minutes * 60)
    options.folder.mkdir(parents=True, exist_ok=True)
    document = {"clients": options.clients, "errors": errors, "samples": soak.samples}
    (options.folder / "soak.json").write_text(json.dumps(document, indent=1))
    draw(soak.samples, options.folder / "soak.svg")
    print(f"{soak.requests:,} requests, {len(errors)} errors: {errors[:3]}")
    sys.exit(1 if errors else 0)


class Soak:
    """One run; `samples` are what it recorded, in order."""

    def __init__(self, cloud: Cloud, every_s: float) -> None:
        self._cloud = cloud
        self._every_s = every_s
        self._tally = clients.Tally()
        self._began = time.perf_counter()
        self.samples: list[dict[str, Any]] = []

    @property
    def requests(self) -> int:
        """How many requests were answered."""
        return sum(map(len, self._tally.times_s.values()))

    def run(self, count: int, seconds: float) -> list[str]:
        """Run the clients while samples are taken; return the errors."""
        seen: dict[str, int] = {}
        with ingest.sampled(lambda: self.samples.append(self._sample(seen)), self._every_s):
            asyncio.run(clients.measure(count, seconds, self._cloud.url, "", tally=self._tally))
        return self._tally.errors

    def _sample(self, seen: dict[str, int]) -> dict[str, Any]:
        fresh: list[float] = []
        for kind, times_s in list(self._tally.times_s.items()):
            fresh += times_s[seen.get(kind, 0) :]
            seen[kind] = len(times_s)
        with psycopg2.connect(ingest.libpq(self._cloud), user=SUPERUSER) as connection:
            cursor = connection.cursor()
            cursor.execute(
                "SELECT pg_database_size(current_database()),"
                " (SELECT count(*) FROM pg_stat_activity WHERE usename <> %s)",
                (SUPERUSER,),
            )
            database_bytes, connections = cursor.fetchone() or (0, 0)
        connection.close()
        storage = self._cloud.state.data / "storage"
        return {
            "at_s": round(time.perf_counter() - self._began, 1),
            "requests": len(fresh),
            "p95_s": statistics.quantiles(fresh, n=20)[-1] if len(fresh) > 1 else None,
            "connections": connections,
            "database_mib": round(database_bytes / MIB, 1),
            "storage_mib": round(size_of(storage) / MIB, 1),
            "resident_mib": self._resident(),
        }

    def _resident(self) -> dict[str, float]:
        """Return the memory of each instance with its processes."""
        found = {}
        for each in self._cloud.instances():
            if each["pid"]:
                own = psutil.Process(int(str(each["pid"])))
                processes = [own, *own.children(recursive=True)]
                size = sum(one.memory_info().rss for one in processes)
                found[str(each["name"])] = round(size / MIB, 1)
        return found


def size_of(folder: Path) -> int:
    """Return the size of the files below a folder; files may vanish meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


def draw(samples: list[dict[str, Any]], path: Path) -> None:
    """Draw the samples, one below the other."""
    mpl.rcParams.update(STYLE)
    minutes = [each["at_s"] / 60 for each in samples]
    figure, axes = plt.subplots(4, 1, figsize=(8, 9), sharex=True, layout="constrained")
    memory, connections, latency, disk = axes
    for name in sorted({name for each in samples for name in each["resident_mib"]}):
        sizes = [each["resident_mib"].get(name) for each in samples]
        memory.plot(minutes, sizes, label=name, linewidth=1)
    memory.set_ylabel("resident MiB")
    memory.legend(fontsize=7, ncols=4)
    connections.plot(minutes, [each["connections"] for each in samples])
    connections.set_ylabel("connections")
    latency.plot(minutes, [each["p95_s"] for each in samples])
    latency.set_ylabel("p95, s")
    for name in ("database_mib", "storage_mib"):
        disk.plot(minutes, [each[name] for each in samples], label=name.removesuffix("_mib"))
    disk.set_ylabel("disk, MiB")
    disk.set_xlabel("minutes")
    disk.legend(fontsize=7)
    for each in axes:
        each.set_ylim(bottom=0)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
