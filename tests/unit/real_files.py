"""The real files of `../shared/data`, for tests that take one each; they skip without the folder."""

from __future__ import annotations

from pathlib import Path

import pytest

DATA = Path(__file__).parents[3] / "shared" / "data"

needs_real_files = pytest.mark.skipif(
    not DATA.is_dir(), reason="needs the real files of ../shared/data"
)
of_each_real_file = pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=str(path.relative_to(DATA))) for path in sorted(DATA.rglob("*.csv"))]
    or [pytest.param(DATA, id="none", marks=needs_real_files)],
)
