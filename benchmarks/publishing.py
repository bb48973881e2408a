"""Measures the publication of a very large file: the share of its longest transaction.

Run `python benchmarks/publishing.py [--rows 2000000] [--keyed] [--kills 10] [--json FILE]`. In a local cloud
of its own it loads a file of plays in which each row is another song of a day, or with `--keyed` a file in
which each row has another key, kills finish each time some more steps are done, and compares what is
published with the file. It needs about 500 bytes of disk space per row.
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

import httpx
import ingest
import psutil
import psycopg2
import seeding

from sluice.local.provision import USERS

if TYPE_CHECKING:
    from sluice.local.cloud import Cloud

KEYED: dict[str, Any] = {
    "name": "keyed",
    "columns": [
        {"name": "id", "type": "bigint", "required": True},
        {"name": "amount", "type": "integer"},
    ],
    "key": ["id"],
    "duplicates": "update",
}
POLL_S = 0.02
BLOCK_ROWS = 100_000
#: How the statements begin of the transaction that writes the output, which is one query of any kind.
OF_OUTPUT = ("COPY", "ROLLBACK TO", "INSERT INTO sluice.written_outputs")


@dataclass
class Publication:
    """What was seen of a publication; `steps` is the largest number of them."""

    rows: int
    is_keyed: bool
    kills: int = 0
    steps: int = 0
    seconds: float = 0.0
    longest_s: float = 0.0
    in_longest: str = ""
    output_s: float = 0.0
    loaded_s: float = 0.0
    wrong: int = field(default=-1)

    @property
    def object(self) -> str:
        """Where the file is uploaded."""
        return "keyed/keys.csv" if self.is_keyed else "plays/songs.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--keyed", action="store_true", help="rows with a key, not plays")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--loaders", type=int, default=psutil.cpu_count() or 2)
    parser.add_argument("--folder", type=Path, help="a folder with enough space")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="sluice-publishing-", dir=options.folder) as folder,
        ingest.cloud_in(Path(folder), options.loaders) as cloud,
    ):
        found = Publication(options.rows, options.keyed)
        measure(cloud, found, options.kills)
    counted = "rows" if found.is_keyed else "groups"
    print(
        f"{found.rows:,} {counted} loaded in {found.loaded_s:.1f} s, published in {found.seconds:.1f} s:"
        f" {found.steps} steps, {found.kills} kills, the output in {found.output_s:.1f} s. The longest"
        f" other transaction took {found.longest_s:.2f} s, {found.longest_s / found.seconds:.3f} of it;"
        f" {found.wrong} {counted} are wrong"
    )
    print(f"in the longest: {found.in_longest}")
    if options.json:
        options.json.write_text(json.dumps(asdict(found), indent=1))
    if found.wrong:
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


def write_keyed(path: Path, rows: int) -> None:
    """Write a file in which each row has another key, in no order."""
    with path.open("w") as file:
        file.write("id,amount\n")
        for first in range(0, rows, BLOCK_ROWS):
            file.writelines(
                f"{number * 7919 % rows},{number * 7919 % rows % 1000}\n"
                for number in range(first, min(first + BLOCK_ROWS, rows))
            )


def measure(cloud: Cloud, found: Publication, kills: int) -> None:
    """Load a file and watch its publication."""
    if found.is_keyed:
        httpx.put(f"{cloud.url}/v1/datasets/keyed", json=KEYED, timeout=60).raise_for_status()
    path = seeding.place(cloud, found.object)
    (write_keyed if found.is_keyed else write_plays)(path, found.rows)
    facts = seeding.seal(path)
    began = time.perf_counter()
    seeding.notify(cloud, {found.object: facts})
    with closing(psycopg2.connect(ingest.libpq(cloud))) as connection:
        connection.autocommit = True
        while _state(connection, found) not in ("publishing", "done", "failed"):
            time.sleep(POLL_S)
        found.loaded_s = time.perf_counter() - began
        began = time.perf_counter()
        _watch(cloud, connection, found, kills)
        found.seconds = time.perf_counter() - began
        found.wrong = _wrong(connection, found)


def _watch(cloud: Cloud, connection: Any, found: Publication, kills: int) -> None:
    """Note the longest transaction of finish until the file is published, and kill finish on the way."""
    while (state := _state(connection, found)) != "done":
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


def _wrong(connection: Any, found: Publication) -> int:
    """Return how many groups or rows are missing, repeated, or differ from the file."""
    ((stored, right),) = _all(
        connection,
        "SELECT count(*), count(*) FILTER (WHERE amount = id %% 1000 AND id >= 0 AND id < %s) FROM keyed"
        if found.is_keyed
        else "SELECT count(*), count(*) FILTER (WHERE plays = first_record %% 1000 AND first_record < %s"
        " AND song = format('Song %%s of %%s', first_record * 7919 %% 1000003, first_record))"
        " FROM plays_totals",
        found.rows,
    )
    return max(found.rows, int(stored)) - int(right)


def _state(connection: Any, found: Publication) -> str:
    sql = "SELECT state FROM sluice.ingestions WHERE object = %s"
    rows = _all(connection, sql, found.object)
    return str(rows[0][0]) if rows else ""


def _all(connection: Any, sql: str, *values: object) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())


if __name__ == "__main__":
    main()
