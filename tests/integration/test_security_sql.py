"""Attacks by the SQL of declarations: each is refused at once, with its place, and changes nothing."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flow import HEADER, THINGS, Flow, lines
from sqlalchemy.exc import DBAPIError

from sluice.errors import DeclarationError, ParameterError, SlowDeclarationError
from sluice.ingestion import output as output_module
from sluice.parsing import duckdb_session
from sluice.parsing.duckdb_session import open_cursor
from sluice.postgres.connection import become_reader, new_engine, transaction
from sluice.postgres.migrations import migrate
from sluice.querying.reading import snapshot, stream
from sluice.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from serving import Serve

MARKER = Path("/tmp/sluice-was-here")  # no declared SQL may write it

ROLLUP = "-- Things.\n-- key: kind\n-- measure things: sum\n"
COUNT = "SELECT kind, count(*) AS things FROM rows GROUP BY ALL"


@pytest.fixture(scope="module")
def unchanged(clone_database: Callable[..., AbstractContextManager[str]]) -> Iterator[Flow]:
    """A flow with the dataset `things`, which no test changes."""
    with clone_database() as url:
        made = Flow(url)
        made.declare()
        yield made
        made.close()


@pytest.fixture(autouse=True)
def _nothing_is_written() -> Iterator[None]:
    MARKER.unlink(missing_ok=True)
    yield
    assert not MARKER.exists()


def refused(flow: Flow, **changes: Any) -> str:
    """Declare a change of `things`; return the error, after which the declaration is as before."""
    before = stored(flow)
    with pytest.raises(DeclarationError) as caught:
        flow.declare(**changes)
    assert stored(flow) == before
    return str(caught.value)


def stored(flow: Flow) -> Any:
    return flow.one("SELECT version, declaration FROM sluice.datasets WHERE name = 'things'")


def replace_declaration(flow: Flow, changes: Mapping[str, Any]) -> None:
    """Store a declaration as a release without these rules did."""
    flow.run_sql(
        "UPDATE sluice.datasets SET declaration = declaration || CAST(:changes AS jsonb), declared_at = now()"
        " WHERE name = 'things'",
        changes=json.dumps(changes),
    )
    flow.run_sql(
        "UPDATE sluice.declarations SET declaration = d.declaration FROM sluice.datasets AS d"
        " WHERE dataset = name AND d.version = declarations.version"
    )


#: Queries of roll-ups: what they try, and what the error says.
ROLLUPS = {
    "the environment": (
        "SELECT content AS kind, 1 AS things\nFROM read_text('/proc/self/environ')",
        "rollups/kinds.sql:5: calls read_text",
    ),
    "a file by its name": ("SELECT * FROM '/etc/passwd'", "reads /etc/passwd"),
    "a CSV file": ("SELECT kind, 1 AS things FROM rows, read_csv('/etc/passwd')", "calls read_csv"),
    "the names of files": ("SELECT file AS kind, 1 AS things FROM glob('/*')", "calls glob"),
    "a file in a subquery": (
        f"{COUNT.replace('count(*)', '(SELECT count(*) FROM read_blob(1))')}", "calls read_blob",
    ),
    "SQL in a text": ("SELECT * FROM query('SELECT 1')", "calls query"),
    "a table by its name": ("SELECT * FROM query_table('rows')", "calls query_table"),
    "settings": ("SELECT name AS kind, 1 AS things FROM duckdb_settings()", "calls duckdb_settings"),
    "a setting": (COUNT.replace("kind,", "current_setting('threads') AS kind,"), "calls current_setting"),
    "an environment variable": (COUNT.replace("kind,", "getenv('PATH') AS kind,"), "calls getenv"),
    "the catalog": ("SELECT * FROM information_schema.tables", "reads information_schema.tables"),
    "a variable of Python": ("SELECT * FROM dataset", "reads dataset"),
    "a pragma": ("PRAGMA database_list", "is not one SELECT"),
    "writing a file": (f"COPY rows TO '{MARKER}'", "is not one SELECT"),
    "a second statement": (f"{COUNT}; COPY rows TO '{MARKER}'", "is not one SELECT"),
    "leaving the parentheses": (
        f"SELECT 1) SELECT 1; COPY (SELECT 1) TO '{MARKER}'; SELECT (1", "syntax error",
    ),
    "a database": (f"ATTACH '{MARKER}'", "is not one SELECT"),
    "an extension": ("INSTALL httpfs", "is not one SELECT"),
    "its memory": ("SET memory_limit = '64GB'", "is not one SELECT"),
    "a table": ("CREATE TABLE kept AS SELECT 1", "is not one SELECT"),
    "a description": ("SHOW TABLES", "describes a relation"),
    "sleeping": (COUNT.replace("kind,", "sleep_ms(100000) AS kind,"), "calls sleep_ms"),
    "chance": (COUNT.replace("count(*)", "sum(random())"), "calls random"),
}  # fmt: skip


@pytest.mark.parametrize("attack", ROLLUPS)
def test_a_rollup_is_one_select_over_the_rows(unchanged: Flow, attack: str) -> None:
    sql, detail = ROLLUPS[attack]
    error = refused(unchanged, rollups={"kinds": ROLLUP + sql})
    assert error.startswith("rollups/kinds.sql:")
    assert detail in error


#: Conditions of checks, and what the error says.
CHECKS = {
    "a file": ("(SELECT count(*) FROM read_text('/etc/passwd')) = 1", "has a subquery"),
    "a file by its name": ("EXISTS (FROM '/etc/passwd')", "has a subquery"),
    "a setting": ("current_setting('threads') = 1", "calls current_setting"),
    "leaving the parentheses": (f"true)); COPY (SELECT 1) TO '{MARKER}'; SELECT ((true", "syntax error"),
    "another column": ("true), (false", "is not one expression"),
    "another relation": ("true) FROM range(3) WHERE (true", "is not one expression"),
    "an unknown column": ("size > 1", "size"),
}  # fmt: skip


@pytest.mark.parametrize("attack", CHECKS)
def test_a_check_is_one_expression_over_its_row(unchanged: Flow, attack: str) -> None:
    sql, detail = CHECKS[attack]
    id_, *others = THINGS["columns"]
    columns = [{**id_, "checks": [{"sql": sql, "message": "no"}]}, *others]
    error = refused(unchanged, columns=columns)
    assert "columns[0].checks" in error
    assert detail in error


@pytest.mark.parametrize(
    ("key", "detail"),
    [
        ("(SELECT content FROM read_text('/etc/passwd'))", "has a subquery"),
        ("id, name", "is not one expression"),
        ("id LIMIT 0", "is not one expression"),
        ("id; SELECT 1", "is not one SELECT"),
        ("size", "size"),
        ("random()", "calls random"),
    ],
)
def test_a_cluster_key_is_one_expression_over_its_row(
    unchanged: Flow, key: str, detail: str
) -> None:
    error = refused(unchanged, cluster=[key])
    assert "cluster" in error
    assert detail in error


def test_the_line_of_an_error_is_the_line_of_the_file(unchanged: Flow) -> None:
    sql = "\n\nSELECT kind,\n    sum(size) AS things\nFROM rows GROUP BY ALL"
    assert refused(unchanged, rollups={"kinds": ROLLUP + sql}).startswith("rollups/kinds.sql:7: ")
    assert refused(unchanged, rollups={"kinds": f"{ROLLUP}SELECT kind,\n, 1 AS things FROM rows"}).startswith(
        "rollups/kinds.sql:5: "
    )  # fmt: skip


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_text('/proc/self/environ')",
        "SELECT * FROM glob('/*')",
        f"COPY (SELECT 1) TO '{MARKER}'",
        f"ATTACH '{MARKER}'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET threads = 8",
        "RESET lock_configuration",
        "SELECT * FROM THINGS_OF_THIS_MODULE",
    ],
)
def test_duckdb_reaches_nothing_whatever_it_runs(statement: str) -> None:
    import duckdb  # noqa: PLC0415

    with open_cursor() as cursor, pytest.raises(duckdb.Error):
        cursor.rows(statement)


@pytest.mark.parametrize("chunk_bytes", [64, 1 << 20])
def test_a_file_fails_if_its_stored_declaration_has_unsafe_sql(
    flow: Flow, chunk_bytes: int
) -> None:
    sql = "SELECT content AS kind, 1 AS things FROM read_text('/proc/self/environ')"
    replace_declaration(flow, {"rollups": {"kinds": ROLLUP + sql}})
    twin = flow.twin(chunk_bytes=chunk_bytes)
    ingestion = twin.run(HEADER + lines(1, 9))
    failed = flow.ingestion(ingestion)
    assert failed.state == "failed"
    assert "calls read_text" in failed.problem["detail"]


#: An expression over a number that takes minutes.
ENDLESS = (
    "list_sum(list_transform(range(20000 + id),"
    " lambda x: list_sum(list_transform(range(50000), lambda y: y * x))))"
)
SLOW: dict[str, dict[str, Any]] = {
    "a check": {"columns": [
        {**THINGS["columns"][0], "checks": [{"sql": f"{ENDLESS} > 0", "message": "no"}]},
        *THINGS["columns"][1:],
    ]},
    "a cluster key": {"cluster": [ENDLESS]},
    "a roll-up": {"rollups": {
        "kinds": f"{ROLLUP}SELECT kind, sum(range) AS things FROM rows, range(100000000000) GROUP BY ALL"
    }},
}  # fmt: skip


@pytest.mark.parametrize("chunk_bytes", [64, 1 << 20])
@pytest.mark.parametrize("slow", SLOW)
def test_sql_of_a_declaration_that_does_not_end_fails_its_files(
    flow: Flow, monkeypatch: pytest.MonkeyPatch, slow: str, chunk_bytes: int
) -> None:
    flow.declare(**SLOW[slow])
    monkeypatch.setattr(duckdb_session, "STATEMENT_TIMEOUT_S", 1.0)
    twin = flow.twin(chunk_bytes=chunk_bytes)
    ingestion = twin.run(HEADER + lines(1, 9))
    failed = flow.ingestion(ingestion)
    assert (failed.state, failed.problem["code"]) == ("failed", "CSV124")
    assert "ran for 1 s" in failed.problem["detail"]
    flow.declare(columns=THINGS["columns"])
    twin.retry(ingestion)
    twin.deliver()
    assert flow.ids() == list(range(1, 10))


def test_the_time_limit_of_a_statement_does_not_end_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duckdb_session, "STATEMENT_TIMEOUT_S", 0.5)
    with open_cursor() as slow, open_cursor() as quick, ThreadPoolExecutor(1) as pool:
        ended = pool.submit(slow.rows, "SELECT sum(a.range) FROM range(100000000000) AS a")
        while not ended.done():
            assert quick.rows("SELECT 1") == [(1,)]
        with pytest.raises(SlowDeclarationError):
            ended.result()
        assert slow.rows("SELECT 2") == [(2,)]


def query(sql: str, header: str = "") -> dict[str, str]:
    return {"answer": f"-- An answer.\n{header}{sql}"}


#: Queries: what they try, and what the error says.
QUERIES = {
    "a second statement": ("SELECT 1; DROP VIEW things", "syntax error"),
    "leaving the transaction": ("ROLLBACK; BEGIN; CREATE TABLE public.kept (a int); COMMIT", "syntax error"),
    "leaving the parentheses": ("SELECT 1) AS a, (SELECT 2", "syntax error"),
    "a setting": ("SET statement_timeout = 0", "syntax error"),
    "a setting by a function": ("SELECT set_config('statement_timeout', '0', false)", "calls set_config"),
    "another role": ("SELECT set_config('role', 'none', true)", "calls set_config"),
    "a temporary table": ("CREATE TEMP TABLE things AS SELECT 1 AS id", "syntax error"),
    "a table made by SELECT": ("SELECT 1 AS id INTO TEMP kept", "INTO"),
    "a lock": ("SELECT pg_advisory_lock(5105160)", "calls pg_advisory_lock"),
    "a lock of the transaction": ("SELECT pg_advisory_xact_lock(5105160)", "calls pg_advisory_xact_lock"),
    "locks of rows": ("SELECT * FROM things FOR UPDATE", "locks rows"),
    "a program": (f"COPY (SELECT 1) TO PROGRAM 'touch {MARKER}'", "syntax error"),
    "a file of the server": ("SELECT pg_read_file('/etc/passwd')", "calls pg_read_file"),
    "a folder of the server": ("SELECT pg_ls_dir('/')", "calls pg_ls_dir"),
    "a large object": ("SELECT lo_import('/etc/passwd')", "calls lo_import"),
    "SQL in a text": ("SELECT query_to_xml('TABLE sluice.datasets', true, true, '')", "calls query_to_xml"),
    "a table by its name": ("SELECT table_to_xml('things', true, true, '')", "calls table_to_xml"),
    "SQL of text search": ("SELECT * FROM ts_stat('SELECT now()')", "calls ts_stat"),
    "writing": ("WITH gone AS (DELETE FROM things RETURNING 1) SELECT * FROM gone", "data-modifying"),
    "inserting": ("INSERT INTO store.things VALUES (1)", "syntax error"),
    "a table of the engine": ("SELECT * FROM sluice.ingestions", "permission denied for schema sluice"),
    "stored rows": ("SELECT * FROM store.things", "permission denied for schema store"),
    "the migrations": ("SELECT * FROM sluice_migrations", "reads public.sluice_migrations"),
    "roles": ("SELECT * FROM pg_roles", "reads pg_catalog.pg_roles"),
    "passwords": ("SELECT * FROM pg_authid", "reads pg_catalog.pg_authid"),
    "other sessions": ("SELECT query FROM pg_stat_activity", "reads pg_catalog.pg_stat_activity"),
    "settings": ("SELECT current_setting('data_directory')", "calls current_setting"),
    "definitions": ("SELECT pg_get_viewdef('things'::regclass)", "calls pg_get_viewdef"),
    "sleeping": ("SELECT pg_sleep(1000)", "calls pg_sleep"),
    "ending a session": ("SELECT pg_terminate_backend(1)", "calls pg_terminate_backend"),
    "a notification": ("SELECT pg_notify('sluice_events', '1:1')", "calls pg_notify"),
    "a sequence": ("SELECT lastval()", "calls lastval"),
    "a function of the engine": ("SELECT sluice.summarize('things')", "permission denied for schema sluice"),
    "another database": ("SELECT * FROM dblink('', 'SELECT 1') AS t (a int)", "does not exist"),
    "a block": ("DO $$ BEGIN END $$", "syntax error"),
    "an operand": ("SELECT 1 = ANY (ARRAY[lo_creat(1)])", "calls lo_creat"),
    "in a window": ("SELECT count(*) OVER (ORDER BY pg_backend_pid()) FROM things", "calls pg_backend_pid"),
    "in a limit": ("SELECT id FROM things LIMIT (random() * 9)::int", "calls random"),
    "behind a comment": ("SELECT '\n-- ' || pg_read_file('/etc/passwd') || '\n'", "calls pg_read_file"),
    "an open comment": ("SELECT 1 /* ", "unterminated /* comment"),
}  # fmt: skip


@pytest.mark.parametrize("attack", QUERIES)
def test_a_query_is_one_select_over_published_views(unchanged: Flow, attack: str) -> None:
    sql, detail = QUERIES[attack]
    error = refused(unchanged, queries=query(sql))
    assert error.startswith("queries/answer.sql:")
    assert detail in error


def test_the_error_about_a_query_names_the_line(unchanged: Flow) -> None:
    sql = "SELECT id,\n    pg_sleep(\n:seconds)\nFROM things"
    parameter = "-- param seconds integer = 1: Seconds.\n\n"
    assert refused(unchanged, queries=query(sql, parameter)).startswith("queries/answer.sql:5: ")
    broken = "SELECT id\nFROM things\nWHERE size = :seconds"
    assert refused(unchanged, queries=query(broken, parameter)).startswith("queries/answer.sql:6: ")


#: Statements that no declaration contains any more, but one stored by an earlier release may.
STORED = (
    "ROLLBACK; BEGIN; CREATE TABLE public.kept (a int); COMMIT",
    "SELECT 1; COMMIT; CREATE TABLE public.kept (a int)",
    "SELECT 1 AS id) AS answer; COMMIT; CREATE TABLE public.kept (a int); SELECT (SELECT 1",
    "SELECT * FROM store.things",
    "SELECT * FROM sluice.datasets",
    "SELECT pg_read_file('/etc/passwd')",
)


@pytest.mark.parametrize("sql", STORED)
@pytest.mark.parametrize("as_json", [True, False])
def test_the_session_of_a_query_can_only_read(unchanged: Flow, sql: str, as_json: bool) -> None:
    with pytest.raises(DBAPIError), snapshot(unchanged.engine, 30) as connection:
        stream(connection, sql, {}, as_json=as_json)
    assert unchanged.one("SELECT to_regclass('public.kept') AS kept").kept is None


def test_nothing_of_a_query_remains_in_its_session(database: str) -> None:
    engine = new_engine(Settings(database_url=database, pool_size=1))
    for sql in (
        "SELECT pg_advisory_lock(5105160)",
        "SELECT set_config('statement_timeout', '0', false), set_config('search_path', 'store', false)",
        "SELECT pg_advisory_lock(7), 1 / 0",
    ):
        with suppress(ParameterError), snapshot(engine, 30) as connection:
            stream(connection, sql, {})
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TEMP TABLE jobs AS SELECT 'forged' AS job")
        become_reader(connection, 30)  # as a session that ran declared SQL
    with transaction(engine) as connection:
        facts = connection.exec_driver_sql(
            "SELECT current_setting('statement_timeout'), current_setting('search_path'),"
            " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),"
            " to_regclass('pg_temp.jobs'), current_user"
        ).one()
    assert tuple(facts) == ("0", '"$user", public', 0, None, "sluice_owner")
    engine.dispose()


@pytest.mark.parametrize("function", ["query", "intake"])
def test_declared_sql_runs_as_the_reader_in_every_function(
    flow: Flow, serve: Serve, function: str
) -> None:
    flow.declare(
        queries=query("SELECT current_user AS name, session_user <> current_user AS is_taken"),
        aliases={f"{each} /who": {"kind": "query", "query": "answer"} for each in ("GET", "POST")},
    )
    client = serve(function)
    path = "/v1/datasets/things/queries/answer" if function == "query" else "/who"
    answer = client.open(path, method="GET" if function == "query" else "POST").json
    rows = answer["rows"] if function == "query" else answer
    assert rows == [{"name": "sluice_reader", "is_taken": True}]


def test_an_output_is_made_as_the_reader_within_a_time(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = "-- param ingestion integer!: The ingestion.\n"
    who = "SELECT current_user AS name, id FROM things WHERE ingestion = :ingestion ORDER BY id"
    flow.declare(queries=query(who, header), output="answer")
    done = flow.run(HEADER + lines(1, 2))
    output = flow.ingestion(done).output
    made = flow.bucket.read("outbox", output["object"], int(output["generation"]), 0, 1000)
    assert made == b"name,id\nsluice_reader,1\nsluice_reader,2\n"

    endless = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i FROM n) SELECT count(*) FROM n"
    flow.declare(queries=query(f"{endless} WHERE :ingestion > 0", header), output="answer")
    monkeypatch.setattr(output_module, "TIMEOUT_S", 0.2)
    failed = flow.ingestion(flow.run(HEADER + lines(3, 4)))
    assert (failed.state, failed.problem["code"]) == ("failed", "CSV120")
    assert "timeout" in failed.problem["detail"]


def test_an_unsafe_query_that_is_stored_is_not_answered_and_nothing_else_fails(
    flow: Flow, serve: Serve
) -> None:
    flow.declare(queries={**query("SELECT count(*) AS things FROM things")})
    flow.run(HEADER + lines(1, 2))
    replace_declaration(flow, {"queries": {**query("SELECT pg_sleep(0) AS x"), **OTHER}})
    flow.run_sql("UPDATE sluice.datasets SET dependencies = '{}'")  # as the migration does
    refused_ones = migrate(flow.engine)
    assert len(refused_ones) == 1
    assert "things/queries/answer.sql:2: calls pg_sleep" in refused_ones[0]
    client = serve("query")
    answer = client.get("/v1/datasets/things/queries/answer")
    assert (answer.status_code, answer.json["code"]) == (409, "API321")
    assert client.get("/v1/datasets/things/queries/other").json["rows"] == [{"n": 2}]
    assert client.get("/v1/datasets/things/rows?select=id").json["rows"] == [{"id": 1}, {"id": 2}]


OTHER = {"other": "-- Another answer.\nSELECT count(*) AS n FROM things"}


def test_a_query_runs_exactly_as_it_was_checked(flow: Flow) -> None:
    """No reader of SQL but PostgreSQL decides where texts and comments end."""
    header = "-- param a integer = 7: A number.\n"
    sql = (
        "SELECT '\n-- :a' || E'\\'%s' AS text, $$:a ' -- $$ AS dollars, :a % 4 AS rest,\n"
        "    (ARRAY[1, 2])[1:1] AS one,"
        "    '\\:a' AS colon, 'a%%b' LIKE '%' AS is_like, :a::text AS cast /* :a /* ' */ */"
    )
    for name, parameter in (("with", header), ("without", "")):
        text = sql if parameter else sql.replace(":a % 4", "7 % 4").replace(":a::text", "7::text")
        flow.declare(queries={name: f"-- An answer.\n{parameter}{text}"})
        assert flow.ask("things", name) == [
            {
                "text": "\n-- :a'%s", "dollars": ":a ' -- ", "rest": 3, "one": [1],
                "colon": "\\:a", "is_like": True, "cast": "7",
            }
        ]  # fmt: skip


TABLE = (
    "CREATE TABLE store.boxes (id integer CONSTRAINT boxes_pk PRIMARY KEY, size integer,"
    " ingestion integer NOT NULL)"
)
BOXES: dict[str, Any] = {
    "name": "boxes",
    "columns": [{"name": "id", "type": "integer", "required": True}, {"name": "size", "type": "integer"}],
}  # fmt: skip
INNER = TABLE[:-1]

#: Scripts of `table.sql`: what they try, and what the error says.
TABLES = {
    "a program": (f"{TABLE}; COPY (SELECT 1) TO PROGRAM 'touch {MARKER}'", "table.sql:1: has one"),
    "a function of the owner": (
        f"{TABLE};\nCREATE FUNCTION public.mine() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
        "table.sql:2: has one CREATE TABLE",
    ),
    "a right": (f"{TABLE}; GRANT ALL ON ALL TABLES IN SCHEMA sluice TO public", "has one CREATE TABLE"),
    "a trigger": (f"{TABLE}; CREATE TRIGGER t AFTER INSERT ON store.boxes EXECUTE FUNCTION f()", "has one"),
    "a rule": (f"{TABLE}; CREATE RULE r AS ON INSERT TO store.boxes DO ALSO DELETE FROM jobs", "has one"),
    "another table": ("CREATE TABLE store.jobs2 (id integer)", "has one CREATE TABLE store.boxes"),
    "another schema": (TABLE.replace("store.", "sluice."), "has one CREATE TABLE store.boxes"),
    "a second table": (f"{TABLE}; {TABLE}", "has one CREATE TABLE"),
    "an index of another table": (f"{TABLE}; CREATE INDEX boxes_x ON store.jobs (id)", "has one"),
    "the result of a query": (
        "CREATE TABLE store.boxes AS SELECT id, 1 AS size, ingestion FROM store.jobs", "has one CREATE TABLE",
    ),
    "the result of a query, with columns": (
        "CREATE TABLE store.boxes (id, size, ingestion) AS SELECT 1, 1, 1", "has one CREATE TABLE",
    ),
    "the result of a query, with storage": (
        "CREATE TABLE store.boxes (id, size, ingestion) WITH (fillfactor = 70) AS SELECT 1, 1, 1", "has one",
    ),
    "another tablespace": (f"{TABLE} TABLESPACE pg_default", "has one CREATE TABLE"),
    "inheritance": (f"{TABLE} INHERITS (store.jobs)", "has one CREATE TABLE"),
    "a temporary table": (TABLE.replace("TABLE", "TEMP TABLE"), "has one CREATE TABLE"),
    "nothing": ("-- Nothing.", "has no CREATE TABLE"),
    "a constraint on a file": (f"{INNER}, CHECK (length(pg_read_file('/a')) > 1))", "calls pg_read_file"),
    "a default that locks": (
        TABLE.replace("size integer", "size integer\n DEFAULT length(pg_advisory_lock(1)::text)"),
        "table.sql:2: calls pg_advisory_lock",
    ),
    "a sequence": (TABLE.replace("size integer", "size serial"), "calls nextval"),
    "an identity": (
        TABLE.replace("size integer", "size integer GENERATED ALWAYS AS IDENTITY"), "a generated column",
    ),
    "a computed column": (
        TABLE.replace("size integer", "size integer GENERATED ALWAYS AS (id) STORED"), "a generated column",
    ),
    "a foreign key": (TABLE.replace("size integer", "size integer REFERENCES store.jobs"), "boxes_size_fkey"),
    "one more column": (f"{INNER}, more text)", "more: the table has the declared columns"),
    "one column less": (TABLE.replace("size integer, ", ""), "size: the table has the declared columns"),
    "another type": (TABLE.replace("size integer", "size bigint"), "stores size as bigint"),
    "the name of another table": (f"{TABLE}; CREATE INDEX trips__hourly ON store.boxes (id)", "trips__"),
    "a reserved name": (f"{TABLE}; CREATE INDEX boxes__staging ON store.boxes (id)", "boxes__staging"),
    "a mistake": (f"{TABLE};\n\nCREATE INDEX boxes_x\nON store.boxes (size +)", "table.sql:4: syntax error"),
    "no such column": (f"{TABLE};\n\nCREATE INDEX boxes_x ON store.boxes (weight)", "table.sql:3: column"),
}  # fmt: skip


@pytest.mark.parametrize("attack", TABLES)
def test_a_table_is_one_create_table_of_the_declared_columns(unchanged: Flow, attack: str) -> None:
    table, detail = TABLES[attack]
    with pytest.raises(DeclarationError) as caught:
        unchanged.declare({**BOXES, "table": table})
    assert str(caught.value).startswith("table.sql:")
    assert detail in str(caught.value)
    assert unchanged.one("SELECT to_regclass('store.boxes') AS made").made is None


def test_a_table_may_have_named_constraints_and_indexes(flow: Flow) -> None:
    table = (
        f"-- Boxes; as stored.\n{INNER}, CONSTRAINT boxes_size_not_negative CHECK (size >= 0))"
        " WITH (fillfactor = 70);\n-- An index.\nCREATE UNIQUE INDEX boxes_lower ON store.boxes"
        " (lower(id::text)) WHERE size > 1;"
    )
    flow.declare({**BOXES, "table": table})
    assert flow.state(flow.run(b"id,size\n1,2\n", "boxes/a.csv")) == "done"


PROJECTION = "-- Sizes.\n-- columns: id\n"

#: Queries of projections: what they try, and what the error says.
PROJECTIONS = {
    "a second statement": ("SELECT id FROM rows; DROP TABLE store.jobs", "syntax error"),
    "leaving the parentheses": ("SELECT id FROM rows) AS a, (SELECT 1", "syntax error"),
    "stored rows of others": ("SELECT id FROM store.jobs", "permission denied for schema store"),
    "published rows": ("SELECT id FROM jobs", "reads public.jobs"),
    "a table of the engine": (
        "SELECT id FROM sluice.ingestions",
        "permission denied for schema sluice",
    ),
    "a file": ("SELECT pg_read_file('/etc/passwd') AS id FROM rows", "calls pg_read_file"),
    "a lock": ("SELECT id FROM rows WHERE pg_advisory_lock(id) IS NULL", "calls pg_advisory_lock"),
    "writing": ("WITH x AS (DELETE FROM rows RETURNING id) SELECT id FROM x", "data-modifying"),
}


@pytest.mark.parametrize("attack", PROJECTIONS)
def test_a_projection_is_one_select_over_the_rows(unchanged: Flow, attack: str) -> None:
    sql, detail = PROJECTIONS[attack]
    error = refused(unchanged, projections={"sizes": PROJECTION + sql})
    assert error.startswith("projections/sizes.sql:3: ")
    assert detail in error


#: Declarations beside `things`, which has the roll-up `kinds`: what they take, and what the error says.
TAKEN = {
    "the view of a roll-up": ({"name": "things_kinds"}, "dataset things has the view"),
    "the table of a roll-up": ({"name": "things__kinds"}, "contains __"),
    "a staging table": ({"name": "things__staging"}, "contains __"),
    "a table of the engine": ({"name": "sluice_migrations"}, "is reserved"),
    "a name of PostgreSQL": ({"name": "pg_class"}, "is reserved"),
    "a type of an extension": ({"name": "gtrgm"}, "has a relation or type"),
    "an index": ({"name": "people_last"}, "has a relation or type"),
    "two parts of one name": (
        {"columns": [{"name": "kind", "type": "text", "dictionary": True}], "rollups": {"kind": "kind"}},
        "two parts of the dataset",
    ),
    "a part of the engine": ({"rollups": {"staging": "kind"}}, "reserved"),
    "the list of what is not compacted": ({"rollups": {"uncompacted": "kind"}}, "reserved"),
    "a name that PostgreSQL cuts": ({"name": "n" * 40, "rollups": {"r" * 30: "kind"}}, "longer than 63"),
}  # fmt: skip


@pytest.mark.parametrize("attack", TAKEN)
def test_names_cannot_collide(unchanged: Flow, attack: str) -> None:
    changes, detail = TAKEN[attack]
    document = {"name": "boxes", "columns": [{"name": "kind", "type": "text"}], **changes}
    if "rollups" in changes:
        document["rollups"] = dict.fromkeys(changes["rollups"], ROLLUP + COUNT)
    with pytest.raises(DeclarationError) as caught:
        unchanged.declare(document)
    assert detail in str(caught.value)
    assert unchanged.kinds() == {}


def test_a_part_cannot_take_the_name_of_a_dataset(flow: Flow) -> None:
    flow.declare({**BOXES, "name": "things_sizes"})
    sizes = {"sizes": ROLLUP + COUNT}
    assert "dataset things_sizes has the view" in refused(flow, rollups=sizes)
    assert "dataset things_sizes has the view" in refused(
        flow, projections={"sizes": f"{PROJECTION}SELECT id FROM rows"}
    )


def test_of_two_declarations_at_once_one_gets_the_name(flow: Flow) -> None:
    documents = (
        {**BOXES, "name": "things_sizes"},
        {**THINGS, "rollups": {**THINGS["rollups"], "sizes": ROLLUP + COUNT}},
    )
    errors = []

    def declare(document: Mapping[str, Any]) -> None:
        try:
            flow.declare(document)
        except DeclarationError as error:
            errors.append(str(error))

    with ThreadPoolExecutor() as threads:
        list(threads.map(declare, documents))
    assert len(errors) == 1
    assert 'has the view public."things_sizes"' in errors[0]


def test_an_unsafe_projection_that_is_stored_leaves_the_rows_uncompacted(flow: Flow) -> None:
    projections = {"sizes": f"{PROJECTION}SELECT id FROM rows"}
    flow.declare(projections=projections)
    unsafe = f"{PROJECTION}SELECT length(pg_read_file('/etc/passwd')) AS id FROM rows"
    replace_declaration(flow, {"projections": {"sizes": unsafe}})
    ingestion = flow.split(flow.put(HEADER + lines(1, 2)))
    with pytest.raises(DeclarationError, match=r"projections/sizes\.sql:3: calls pg_read_file"):
        flow.deliver()
    assert flow.state(ingestion) == "done"
    assert flow.ids() == [1, 2]
    assert len(flow.all("SELECT * FROM things_uncompacted")) == 1
