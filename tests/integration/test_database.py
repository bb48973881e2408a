"""Connections to PostgreSQL: a statement with values is one message; errors leave connections usable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from sluice.postgres.connection import open_database, sqlstate
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
