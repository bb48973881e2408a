"""Connections to PostgreSQL: a statement with values is one message; errors leave connections usable."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from sluice.errors import OtherMigrationsError
from sluice.postgres.connection import CLIENT_CHECK_S, open_database, sqlstate
from sluice.postgres.migrations import migrate
from sluice.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine


@pytest.fixture
def engine(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setenv("SLUICE_DATABASE_URL", database)
    monkeypatch.setenv("SLUICE_POOL_SIZE", "1")
    opened = open_database(read_settings())
    yield opened
    opened.dispose()


VALUES: dict[str, Any] = {"a": 7, "b": "it's", "c": None, "d": [1, 2]}


def test_values_come_back_with_their_columns(engine: Engine) -> None:
    asked = text(
        "SELECT CAST(:a AS int) AS a, CAST(:b AS text) AS b, CAST(:c AS date) AS c, :d AS d"
    )
    with engine.connect() as connection:
        assert connection.execute(asked, VALUES).mappings().one() == {**VALUES, "d": "{1,2}"}


@pytest.mark.parametrize(
    ("sql", "state"),
    [
        ("SELEC :a", "42601"),
        ("SELECT absent + :a", "42703"),
        ("SELECT CAST(CAST(:b AS text) AS int), :a", "22P02"),
        ("SELECT 1 / (CAST(:a AS int) - 7)", "22012"),
    ],
    ids=["parse", "describe", "bind", "run"],
)
def test_an_error_at_each_step_is_told_and_leaves_the_connection_whole(
    engine: Engine, sql: str, state: str
) -> None:
    with engine.connect() as connection, pytest.raises(DBAPIError) as caught:
        connection.execute(text(sql), VALUES)
    assert sqlstate(caught.value) == state
    with engine.connect() as connection:
        assert connection.execute(text("SELECT CAST(:a AS int) + 1"), VALUES).scalar_one() == 8


def test_what_is_committed_stays_and_what_failed_does_not(engine: Engine) -> None:
    insert = text("INSERT INTO sluice.subscriptions_of_test VALUES (:a)")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE sluice.subscriptions_of_test (a int PRIMARY KEY)"))
        assert connection.execute(insert, {"a": 1}).rowcount == 1
    twice = text("INSERT INTO sluice.subscriptions_of_test VALUES (:a + 1), (:a)")
    with pytest.raises(DBAPIError), engine.begin() as connection:
        connection.execute(twice, {"a": 1})
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT a FROM sluice.subscriptions_of_test WHERE a > :a"), {"a": 0}
        )
        assert found.scalars().all() == [1]


@pytest.mark.parametrize(("name", "is_known"), [("0003_squashed", False), ("9999_later", True)])
def test_a_database_with_other_earlier_migrations_is_refused_with_what_to_do(
    engine: Engine, name: str, is_known: bool
) -> None:
    with engine.begin() as connection:
        added = text("INSERT INTO public.sluice_migrations (name) VALUES (:name)")
        connection.execute(added, {"name": name})
    refused = (
        nullcontext() if is_known else pytest.raises(OtherMigrationsError, match=f"{name}.*restore")
    )
    with refused:
        migrate(engine)


#: Waits for a lock, in a process of its own.
WAITING = (
    "from sluice.postgres.connection import open_database\n"
    "from sluice.settings import read_settings\n"
    "with open_database(read_settings()).connect() as connection:\n"
    "    connection.exec_driver_sql('RESET ALL')\n"
    "    connection.exec_driver_sql('SELECT pg_advisory_xact_lock(4711)')\n"
)


def test_the_session_of_a_killed_client_stops_waiting_for_a_lock(engine: Engine) -> None:
    waiting = text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted"
    )
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(4711)")

        def wait_for(count: int, most_s: float) -> float:
            began = time.monotonic()
            while connection.scalar(waiting) != count:
                assert time.monotonic() < began + most_s
                time.sleep(0.05)
            return time.monotonic() - began

        with subprocess.Popen([sys.executable, "-c", WAITING]) as client:
            wait_for(1, 60)
            client.send_signal(signal.SIGKILL)
            wait_for(0, CLIENT_CHECK_S + 10)
