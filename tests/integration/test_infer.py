"""`POST /v1/infer` says what loading does, also where a file would change what is declared."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest
from problems import assert_problem

from sluice.inference import dry_run
from sluice.inference.inferred import POLICIES
from sluice.postgres.declare import declare
from workbooks import workbook

if TYPE_CHECKING:
    from serving import Serve
    from sqlalchemy import Engine
    from werkzeug.test import Client

BOX: dict[str, Any] = {
    "name": "box",
    "columns": [{"name": "id", "type": "integer"}, {"name": "size", "type": "integer"}],
}


@pytest.fixture
def query(serve: Serve) -> Client:
    return serve("query")


def infer(client: Client, data: bytes, **arguments: str) -> dict[str, Any]:
    answer = client.post("/v1/infer", query_string=arguments, data=data)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json
    return found


def columns(found: dict[str, Any]) -> dict[str, tuple[str, list[str]]]:
    return {each["name"]: (each["type"], each["evidence"]) for each in found["columns"]}


def test_a_file_that_nobody_declared_is_inferred(query: Client) -> None:
    found = infer(query, b"id;born\n1;31.12.1999\n2;\n", name="staff.csv")
    assert (found["dataset"], found["is_declared"]) == ("staff", False)
    assert {name: kind for name, (kind, _) in columns(found).items()} == {
        "id": "integer",
        "born": "date",
    }
    assert (found["records"], found["rows"], found["rejected"]) == (2, 2, 0)
    assert 'formats = ["%d.%m.%Y"]' in found["toml"]


def test_a_file_widens_and_adds_columns_in_inference_as_when_it_is_loaded(
    query: Client, engine: Engine
) -> None:
    declare(engine, {**BOX, **POLICIES}, origin="api")
    found = infer(query, b"size,extra,id\n3.5,x,3\nlarge,y,4\n", dataset="box")
    assert columns(found) == {
        "id": ("integer", []),
        "size": ("text", ["changed: integer does not take all cells"]),
        "extra": ("text", ["new: the file adds it"]),
    }
    assert (found["rows"], found["rejected"]) == (2, 0)
    assert 'name = "extra"' in found["toml"]


def test_a_file_of_a_declared_dataset_is_checked_by_its_rules(
    query: Client, engine: Engine
) -> None:
    declare(engine, BOX, origin="api")
    found = infer(query, b"id,size\n3,3\n4,large\n", dataset="box")
    assert (found["rows"], found["rejected"]) == (1, 1)
    assert [each["line"] for each in found["rejects"]] == [3]
    assert 'name = "size"' in found["toml"]
    refused = query.post("/v1/infer?dataset=box", data=b"id,weight\n3,3\n")
    assert_problem(refused, "CSV104", 422)


def test_the_sheet_of_a_workbook_is_inferred(query: Client) -> None:
    data = workbook([["A title"], [], ["id", "name"], [1, "a"], [2, "b"]], Other=[["k"], [1.5]])
    first = infer(query, data, name="book.xlsx")
    assert first["dialect"]["skip_lines"] == 2
    assert list(columns(first)) == ["id", "name"]
    other = infer(query, data, name="book.xlsx", sheet="other")
    assert columns(other)["k"][0] == "numeric"
    missing = query.post("/v1/infer?name=book.xlsx&sheet=None", data=data)
    assert "'Other'" in assert_problem(missing, "CSV114", 422)["detail"]


def test_the_beginning_of_a_workbook_says_nothing(query: Client) -> None:
    data = workbook([["id"], [1]])
    size = len(data) + 100 * 1024**2
    refused = query.post(f"/v1/infer?name=book.xlsx&size_bytes={size}", data=data)
    assert "100 MiB" in assert_problem(refused, "CSV114", 422)["detail"]


def test_of_content_that_is_too_large_the_beginning_is_inferred(
    query: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry_run, "_MAX_CONTENT_BYTES", 2_000_000)
    lines = b"".join(b"%d,name %d\n" % (n, n) for n in range(300_000))
    packed = infer(query, gzip.compress(b"id,name\n" + lines), name="a.csv.gz")
    assert not packed["is_complete"]
    assert 90_000 < packed["records"] == packed["rows"] < 200_000
