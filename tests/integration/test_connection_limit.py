"""A database at its limit of connections makes functions wait, and idle sessions end for others."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from flow import as_superuser
from problems import assert_problem
from sqlalchemy import make_url, text

from sluice.errors import DatabaseUnavailableError
from sluice.postgres import connection as postgres
from sluice.postgres.connection import new_engine, transaction
from sluice.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serving import Serve
    from sqlalchemy import Engine


@contextmanager
def limit(url: str, connections: int) -> Iterator[None]:
    """Limit the connections to a database."""
    change_limit(url, connections)
    try:
        yield
    finally:
        change_limit(url, -1)


def change_limit(url: str, connections: int) -> None:
    name = make_url(url).database
    with as_superuser(url).connect() as connection:
        auto = connection.execution_options(isolation_level="AUTOCOMMIT")
        auto.execute(text(f'ALTER DATABASE "{name}" CONNECTION LIMIT {connections}'))


def sessions(url: str) -> int:
    """How many sessions a database has, besides the one that counts them."""
    sql = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    with as_superuser(url).connect() as connection:
        return int(connection.scalar(text(sql)) or 0)


def test_a_function_waits_for_a_connection(database: str) -> None:
    holding, waiting = (new_engine(Settings(database_url=database)) for _ in range(2))
    done = threading.Event()

    def work() -> None:
        with transaction(waiting) as connection:
            connection.execute(text("SELECT 1"))
        done.set()

    with limit(database, sessions(database) + 1), ThreadPoolExecutor(1) as threads:
        with holding.connect() as connection:
            connection.execute(text("SELECT 1"))
            started = threads.submit(work)
            assert not done.wait(0.5)
        holding.dispose()
        started.result(timeout=10)
    waiting.dispose()


def test_a_thread_that_gets_no_connection_takes_one_that_another_returns(database: str) -> None:
    engine = new_engine(Settings(database_url=database))
    with limit(database, sessions(database) + 1), ThreadPoolExecutor(1) as threads:
        with transaction(engine) as connection:
            held = connection.scalar(text("SELECT pg_backend_pid()"))
            started = threads.submit(backend, engine)
            assert not started.done()
        assert started.result(timeout=10) == held
    engine.dispose()


def backend(engine: Engine) -> int:
    with transaction(engine) as connection:
        return int(connection.scalar(text("SELECT pg_backend_pid()")) or 0)


def test_a_function_that_gets_no_connection_reports_a_transient_error(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "CONNECT_WAIT_S", 0.3)
    engine = new_engine(Settings(database_url=database))
    began = time.monotonic()
    with (
        limit(database, 0),
        pytest.raises(DatabaseUnavailableError, match="too many connections"),
        transaction(engine),
    ):
        pass
    assert time.monotonic() - began > 0.3


def test_a_request_is_refused_only_after_waiting(
    serve: Serve, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "CONNECT_WAIT_S", 0.5)
    query = serve("query")
    with limit(database, 0):
        began = time.monotonic()
        answer = query.get("/v1/datasets")
        took_s = time.monotonic() - began
    assert_problem(answer, "SYS903", 503)
    assert int(answer.headers["Retry-After"]) > 0
    assert took_s > 0.5
    assert query.get("/v1/datasets").status_code == 200


def test_an_idle_session_is_ended_and_replaced(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "IDLE_S", 1)
    before = sessions(database)
    engine = new_engine(Settings(database_url=database))
    with transaction(engine) as connection:
        connection.execute(text("SELECT 1"))
    assert sessions(database) == before + 1
    until = time.monotonic() + 20
    while sessions(database) > before and time.monotonic() < until:
        time.sleep(0.1)
    assert sessions(database) == before
    with transaction(engine) as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()
