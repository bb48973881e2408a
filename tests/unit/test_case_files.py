"""Each file of `tests/cases/files` is understood as a person says beside it, or refused with the reason."""

from __future__ import annotations

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from case_files import Understood, run, understand

from sluice.csv.dialects import Dialect
from sluice.errors import FileError
from sluice.inference.dry_run import DryRun

CASES = Path(__file__).parents[1] / "cases" / "files"
TOPICS = sorted(each.name for each in CASES.iterdir())
EXPECTED: dict[str, dict[str, Any]] = {
    f"{topic}/{name}": expected
    for topic in TOPICS
    for name, expected in tomllib.loads(
        (CASES / topic / "expected.toml").read_text("utf-8")
    ).items()
}
REFUSED = sorted(name for name, each in EXPECTED.items() if "refused" in each)
LOADED = sorted(EXPECTED.keys() - REFUSED)
of_each_loaded_file = pytest.mark.parametrize("name", LOADED)


def content(name: str) -> bytes:
    return (CASES / f"{name}.csv").read_bytes()


@cache
def undeclared(name: str) -> tuple[DryRun, Understood]:
    ran = run(content(name))
    return ran, understand(content(name), ran)


def rows_of(expected: dict[str, Any]) -> list[str]:
    """Return the expected rows as JSON, in which a NaN equals another."""
    if not expected["rows"]:
        return []
    return [json.dumps(json.loads(line)) for line in expected["rows"].strip().split("\n")]


def test_each_file_is_described() -> None:
    found = {f"{each.parent.name}/{each.stem}" for each in CASES.rglob("*.csv")}
    assert found == EXPECTED.keys()


@of_each_loaded_file
def test_a_file_has_the_dialect_that_a_person_sees(name: str) -> None:
    expected, (ran, _) = EXPECTED[name], undeclared(name)
    is_open = dict.fromkeys(expected.get("open", ()))
    keys = {**Dialect().to_json(), **expected.get("dialect", {})}
    found = {**ran.dialect.to_json(), **is_open}
    assert found == {**keys, **is_open}


@of_each_loaded_file
def test_a_file_has_the_types_and_values_that_a_person_sees(name: str) -> None:
    expected, (_, found) = EXPECTED[name], undeclared(name)
    assert found.columns == expected["columns"]
    assert [json.dumps(row) for row in found.rows] == rows_of(expected)


@of_each_loaded_file
def test_what_a_file_loses_is_rejected_with_the_reason(name: str) -> None:
    expected, (ran, found) = EXPECTED[name], undeclared(name)
    assert found.rejects == expected.get("rejects", [])
    assert expected.get("reason", "") in "; ".join(found.reasons)
    assert ran.detection is not None
    assert expected.get("warning", "") in "; ".join(ran.detection.warnings)


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_no_table_is_refused_with_the_reason(name: str) -> None:
    code, _, reason = EXPECTED[name]["refused"].partition(" ")
    with pytest.raises(FileError) as raised:
        run(content(name))
    assert raised.value.code == code
    assert reason in str(raised.value)


@of_each_loaded_file
def test_the_inferred_declaration_gives_the_same_rows(name: str) -> None:
    ran, found = undeclared(name)
    assert ran.inferred is not None
    declared = {**tomllib.loads(ran.inferred.toml), "name": "box"}
    assert declared == ran.inferred.document
    again = run(content(name), declared)
    assert (again.dialect, again.records, again.rows) == (ran.dialect, ran.records, len(found.rows))
    assert [[each.line, each.rule] for each in again.rejects] == found.rejects


@of_each_loaded_file
def test_chunks_of_any_size_give_the_same_rows(name: str) -> None:
    ran, found = undeclared(name)
    for chunk_bytes in (1, 23):
        assert repr(understand(content(name), ran, chunk_bytes)) == repr(found)
