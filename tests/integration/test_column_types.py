"""Every type of column, from the file to the table, also those without binary COPY."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flow import Flow

TYPES = {
    "text": ("a, b", "a, b"),
    "integer": ("-7", "-7"),
    "bigint": ("9007199254740993", "9007199254740993"),
    "float": ("0.1", "0.1"),
    "numeric": ("1234567.890000000000000000001", "1234567.890000000000000000001"),
    "boolean": ("true", "true"),
    "date": ("2018-05-28", "2018-05-28"),
    "timestamp": ("2018-05-28 09:03:40", "2018-05-28 09:03:40"),
    "instant": ("2021-11-07T02:48:42Z", "2021-11-07 02:48:42+00"),
    "time": ("09:03:40", "09:03:40"),
    "uuid": ("6f9619ff-8b86-d011-b42d-00c04fc964ff", "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
    "json": (
        '{""b"": 1.50, ""a"": [1e2, 12345678901234567890]}',
        '{"a": [100, 12345678901234567890], "b": 1.50}',
    ),
}

pytestmark = pytest.mark.flow(chunk_bytes=200, declared=None)


def _declare(flow: Flow, types: list[str]) -> None:
    columns = [{"name": f"a_{each}", "type": each} for each in types]
    flow.declare({"name": "things", "columns": columns})


@pytest.mark.parametrize("kind", TYPES)
def test_a_value_of_each_type_and_a_null_arrive(flow: Flow, kind: str) -> None:
    _declare(flow, ["integer", kind] if kind != "integer" else ["integer", "text"])
    written, shown = TYPES[kind] if kind != "integer" else TYPES["text"]
    kind = kind if kind != "integer" else "text"
    header = f"a_integer,a_{kind}\n"
    ingestion = flow.run(f'{header}1,"{written}"\n2,\n'.encode())
    flow.deliver()
    assert flow.state(ingestion) == "done"
    flow.run_sql("SET TIME ZONE 'UTC'")
    rows = flow.all(f"SELECT CAST(a_{kind} AS text) AS value FROM things ORDER BY a_integer")
    assert [row.value for row in rows] == [shown, None]


@pytest.mark.flow(chunk_bytes=200_000, declared=None)
@pytest.mark.parametrize("form", [{}, {"thousands_separator": "_"}], ids=["plain", "localized"])
def test_a_numeric_with_too_many_digits_for_postgresql_is_a_reject(
    flow: Flow, form: dict[str, str]
) -> None:
    columns = [{"name": "id", "type": "integer"}, {"name": "x", "type": "numeric", **form}]
    flow.declare({"name": "things", "columns": columns})
    longest = ["9" * 15_000, "0." + "1" * 14_998]
    cells = [*longest, "9" * 140_000, "0." + "1" * 17_000, "1"]
    lines = "".join(f"{number},{each}\n" for number, each in enumerate(cells))
    ingestion = flow.run(f"id,x\n{lines}".encode())
    flow.deliver()
    assert [(each.line, each.rule) for each in flow.rejects(ingestion)] == [
        (4, "type"),
        (5, "type"),
    ]
    rows = flow.all("SELECT CAST(x AS text) AS value FROM things ORDER BY id")
    assert [row.value for row in rows] == [*longest, "1"]


@pytest.mark.flow(chunk_bytes=200_000, declared=None)
def test_postgresql_stores_all_json_that_is_no_reject(flow: Flow) -> None:
    columns = [{"name": "id", "type": "integer"}, {"name": "x", "type": "json"}]
    flow.declare({"name": "things", "columns": columns})
    stored = [
        "1e131071",
        "1e-16383",
        "[" * 100 + "]" * 100,
        '"\\ud83d\\ude00\x7f"',
        '{"":null}',
        " [] ",
    ]
    refused = ["1e131072", "1e-16384", '"\\u0000"', '"\\ud83d"', '{"a":1,"a":1}', "[1,]", "[NaN]"]
    cells = [f'"{each.replace(chr(34), chr(34) * 2)}"' for each in (*stored, *refused)]
    lines = "".join(f"{number},{each}\n" for number, each in enumerate(cells))
    ingestion = flow.run(f"id,x\n{lines}".encode())
    flow.deliver()
    assert flow.state(ingestion) == "done"
    rejects = flow.rejects(ingestion)
    assert [each.line - 2 for each in rejects] == list(range(len(stored), len(cells)))
    assert [each.reason.rpartition('" ')[2] for each in rejects][2:] == [
        "has the escape \\u0000, which PostgreSQL cannot store",
        "has half of a surrogate pair, which is no character",
        "has a member name twice in one object",
        "is not JSON",
        "is not JSON",
    ]
    assert len(flow.all("SELECT id FROM things WHERE jsonb_typeof(x) IS NOT NULL")) == len(stored)


def test_columns_may_bear_any_name_but_the_engines(flow: Flow) -> None:
    columns = [{"name": name, "type": "text"} for name in ("ok", "c0", "c1", "f0", "typed", "rows")]
    flow.declare({"name": "things", "columns": columns})
    flow.run(b"c1,c0,ok,f0,typed,rows\n1,2,3,4,5,6\n")
    flow.deliver()
    row = flow.one("SELECT ok, c0, c1, f0, typed, rows FROM things")
    assert tuple(row) == ("3", "2", "1", "4", "5", "6")
