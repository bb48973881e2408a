"""The migration job gives each function's database user what it needs, and no more."""

from __future__ import annotations

import re
import runpy
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flow import HEADER, THINGS, Flow, lines
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from sluice.gcloud.push_subscriptions import SubscriptionSpec
from sluice.postgres.connection import sqlstate, take_role, transaction
from sluice.postgres.declare import declare
from sluice.postgres.named_sql import statement
from sluice.postgres.roles import FUNCTIONS, MIGRATE, everyone, prepare, role_of, user_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CHECKOUT = Path(__file__).parents[2]
SCRIPTS = CHECKOUT / "terraform" / "migrate"
_NAMED = re.compile(r'\b(?:statement\(|query_ingestions?\(\s*connection,)\s*"(\w+)"')
_PLACEHOLDER = re.compile(r"(?<!:):[a-z_][a-z0-9_]*")
INSUFFICIENT_PRIVILEGE = "42501"
USERS = {name: user_of(name, "project") for name in (*FUNCTIONS, MIGRATE)}


@pytest.fixture
def engines(bare_server) -> Iterator[Mapping[str, Engine]]:
    """An engine for each function's user, in a database as Cloud SQL creates it."""
    database = f"sluice_{uuid.uuid4().hex}"
    bare_server.create_database(database)
    _create_users(bare_server, database)
    url = make_url(bare_server.url(database))
    made = {name: create_engine(url.set(username=user)) for name, user in USERS.items()}
    for name in FUNCTIONS:
        take_role(made[name], role_of(name))
    yield made
    for each in made.values():
        each.dispose()


def _create_users(server: Any, database: str) -> None:
    """Play Cloud SQL: the users are its own, and one of them is made a member of its superuser."""
    for user, options in {
        "cloudsqlsuperuser": "CREATEROLE",
        **dict.fromkeys(USERS.values(), "LOGIN"),
    }.items():
        if not server.psql(f"SELECT 1 FROM pg_roles WHERE rolname = '{user}'"):
            server.psql(f'CREATE ROLE "{user}" {options}')
    server.psql(f'GRANT cloudsqlsuperuser TO "{USERS[MIGRATE]}"')
    server.psql(f'ALTER DATABASE "{database}" OWNER TO cloudsqlsuperuser')


def _prepare(engine: Engine) -> list[str]:
    return prepare(engine, USERS, SCRIPTS)


def test_the_job_can_be_repeated(engines) -> None:
    first = _prepare(engines["migrate"])
    assert "0001_schema" in first
    engines["migrate"].dispose()
    assert _prepare(engines["migrate"]) == []


def test_a_file_is_loaded_with_each_function_under_its_own_role(engines) -> None:
    _prepare(engines["migrate"])
    flow = Flow(str(engines["migrate"].url.render_as_string(hide_password=False)))
    declare(engines["intake"], THINGS, origin="api")
    flow.engines = engines
    stored = flow.bucket.put("things/a.csv", HEADER + lines(1, 20) + b"x,no number,a\n")
    ingestion = flow.split(stored)
    flow.deliver()
    small = flow.split(flow.bucket.put("things/small.csv", HEADER + lines(30, 32)))
    assert flow.state(small) == "done"
    flow.undo(small)
    with engines["query"].connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM things")) == 20
        assert connection.scalar(text('SELECT sum(things) FROM "things_kinds"')) == 20
    with engines["status"].connect() as connection:
        assert connection.execute(statement("select_ingestion"), {"ingestion": ingestion}).one()
        assert connection.scalar(text("SELECT count(*) FROM sluice.rejects")) == 1
    flow.undo(ingestion)
    flow.close()


def test_intake_may_change_what_the_migrations_declared(engines) -> None:
    _prepare(engines["migrate"])
    declare(engines["migrate"], THINGS, origin="folder")
    columns = [*THINGS["columns"], {"name": "more", "type": "text"}]
    assert declare(engines["intake"], {**THINGS, "columns": columns}, origin="api")


READERS = ("analysts@example.org", "ada@example.org")
FORBIDDEN_TO_READERS = (
    "SELECT * FROM store.things",
    "SELECT * FROM sluice.ingestions",
    "SELECT * FROM sluice.api_keys",
    "SELECT * FROM public.sluice_migrations",
    "DELETE FROM store.things",
    "INSERT INTO store.things DEFAULT VALUES",
    "TRUNCATE store.things",
    "CREATE TABLE public.mine (id integer)",
    "CREATE SCHEMA mine",
    "SELECT sluice.find_api_key('x')",
    "SET ROLE sluice_owner",
    "SET ROLE sluice_query",
)


def test_a_group_of_readers_reads_published_rows_and_nothing_else(engines, bare_server) -> None:
    group, person = READERS
    for name, options in ((group, "NOLOGIN"), (person, f'LOGIN IN ROLE "{group}"')):
        if not bare_server.psql(f"SELECT 1 FROM pg_roles WHERE rolname = '{name}'"):
            bare_server.psql(f'CREATE ROLE "{name}" {options}')
    prepare(engines["migrate"], USERS, SCRIPTS, [group])
    declare(engines["intake"], THINGS, origin="api")
    engine = create_engine(engines["migrate"].url.set(username=person))
    assert _may(engine, "SELECT * FROM public.things")
    assert [each for each in FORBIDDEN_TO_READERS if _may(engine, each)] == []
    engine.dispose()


#: Roles of a server belong to all its databases: another test may have made them.
ROLES = ("owner", "split", "load", "finish", "query", "status", "reader")


def test_a_database_of_ones_own_has_one_login_and_the_same_roles(bare_server) -> None:
    database = f"own_{uuid.uuid4().hex}"
    bare_server.create_database(database)
    if not bare_server.psql("SELECT 1 FROM pg_roles WHERE rolname = 'app'"):
        bare_server.psql("CREATE ROLE app LOGIN CREATEROLE")
    bare_server.psql(f'ALTER DATABASE "{database}" OWNER TO app')
    for role in ROLES:
        if bare_server.psql(f"SELECT 1 FROM pg_roles WHERE rolname = 'sluice_{role}'"):
            bare_server.psql(
                f"GRANT sluice_{role} TO app WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
            )
    url = make_url(bare_server.url(database)).set(username="app")
    job = create_engine(url)
    assert "0001_schema" in prepare(job, everyone(job), SCRIPTS)
    declare(job, THINGS, origin="api")
    job.dispose()
    own = {name: create_engine(url) for name in FUNCTIONS}
    for name, engine in own.items():
        take_role(engine, role_of(name))
    assert _may(own["query"], "SELECT * FROM public.things")
    # One login may take each of the roles; a function keeps to the one of its setting.
    changes = {what: each for what, each in FORBIDDEN.items() if "SET ROLE" not in each[1]}
    assert [what for what, (name, sql) in changes.items() if _may(own[name], sql)] == []
    for engine in own.values():
        engine.dispose()


FORBIDDEN = {
    "query writes": ("query", "DELETE FROM sluice.publications"),
    "query reads below the views": ("query", "SELECT * FROM store.things"),
    "status withdraws": ("status", "DELETE FROM sluice.publications"),
    "status reads rows": ("status", "SELECT * FROM public.things"),
    "split deletes rows": ("split", "DELETE FROM store.things"),
    "split withdraws": ("split", "DELETE FROM sluice.publications"),
    "load publishes": ("load", "INSERT INTO sluice.publications VALUES (1, 'things')"),
    "load deletes rows": ("load", "DELETE FROM store.things"),
    "finish makes tables": ("finish", "CREATE TABLE store.mine (id integer)"),
    "load declares": ("load", "DELETE FROM sluice.datasets"),
    "query becomes owner": ("query", "SET ROLE sluice_owner"),
    "intake becomes superuser": ("intake", "SET ROLE cloudsqlsuperuser"),
}


def test_a_function_has_no_other_rights(engines) -> None:
    _prepare(engines["migrate"])
    declare(engines["intake"], THINGS, origin="api")
    allowed = [what for what, (function, sql) in FORBIDDEN.items() if _may(engines[function], sql)]
    assert allowed == []


def _may(engine: Engine, sql: str) -> bool:
    try:
        with engine.begin() as connection:
            connection.execute(text(sql))
    except DBAPIError as error:
        if sqlstate(error) != INSUFFICIENT_PRIVILEGE:
            raise
        return False
    return True


#: Statements that a function's code names, in modules that it shares with others, but may not run.
OTHERS = {
    "split": {
        "insert_observations", "withdraw", "retire_segments", "detach_retired_segments",
        "delete_duplicates", "settle_rejects", "hidden_ingestions",
    },
    "load": {"receive_ingestion", "insert_chunk"},
    "finish": {
        "receive_ingestion", "insert_chunk", "insert_receipt",
        "upsert_declaration", "update_dependencies",  # as sluice_owner
    },
    "status": {
        "receive_ingestion", "insert_chunk", "insert_receipt", "insert_events", "move_ingestion",
        "count_chunk", "count_observed", "lock_ingestion", "mark_events", "keep_waiting",
    },
}  # fmt: skip


def _statements_of(function: str) -> set[str]:
    """Return the names of the statements in the code that a function reaches."""
    bundling = runpy.run_path(str(CHECKOUT / "functions" / "bundle.py"))
    files = bundling["reached_files"](CHECKOUT / "functions" / function / "main.py")
    return {name for file in files for name in _NAMED.findall(file.read_text("utf-8"))}


@pytest.mark.parametrize("function", sorted(OTHERS))
def test_a_function_may_run_each_statement_that_its_code_names(engines, function: str) -> None:
    _prepare(engines["migrate"])
    named = _statements_of(function)
    assert {each for each in named if not _may_run(engines[function], each)} == OTHERS[function]


def _may_run(engine: Engine, name: str) -> bool:
    """Whether its plan is made: PostgreSQL checks the rights before it shows one."""
    sql = str(statement(name))
    if sql.split(maxsplit=1)[0] not in ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH"):
        return True
    return _may(engine, "EXPLAIN " + _PLACEHOLDER.sub("NULL", sql))


def test_status_stores_subscriptions(engines) -> None:
    _prepare(engines["migrate"])
    spec = SubscriptionSpec("https://example.org/hook")
    values = {"id": "push-1", "endpoint": spec.endpoint, "dataset": None, "states": []}
    with transaction(engines["status"]) as connection:
        assert connection.execute(statement("insert_subscription"), values).one()
        connection.execute(statement("delete_subscription"), {"id": "push-1"})
