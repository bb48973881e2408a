# ruff: noqa: E501  # a file as it is
"""What the rows route answers, loaded into the same declaration, is the same rows."""

from __future__ import annotations

import json
import re
from datetime import date, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from flow import Flow
    from serving import Serve
    from werkzeug.test import Client

ROWS = "/v1/datasets/things/rows"
KINDS = (
    "integer", "bigint", "float", "numeric", "boolean", "date", "timestamp", "instant", "time", "uuid",
    "point", "json",
)  # fmt: skip
COLUMNS: list[dict[str, Any]] = [
    {"name": "n", "header": "The Number", "type": "integer"},
    {"name": "t", "type": "text", "trim": False},
    {"name": "d", "header": ["Kind of It", "kind"], "type": "text", "dictionary": True},
    *({"name": f"a_{each}", "header": f"A {each}", "type": each} for each in KINDS),
]
FILE = rb'''The Number,t,kind,A integer,A bigint,A float,A numeric,A boolean,A date,A timestamp,A instant,A time,A uuid,A point,A json
1,plain,a,1,9007199254740993,0.1,12345678901234567890.123456789,true,2018-05-28,2018-05-28 09:03:40.123456,2018-05-28T09:03:40+02:00,09:03:40,6ba7b810-9dad-11d1-80b4-00c04fd430c8,POINT (14.42 50.08),"{""b"": 1.50, ""a"": [1e2, 12345678901234567890.5, null]}"
2,"quo""te, and
newline",b,-2147483648,9223372036854775807,1e300,-0.0000000001,f,0001-01-01,0001-01-01 00:00:00,1900-01-01T00:00:00Z,23:59:59.999999,,POINT (-180 -90),"""{\""a\"": 1}"""
3,,,,,,,,,,,,,,
4,"",,,,,,,,,,,,,
5, lead and trail ,c,2,-9223372036854775808,nan,1.50,yes,9999-12-31,9999-12-31 23:59:59.999999,9999-12-31T23:59:59Z,00:00:00,,POINT (180 90),[]
6,NULL,NULL,3,0,inf,0,no,2024-02-29,2024-02-29 12:00,2024-02-29T12:00:00.5-11:30,12:00,,POINT (1e-7 0.1),"""a text"""
7,=1+1,d,4,0,-inf,100,1,2024-02-29,2024-02-29 12:00,2024-02-29T12:00:00.5-11:30,12:00,,,null
8,"carriage""
return",e,5,0,5e-324,1e20,0,2024-02-29,2024-02-29 12:00,2024-02-29T12:00:00.5-11:30,12:00,,,"{""x"":""a,\nb""}"
'''

pytestmark = pytest.mark.flow(declared=None)


def load(flow: Flow, data: bytes, name: str = "things/a.csv") -> int:
    ingestion = flow.run(data, name)
    flow.deliver()
    return ingestion


def rows_of(client: Client, ingestion: int) -> list[dict[str, Any]]:
    found = client.get(f"{ROWS}?ingestion=eq.{ingestion}&order=n").json["rows"]
    return [{name: row[name] for name in row if name != "ingestion"} for row in found]


@pytest.fixture
def loaded(flow: Flow) -> int:
    flow.declare({"name": "things", "columns": COLUMNS})
    ingestion = load(flow, FILE)
    assert flow.state(ingestion) == "done"
    assert flow.account(ingestion)[:2] == (8, 8)
    return ingestion


def test_csv_loads_back(flow: Flow, serve: Serve, loaded: int) -> None:
    client = serve("query")
    exported = client.get(f"{ROWS}?format=csv&order=n").data
    again = load(flow, exported, "things/back.csv")
    assert flow.state(again) == "done"
    assert rows_of(client, again) == rows_of(client, loaded)


def test_csv_without_header_loads_back(flow: Flow, serve: Serve) -> None:
    flow.declare({"name": "things", "columns": COLUMNS, "header": False})
    first = load(flow, FILE.partition(b"\n")[2])
    client = serve("query")
    answer = client.get(f"{ROWS}?format=csv&order=n&ingestion=eq.{first}")
    assert answer.mimetype_params["header"] == "absent"
    again = load(flow, answer.data, "things/back.csv")
    assert flow.state(again) == "done"
    assert rows_of(client, again) == rows_of(client, first)
    assert len(rows_of(client, again)) == 8


def test_pages_of_csv_without_header_join_to_a_file(flow: Flow, serve: Serve) -> None:
    columns = [
        {"name": "n", "type": "integer"},
        {"name": "at", "type": "date", "formats": ["%d.%m.%Y"]},
    ]
    flow.declare({"name": "things", "columns": columns, "header": False})
    load(flow, b"1,28.05.2018\n2,\n3,01.01.2024\n")
    client = serve("query")
    first = client.get(f"{ROWS}?format=csv&order=n&limit=2")
    second = client.get(first.headers["Link"].partition("<")[2].partition(">")[0])
    assert first.data + second.data == b"1,28.05.2018\r\n2,\r\n3,01.01.2024\r\n"


@pytest.mark.parametrize("kind", ["json", "ndjson"])
@pytest.mark.usefixtures("topics")
def test_json_is_posted_back(serve: Serve, loaded: int, kind: str) -> None:
    client = serve("query")
    exported = client.get(f"{ROWS}?format={kind}&order=n").text
    if kind == "json":
        exported = exported.rpartition(',"next":')[0] + "}"
    else:
        exported = "[" + ",".join(exported.splitlines()) + "]"
    answer = serve("intake").post(ROWS, data=exported, content_type="application/json")
    assert answer.json["account"]["loaded"] == 8, answer.text
    assert rows_of(client, answer.json["ingestion"]) == rows_of(client, loaded)


@pytest.mark.parametrize("kind", ["csv", "json"])
@pytest.mark.usefixtures("topics")
def test_json_is_the_same_value_after_a_round_trip(
    flow: Flow, serve: Serve, loaded: int, kind: str
) -> None:
    exported = serve("query").get(f"{ROWS}?format={kind}&order=n&limit=100")
    if kind == "csv":
        again = load(flow, exported.data, "things/back.csv")
    else:
        body = exported.text.rpartition(',"next":')[0] + "}"
        posted = serve("intake").post(ROWS, data=body, content_type="application/json")
        again = posted.json["ingestion"]
    both = "SELECT n, CAST(a_json AS text) AS text FROM things WHERE ingestion = {} ORDER BY n"
    before, after = ([row.text for row in flow.all(both.format(each))] for each in (loaded, again))
    assert before[0] == '{"a": [100, 12345678901234567890.5, null], "b": 1.50}'
    assert (before[1], before[6]) == (r'"{\"a\": 1}"', "null")
    if kind == "json":  # the null of JSON is a null of SQL in an answer
        before[6] = None
    assert after == before


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.usefixtures("loaded")
def test_arrow_and_parquet_keep_each_value(serve: Serve, kind: str) -> None:
    client = serve("query")
    data = pa.BufferReader(client.get(f"{ROWS}?format={kind}&order=n").data)
    table = pq.read_table(data) if kind == "parquet" else pa.ipc.open_stream(data).read_all()
    lines = client.get(f"{ROWS}?format=ndjson&order=n").text.splitlines()
    for row, line in zip(table.to_pylist(), lines, strict=True):
        expected = json.loads(line, parse_float=Decimal)
        document = row.pop("a_json")
        found = {name: _as_json(each) for name, each in row.items()}
        found["a_json"] = document and json.loads(document, parse_float=Decimal)
        assert found == expected


def _as_json(value: object) -> object:
    """Return a value of Arrow as `json.loads` reads it, with decimals for floats."""
    if isinstance(value, float):
        word = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(str(value))
        return word or Decimal(repr(value))
    if isinstance(value, date | time):  # a datetime is a date
        return re.sub(r"(\.[0-9]*[1-9])0+\b", r"\1", value.isoformat())
    return value


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (("0.000000001", "9" * 29), pa.decimal128(38, 9)),
        (("0.0000000001", "1"), pa.decimal256(76, 38)),
        (("9" * 38, "0." + "1" * 38), pa.decimal256(76, 38)),
        (("0." + "1" * 39, "1"), pa.string()),
        (("1" + "0" * 38, "1"), pa.string()),
        ((), pa.decimal128(38, 9)),
    ],
    ids=["usual", "scale", "most", "scale too large", "too large", "empty"],
)
def test_numeric_is_a_decimal_if_all_values_fit(
    flow: Flow, serve: Serve, values: tuple[str, ...], kind: pa.DataType
) -> None:
    flow.declare({"name": "things", "columns": [{"name": "x", "type": "numeric"}]})
    load(flow, "\n".join(("x", *values, "")).encode())
    data = pa.BufferReader(serve("query").get(f"{ROWS}?format=parquet").data)
    found = pq.read_table(data)["x"]
    assert found.type == kind
    assert [Decimal(each) for each in found.to_pylist()] == [Decimal(each) for each in values]


def test_a_sum_of_bigint_is_exact(flow: Flow, serve: Serve) -> None:
    flow.declare({"name": "things", "columns": [{"name": "x", "type": "bigint"}]})
    load(flow, b"x\n9223372036854775807\n9223372036854775807\n")
    answer = serve("query").get(f"{ROWS}?measure=sum(x)&format=arrow")
    found = pa.ipc.open_stream(answer.data).read_all()["sum_x"]
    assert found.to_pylist() == [2 * 9223372036854775807]


def test_a_row_by_its_key_keeps_every_digit(flow: Flow, serve: Serve) -> None:
    columns = [{"name": "x", "type": "numeric", "required": True}]
    flow.declare({"name": "things", "columns": columns, "key": ["x"]})
    load(flow, b"x\n12345678901234567890.123456789\n")
    answer = serve("query").get(f"{ROWS}/12345678901234567890.123456789")
    assert '"x":12345678901234567890.123456789,' in answer.text


def test_the_header_of_selected_columns_is_refused_by_a_dataset_without_header(
    flow: Flow, serve: Serve
) -> None:
    columns = [{"name": "n", "type": "integer"}, {"name": "p", "type": "point"}]
    flow.declare({"name": "things", "columns": columns, "header": False})
    load(flow, b"1,POINT (14 50)\n")
    selected = f"{ROWS}?format=csv&select=n,p_lon,p_lat,ingestion"
    ingestion = load(flow, serve("query").get(selected).data, "things/back.csv")
    assert flow.state(ingestion) == "failed"
    detail = flow.ingestion(ingestion).problem["detail"]
    assert "line 1 is a header" in detail
    assert "also remove the column ingestion" in detail


def test_one_column_of_nulls_loads_back(flow: Flow, serve: Serve) -> None:
    flow.declare({"name": "things", "columns": [{"name": "n", "type": "text"}]})
    load(flow, b'n\na\n""\nb\n')
    exported = serve("query").get(f"{ROWS}?format=csv&select=n").data
    again = load(flow, exported, "things/back.csv")
    assert flow.account(again)[:2] == (3, 3)


@pytest.mark.parametrize(
    ("lon", "lat", "rejected"),
    [
        ("14.5", "50", None),
        (" 14.5 ", "50", None),
        ("", "", None),
        ("14.5", "", "POINT (14.5 null)"),
        ("1 2", "", "POINT (1 2 null)"),
        ("", "1 2", "POINT (null 1 2)"),
        ("200", "1", "POINT (200 1)"),
        ("x", "1", "POINT (x 1)"),
    ],
)
def test_a_point_is_read_in_two_halves(
    flow: Flow, serve: Serve, lon: str, lat: str, rejected: str | None
) -> None:
    flow.declare(
        {
            "name": "things",
            "columns": [{"name": "n", "type": "integer"}, {"name": "p", "type": "point"}],
        }
    )
    ingestion = load(flow, f"p_lat,n,p_lon\n{lat},1,{lon}\n50,2,14\n".encode())
    found = [each.value for each in flow.rejects(ingestion)]
    assert found == ([rejected] if rejected else [])
    row = rows_of(serve("query"), ingestion)[-1]
    assert (row["n"], row["p_lon"], row["p_lat"]) == (2, 14, 50)


def test_columns_with_the_same_header_are_read_in_the_order_declared(
    flow: Flow, serve: Serve
) -> None:
    columns = [
        {"name": "n", "type": "integer"},
        {"name": "first", "header": "x", "type": "text"},
        {"name": "nameless", "header": "", "type": "text"},
        {"name": "second", "header": "x", "type": "text"},
        {"name": "smile", "header": "\U0001f600 " + "y" * 200, "type": "text"},
    ]
    flow.declare({"name": "things", "columns": columns})
    header = f"x,,\U0001f600 {'y' * 200},X,n\n"
    ingestion = load(flow, f"{header}a,b,c,d,1\n".encode())
    assert flow.state(ingestion) == "done"
    (row,) = rows_of(serve("query"), ingestion)
    assert row == {"n": 1, "first": "a", "nameless": "b", "second": "d", "smile": "c"}
    exported = serve("query").get(f"{ROWS}?format=csv&order=n").data
    assert rows_of(serve("query"), load(flow, exported, "things/back.csv")) == [row]


@pytest.mark.parametrize(
    ("header", "detail"),
    [("n,x,x,x", "twice"), ("n,x", "another 'x'"), ("n,N,x,x", "twice")],
)
def test_a_header_with_too_many_or_too_few_of_a_name_is_refused(
    flow: Flow, header: str, detail: str
) -> None:
    columns = [
        {"name": "n", "type": "integer"},
        {"name": "first", "header": "x", "type": "text"},
        {"name": "second", "header": "x", "type": "text"},
    ]
    flow.declare({"name": "things", "columns": columns})
    ingestion = load(flow, f"{header}\n1,2,3,4\n".encode())
    assert flow.state(ingestion) == "failed"
    assert detail in json.dumps(flow.ingestion(ingestion).problem)


@pytest.mark.usefixtures("topics")
def test_an_export_of_any_dialect_loads_back(flow: Flow, serve: Serve) -> None:
    dialect = {
        "delimiter": "||",
        "quote": "'",
        "escape": "\\",
        "comment": "#",
        "skip_lines": 2,
        "header_lines": 2,
        "footer_lines": 1,
        "spaces_around_quotes": True,
        "trailing_delimiter": True,
    }
    columns = [
        {"name": "n", "type": "integer"},
        {"name": "a_text", "header": "a text", "type": "text", "trim": False},
    ]
    flow.declare({"name": "things", **dialect, "columns": columns})
    content = "Report\n\nn||a||\n||text||\n1|| 'it''s' ||\n# none\n2||a\\||b\\\nc||\n3||\\N||\n4||'# '\nTotal: 4\n"
    first = load(flow, content.encode())
    client = serve("query")
    before = rows_of(client, first)
    assert [row["a_text"] for row in before] == ["it's", "a||b\nc", None, "# "]
    answer = client.get(f"{ROWS}?format=csv&order=n")
    assert rows_of(client, load(flow, answer.data, "things/back.csv")) == before


LOCALIZED: list[dict[str, Any]] = [
    {"name": "n", "type": "integer"},
    {"name": "euros", "type": "numeric", "thousands_separator": ".", "decimal_separator": ","},
    {"name": "share", "type": "float", "percent": True},
    {"name": "day", "type": "date", "formats": ["%Y-%d-%m"]},
    {"name": "at", "type": "instant", "formats": ["%d.%m.%Y %H:%M"], "time_zone": "Europe/Prague"},
    {"name": "code", "type": "text", "nulls": ["NA"], "trim": False},
    {"name": "answer", "header": "code name", "type": "text"},
]


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
@pytest.mark.usefixtures("topics")
def test_localized_columns_load_back(flow: Flow, serve: Serve, kind: str) -> None:
    document = {"name": "things", "delimiter": ";", "quote": "'", "encoding": "cp1252"}
    flow.declare({**document, "columns": LOCALIZED})
    header = "n;euros;share;day;at;code;code name\n"
    first = load(
        flow,
        f"{header}1;1.234,5;12,5%;2018-28-05;28.05.2018 09:03;NA;'a;b'\n"
        '2;1.234;0.1%;2018-31-12;01.01.2024 00:00; ž ;"\n'.replace("12,5%", "12.5%").encode(
            "cp1252"
        ),
    )
    client = serve("query")
    before = rows_of(client, first)
    assert [row["euros"] for row in before] == [1234.5, 1234]
    answer = client.get(f"{ROWS}?format={kind}&order=n")
    if kind == "csv":
        assert answer.mimetype_params["charset"] == "cp1252"
        again = load(flow, answer.data, "things/back.csv")
    else:
        rows = ",".join(answer.text.splitlines())
        posted = serve("intake").post(ROWS, data=f"[{rows}]", content_type="application/json")
        assert posted.json["account"]["loaded"] == 2, posted.text
        again = posted.json["ingestion"]
    assert rows_of(client, again) == before


@pytest.mark.usefixtures("topics")
def test_an_ambiguous_date_of_an_answer_is_rejected(flow: Flow, serve: Serve) -> None:
    columns = [{"name": "day", "type": "date", "formats": ["%Y-%d-%m"]}]
    flow.declare({"name": "things", "columns": columns})
    load(flow, b"day\n2018-06-05\n")
    row = serve("query").get(f"{ROWS}").json["rows"][0]
    assert row["day"] == "2018-05-06"
    answer = serve("intake").post(ROWS, json=[row])
    assert "ambiguous" in answer.text
