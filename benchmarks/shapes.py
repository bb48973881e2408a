r"""Loads files of different shapes, each compared with `\copy` into the same PostgreSQL in the same run.

Run `python benchmarks/shapes.py [--share 0.1] [--only trips,wide,keyed,text,small] [--json FILE]`. With a
share of 1 the shapes are

  trips   2 million trips, in four files: plain, quoted (a quoted field in a fifth of the rows), non-ascii
          (city names such as São Paulo and Łódź), and both. Each is loaded several times, in turns, and
          the fastest load of each is also compared with that of the plain file.
  wide    1 million rows of 200 columns
  keyed   10 million rows with a key, then a file that updates a third of them; compared with `\copy` into a
          staging table and `INSERT ... ON CONFLICT DO UPDATE`
  text    5 GB of long texts that contain quotes and line ends
  small   10,000 files of 50 rows, uploaded together; then again with a large file among them, and
          a hundred among the chunks of a large file; compared with `\copy` of all rows as one file

`\copy` writes text columns, without types or checks, except into the staging table.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import httpx
import ingest
import psutil
import psycopg2
import seeding
from generator import write_trips

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sluice.local.cloud import Cloud

TRIPS_ROWS = 2_000_000
TRIPS_ROUNDS = 3
TRIPS_SHAPES = {
    "plain": {},
    "quoted": {"is_quoted": True},
    "non-ascii": {"is_accented": True},
    "both": {"is_quoted": True, "is_accented": True},
}
TRIPS_COLUMNS = ("region", "origin", "destination", "started_at", "datasource")
WIDE_KINDS = (("float", 100), ("integer", 50), ("text", 30), ("timestamp", 20))
TEXT_BYTES = 5_000_000_000
SMALL_FILES = 10_000
SMALL_ROWS = 50
LARGE_ROWS = 1_000_000
FEW_FILES = 100
CONNECTIONS_WATCHED_S = 0.2


@dataclass(frozen=True)
class Shape:
    r"""The seconds that Sluice and `\copy` took for the same rows."""

    name: str
    rows: int
    size_bytes: int
    sluice_s: float
    copy_s: float
    notes: dict[str, Any]

    def __str__(self) -> str:
        notes = "".join(f"; {name} {value}" for name, value in self.notes.items())
        return (
            f"{self.name}: {self.rows:,} rows, {self.size_bytes / 1e6:,.0f} MB in {self.sluice_s:.1f} s,"
            f" {self.size_bytes / 1e6 / self.sluice_s:,.0f} MB/s: {self.copy_s / self.sluice_s:.2f} x"
            f" \\copy{notes}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--only", default="trips,wide,keyed,text,small")
    parser.add_argument("--loaders", type=int, default=psutil.cpu_count() or 2)
    parser.add_argument(
        "--folder", type=Path, help="a folder with enough space; by default a temporary one"
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    made: dict[str, Callable[[Shapes, float], list[Shape]]] = {
        "trips": Shapes.trips,
        "wide": Shapes.wide,
        "keyed": Shapes.keyed,
        "text": Shapes.text,
        "small": Shapes.small,
    }
    found: list[Shape] = []
    with (
        tempfile.TemporaryDirectory(prefix="sluice-shapes-", dir=options.folder) as folder,
        ingest.cloud_in(Path(folder), options.loaders) as cloud,
    ):
        ingest.warm_up(cloud, Path(folder))
        shapes = Shapes(cloud, Path(folder))
        for name in options.only.split(","):
            for shape in made[name](shapes, options.share):
                print(shape, flush=True)
                found.append(shape)
    if options.json:
        figures = [{**vars(each), "to_copy": each.copy_s / each.sluice_s} for each in found]
        options.json.write_text(json.dumps(figures, indent=1))


class Shapes:
    """Writes and loads the files of each shape."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self.cloud = cloud
        self.folder = folder
        self.duckdb = duckdb.connect()

    def trips(self, share: float) -> list[Shape]:
        """The same trips: plain, with quotes, with characters that are not ASCII, with both."""
        rows = int(TRIPS_ROWS * share)
        fastest: dict[str, Shape] = {}
        for number in range(TRIPS_ROUNDS):
            for title, options in TRIPS_SHAPES.items():
                name = f"trips/{title}-{number}.csv"
                path = seeding.place(self.cloud, name)
                write_trips(path, rows, seed=10 + number, **options)
                shape = self.shape(title, [name], rows, self.copy(path, TRIPS_COLUMNS))
                if title not in fastest or shape.sluice_s < fastest[title].sluice_s:
                    fastest[title] = shape
        for shape in fastest.values():
            shape.notes["x plain"] = round(shape.sluice_s / fastest["plain"].sluice_s, 2)
        return list(fastest.values())

    def wide(self, share: float) -> list[Shape]:
        """Two hundred columns of four types."""
        rows = int(1_000_000 * share)
        columns, selected = [], []
        for kind, count in WIDE_KINDS:
            for number in range(count):
                name = f"{kind}_{number}"
                columns.append({"name": name, "type": kind})
                drawn = f"hash(row * 256 + {len(columns)})"
                selected.append(f"{WIDE_VALUES[kind].format(drawn=drawn)} AS {name}")
        self.declare("wide", columns)
        path = self.write(
            "wide/a.csv", f"SELECT {', '.join(selected)} FROM range({rows}) AS _(row)"
        )
        copy_s = self.copy(path, [each["name"] for each in columns])
        return [self.shape("wide", ["wide/a.csv"], rows, copy_s)]

    def keyed(self, share: float) -> list[Shape]:
        """Rows with a key, and a second file that updates a third of them."""
        rows = int(10_000_000 * share)
        columns = [
            {"name": "id", "type": "bigint", "required": True},
            {"name": "name", "type": "text"},
            {"name": "amount", "type": "float"},
            {"name": "changed_at", "type": "timestamp"},
        ]
        self.declare("keyed", columns, key=["id"], duplicates="update")
        select = (
            "SELECT row * 7919 % {rows} AS id, 'name ' || (hash(row + {salt}) % 100000) AS name,"
            " (hash(row * 3 + {salt}) % 1000000) / 100.0 AS amount,"
            " TIMESTAMP '2026-01-01' + to_seconds((hash(row * 5 + {salt}) % 31536000)::bigint) AS changed_at"
            " FROM range({first}, {end}) AS _(row)"
        )
        self.sql(
            "CREATE TABLE peer (id bigint PRIMARY KEY, name text, amount float8, changed_at timestamp)"
        )
        found = []
        for number, end in enumerate((rows, rows // 3)):
            name = f"keyed/{number}.csv"
            sql = select.format(rows=rows, salt=number, first=0, end=end)
            path = self.write(name, sql)
            copy_s = self.upsert(path)
            title = "keyed, new" if number == 0 else "keyed, a third updated"
            found.append(self.shape(title, [name], end, copy_s))
        return found

    def text(self, share: float) -> list[Shape]:
        """Long texts that contain quotes, commas and line ends."""
        columns = [
            {"name": "id", "type": "bigint", "required": True},
            {"name": "title", "type": "text"},
            {"name": "description", "type": "text"},
        ]
        self.declare("texts", columns)
        rows = int(TEXT_BYTES * share / 640)
        words = "repeat('She said \"no\", and went. ' || chr(10), (5 + hash(row) % 40)::bigint)"
        path = self.write(
            "texts/a.csv",
            f"SELECT row AS id, 'Title \"' || hash(row) || '\"' AS title, {words} AS description"
            f" FROM range({rows}) AS _(row)",
        )
        copy_s = self.copy(path, ["id", "title", "description"])
        return [self.shape("long texts", ["texts/a.csv"], rows, copy_s)]

    def small(self, share: float) -> list[Shape]:
        """Many small files together; then around a large file; then some among the chunks of a large file."""
        files = int(SMALL_FILES * share)
        names, copy_s = self.cut("small", files, seed=1)
        found = [self.shape("small files", names, files * SMALL_ROWS, copy_s)]
        large = "trips/large-0.csv"
        rows = int(LARGE_ROWS * share)
        write_trips(seeding.place(self.cloud, large), rows, seed=2)
        names, _ = self.cut("around", files // 2, seed=3)
        names.insert(len(names) // 2, large)
        total = rows + (files // 2) * SMALL_ROWS
        found.append(self.shape("small files around a large one", names, total, copy_s))
        large = "trips/large-1.csv"
        write_trips(seeding.place(self.cloud, large), LARGE_ROWS, seed=4)
        names, _ = self.cut("among", FEW_FILES, seed=5)
        total = LARGE_ROWS + FEW_FILES * SMALL_ROWS
        found.append(self.shape("small files after a large one", [large, *names], total, copy_s))
        return found

    def cut(self, title: str, files: int, seed: int) -> tuple[list[str], float]:
        r"""Write trips as small objects; return their names, and the seconds of `\copy` for all rows."""
        path = self.folder / f"{title}.csv"
        write_trips(path, files * SMALL_ROWS, seed=seed)
        header, *lines = path.read_text().splitlines(keepends=True)
        names = [f"trips/{title}-{number}.csv" for number in range(files)]
        for number, name in enumerate(names):
            part = lines[number * SMALL_ROWS : (number + 1) * SMALL_ROWS]
            seeding.place(self.cloud, name).write_text(header + "".join(part))
        return names, self.copy(path, TRIPS_COLUMNS)

    def declare(self, name: str, columns: list[dict[str, Any]], **more: Any) -> None:
        """Declare a dataset."""
        document = {"description": f"A benchmark: {name}.", "columns": columns, **more}
        httpx.put(
            f"{self.cloud.url}/v1/datasets/{name}", json=document, timeout=60
        ).raise_for_status()

    def write(self, name: str, select: str) -> Path:
        """Write the result of a SELECT in DuckDB as an object."""
        path = seeding.place(self.cloud, name)
        self.duckdb.execute(f"COPY ({select}) TO '{path}' (HEADER)")
        return path

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        with (
            psycopg2.connect(ingest.libpq(self.cloud)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def copy(self, path: Path, names: Sequence[str]) -> float:
        r"""Return the seconds of `\copy` into text columns."""
        columns = ", ".join(f"{name} text" for name in names)
        ingest.sql(self.cloud, f"DROP TABLE IF EXISTS raw; CREATE TABLE raw ({columns})")
        began = time.perf_counter()
        ingest.sql(self.cloud, f"\\copy raw FROM '{path}' (FORMAT csv, HEADER)")
        seconds = time.perf_counter() - began
        ingest.sql(self.cloud, "DROP TABLE raw")
        return seconds

    def upsert(self, path: Path) -> float:
        r"""Return the seconds of `\copy` into a staging table and of the upsert from there."""
        ingest.sql(
            self.cloud,
            "DROP TABLE IF EXISTS staged; CREATE TABLE staged (LIKE peer)",
        )
        began = time.perf_counter()
        ingest.sql(self.cloud, f"\\copy staged FROM '{path}' (FORMAT csv, HEADER)")
        ingest.sql(
            self.cloud,
            "INSERT INTO peer SELECT * FROM staged ON CONFLICT (id) DO UPDATE SET name = excluded.name,"
            " amount = excluded.amount, changed_at = excluded.changed_at",
        )
        return time.perf_counter() - began

    def shape(self, title: str, names: list[str], rows: int, copy_s: float) -> Shape:
        """Publish notifications of the objects and wait until they are loaded."""
        objects = {name: seeding.seal(seeding.place(self.cloud, name)) for name in names}
        size = sum(int(facts["size"]) for facts in objects.values())
        self.sql("SELECT 1")
        began, dropped_at = time.perf_counter(), time.time()
        seeding.notify(self.cloud, objects)
        connections = 0
        with ingest.resident() as peaks:
            while True:
                ((ended, wrong, loaded, now),) = self.sql(
                    "SELECT count(*) FILTER (WHERE state = 'done'),"
                    " count(*) FILTER (WHERE state IN ('failed', 'skipped', 'cancelled')), sum(rows_loaded),"
                    " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
                    f" FROM sluice.ingestions WHERE object = ANY (ARRAY[{', '.join(map(repr, names))}])"
                )
                connections = max(connections, now)
                if ended + wrong == len(names):
                    break
                time.sleep(CONNECTIONS_WATCHED_S if len(names) > 1 else 0.02)
        seconds = time.perf_counter() - began
        if wrong or loaded != rows:
            raise SystemExit(f"{title}: {wrong} failed, {loaded} of {rows} rows")
        notes = {"resident MiB of load": round(peaks.get("load", 0)), "connections": connections}
        if len(names) > 1:
            notes["files a second"] = round(len(names) / seconds)
            notes["resident MiB of split"] = round(peaks.get("split", 0))
            notes |= self.waits(names, dropped_at)
        return Shape(title, rows, size, seconds, copy_s, notes)

    def waits(self, names: list[str], dropped_at: float) -> dict[str, Any]:
        """Return the seconds from the notification to `done`, of small files and of a large one."""
        done = self.sql(
            "SELECT rows_loaded, extract(epoch FROM finished_at) FROM sluice.ingestions"
            f" WHERE object = ANY (ARRAY[{', '.join(map(repr, names))}])"
        )
        small = sorted(float(at) - dropped_at for rows, at in done if rows <= SMALL_ROWS)
        large = [float(at) - dropped_at for rows, at in done if rows > SMALL_ROWS]
        found = {
            "small ones done in s, median": round(small[len(small) // 2], 1),
            "95 %": round(small[int(0.95 * (len(small) - 1))], 1),
        }
        return found | ({"large one done in s": round(large[0], 1)} if large else {})


WIDE_VALUES = {
    "float": "({drawn} % 1000000) / 1000.0",
    "integer": "{drawn} % 100000",
    "text": "'text ' || ({drawn} % 1000)",
    "timestamp": "TIMESTAMP '2026-01-01' + to_seconds(({drawn} % 31536000)::bigint)",
}

if __name__ == "__main__":
    main()
