"""Files of all kinds, end to end: what `tests/cases/files` says of them is what the database has."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sluice.documents.ingestions import State

if TYPE_CHECKING:
    from flow import Flow

pytestmark = pytest.mark.flow(declared=None)

CASES = Path(__file__).parents[1] / "cases" / "files"
NAMES = [
    "encodings/gzip_of_utf_16",
    "encodings/one_bad_byte_in_the_last_record",
    "encodings/windows_1252",
    "delimiters/double_pipe_crlf",
    "delimiters/semicolons_and_commas_in_texts",
    "quotes/null_of_mysql",
    "quotes/never_closed_before_other_quotes",
    "quotes/stray_quotes_round_a_delimiter",
    "quotes/backslash",
    "lines/line_numbers_of_rejects_after_a_preamble",
    "lines/rule_below_the_header",
    "lines/trailing_delimiters",
    "lines/two_tables",
    "headers/repeated_among_texts",
    "headers/two_lines",
    "records/short_and_long",
    "late/integer_to_text",
    "values/two_null_words",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_loaded_as_a_person_reads_it(flow: Flow, name: str) -> None:
    topic, _, stem = name.partition("/")
    expected: dict[str, Any] = tomllib.loads((CASES / topic / "expected.toml").read_text())[stem]
    rows = [json.loads(line) for line in expected["rows"].strip().split("\n")]
    rejects = expected.get("rejects", [])
    ingestion = flow.run((CASES / f"{name}.csv").read_bytes(), "box/a.csv")
    assert flow.state(ingestion) == State.DONE
    assert flow.account(ingestion) == (len(rows) + len(rejects), len(rows), len(rejects))
    columns = ", ".join(f'"{each.split()[0]}"::text' for each in expected["columns"])
    loaded = sorted(map(repr, (list(row) for row in flow.all(f"SELECT {columns} FROM box"))))
    assert loaded == sorted(repr([None if v is None else str(v) for v in row]) for row in rows)
    assert [[each.line, each.rule] for each in flow.rejects(ingestion)] == rejects
