"""Each function answers probes without a key and without the database."""

from __future__ import annotations

from pathlib import Path

import functions_framework
import pytest

FUNCTIONS = Path(__file__).parents[2] / "functions"


@pytest.mark.parametrize(
    "function", sorted(each.parent.name for each in FUNCTIONS.glob("*/main.py"))
)
def test_a_function_answers_a_probe(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_DATABASE_URL", "postgresql+pg8000://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("SLUICE_PROJECT", "local")
    app = functions_framework.create_app(function, str(FUNCTIONS / function / "main.py"))
    answer = app.test_client().get("/health")
    assert (answer.status_code, answer.data) == (204, b"")
    assert app.test_client().post("/health").status_code != 204
