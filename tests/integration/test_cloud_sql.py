"""Connections to Cloud SQL through its connector: real TLS, a real PostgreSQL, a simulated Admin API."""

from __future__ import annotations

import gc
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

import google.auth
import pytest
from cloud_sql import CloudSql, Credentials
from google.cloud.sql.connector import connector
from sqlalchemy import Engine, make_url, text

from sluice.errors import DatabaseUnavailableError
from sluice.postgres import connection as adapter
from sluice.postgres.connection import copy_in, open_database, transaction
from sluice.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USER = "sluice-load@project.iam"

#: The connector leaves its event loop open, and the socket of a connection that failed.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def cloud_sql(
    database: str, database_server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CloudSql]:
    """The simulated instance in front of the test's server; the connector uses it."""
    if not database_server.psql(f"SELECT 1 FROM pg_roles WHERE rolname = '{USER}'"):
        database_server.psql(f'CREATE ROLE "{USER}" LOGIN')
    with CloudSql(tmp_path, make_url(database).port or 0) as played:
        monkeypatch.setattr(
            google.auth, "default", lambda scopes=None, **_: (Credentials(scopes), "project")
        )
        monkeypatch.setattr(connector, "_DEFAULT_SCHEME", "http://")
        monkeypatch.setattr(connector, "_SQLADMIN_HOST_TEMPLATE", f"127.0.0.1:{played.api_port}")
        monkeypatch.setattr(connector, "SERVER_PROXY_PORT", played.proxy_port)
        adapter._connector.cache_clear()
        yield played
        adapter._connector().close()
        adapter._connector.cache_clear()
        gc.collect()


@pytest.fixture
def engine(cloud_sql: CloudSql, database: str) -> Iterator[Engine]:
    """As a function opens it: by settings alone."""
    settings = Settings(
        database_instance="project:region:instance",
        database_name=str(make_url(database).database),
        database_user=USER,
        database_ip_type="private",
        log_level=uuid.uuid4().hex,  # an engine of this test's own
    )
    made = open_database(settings)
    yield made
    made.dispose()


def test_a_function_logs_in_as_its_account_over_tls(engine: Engine, cloud_sql: CloudSql) -> None:
    with transaction(engine) as connection:
        assert connection.scalar(text("SELECT current_user")) == USER
    assert cloud_sql.logins == ["sqlservice.login"], "the certificate holds a token for that alone"


def test_a_copy_in_large_blocks_passes_whole(engine: Engine) -> None:
    lines = [f"{n}\t{'x' * 100}\n".encode() for n in range(20_000)]
    blocks = [b"".join(lines[at : at + 2500]) for at in range(0, len(lines), 2500)]
    with transaction(engine) as connection:
        connection.execute(text("CREATE TEMPORARY TABLE copied (n integer, words text)"))
        assert copy_in(connection, "COPY copied FROM STDIN", blocks) == len(lines)
        assert connection.scalar(text("SELECT sum(n) FROM copied")) == sum(range(len(lines)))


def test_one_certificate_serves_all_connections(engine: Engine, cloud_sql: CloudSql) -> None:
    with engine.connect(), engine.connect(), engine.connect():
        pass
    assert len(cloud_sql.logins) == 1


def test_a_certificate_that_runs_out_is_renewed(engine: Engine, cloud_sql: CloudSql) -> None:
    cloud_sql.certificate_lives = timedelta(minutes=2)  # the connector renews four minutes before
    with engine.connect(), engine.connect():
        pass
    assert len(cloud_sql.logins) == 2


@pytest.mark.parametrize("status", [403, 404])
def test_what_the_api_refuses_may_work_later(
    engine: Engine, cloud_sql: CloudSql, status: int
) -> None:
    """A right that was given a moment ago is not known everywhere."""
    cloud_sql.refusal = status
    with pytest.raises(DatabaseUnavailableError), transaction(engine):
        pass
    cloud_sql.refusal = 0
    with transaction(engine) as connection:
        assert connection.scalar(text("SELECT 1")) == 1


def test_a_proxy_that_is_away_is_a_database_that_is_away(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector, "SERVER_PROXY_PORT", 1)
    with pytest.raises(DatabaseUnavailableError), transaction(engine):
        pass
