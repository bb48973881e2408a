"""What a named query depends on, as PostgreSQL reports it: every dataset and clock that it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sluice.datasets.model import Parameter, Query
from sluice.errors import DeclarationError
from sluice.postgres.catalog import declarations, declared_datasets
from sluice.postgres.connection import run_script, transaction
from sluice.postgres.declare import declare, declare_within
from sluice.postgres.dependencies import (
    Dependencies,
    UndeclaredRelationError,
    find_dependencies,
    published_views,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

#: A view, a table and functions that belong to no dataset.
OTHERS = """
CREATE VIEW public.elders AS SELECT * FROM people WHERE age > 60;
CREATE FUNCTION public.songs() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT count(*) FROM plays';
CREATE FUNCTION public.to_char(date) RETURNS text LANGUAGE sql STABLE AS $$SELECT now()::text$$;
CREATE TABLE public.notes (note text);
"""

READS: dict[str, tuple[str, ...]] = {
    "SELECT 1": (),
    "SELECT * FROM people": ("people",),
    'SELECT * FROM "people"': ("people",),
    r'SELECT * FROM U&"pe\006fple"': ("people",),
    "SELECT * FROM public.people AS plays": ("people",),
    "TABLE people": ("people",),
    "SELECT 1 -- FROM people": (),
    "SELECT 1 /* people */, 'people' AS people": (),
    "WITH p AS (SELECT * FROM people) SELECT count(*) FROM p": ("people",),
    "WITH p AS (SELECT * FROM people) SELECT 1": ("people",),
    "WITH people AS (SELECT 1) SELECT * FROM people": (),
    "SELECT (SELECT max(age) FROM people) FROM jobs": ("jobs", "people"),
    "SELECT 1 FROM jobs WHERE EXISTS (SELECT FROM people WHERE age = 1)": ("jobs", "people"),
    "SELECT * FROM jobs, LATERAL (SELECT * FROM people) AS p": ("jobs", "people"),
    "SELECT 1 FROM jobs UNION ALL SELECT 2 FROM people": ("jobs", "people"),
    "SELECT * FROM plays_totals": ("plays",),
    "SELECT * FROM trips_uncompacted": ("trips",),
    "SELECT id, id, count(*) OVER () FROM jobs ORDER BY 1 LIMIT 3": ("jobs",),
}

#: Expressions over `people` whose value may change while the rows stay the same.
CHANGING = (
    "now()", "NOW ( )", "pg_catalog.now()", "current_date", "current_timestamp", "localtime",
    "CURRENT_TIMESTAMP(0)", "statement_timestamp()", "age(timestamp '2001-01-01')", "date 'today'",
    "'now'::timestamp", "timestamptz 'tomorrow'", "CAST('yesterday' AS date)", r"DATE E'to\144ay'",
    "DATE 'to'\n'day'", "'now'::time", "'{today}'::date[]", "'[today,tomorrow)'::daterange",
    "CAST('to' || 'day' AS date)", "CAST(first AS timestamp)", "CAST('{' || first || '}' AS date[])",
    "coalesce(age > 3, now() IS NULL)", "CASE WHEN age = 1 THEN current_date END", "ARRAY[now()]",
    "(SELECT max(now()) FROM jobs)", "count(*) FILTER (WHERE now() IS NULL) OVER ()", "current_user",
    "pg_typeof(age)",
)  # fmt: skip

#: Queries with an answer that changes.
NOT_CACHEABLE = (
    *(f"SELECT {each} FROM people" for each in CHANGING),
    *(
        f"SELECT 1 FROM (SELECT {each} AS x, age FROM people) AS p ORDER BY age"
        for each in CHANGING
    ),
    "SELECT * FROM people, now()",
    "SELECT age FROM people GROUP BY age HAVING now() IS NOT NULL",
    "SELECT * FROM people LIMIT date_part('day', now())::int",
    "SELECT * FROM json_to_recordset('[]') AS t(a date)",
    "SELECT * FROM JSON_TABLE(jsonb '[]', '$[*]' COLUMNS (a date PATH '$'))",
)

#: Expressions over `people` whose value follows from the row.
UNCHANGING = (
    "age", "lower(first) LIKE 'a%' AND age + 1 > 2", "avg(age) OVER (ORDER BY first)",
    "date '2001-01-01' + age", "timestamp '2001-01-01' < 'infinity'", "NULL::date", "first % 'x'",
    "to_char(timestamptz '2001-01-01Z', 'YYYY')", "date_trunc('week', timestamptz '2001-01-01Z')",
    "age(date '2001-01-01', date '2002-01-01')", "CAST(age AS text)", "CAST(first AS integer)",
    "jsonb_build_object('a', age)", "ARRAY[1, age]", "(age, first) < (1, 'a')", "greatest(age, 1)",
    "first = ANY ('{a,b}')", "nullif(age, 1) IS DISTINCT FROM 2", "'now and today'",
    "date '2001-01-01' < timestamptz '2001-01-02Z'", "CAST(:day AS date) + age",
)  # fmt: skip


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with transaction(engine) as opened:
        run_script(opened, OTHERS)
        yield opened
        opened.rollback()


def find(connection: Connection, sql: str, **parameters: str) -> Dependencies:
    typed = tuple(Parameter(name, kind) for name, kind in parameters.items())
    owners = published_views(declared_datasets(connection))
    return find_dependencies(connection, Query("q", "Q.", sql, parameters=typed), owners)


def test_each_dataset_that_is_read_is_found_and_no_other(connection: Connection) -> None:
    found = {sql: find(connection, sql) for sql in READS}
    assert found == {sql: Dependencies(read, is_cacheable=True) for sql, read in READS.items()}


def test_an_answer_that_may_change_by_itself_is_not_cacheable(connection: Connection) -> None:
    found = {sql: find(connection, sql) for sql in NOT_CACHEABLE}
    assert [sql for sql, each in found.items() if each.is_cacheable] == []
    missed = [sql for sql, each in found.items() if "people" not in each.datasets]
    assert [sql for sql in missed if "FROM people" in sql] == []


#: Queries that read or call what declared SQL may not, and what the error names.
REFUSED = {
    "SELECT * FROM elders": "reads public.elders",
    "SELECT * FROM notes": "reads public.notes",
    "SELECT * FROM notes TABLESAMPLE bernoulli (10)": "reads public.notes",
    "SELECT * FROM pg_class": "reads pg_catalog.pg_class",
    "SELECT * FROM information_schema.tables": "reads information_schema.tables",
    "SELECT * FROM store.people": "permission denied for schema store",
    "SELECT * FROM sluice.ingestions": "permission denied for schema sluice",
    "SELECT * FROM sluice_migrations": "reads public.sluice_migrations",
    "SELECT 1 FROM people WHERE EXISTS (SELECT FROM notes)": "reads public.notes",
    "SELECT songs()": "calls songs, which is no function of PostgreSQL",
    "SELECT to_char(date '2001-01-01')": "calls to_char, which is no function of PostgreSQL",
    "SELECT * FROM people FOR UPDATE": "locks rows",
    "SELECT * FROM (SELECT * FROM people FOR SHARE) AS p": "locks rows",
}


@pytest.mark.parametrize("sql", REFUSED)
def test_what_declared_sql_may_not_read_or_call_is_refused_by_name(
    connection: Connection, sql: str
) -> None:
    with pytest.raises(DeclarationError, match=r"queries/q\.sql:1: ") as caught:
        find(connection, sql)
    assert REFUSED[sql] in str(caught.value)


def test_an_answer_made_of_rows_alone_is_cacheable(connection: Connection) -> None:
    queries = [f"SELECT {each} FROM people" for each in UNCHANGING]
    found = {sql: find(connection, sql, day="date") for sql in queries}
    assert found == dict.fromkeys(queries, Dependencies(("people",), is_cacheable=True))


def test_parameters_have_their_types(connection: Connection) -> None:
    sql = "SELECT age + :a, :b || first FROM people WHERE :c < CAST(:d AS timestamp) -- :e"
    found = find(connection, sql, a="integer", b="text", c="date", d="timestamp", e="number")
    assert found == Dependencies(("people",), is_cacheable=True)


def test_a_relation_that_does_not_exist_is_an_error_of_its_own(connection: Connection) -> None:
    with pytest.raises(UndeclaredRelationError, match='relation "not_yet" does not exist'):
        find(connection, "SELECT * FROM people, not_yet")


@pytest.mark.parametrize(
    ("sql", "detail"),
    [
        ("SELECT 1 FROM people GROUP", "syntax error"),
        ("SELECT size FROM people", 'column "size" does not exist'),
        ("SELECT * FROM people WHERE age = :b", 'syntax error at or near ":"'),
        ("DELETE FROM people", "syntax error"),
        ("SELECT lowr(first) FROM people", "function lowr(text) does not exist"),
    ],
)
def test_the_error_about_a_wrong_query_names_its_file(
    connection: Connection, sql: str, detail: str
) -> None:
    with pytest.raises(DeclarationError, match=r"queries/q\.sql:1: ") as caught:
        find(connection, sql)
    assert detail in str(caught.value)
    assert find(connection, "SELECT 1").is_cacheable


def test_nothing_remains_of_the_view(connection: Connection) -> None:
    find(connection, "SELECT 1")
    names = connection.exec_driver_sql(
        "SELECT relname FROM pg_class WHERE relnamespace = pg_my_temp_schema()"
    )
    assert names.all() == []


THINGS: dict[str, Any] = {"name": "things", "columns": [{"name": "size", "type": "integer"}]}
SUMS = "-- Sizes of things.\nSELECT sum(size) AS size FROM things"
LISTS: dict[str, Any] = {
    "name": "lists",
    "columns": [{"name": "item", "type": "text"}],
    "queries": {"sums": SUMS, "items": "-- Items.\nSELECT item FROM lists"},
}


def stored(engine: Engine, name: str) -> dict[str, Dependencies]:
    with transaction(engine) as connection:
        found = {each.dataset.name: each for each in declarations(connection)}
    return dict(found[name].dependencies)


def test_every_query_of_this_repository_is_cacheable(engine: Engine) -> None:
    with transaction(engine) as connection:
        for each in declarations(connection):
            assert set(each.dependencies) == {query.name for query in each.dataset.queries}
            assert [
                name for name, found in each.dependencies.items() if not found.is_cacheable
            ] == []
    assert stored(engine, "hired_employees")["metric1"].datasets == (
        "departments", "hired_employees", "jobs",
    )  # fmt: skip


def test_a_query_of_an_undeclared_dataset_is_refused(engine: Engine) -> None:
    with pytest.raises(DeclarationError, match=r'queries/sums\.sql:2: relation "things" does not'):
        declare(engine, LISTS, origin="api")
    declare(engine, THINGS, origin="api")
    assert declare(engine, LISTS, origin="api")
    assert stored(engine, "lists")["sums"] == Dependencies(("things",), is_cacheable=True)


def test_datasets_that_come_together_may_read_one_another(engine: Engine) -> None:
    with transaction(engine) as connection:
        declare_within(connection, LISTS, origin="restored", is_last=False)
    assert set(stored(engine, "lists")) == {"items"}
    declare(engine, THINGS, origin="api")
    assert stored(engine, "lists")["sums"] == Dependencies(("things",), is_cacheable=True)


def test_a_query_is_analysed_again_when_what_it_reads_changes(engine: Engine) -> None:
    declare(engine, THINGS, origin="api")
    declare(engine, LISTS, origin="api")
    more = {"name": "color", "type": "text"}
    declare(engine, {**THINGS, "columns": [*THINGS["columns"], more]}, origin="api")
    with transaction(engine) as connection:
        run_script(connection, "DROP VIEW things; ALTER TABLE store.things DROP COLUMN size")
    declare(engine, {**THINGS, "columns": [more]}, origin="api")
    assert set(stored(engine, "lists")) == {"items"}


def test_a_wrong_query_leaves_the_declaration_as_it_was(engine: Engine) -> None:
    declare(engine, THINGS, origin="api")
    wrong = {**THINGS, "queries": {"sums": SUMS.replace("size", "big")}}
    with pytest.raises(DeclarationError, match=r'queries/sums\.sql:2: column "big" does not exist'):
        declare(engine, wrong, origin="api")
    assert stored(engine, "things") == {}


def test_a_view_belongs_to_one_dataset(engine: Engine) -> None:
    taken = {**THINGS, "name": "plays_totals"}
    with pytest.raises(DeclarationError, match="dataset plays has the view"):
        declare(engine, taken, origin="api")
