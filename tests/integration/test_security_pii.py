"""Columns with personal data: who does not see them can find out nothing about their values."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pyarrow.ipc
import pyarrow.parquet
import pytest
from problems import assert_problem
from serving import publish

from sluice.documents.roles import Role
from sluice.postgres.declare import declare

if TYPE_CHECKING:
    from keyring import Keyring
    from sqlalchemy import Engine

SECRET = "Jane-1234"
PEOPLE: dict[str, Any] = {
    "name": "people",
    "columns": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "name", "type": "text", "pii": True},
        {"name": "wage", "type": "numeric", "pii": True},
        {"name": "city", "type": "text"},
    ],
    "rollups": {
        "cities": "-- People of a city.\n-- key: city\n-- measure n: sum\n-- measure name: max\n"
        "SELECT city, count(*) AS n, max(name) AS name FROM rows GROUP BY city"
    },
    "queries": {
        "cities": "-- Cities.\nSELECT city, count(*) AS n FROM people GROUP BY city ORDER BY city",
        "names": "-- Names.\nSELECT name AS city FROM people",
        "hidden_in_a_filter": "-- A filter.\nSELECT city FROM people WHERE wage > :least\n",
        "hidden_in_an_order": "-- An order.\nSELECT city FROM people ORDER BY name",
        "all_columns": "-- All.\nSELECT * FROM people",
        "whole_row": "-- A row.\nSELECT to_json(p) AS city FROM people AS p",
        "whole_row_as_text": "-- A row.\nSELECT CAST(people AS text) AS city FROM people",
        "in_a_subquery": "-- A subquery.\nSELECT (SELECT min(name) FROM people) AS city",
        "in_a_join": "-- A join.\nSELECT a.city FROM people AS a JOIN people AS b USING (name)",
        "natural": "-- A join.\nSELECT count(*) AS n FROM people AS a NATURAL JOIN people AS b",
        "escaped": '-- A name.\nSELECT U&"n\\0061me" AS city FROM people',
        "of_a_rollup": "-- A roll-up.\nSELECT city, name FROM people_cities",
    },
}
PEOPLE["queries"]["hidden_in_a_filter"] = (
    "-- A filter.\n-- param least integer=0: The least wage.\nSELECT city FROM people WHERE wage > :least"
)
READS_PII = sorted(set(PEOPLE["queries"]) - {"cities"})
ROWS = "/v1/datasets/people/rows"


@pytest.fixture
def people(engine: Engine) -> int:
    declare(engine, PEOPLE, origin="api")
    rows = [
        {"id": 1, "name": SECRET, "wage": "4321.5", "city": "Rome"},
        {"id": 2, "name": None, "wage": None, "city": "Oslo"},
    ]
    return publish(engine, "people", rows)


@pytest.fixture
def blind(callers: Keyring) -> str:
    return callers.key(Role.READER)


@pytest.fixture
def sighted(callers: Keyring) -> str:
    return callers.key(Role.READER, pii=True)


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("kind", ["json", "ndjson", "csv", "spreadsheet", "html"])
def test_rows_are_masked_in_texts(callers: Keyring, blind: str, sighted: str, kind: str) -> None:
    path = f"{ROWS}?format={kind}"
    for _ in range(2):  # the second answers may come from the cache
        seen = callers.send("query", sighted, "GET", path)
        masked = callers.send("query", blind, "GET", path)
        assert SECRET in seen.text
        assert "***" not in seen.text
        assert (SECRET in masked.text, "4321" in masked.text) == (False, False)
        assert masked.text.count("***") == 4, "a missing value is masked, too"
        assert "Rome" in masked.text


@pytest.mark.usefixtures("people")
def test_rows_are_masked_in_columnar_files(callers: Keyring, blind: str) -> None:
    data = callers.send("query", blind, "GET", f"{ROWS}?format=parquet").data
    table = pyarrow.parquet.read_table(io.BytesIO(data))
    assert set(table["name"].to_pylist()) == set(table["wage"].to_pylist()) == {"***"}
    data = callers.send("query", blind, "GET", f"{ROWS}?format=arrow").data
    table = pyarrow.ipc.open_stream(data).read_all()
    assert set(table["name"].to_pylist()) == set(table["wage"].to_pylist()) == {"***"}


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    "asked",
    [
        "name=eq.Jane-1234",
        "name=is.null",
        "filter.wage=gt.1000",
        "order=name",
        "order=city,wage.desc",
        "measure=max(name)",
        "measure=count_distinct(wage)",
        "group=name",
        "group=city&measure=sum(wage)",
    ],
)
def test_masked_columns_decide_nothing(
    callers: Keyring, blind: str, sighted: str, asked: str
) -> None:
    assert_problem(callers.send("query", blind, "GET", f"{ROWS}?{asked}"), "API311", 403)
    assert callers.send("query", sighted, "GET", f"{ROWS}?{asked}").status_code == 200


@pytest.mark.usefixtures("people")
def test_an_answer_for_one_caller_is_no_answer_for_the_other(
    callers: Keyring, blind: str, sighted: str
) -> None:
    etags = [callers.send("query", key, "GET", ROWS).headers["ETag"] for key in (blind, sighted)]
    assert etags[0] != etags[1]
    answer = callers.send("query", blind, "GET", ROWS, headers={"If-None-Match": etags[1]})
    assert answer.status_code == 200
    assert SECRET not in answer.text


@pytest.mark.usefixtures("people")
def test_a_key_that_is_masked_is_not_guessed(callers: Keyring, engine: Engine, blind: str) -> None:
    keyed = {**PEOPLE, "name": "keyed", "key": ["name"], "rollups": {}, "queries": {}}
    keyed["columns"] = [
        {**each, "required": True} if each["name"] == "name" else each for each in PEOPLE["columns"]
    ]
    declare(engine, keyed, origin="api")
    publish(engine, "keyed", [{"id": n, "name": f"{SECRET}{n}", "city": "Rome"} for n in range(3)])
    path = "/v1/datasets/keyed/rows"
    assert_problem(callers.send("query", blind, "GET", f"{path}/{SECRET}1"), "API311", 403)
    paged = callers.send("query", blind, "GET", f"{path}?limit=1")
    assert_problem(paged, "API311", 403)
    lines = callers.send("query", blind, "GET", f"{path}?format=ndjson")
    assert (lines.status_code, lines.text.count("***")) == (200, 6)
    assert SECRET not in lines.text


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("query", READS_PII)
def test_a_query_of_masked_columns_is_refused(
    callers: Keyring, blind: str, sighted: str, query: str
) -> None:
    path = f"/v1/datasets/people/queries/{query}"
    assert callers.send("query", sighted, "GET", path).status_code == 200
    assert_problem(callers.send("query", blind, "GET", path), "API311", 403)


@pytest.mark.usefixtures("people")
def test_other_queries_of_the_dataset_are_answered(callers: Keyring, blind: str) -> None:
    answer = callers.send("query", blind, "GET", "/v1/datasets/people/queries/cities")
    assert [each["city"] for each in answer.json["rows"]] == ["Oslo", "Rome"]


def test_a_column_that_becomes_personal_is_masked_at_once(
    callers: Keyring, engine: Engine, people: int, blind: str
) -> None:
    path = "/v1/datasets/people/queries/cities"
    assert callers.send("query", blind, "GET", path).status_code == 200
    columns = [{**each, "pii": each["name"] == "city"} for each in PEOPLE["columns"]]
    declare(engine, {**PEOPLE, "columns": columns}, origin="api")
    assert_problem(callers.send("query", blind, "GET", path), "API311", 403)
    assert "Rome" not in callers.send("query", blind, "GET", f"{ROWS}?format=ndjson").text


def rescuing(engine: Engine, columns: list[dict[str, Any]]) -> None:
    """Publish a row with a rescued cell of `people`, whose columns are these."""
    queries = {
        "rescued": "-- Rescued cells.\nSELECT _rescued AS city FROM people",
        "cities": PEOPLE["queries"]["cities"],
    }
    changed = {"columns": columns, "queries": queries, "rollups": {}, "rescue": True}
    declare(engine, {**PEOPLE, **changed}, origin="api")
    cells = json.dumps({"full name": SECRET})
    publish(engine, "people", [{"id": 1, "city": "Rome", "_rescued": cells}])


@pytest.mark.parametrize("kind", ["json", "ndjson", "csv", "spreadsheet", "html"])
def test_rescued_cells_are_masked_where_a_column_is(
    callers: Keyring, engine: Engine, blind: str, sighted: str, kind: str
) -> None:
    rescuing(engine, PEOPLE["columns"])
    path = f"{ROWS}?format={kind}"
    assert SECRET in callers.send("query", sighted, "GET", path).text
    masked = callers.send("query", blind, "GET", path).text
    assert SECRET not in masked
    assert (masked.count("***"), "Rome" in masked) == (3, True)


@pytest.mark.parametrize(
    "asked",
    [
        "rows?filter._rescued=like.*Jane*",
        "rows?filter._rescued=is.null",
        "rows?order=_rescued",
        "rows?group=_rescued",
        "rows?measure=max(_rescued)",
        "queries/rescued",
    ],
)
def test_rescued_cells_decide_nothing_where_a_column_is_masked(
    callers: Keyring, engine: Engine, blind: str, sighted: str, asked: str
) -> None:
    rescuing(engine, PEOPLE["columns"])
    path = f"/v1/datasets/people/{asked}"
    assert_problem(callers.send("query", blind, "GET", path), "API311", 403)
    assert callers.send("query", sighted, "GET", path).status_code == 200
    cities = callers.send("query", blind, "GET", "/v1/datasets/people/queries/cities")
    assert cities.status_code == 200


def test_rescued_cells_are_shown_where_no_column_is_masked(
    callers: Keyring, engine: Engine, blind: str
) -> None:
    rescuing(engine, [{**each, "pii": False} for each in PEOPLE["columns"]])
    assert SECRET in callers.send("query", blind, "GET", f"{ROWS}?format=csv").text


def test_rejected_lines_need_the_right(
    callers: Keyring, people: int, blind: str, sighted: str
) -> None:
    path = f"/v1/ingestions/{people}/rejects"
    assert_problem(callers.send("status", blind, "GET", f"{path}?format=csv"), "API311", 403)
    assert callers.send("status", blind, "GET", path).status_code == 200
    assert callers.send("status", sighted, "GET", f"{path}?format=csv").status_code != 403
