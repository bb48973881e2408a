"""Measures the publication of a file of plays with very many songs: the share of its longest transaction.

Run `python benchmarks/publishing.py [--rows 2000000] [--kills 10] [--json FILE]`. In a local cloud of its own
it loads a file in which each row is another song of a day, kills finish each time some more steps are done,
and compares every total of the roll-up with the file. It needs about 500 bytes of disk space per row.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ingest
import psutil
import psycopg2
import seeding

from sluice.local.provision import USERS

if TYPE_CHECKING:
    from sluice.local.cloud import Cloud

OBJECT = "plays/songs.csv"
POLL_S = 0.02
BLOCK_ROWS = 100_000
#: How the statements begin of the transaction that writes the output, which is one query of any kind.
OF_OUTPUT = ("COPY", "ROLLBACK TO", "INSERT INTO sluice.written_outputs")


@dataclass
class Publication:
    """What was seen of a publication; `steps` is the largest number of them."""

    rows: int
    kills: int = 0
    steps: int = 0
    seconds: float = 0.0
    longest_s: float = 0.0
    in_longest: str = ""
    output_s: float = 0.0
    loaded_s: float = 0.0
    wrong_groups: int = field(default=-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--loaders", type=int, default=psutil.cpu_count() or 2)
    parser.add_argument("--folder", type=Path, help="a folder with enough space")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="sluice-publishing-", dir=options.folder) as folder,
        ingest.cloud_in(Path(folder), options.loaders) as cloud,
    ):
        found = measure(cloud, options.rows, options.kills)
    print(
        f"{found.rows:,} groups loaded in {found.loaded_s:.1f} s and published in {found.seconds:.1f} s,"
        f" {found.steps} steps, {found.kills} kills, the output in {found.output_s:.1f} s. The longest other"
        f" transaction took {found.longest_s:.2f} s, {found.longest_s / found.seconds:.3f} of it;"
        f" {found.wrong_groups} groups are wrong"
    )
    print(f"in the longest: {found.in_longest}")
    if options.json:
        options.json.write_text(json.dumps(asdict(found), indent=1))
    if found.wrong_groups:
        sys.exit(1)


def write_plays(path: Path, rows: int) -> None:
    """Write a file in which each row is another song of a day."""
    with path.open("w") as file:
        file.write("Song,Date,Number of Plays\n")
        for first in range(0, rows, BLOCK_ROWS):
            file.writelines(
                f"Song {number * 7919 % 1_000_003} of {number},2026-01-{number % 28 + 1:02},{number % 1000}\n"
                for number in range(first, min(first + BLOCK_ROWS, rows))
            )


def measure(cloud: Cloud, rows: int, kills: int) -> Publication:
    """Load a file of plays and watch its publication."""
    path = seeding.place(cloud, OBJECT)
    write_plays(path, rows)
    facts = seeding.seal(path)
    found = Publication(rows)
    began = time.perf_counter()
    seeding.notify(cloud, {OBJECT: facts})
    with closing(psycopg2.connect(ingest.libpq(cloud))) as connection:
        connection.autocommit = True
        while _state(connection) not in ("publishing", "done", "failed"):
            time.sleep(POLL_S)
        found.loaded_s = time.perf_counter() - began
        began = time.perf_counter()
        _watch(cloud, connection, found, kills)
        found.seconds = time.perf_counter() - began
        found.wrong_groups = _wrong_groups(connection, rows)
    return found


def _watch(cloud: Cloud, connection: Any, found: Publication, kills: int) -> None:
    """Note the longest transaction of finish until the file is published, and kill finish on the way."""
    while (state := _state(connection)) != "done":
        if state == "failed":
            sys.exit("the ingestion failed")
        running = _all(
            connection,
            "SELECT extract(epoch FROM clock_timestamp() - xact_start), left(query, 60) FROM pg_stat_activity"
            " WHERE usename = %s ORDER BY 1 DESC NULLS LAST LIMIT 1",
            USERS["finish"],
        )
        for seconds, query in running:
            if seconds is not None and query.startswith(OF_OUTPUT):
                found.output_s = max(found.output_s, float(seconds))
            elif seconds is not None and float(seconds) > found.longest_s:
                found.longest_s, found.in_longest = float(seconds), " ".join(query.split())
        ((steps, done),) = _all(
            connection, "SELECT count(*), count(done_at) FROM sluice.publish_steps"
        )
        found.steps = max(found.steps, steps)
        if found.kills < kills and done > found.kills * steps / (kills + 1):
            _kill_finish(cloud)
            found.kills += 1
        time.sleep(POLL_S)


def _kill_finish(cloud: Cloud) -> None:
    for each in cloud.status():
        if each.name.startswith("finish-") and each.pid:
            with suppress(ProcessLookupError):  # it was killed before, and is not replaced yet
                os.kill(each.pid, signal.SIGKILL)


def _wrong_groups(connection: Any, rows: int) -> int:
    """Return how many groups are missing, repeated, or have another total than the file."""
    ((groups, right),) = _all(
        connection,
        "SELECT count(*), count(*) FILTER (WHERE plays = first_record %% 1000"
        " AND song = format('Song %%s of %%s', first_record * 7919 %% 1000003, first_record))"
        " FROM plays_totals",
    )
    return max(rows, int(groups)) - int(right)


def _state(connection: Any) -> str:
    found = _all(connection, "SELECT state FROM sluice.ingestions WHERE object = %s", OBJECT)
    return str(found[0][0]) if found else ""


def _all(connection: Any, sql: str, *values: object) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())


if __name__ == "__main__":
    main()
