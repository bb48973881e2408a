"""The real and reported files of `../shared` and what must come of them; tests skip where it is absent."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def _shared() -> Path:
    """Return the folder `shared` next to the checkout, or next to a folder that holds the checkout."""
    folders = [parent / "shared" for parent in ROOT.parents]
    return next((each for each in folders if (each / "data").is_dir()), folders[0])


DATA = _shared() / "data"
EXPECTED = _shared() / "expected"
REPORTS = _shared() / "cases" / "reports"

needs_real_files = pytest.mark.skipif(
    not DATA.is_dir(), reason="needs the real files of ../shared/data"
)
needs_reports = pytest.mark.skipif(
    not REPORTS.is_dir(), reason="needs the reported files of ../shared/cases/reports"
)
of_each_real_file = pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=str(path.relative_to(DATA))) for path in sorted(DATA.rglob("*.csv"))]
    or [pytest.param(DATA, id="none", marks=needs_real_files)],
)


def reported_file(path: str) -> Path:
    """Return a file of the reports, whose folders begin with a number that `path` lacks."""
    folder, _, name = path.partition("/")
    return next(REPORTS.glob(f"*-{folder}")) / name


def expected_records(name: str) -> list[list[str]]:
    """Return the records of an expected CSV file, without its header."""
    with (EXPECTED / name).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


def expected_json(name: str) -> Any:
    """Return an expected JSON document."""
    return json.loads((EXPECTED / name).read_text("utf-8"))
