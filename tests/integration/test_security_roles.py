"""Each function reaches the database with its own role, and declared SQL with one that reads views only."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import httpx
import pytest
from flow import HEADER, THINGS, Flow, lines
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from sluice.local.provision import OPERATOR, USERS, prepare_database
from sluice.local.state import CHECKOUT
from sluice.postgres.connection import new_engine, sqlstate
from sluice.postgres.declare import declare
from sluice.postgres.migrations import migrate
from sluice.postgres.roles import OWNER, role_of
from sluice.settings import Settings

if TYPE_CHECKING:
    from sluice.local.cloud import Cloud

INSUFFICIENT_PRIVILEGE = "42501"
Connect = Callable[[str], Engine]


def engine_of(function: str, database: str) -> Engine:
    """An engine as a function opens it."""
    user = {"database_user": USERS[function], "database_role": role_of(function)}
    return new_engine(Settings(database_url=database, **user))


@pytest.fixture
def connect(flow: Flow) -> Iterator[Connect]:
    """Engines of functions, in a database with three things and a roll-up."""
    flow.split(flow.bucket.put("things/a.csv", HEADER + lines(1, 3)))
    made: list[Engine] = []

    def open_engine(function: str) -> Engine:
        made.append(engine_of(function, flow.url))
        return made[-1]

    yield open_engine
    for each in made:
        each.dispose()


def is_refused(connection: Connection, sql: str) -> bool:
    with pytest.raises(DBAPIError) as raised, connection.begin_nested():
        connection.execute(text(sql))
    return sqlstate(raised.value) == INSUFFICIENT_PRIVILEGE


@pytest.mark.parametrize("function", ["query", "intake", "finish"])
def test_the_reader_reads_published_views_and_nothing_else(connect: Connect, function: str) -> None:
    with connect(function).begin() as connection:
        connection.execute(text("SET LOCAL ROLE sluice_reader"))
        assert connection.scalar(text("SELECT count(*) FROM things")) == 3
        assert connection.scalar(text("SELECT sum(things) FROM things_kinds")) == 3
        for hidden in (
            "store.things", "sluice.ingestions", "sluice.datasets", "public.sluice_migrations"
        ):  # fmt: skip
            assert is_refused(connection, f"SELECT * FROM {hidden}")
        assert is_refused(connection, "DELETE FROM store.things")
        assert is_refused(connection, "CREATE TABLE public.mine (id integer)")


@pytest.mark.parametrize("function", ["split", "load", "status"])
def test_other_functions_do_not_become_the_reader(connect: Connect, function: str) -> None:
    with connect(function).begin() as connection:
        assert is_refused(connection, "SET LOCAL ROLE sluice_reader")


def test_the_reader_reads_what_is_declared_later(connect: Connect) -> None:
    declare(connect("intake"), {**THINGS, "name": "others"}, origin="api")
    with connect("query").begin() as connection:
        connection.execute(text("SET LOCAL ROLE sluice_reader"))
        assert connection.scalar(text("SELECT count(*) FROM others")) == 0


def test_the_functions_of_the_local_cloud_log_in_as_themselves(local_cloud: Cloud) -> None:
    for path in ("/v1/datasets", "/v1/ingestions"):
        assert httpx.get(f"{local_cloud.url}{path}", timeout=60).is_success
    users = local_cloud.database.psql(
        "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = 'sluice'"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    ).splitlines()
    assert {USERS["query"], USERS["status"]} <= set(users) <= {*USERS.values(), OPERATOR}


def test_psql_of_the_local_cloud_reads_and_changes_nothing(flow: Flow) -> None:
    engine = create_engine(make_url(flow.url).set(username=OPERATOR))
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM things")) == 0
        assert connection.scalar(text("SELECT count(*) FROM sluice.ingestions")) == 0
        assert is_refused(connection, "DELETE FROM sluice.ingestions")
        assert is_refused(connection, "COPY things TO PROGRAM 'true'")
        assert is_refused(connection, "SET ROLE sluice_owner")
    engine.dispose()


def test_a_database_whose_tables_belong_to_the_superuser_is_taken_over(
    empty_database: str,
) -> None:
    superuser = create_engine(empty_database)
    migrate(superuser)
    declare(superuser, THINGS, origin="api")
    superuser.dispose()
    prepare_database(empty_database)
    assert prepare_database(empty_database) == []
    superuser = create_engine(empty_database)
    with superuser.begin() as connection:
        others = connection.scalars(
            text(
                "SELECT oid::regclass::text FROM pg_class WHERE relowner <> CAST(:owner AS regrole)"
                " AND relnamespace IN ('sluice'::regnamespace, 'store'::regnamespace,"
                " 'restoring'::regnamespace, 'public'::regnamespace)"
            ),
            {"owner": OWNER},
        ).all()
    superuser.dispose()
    assert others == []
    intake = engine_of("intake", empty_database)
    columns = [*THINGS["columns"], {"name": "more", "type": "text"}]
    assert declare(intake, {**THINGS, "columns": columns}, origin="api")
    intake.dispose()
    query = engine_of("query", empty_database)
    with query.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM things")) == 0
    query.dispose()


def generated_grants() -> Mapping[tuple[str, str], set[str]]:
    spec = importlib.util.spec_from_file_location("generate", CHECKOUT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    found: Mapping[tuple[str, str], set[str]] = generate.grants()
    return found


def test_the_documented_rights_are_those_of_the_database(flow: Flow) -> None:
    documented = generated_grants()
    tables = flow.all(
        "SELECT nspname AS folder, relname AS name, relkind AS kind, relacl IS NULL AS is_default"
        " FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE nspname IN ('sluice', 'store', 'public') AND relkind IN ('r', 'p', 'v')"
        " AND relname <> 'sluice_migrations'"
    )
    roles = ("split", "load", "finish", "query", "status", "reader")
    expected = {
        (f"{each.folder}.{each.name}", f"sluice_{role}", right)
        for each in tables
        for role in roles
        for place in (f"{each.folder}.{each.name}", f"{each.folder}.*")
        for right in documented.get((place, f"sluice_{role}"), ())
    }
    granted = {
        (each.name, each.grantee, each.right)
        for each in flow.all(
            "SELECT nspname || '.' || relname AS name, lower(privilege_type) AS right,"
            " CASE grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(grantee) END AS grantee"
            " FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
            " CROSS JOIN aclexplode(relacl) WHERE nspname IN ('sluice', 'store', 'public', 'restoring')"
            " AND relkind IN ('r', 'p', 'v', 'S') AND grantee <> relowner"
        )
    }
    assert granted == expected


def test_no_function_of_the_engine_is_for_everybody(flow: Flow) -> None:
    open_to_all = flow.all(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'sluice'::regnamespace"
        " AND has_function_privilege('public', oid, 'EXECUTE')"
    )
    assert open_to_all == []
