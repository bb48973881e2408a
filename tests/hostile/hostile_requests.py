"""The catalogue of hostile requests, each made from a short description and sent to its function directly."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from backports import zstd
from hostile_file import KIB, MIB

#: No answer: the server closes the connection.
CLOSED = 0
ROWS = "/v1/datasets/served/rows"


@dataclass(frozen=True)
class HostileRequest:
    """A request that is meant to exhaust a function.

    Attributes:
        name: of the case.
        function: the function that serves it.
        method: of HTTP.
        target: path and query string.
        body: makes its body.
        headers: besides `Content-Length`.
        status: how it is answered.
        length: the value of `Content-Length`, where it is not the size of the body.
        within_s: how long the answer may take.
        may_close: whether the connection may close before the answer is read: the server does not read all.
    """

    name: str
    function: str
    method: str
    target: str
    body: Callable[[], bytes] = bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    length: int | None = None
    within_s: float = 60.0
    may_close: bool = False


def _json(
    name: str,
    target: str,
    body: Callable[[], bytes],
    status: int,
    *,
    function: str = "intake",
    method: str = "POST",
    within_s: float = 60.0,
    may_close: bool = False,
) -> HostileRequest:
    headers = {"Content-Type": "application/json"}
    return HostileRequest(
        name, function, method, target, body, headers, status, None, within_s, may_close
    )


def _get(
    name: str,
    target: str,
    status: int,
    *,
    function: str = "query",
    headers: Mapping[str, str] = {},
    may_close: bool = False,
) -> HostileRequest:
    return HostileRequest(
        name, function, "GET", target, bytes, headers, status, may_close=may_close
    )


def _declare(
    name: str, document: Callable[[], Mapping[str, object]], status: int, within_s: float = 60.0
) -> HostileRequest:
    def body() -> bytes:
        columns = {"columns": [{"name": "n", "type": "integer"}]}
        return json.dumps({"description": "Hostile.", **columns, **document()}).encode()

    return _json(
        name,
        f"/v1/datasets/{name}",
        body,
        status,
        method="PUT",
        within_s=within_s,
    )


def _query(sql: str) -> Mapping[str, object]:
    return {"queries": {"q": f"-- Q.\n{sql}"}}


def _rollup(sql: str) -> Mapping[str, object]:
    return {"rollups": {"r": f"-- R.\n-- key: n\n-- measure c: sum\n{sql}"}}


def _multipart(
    name: str,
    body: Callable[[], bytes],
    status: int,
    *,
    boundary: str = "b",
    target: str = "/hostile/upload",
) -> HostileRequest:
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return HostileRequest(name, "intake", "POST", target, body, headers, status)


def _part(name: str, data: bytes, options: str = "") -> bytes:
    return (
        f'--b\r\nContent-Disposition: form-data; name="{name}"{options}\r\n\r\n'.encode()
        + data
        + b"\r\n"
    )


def _file_part(data: bytes, name: str = "served.csv") -> bytes:
    return _part("file", data, f'; filename="{name}"') + b"--b--\r\n"


def _push(name: str, message: object, *, function: str = "split") -> HostileRequest:
    return _json(
        name, "/", lambda: json.dumps({"message": message}).encode(), 204, function=function
    )


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _notification(**attributes: str) -> Mapping[str, str]:
    return {
        "eventType": "OBJECT_FINALIZE",
        "bucketId": "inbox",
        "objectId": "served/none.csv",
        "objectGeneration": "1",
        **attributes,
    }


def _chunk(**changes: object) -> bytes:
    chunk = {
        "ingestion": 1,
        "dataset": "served",
        "bucket": "inbox",
        "object": "none",
        "generation": 1,
        "offset": 0,
        "number": 0,
        "first_byte": 0,
        "end_byte": 1,
        "first_line": 1,
        "first_record": 0,
        "records": 1,
    }
    return json.dumps({**chunk, **changes}).encode()


BODIES = (
    _json("rows_nested", f"{ROWS}", lambda: b"[" * MIB + b"]" * MIB, 400),
    _json("rows_of_nested_objects", f"{ROWS}", lambda: b'{"rows":' * 2_000 + b"1" + b"}" * 2_000, 400),
    _json("rows_unfinished", f"{ROWS}", lambda: b"[" * 8 * MIB, 400),
    _json("rows_of_digits", f"{ROWS}", lambda: b'[{"id":' + b"9" * 5_000 + b"}]", 200),
    _json("rows_of_many_digits", f"{ROWS}", lambda: b'[{"amount":' + b"9" * 8 * MIB + b"}]", 200),
    _json("rows_of_exponents", f"{ROWS}", lambda: b'[{"amount":1e999999999}]', 200),
    _json("rows_of_one_name", f"{ROWS}", lambda: b'[{"id":1' + b',"id":1' * MIB + b"}]", 400),
    _json("rows_of_many_names", f"{ROWS}", lambda: json.dumps([{f"n{n}": n for n in range(400_000)}]).encode(), 200),
    _json("rows_of_long_names", f"{ROWS}", lambda: json.dumps([{"x" * 4 * MIB: 1}]).encode(), 200),
    _json("too_many_rows", f"{ROWS}", lambda: b"[" + b",".join([b'{"id":1}'] * 500_000) + b"]", 400),
    _json("rows_of_long_texts", f"{ROWS}", lambda: json.dumps([{"name": "x" * 15 * MIB}]).encode(), 200),
    _json("rows_of_surrogates", f"{ROWS}", lambda: b'[{"name":"' + b"\\ud800" * MIB + b'"}]', 200),
    _json("rows_of_escapes", f"{ROWS}", lambda: b'[{"name":"' + b"\\u0000" * MIB + b'"}]', 200),
    _json("rows_of_spaces", f"{ROWS}", lambda: b" " * 15 * MIB, 400),
    _json("rows_beyond_the_limit", f"{ROWS}", lambda: b"[" + b" " * 17 * MIB + b"]", 413, may_close=True),
    _json("rows_of_invalid_utf8", f"{ROWS}", lambda: b'[{"name":"' + b"\xff" * 8 * MIB + b'"}]', 400),
    _json("rows_in_utf16", f"{ROWS}", lambda: ("[" * MIB).encode("utf-16"), 400),
    _json("rows_of_many_datasets", "/v1/rows", lambda: json.dumps({f"d{n}": [{}] for n in range(100_000)}).encode(), 400),
    _json("nan_rows", f"{ROWS}", lambda: b'[{"id":NaN},{"id":-Infinity}]', 400),
    _json("a_nested_json_cell", f"{ROWS}", lambda: json.dumps([{"doc": "[" * MIB + "]" * MIB}]).encode(), 200),
    HostileRequest("gzipped_rows", "intake", "POST", ROWS, lambda: gzip.compress(b"[" + b" " * 64 * MIB + b"]"), {"Content-Encoding": "gzip", "Content-Type": "application/json"}, 400),
    HostileRequest("zstd_rows", "intake", "POST", ROWS, lambda: zstd.compress(b"[" + b" " * 64 * MIB + b"]"), {"Content-Encoding": "zstd", "Content-Type": "application/json"}, 400),
    HostileRequest("deflated_rows", "intake", "POST", ROWS, lambda: zlib.compress(b"[" * MIB), {"Content-Encoding": "deflate"}, 400),
    HostileRequest("a_form_of_many_fields", "intake", "POST", ROWS, lambda: b"&".join([b"a=1"] * 500_000), {"Content-Type": "application/x-www-form-urlencoded"}, 400),
    HostileRequest("an_unfinished_body", "intake", "POST", ROWS, lambda: b"[" * 1_000, {}, 400, 15 * MIB),
    HostileRequest("a_length_of_many_digits", "intake", "POST", ROWS, bytes, {"Content-Length": "9" * 5_000}, 400),
    HostileRequest("a_negative_length", "intake", "POST", ROWS, bytes, {"Content-Length": "-1"}, 400),
    _json("infer_a_bomb", "/v1/infer?file=a.csv.gz", lambda: gzip.compress(b"1\n" * 33 * MIB), 422, function="query", within_s=60.0),
    _json("infer_rejects", "/v1/infer?dataset=served&file=a.csv", lambda: b"id,name\n" + b"x,y\n" * 2 * MIB, 422, function="query", within_s=60.0),
    _json("infer_columns", "/v1/infer?file=a.csv", lambda: b",".join(b"c%d" % n for n in range(100_000)) + b"\n1\n", 422, function="query", within_s=60.0),
    _json("infer_quotes", "/v1/infer?file=a.csv", lambda: b'"' * 8 * MIB, 422, function="query", within_s=60.0),
    _json("infer_rows", "/v1/infer?file=a.csv", lambda: b"a,b\n" + b"1,2\n" * 3 * MIB, 422, function="query", within_s=60.0),
    _json("infer_json_cells", "/v1/infer?file=a.csv", lambda: b"a,b\n" + (b'1,"' + b"[" * 50_000 + b"]" * 50_000 + b'"\n') * 40, 422, function="query", within_s=60.0),
)  # fmt: skip

QUESTIONS = (
    _get("a_long_path", "/v1/datasets/" + "x" * 4_000, 404),
    _get("a_path_of_slashes", "/" * 4_000, 404),
    _get("a_path_of_escapes", "/v1/datasets/" + "%00" * 1_000, 400),
    _get("a_path_beyond_the_limit", "/v1/datasets/" + "x" * 64 * KIB, 404, may_close=True),
    _get("many_filters", f"{ROWS}?" + "&".join(["id=eq.1"] * 400), 200),
    _get("many_filters_of_other_names", f"{ROWS}?" + "&".join(f"c{n}=eq.1" for n in range(300)), 400),
    _get("a_long_list", f"{ROWS}?id=in.(" + ",".join(["1"] * 1_500) + ")", 400),
    _get("a_list_of_quotes", f"{ROWS}?name=in.(" + '%22' * 1_200 + ")", 200),
    _get("a_list_of_brackets", f"{ROWS}?name=in." + "(" * 3_500, 400),
    _get("digits_in_a_filter", f"{ROWS}?id=eq." + "9" * 3_500, 400),
    _get("digits_in_a_numeric_filter", f"{ROWS}?amount=eq." + "9" * 3_500, 200),
    _get("an_exponent_in_a_filter", f"{ROWS}?amount=eq.1e999999999", 400),
    _get("a_pattern", f"{ROWS}?name=like." + "*a" * 1_500, 200),
    _get("a_pattern_of_escapes", f"{ROWS}?name=like." + "%5C" * 1_201, 400),
    _get("a_json_filter", f"{ROWS}?doc=eq." + "[" * 3_000, 400),
    _get("digits_in_a_limit", f"{ROWS}?limit=" + "9" * 3_500, 413),
    _get("a_limit_of_other_digits", f"{ROWS}?limit=" + quote("٣" * 300), 400),
    _get("an_order_of_many_columns", f"{ROWS}?order=" + ",".join(["id"] * 1_200), 400),
    _get("a_select_of_many_columns", f"{ROWS}?select=" + ",".join(["id"] * 1_200), 400),
    _get("many_measures", f"{ROWS}?measure=" + ",".join(["count"] * 600), 400),
    _get("many_groups", f"{ROWS}?group=" + ",".join(["id"] * 1_200), 400),
    _get("a_long_cursor", f"{ROWS}?cursor=" + "A" * 3_500, 400),
    _get("a_nested_cursor", f"{ROWS}?cursor=" + quote(_encoded(b"[" * 2_000 + b"]" * 500)), 400),
    _get("a_cursor_of_a_bomb", f"{ROWS}?cursor=" + quote(_encoded(zlib.compress(b"[" * MIB))[:3_000]), 400),
    _get("a_key_of_digits", f"{ROWS}/" + "9" * 3_500, 400),
    _get("a_key_of_commas", f"{ROWS}/" + "," * 3_500, 400),
    _get("many_parameters", "/v1/datasets/served/queries/named?" + "&".join(f"p{n}=1" for n in range(400)), 400),
    _get("one_parameter_often", "/v1/datasets/served/queries/named?" + "&".join(["name=1"] * 400), 400),
    _get("many_formats", f"{ROWS}?format=json", 200, headers={"Accept": ",".join(f"a/{n};q=0.{n}" for n in range(600))}),
    _get("a_long_accept", f"{ROWS}", 406, headers={"Accept": "a" * 8_000}),
    _get("a_long_header", f"{ROWS}", 431, headers={"X-Long": "a" * 64 * KIB}, may_close=True),
    _get("many_headers", f"{ROWS}", 431, headers={f"X-{n}": "a" for n in range(2_000)}, may_close=True),
    _get("many_tags", f"{ROWS}?limit=1", 200, headers={"If-None-Match": '"a",' * 1_900}),
    _get("tags_of_quotes", f"{ROWS}?limit=1", 200, headers={"If-None-Match": '"' * 7_999}),
    _get("a_long_authorization", f"{ROWS}", 200, headers={"Authorization": "Bearer " + "a." * 3_900}),
    _get("an_authorization_of_spaces", f"{ROWS}", 200, headers={"Authorization": "Bearer" + " " * 8_000}),
    _get("a_long_query_string", f"{ROWS}?" + "a" * 3_900, 400),
    _get("a_recursive_query", "/v1/datasets/served/queries/endless", 422),
    _get("a_query_of_many_rows", "/v1/datasets/served/queries/many", 200),
    _get("a_query_of_wide_rows", "/v1/datasets/served/queries/wide_rows", 200),
    _get("a_picture_of_many_points", "/v1/datasets/served/queries/many?format=svg", 400),
)  # fmt: skip

EVENTS = (
    _get("a_last_event_of_digits", "/v1/ingestions/1/events", 400, function="status", headers={"Last-Event-ID": "9" * 8_000, "Accept": "text/event-stream"}),
    _get("a_last_event_of_signs", "/v1/ingestions/1/events", 400, function="status", headers={"Last-Event-ID": "-" * 8_000, "Accept": "text/event-stream"}),
    _get("a_last_event_of_other_digits", "/v1/ingestions/1/events", 400, function="status", headers={"Last-Event-ID": "1:" * 3_000, "Accept": "text/event-stream"}),
    _get("an_ingestion_of_digits", "/v1/ingestions/" + "9" * 3_500, 404, function="status"),
    _get("a_large_ingestion", "/v1/ingestions/99999999999999999999", 404, function="status"),
    _get("ingestions_beyond_the_limit", "/v1/ingestions?limit=99999999999", 413, function="status"),
    _get("ingestions_before_digits", "/v1/ingestions?before=" + "9" * 3_500, 400, function="status"),
    _get("rejects_of_digits", "/v1/ingestions/1/rejects?limit=" + "9" * 3_500, 413, function="status"),
    _get("many_ranges", "/v1/ingestions/1/output", 404, function="status", headers={"Range": "bytes=" + "0-1," * 1_900 + "1-2"}),
    _json("a_long_endpoint", "/v1/subscriptions", lambda: json.dumps({"endpoint": "https://" + "a." * MIB + "example"}).encode(), 400, function="status"),
    _json("a_nested_subscription", "/v1/subscriptions", lambda: b'{"endpoint":' * 100_000, 400, function="status"),
    _json("many_datasets_of_a_subscription", "/v1/subscriptions", lambda: json.dumps({"endpoint": "https://localhost/", "datasets": ["a"] * 500_000}).encode(), 400, function="status"),
)  # fmt: skip

DECLARATIONS = (
    _declare("comments", lambda: _query("SELECT 1 AS x " + "-- c\n" * 13_000), 200),
    _declare("nested_comments", lambda: _query("SELECT 1 AS x " + "/*" * 32_000 + "*/" * 32_000), 422),
    _declare("unclosed_comments", lambda: _query("SELECT 1 AS x " + "/*" * 32_000), 422),
    _declare("comments_before_sql", lambda: {"queries": {"q": "-- Q.\n" + "--\n" * 20_000 + "SELECT 1 AS x"}}, 200),
    _declare("comments_of_rollups", lambda: _rollup("SELECT n, count(*) AS c FROM rows GROUP BY ALL " + "/*" * 32_000 + "*/" * 32_000), 422),
    _declare("comments_of_checks", lambda: {"columns": [{"name": "n", "type": "integer", "checks": [{"sql": "n > 0 " + "/*" * 32_000 + "*/" * 32_000, "message": "m"}]}]}, 422),
    _declare("comments_of_tables", lambda: {"table": "CREATE TABLE comments_of_tables (n integer) " + "/*" * 32_000 + "*/" * 32_000}, 422),
    _declare("comments_of_projections", lambda: {"projections": {"p": "-- P.\nSELECT n FROM rows " + "/*" * 32_000 + "*/" * 32_000}}, 422),
    _declare("nested_brackets", lambda: _query("SELECT " + "(" * 30_000 + "1" + ")" * 30_000 + " AS x"), 422),
    _declare("nested_selects", lambda: _query("SELECT * FROM (" * 3_000 + "SELECT 1 AS x" + ") AS a" * 3_000), 422),
    _declare("nested_brackets_of_rollups", lambda: _rollup("SELECT n, " + "(" * 30_000 + "count(*)" + ")" * 30_000 + " AS c FROM rows GROUP BY ALL"), 422),
    _declare("a_long_sum", lambda: _query("SELECT 1" + " + 1" * 200_000 + " AS x"), 422),
    _declare("many_unions", lambda: _query("SELECT 1 AS x" + " UNION ALL SELECT 1" * 5_000), 422),
    _declare("quotes_of_sql", lambda: _query("SELECT " + "'" * 60_001), 422),
    _declare("dollars_of_sql", lambda: _query("SELECT " + "$a" * 30_000), 200),
    _declare("many_statements", lambda: {"table": "CREATE TABLE many_statements (n integer);" + "SELECT 1;" * 30_000}, 422),
    _declare("many_queries", lambda: {"queries": {f"q{n}": "-- Q.\nSELECT 1 AS x" for n in range(5_000)}}, 422, within_s=120.0),
    _declare("many_declared_columns", lambda: {"columns": [{"name": f"c{n}", "type": "integer"} for n in range(20_000)]}, 422),
    _declare("many_checks", lambda: {"columns": [{"name": "n", "type": "integer", "checks": [{"sql": f"n > {k}", "message": "m"} for k in range(2_000)]}]}, 422, within_s=120.0),
    _declare("many_headers_of_a_column", lambda: {"columns": [{"name": "n", "type": "integer", "header": [f"h{k}" for k in range(200_000)]}]}, 422),
    _declare("many_nulls", lambda: {"columns": [{"name": "n", "type": "integer", "nulls": [f"n{k}" for k in range(100_000)]}]}, 422, within_s=120.0),
    _declare("many_parameters_of_a_query", lambda: {"queries": {"q": "-- Q.\n" + "".join(f"-- param p{k} integer!: P.\n" for k in range(3_000)) + "SELECT " + " + ".join(f":p{k}" for k in range(3_000)) + " AS x"}}, 422, within_s=120.0),
    _declare("a_pattern_of_brackets", lambda: {"columns": [{"name": "t", "type": "text", "pattern": "(" * 50_000 + ")" * 50_000}]}, 422),
    _declare("a_pattern_of_repetitions", lambda: {"columns": [{"name": "t", "type": "text", "pattern": "((a{1,1000}){1,1000}){1,1000}"}]}, 422),
    _declare("nested_declaration", lambda: {"aliases": json.loads("[" * 60 + "]" * 60)}, 422),
    _declare("a_long_description", lambda: {"description": "x" * 3 * MIB}, 422),
    _declare("a_long_delimiter", lambda: {"delimiter": "|" * MIB}, 422),
    _declare("many_header_lines", lambda: {"header_lines": 10**300, "skip_lines": 10**300}, 422),
    _declare("many_aliases", lambda: {"aliases": {f"GET /hostile/{n}": {"kind": "text", "text": "x"} for n in range(20_000)}}, 422, within_s=120.0),
    _json("a_declaration_of_nested_json", "/v1/datasets/nested", lambda: b'{"columns":' * 100_000, 400, method="PUT"),
    _json("a_declaration_beyond_the_limit", "/v1/datasets/large", lambda: b" " * 5 * MIB, 413, method="PUT", may_close=True),
    _json("a_name_of_a_key", "/v1/keys", lambda: json.dumps({"name": "x" * 3 * MIB}).encode(), 400),
    _json("a_key_for_many_datasets", "/v1/keys", lambda: json.dumps({"name": "k", "role": "reader", "datasets": [f"d{n}" for n in range(200_000)]}).encode(), 400),
    _json("an_upload_of_a_long_name", "/v1/uploads", lambda: json.dumps({"name": "x" * 3 * MIB, "dataset": "served"}).encode(), 400),
)  # fmt: skip

FORMS = (
    _multipart("many_parts", lambda: _part("a", b"1") * 20_000 + b"--b--\r\n", 413),
    _multipart("a_long_field", lambda: _part("a", b"x" * 8 * MIB) + b"--b--\r\n", 413),
    _multipart("many_lines_in_a_field", lambda: _part("a", b"\r\n-" * 2 * MIB) + b"--b--\r\n", 413),
    _multipart("half_boundaries", lambda: _part("file", b"\r\n--" * MIB, '; filename="served.csv"') + b"--b--\r\n", 422),
    _multipart("a_long_boundary", lambda: b"--" + b"b" * 7_000, 400, boundary="b" * 7_000),
    _multipart("no_boundary", lambda: b"x" * 8 * MIB, 413),
    _multipart("an_unfinished_part", lambda: _part("file", b"id,name\n", '; filename="served.csv"')[:-2], 400),
    _multipart("a_long_header_of_a_part", lambda: b"--b\r\nX: " + b"x" * 8 * MIB, 413),
    _multipart("many_headers_of_a_part", lambda: b"--b\r\n" + b"X: y\r\n" * MIB, 413),
    _multipart("a_long_file_name", lambda: _file_part(b"id\n1\n", "x" * 10_000 + ".csv"), 400),
    _multipart("a_file_name_of_dots", lambda: _file_part(b"id\n1\n", "../" * 1_000 + "served.csv"), 200),
    _multipart("a_continued_file_name", lambda: _part("file", b"id\n", "".join(f"; filename*{n}=x" for n in range(5_000))) + b"--b--\r\n", 400),
    _multipart("semicolons_of_a_part", lambda: _part("file", b"id\n", ";" * 60_000) + b"--b--\r\n", 400),
    _multipart("a_chunk_of_digits", lambda: _part("dzuuid", b"u") + _part("dzchunkbyteoffset", b"9" * 5_000) + _part("dztotalfilesize", b"9" * 5_000) + _file_part(b"id\n1\n"), 400, target="/hostile/parts"),
    _multipart("a_chunk_of_a_large_file", lambda: _part("dzuuid", b"u") + _part("dzchunkbyteoffset", b"0") + _part("dztotalfilesize", b"9" * 18) + _part("dzfilename", b"served.csv") + _file_part(b"id\n1\n"), 400, target="/hostile/parts"),
)  # fmt: skip

PUSHES = (
    _push("push_of_no_base64", {"data": "!" * MIB}),
    _push("push_of_half_base64", {"data": "A" * (4 * MIB + 1)}),
    _push("push_of_a_number", {"data": 9}),
    _push("push_of_a_list", []),
    _push("push_of_nested_data", {"data": _encoded(b"[" * 2 * MIB), "attributes": _notification()}),
    _push("push_of_digits", {"data": _encoded(b'{"size":' + b"9" * 5_000 + b"}"), "attributes": _notification()}),
    _push("push_of_many_attributes", {"data": _encoded(b"{}"), "attributes": {f"a{n}": "x" for n in range(200_000)}}),
    _push("push_of_long_attributes", {"data": _encoded(b"{}"), "attributes": {"eventType": "x" * 8 * MIB}}),
    _push("push_of_listed_attributes", {"data": _encoded(b"{}"), "attributes": ["eventType"]}),
    _push("push_of_a_long_object", {"data": _encoded(b'{"size":"1"}'), "attributes": _notification(objectId="served/" + "x" * MIB)}),
    _push("push_of_nul", {"data": _encoded(b'{"size":"1"}'), "attributes": _notification(objectId="served/\0.csv")}),
    _push("push_of_a_generation_of_digits", {"data": _encoded(b'{"size":"1"}'), "attributes": _notification(objectGeneration="9" * 5_000)}),
    _push("push_of_a_large_generation", {"data": _encoded(b'{"size":"1"}'), "attributes": _notification(objectGeneration="9" * 30)}),
    _push("push_of_a_size_of_digits", {"data": _encoded(b'{"size":"' + b"9" * 30 + b'"}'), "attributes": _notification()}),
    _push("push_of_a_date_of_digits", {"data": _encoded(b'{"size":"1","timeCreated":"' + b"9" * 5_000 + b'"}'), "attributes": _notification()}),
    _push("push_of_large_deliveries", {"data": _encoded(b"{}"), "messageId": "x" * MIB}),
    _push("push_of_a_chunk_of_nothing", {"data": _encoded(b"{}")}, function="load"),
    _push("push_of_a_chunk_of_an_unknown_ingestion", {"data": _encoded(_chunk(ingestion=10**18))}, function="load"),
    _push("push_of_a_large_chunk", {"data": _encoded(_chunk(end_byte=10**18))}, function="load"),
    _push("push_of_a_chunk_of_texts", {"data": _encoded(_chunk(number="x", records=[]))}, function="load"),
    _push("push_of_a_state_of_nobody", {"data": _encoded(b"{}"), "attributes": {"state": "publishing", "ingestion": "9" * 5_000}}, function="finish"),
    _push("push_of_a_state_of_a_large_ingestion", {"data": _encoded(b"{}"), "attributes": {"state": "publishing", "ingestion": "9" * 18}}, function="finish"),
    _push("push_of_a_long_dataset", {"data": _encoded(b"{}"), "attributes": {"state": "done", "ingestion": "1", "dataset": "x" * MIB}}, function="finish"),
    _json("push_of_nested_json", "/", lambda: b"[" * 8 * MIB, 204, function="split"),
    _json("push_of_nothing", "/", bytes, 204, function="split"),
    _json("push_beyond_the_limit", "/", lambda: b" " * 17 * MIB, 204, function="split", may_close=True),
)  # fmt: skip

BACKUPS = (
    _json("a_nested_backup", "/v1/backups", lambda: b'{"datasets":' * 200_000, 400, function="backup"),
    _json("a_backup_of_many_datasets", "/v1/backups", lambda: json.dumps({"datasets": [f"d{n}" for n in range(300_000)]}).encode(), 404, function="backup"),
    _get("a_backup_of_a_long_name", "/v1/backups/" + "9" * 3_500, 404, function="backup"),
    _get("a_backup_of_dots", "/v1/backups/" + "..%2F" * 500, 404, function="backup"),
    _json("a_restore_of_many_datasets", "/v1/backups/none/restore", lambda: json.dumps({"datasets": [f"d{n}" for n in range(300_000)]}).encode(), 404, function="backup"),
)  # fmt: skip

REQUESTS = (*BODIES, *QUESTIONS, *EVENTS, *DECLARATIONS, *FORMS, *PUSHES, *BACKUPS)
