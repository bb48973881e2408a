"""What a function may cost: memory for a big file, packages at import, length of its entry point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import NullPool, create_engine, text

from sluice.local import postgres
from sluice.local.cloud import Cloud
from sluice.local.state import CHECKOUT, Ports, State

FUNCTIONS = sorted(CHECKOUT.glob("functions/*/main.py"))
MIB = 1024 * 1024
MAX_RESIDENT_BYTES = 512 * MIB
#: Packages that take long to import: functions import them on first use.
HEAVY = (
    "aiohttp", "duckdb", "google.cloud.sql", "google.cloud.storage", "google.pubsub_v1", "grpc",
    "matplotlib", "pg8000", "pgpq", "pyarrow", "requests", "sqlalchemy", "backports.zstd",
)  # fmt: skip
MAX_LINES = 60
FILE_BYTES = 150 * MIB
HEADER = b"region,origin_coord,destination_coord,datetime,datasource\n"
LINE = "{0},POINT ({1:.15f} {2:.15f}),POINT ({2:.15f} {1:.15f}),2018-05-{3:02} {4:02}:{5:02}:00,source {0}\n"
WAIT_S = 150

of_each_function = pytest.mark.parametrize("path", FUNCTIONS, ids=lambda path: path.parent.name)


@of_each_function
def test_an_entry_point_has_at_most_60_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@of_each_function
def test_an_entry_point_imports_no_heavy_package(path: Path) -> None:
    program = (
        f"import json, runpy, sys; runpy.run_path({str(path)!r}); print(json.dumps([*sys.modules]))"
    )
    environment = {**os.environ, "SLUICE_PROJECT": "local", "PYTHONPATH": str(CHECKOUT / "shared")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert not set(HEAVY) & set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud(State(tmp_path), Ports.free(), loaders=1, flags=postgres.TEST_FLAGS)
    made.up()
    yield made
    made.down()


def write_big_file(path: Path) -> int:
    """Write about `FILE_BYTES` of trips; return how many."""
    block = "".join(
        LINE.format(f"Town {n % 7}", 10 + n / 9973, 50 + n / 99991, 1 + n % 28, n % 24, n % 60)
        for n in range(20_000)
    ).encode()
    repeats = FILE_BYTES // len(block) + 1
    with path.open("wb") as file:
        file.write(HEADER)
        for _ in range(repeats):
            file.write(block)
    return repeats * 20_000


def resident_bytes(cloud: Cloud) -> dict[str, int]:
    parts = ("postgres", "storage", "pubsub", "gateway")
    return {each.name: each.resident_bytes for each in cloud.status() if each.name not in parts}


def test_no_function_exceeds_its_memory_while_a_big_file_passes(
    cloud: Cloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "big.csv"
    rows = write_big_file(path)
    upload(cloud, path)
    engine = create_engine(cloud.database.url(), poolclass=NullPool)
    highest: dict[str, int] = {}
    deadline = time.monotonic() + WAIT_S
    state = ""
    while state != "done" and time.monotonic() < deadline:
        for name, size in resident_bytes(cloud).items():
            highest[name] = max(highest.get(name, 0), size)
        with engine.connect() as connection:
            found = connection.execute(
                text("SELECT state, rows_loaded, problem FROM sluice.ingestions")
            ).one_or_none()
        state = found.state if found else ""
        assert state != "failed", found
        time.sleep(0.03)
    engine.dispose()
    assert found is not None
    assert (state, found.rows_loaded) == ("done", rows)
    shown = ", ".join(f"{name} {size // MIB} MiB" for name, size in sorted(highest.items()))
    with capsys.disabled():
        sys.stdout.write(f"\nresident at most: {shown}\n")
    assert max(highest.values()) <= MAX_RESIDENT_BYTES


def upload(cloud: Cloud, path: Path) -> None:
    with path.open("rb") as file:
        httpx.post(
            f"{cloud.storage.url}/upload/storage/v1/b/inbox/o",
            params={"uploadType": "media", "name": "trips/big.csv"},
            content=file,
            timeout=120,
        ).raise_for_status()
