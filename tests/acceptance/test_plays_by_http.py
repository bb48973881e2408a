"""A file of plays as the clients of its first system send it: in pieces, waited for, downloaded."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from real_files import DATA, EXPECTED, ROOT, needs_real_files

if TYPE_CHECKING:
    from sluice.local.cloud import Cloud

SCRIPT = ROOT / "docs" / "examples" / "upload_in_pieces.py"
PLAYS = DATA / "plays"


def run(cloud: Cloud, source: Path, target: Path, piece_bytes: int) -> str:
    """Run the script of the docs; return the job."""
    environ = {**os.environ, "SLUICE_URL": cloud.url, "PIECE_BYTES": str(piece_bytes)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(source), str(target)],
        env=environ, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[1].rstrip(":")


def test_the_script_of_the_docs_uploads_waits_and_downloads(
    local_cloud: Cloud, tmp_path: Path
) -> None:
    song = f"Song {uuid.uuid4()}"
    source, target = tmp_path / "plays.csv", tmp_path / "totals.csv"
    lines = [f'"{song}, again",2020-01-0{n % 3 + 1},{n}' for n in range(1000)]
    source.write_text("\n".join(["Song,Date,Number of Plays", *lines]))
    job = run(local_cloud, source, target, 1000)
    totals = {f"2020-01-0{day + 1}": sum(range(day, 1000, 3)) for day in range(3)}
    expected = [f'"{song}, again",{day},{total}' for day, total in totals.items()]
    assert target.read_text().splitlines() == [
        "Song,Date,Total Number of Plays for Date",
        *expected,
    ]
    with httpx.Client(base_url=local_cloud.url) as client:
        part = client.get(f"/api/download_file/{job}", headers={"Range": "bytes=5-24"})
        rest = client.get(f"/api/download_file/{job}", headers={"Range": "bytes=25-"})
        status = client.get(f"/api/file_status/{job}").json()
    assert (part.status_code, rest.status_code) == (206, 206)
    assert part.content + rest.content == target.read_bytes()[5:]
    assert status == {"job_status": "SUCCESS", "job_id": job, "jod_id": job}


@needs_real_files
@pytest.mark.parametrize("path", sorted(PLAYS.glob("*.csv")), ids=lambda path: path.stem)
def test_a_real_file_of_plays_gives_its_totals(
    local_cloud: Cloud, tmp_path: Path, path: Path
) -> None:
    target = tmp_path / "totals.csv"
    run(local_cloud, path, target, 50_000)
    found = target.read_text("utf-8").splitlines()
    sums = [line.rpartition(",")[2] for line in found[1:]]
    (expected,) = (EXPECTED / "plays").glob(f"{path.stem}*seed_order*")
    assert found == expected.read_text("utf-8").splitlines()
    assert sum(map(int, sums)) > 0
