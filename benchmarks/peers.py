r"""Loads the same trips with other tools into the same PostgreSQL, in the same run.

Run `python benchmarks/peers.py [--rows 1000000] [--json FILE]`. It needs network access to install pandas
and dlt into a separate environment, and includes pgloader if it is installed (Debian: `apt install
pgloader`). Slow tools load only the first rows; all figures are rows per second.

Only Sluice and `csv + execute_values` split points and type times; the others store text. Only Sluice
rejects malformed rows one by one with a reason, loads exactly once, and maintains roll-ups.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import ingest
import psutil
from generator import write_trips

from sluice.local.sample import HEADER

if TYPE_CHECKING:
    from sluice.local.cloud import Cloud

SLOW_ROWS = 100_000
PACKAGES = ("pandas", "dlt[postgres]", "sqlalchemy", "psycopg2-binary")

PANDAS = """
import sys, pandas
from sqlalchemy import create_engine
path, url = sys.argv[1:]
for part in pandas.read_csv(path, parse_dates=["datetime"], chunksize=50_000):
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg2:"))
    part.to_sql("pandas_trips", engine, if_exists="append", index=False,
                method="multi", chunksize=1000)
"""
DLT = """
import sys, dlt
from dlt.sources.filesystem import filesystem, read_csv
path, url = sys.argv[1:]
folder, _, name = path.rpartition("/")
database = dlt.destinations.postgres(url.replace("@", ":any@"))  # dlt requires a password
pipeline = dlt.pipeline("trips", destination=database, dataset_name="dlt_trips")
pipeline.run(filesystem(bucket_url="file://" + folder, file_glob=name) | read_csv())
"""
PGLOADER = """LOAD CSV FROM '{path}' ({columns})
    INTO {url}?tablename=pgloader_trips
    WITH skip header = 1, fields optionally enclosed by '"', fields terminated by ','
    SET client_encoding TO 'utf8';
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--loaders", type=int, default=psutil.cpu_count() or 2)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="sluice-peers-") as folder,
        ingest.cloud_in(Path(folder), options.loaders) as cloud,
    ):
        rates = measure(cloud, Path(folder), options.rows)
    for name, rate in sorted(rates.items(), key=lambda each: -each[1]):
        print(f"{name:24} {rate:10,.0f} rows/s  {rate / rates['sluice']:6.2f} x sluice")
    if options.json:
        options.json.write_text(json.dumps(rates, indent=1))


def measure(cloud: Cloud, folder: Path, rows: int) -> dict[str, float]:
    """Return the rows per second of each tool."""
    full, part = folder / "trips.csv", folder / "part.csv"
    write_trips(full, rows)
    write_trips(part, min(SLOW_ROWS, rows))
    ingest.warm_up(cloud, folder)
    row = ingest.ingest(cloud, full, "trips.csv")
    rates = {"sluice": row["rows"] / row["seconds"]}
    ingest.wait_for_compaction(cloud)
    rates["\\copy, as text"] = ingest.copy_rate(cloud, full)
    rates["csv + execute_values"] = ingest.usual_rate(cloud, part)
    python = environment(folder)
    url = ingest.libpq(cloud)
    slow = min(SLOW_ROWS, rows)
    rates["pandas to_sql"] = slow / timed([python, "-c", PANDAS, part, url])
    rates["dlt"] = slow / timed([python, "-c", DLT, part, url], folder)
    if shutil.which("pgloader"):
        rates["pgloader, as text"] = rows / by_pgloader(cloud, folder, full)
    else:
        print("pgloader is not installed and is left out")
    return rates


def environment(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", folder / "peers"], check=True)
    python = folder / "peers" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def by_pgloader(cloud: Cloud, folder: Path, path: Path) -> float:
    columns = HEADER.split(",")
    made = ", ".join(f"{name} text" for name in columns)
    ingest.sql(cloud, f"CREATE TABLE pgloader_trips ({made})")
    command = folder / "trips.load"
    command.write_text(
        PGLOADER.format(path=path, columns=", ".join(columns), url=ingest.libpq(cloud))
    )
    return timed(["pgloader", "--quiet", command])


def timed(command: list[str | Path], folder: Path | None = None) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
