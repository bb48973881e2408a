"""Values of columns with personal data are reported nowhere but in the rejected lines."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from sluice.ingestion.insert_rows import insert_rows
from sluice.ingestion.row_groups import RowGroup
from sluice.postgres.catalog import read_dataset
from sluice.postgres.connection import transaction

if TYPE_CHECKING:
    from flow import Flow
    from serving import Serve

SECRET = "Jane-1234"
PEOPLE: dict[str, Any] = {
    "name": "people",
    "columns": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "age", "type": "integer", "pii": True},
        {"name": "born", "type": "date", "pii": True},
        {"name": "code", "type": "text", "pii": True, "max_length": 9, "one_of": ["a", "b"]},
    ],
}
HEADER = b"id,age,born,code\n"
FILE = (
    HEADER
    + (
        f"1,{SECRET},,a\n2,,{SECRET},a\n3,,,{SECRET}\n4,,,{SECRET * 3}\n5,,,a\nx,,,a\n{SECRET},1\n"
    ).encode()
)

pytestmark = pytest.mark.flow(declared=PEOPLE)


@pytest.mark.parametrize("chunk_bytes", [1024, 32], ids=["group commit", "chunks"])
def test_values_are_masked_in_all_that_is_reported(
    flow: Flow, serve: Serve, caplog: pytest.LogCaptureFixture, chunk_bytes: int
) -> None:
    caplog.set_level(logging.DEBUG)
    flow.settings = type(flow.settings)(chunk_bytes=chunk_bytes)
    ingestion = flow.run(FILE, "people/a.csv")
    assert flow.account(ingestion) == (7, 1, 6)
    status, path = serve("status"), f"/v1/ingestions/{ingestion}/rejects"
    reported = [
        *(status.get(f"{path}?format={each}").text for each in ("json", "ndjson", "reasons")),
        status.get(f"/v1/ingestions/{ingestion}").text,
        json.dumps(flow.events(ingestion)),
        caplog.text,
    ]
    assert [each for each in reported if SECRET in each] == []
    first, *_, bad_id, _ = status.get(path).json["rejects"]
    assert (first["value"], first["original"]) == ("***", "***")
    assert first["reason"].startswith('"***" is not')
    assert bad_id["value"] == "x"
    lines = FILE.replace(b"5,,,a\n", b"")
    assert status.get(f"{path}?format=csv").data == lines


def test_a_file_of_rejects_fails_without_a_value(flow: Flow) -> None:
    ingestion = flow.run(HEADER + f"1,{SECRET},,a\n".encode(), "people/a.csv")
    problem = flow.ingestion(ingestion).problem
    assert problem["code"] == "CSV201"
    assert SECRET not in json.dumps(problem)
    assert "***" in problem["detail"]


def test_keys_and_references_are_masked(flow: Flow, serve: Serve) -> None:
    key = {"name": "code", "type": "text", "required": True, "pii": True}
    flow.declare({"name": "keyed", "columns": [key], "key": ["code"]})
    flow.declare({"name": "unique", "columns": [key], "key": ["code"], "duplicates": "error"})
    reference = {"name": "code", "type": "text", "references": "keyed", "pii": True}
    flow.declare({"name": "strict", "columns": [reference, {"name": "n", "type": "integer"}]})
    lax = {**reference, "dangling": "warn"}
    flow.declare({"name": "lax", "columns": [lax, {"name": "n", "type": "integer"}]})
    secret = SECRET.encode()
    repeated = b"code\n" + secret + b"\n" + secret + b"\n"
    referring = b"code,n\n" + secret + b"0,1\n,2\n"
    found = [
        flow.run(data, f"{name}/a.csv")
        for name, data in (
            *(("keyed", repeated), ("unique", repeated)),
            *(("strict", referring), ("lax", referring)),
        )
    ]
    assert [flow.state(each) for each in found] == ["done"] * 4
    status = serve("status")
    for ingestion in found:
        for path in ("", "/rejects", "/duplicates", "/rejects?format=reasons"):
            answer = status.get(f"/v1/ingestions/{ingestion}{path}").text
            assert SECRET not in answer
        assert SECRET not in json.dumps(flow.events(ingestion))
    assert status.get(f"/v1/ingestions/{found[0]}/duplicates").json["duplicates"][0]["key"] == {
        "code": "***"
    }


def test_outcomes_of_request_rows_are_masked(flow: Flow) -> None:
    with transaction(flow.engine) as connection:
        dataset = read_dataset(connection, "people")
    assert dataset is not None
    rows = [{"id": "1", "age": SECRET}, {"id": "2", "code": f"{SECRET}\0"}, {"id": "3"}]
    (group,) = insert_rows(flow.env("intake"), [RowGroup(dataset, rows)]).groups
    assert [each.outcome for each in group.rows] == ["rejected", "rejected", "loaded"]
    assert SECRET not in str(group.rows)
