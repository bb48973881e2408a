"""The HTTP functions as they are deployed, over the test's database, and ways to fill it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import functions_framework
import pytest
from flow import as_superuser
from sqlalchemy import Engine, text
from werkzeug.test import Client

from sluice.datasets.identifiers import store_table
from sluice.documents.ingestions import State
from sluice.ingestion.ingestions import move
from sluice.ingestion.ingestions import receive as receive_file
from sluice.local.provision import USERS, create_topology
from sluice.ports import StoredObject
from sluice.postgres.connection import new_engine, open_database, transaction
from sluice.postgres.declare import declare
from sluice.postgres.named_sql import statement
from sluice.postgres.roles import role_of
from sluice.settings import Settings, read_settings

if TYPE_CHECKING:
    from sluice.local.pubsub import PubsubServer

FUNCTIONS = Path(__file__).parents[2] / "functions"
Serve = Callable[..., Client]

#: A dataset with a key, nulls, and a column of each kind that JSON writes in its own way.
GUESTS: Mapping[str, Any] = {
    "name": "guests",
    "description": "Guests.",
    "key": ["id"],
    "columns": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "name", "type": "text"},
        {"name": "born", "type": "date"},
        {"name": "wage", "type": "numeric"},
        {"name": "active", "type": "boolean"},
    ],
    "queries": {
        "named": "-- The guest with a name.\n-- param name text!: The name.\n-- returns: one\n"
        "SELECT id, name FROM guests WHERE name = :name",
        "slow": "-- Never ends, at any :word.\nWITH RECURSIVE steps AS (SELECT 1 AS step UNION ALL"
        " SELECT step FROM steps) SELECT count(*) FROM steps -- :word",
        "broken": "-- Divides by nothing.\nSELECT 1 / 0 AS x",
    },
}
NAMES = ("Ada", "Bob", None, "Ada", "Cy", None, "Bob", "Ada")


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """The test's database."""
    made = new_engine(Settings(database_url=database))
    yield made
    made.dispose()


@pytest.fixture
def superuser(database: str) -> Engine:
    """The test's database as superuser, who sees and ends the sessions of other users."""
    return as_superuser(database)


@pytest.fixture
def serve(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Load a function with some settings, as functions-framework does, and return its client.

    It connects to the database with its own role.
    """
    opened = []

    def start(function: str, **settings: str) -> Client:
        monkeypatch.setenv("SLUICE_DATABASE_URL", database)
        is_open = not {"token", "authentication"} & set(settings)
        monkeypatch.setenv("SLUICE_AUTHENTICATION", "none" if is_open else "required")
        monkeypatch.setenv("SLUICE_DATABASE_USER", USERS[function])
        monkeypatch.setenv("SLUICE_DATABASE_ROLE", role_of(function))
        # Its client leaves answers open, of which each counts as a request that is not finished.
        for name, value in {"requests_at_once": "0", **settings}.items():
            monkeypatch.setenv(f"SLUICE_{name.upper()}", value)
        opened.append(read_settings())
        source = str(FUNCTIONS / function / "main.py")
        return functions_framework.create_app(function, source).test_client()

    yield start
    for each in opened:
        open_database(each).dispose()


@pytest.fixture
def guests(engine: Engine) -> int:
    """The dataset `guests` with eight rows; the ingestion that brought them."""
    declare(engine, GUESTS, origin="api")
    rows = [
        {
            "id": number,
            "name": name,
            "born": f"199{number}-01-02",
            "wage": f"{number}.10",
            "active": number % 2 == 0,
        }
        for number, name in enumerate(NAMES, 1)
    ]
    return publish(engine, "guests", rows)


@pytest.fixture
def topics(pubsub: PubsubServer) -> PubsubServer:
    """An embedded Pub/Sub with the engine's topics."""
    create_topology(pubsub.address, lambda name: f"http://localhost:1/functions/{name}")
    return pubsub


def receive(engine: Engine, dataset: str | None, name: str = "a.csv", generation: int = 1) -> int:
    """Receive an ingestion with its first event."""
    stored = StoredObject("inbox", f"{dataset}/{name}" if dataset else name, generation, 10)
    with transaction(engine) as connection:
        return receive_file(connection, stored, "local").id


def advance(engine: Engine, ingestion: int, *states: State) -> None:
    """Move an ingestion through states, each in a transaction of its own."""
    for state in states:
        with transaction(engine) as connection:
            move(connection, ingestion, state, "local")


def publish(
    engine: Engine, dataset: str, rows: Iterable[Mapping[str, object]], name: str = "a.csv"
) -> int:
    """Write rows as one published ingestion."""
    listed = list(rows)
    ingestion = receive(engine, dataset, name)
    advance(engine, ingestion, State.SPLITTING, State.LOADING, State.PUBLISHING)
    columns = ", ".join(listed[0])
    sql = text(
        f"INSERT INTO {store_table(dataset)} ({columns}, ingestion) SELECT {columns}, :ingestion"
        f" FROM json_populate_recordset(NULL::{store_table(dataset)}, CAST(:rows AS json))"
    )
    with transaction(engine) as connection:
        connection.execute(sql, {"ingestion": ingestion, "rows": json.dumps(listed)})
        connection.execute(
            text(
                "UPDATE sluice.ingestions SET records_read = :rows, rows_loaded = :rows WHERE id = :id"
            ),
            {"rows": len(listed), "id": ingestion},
        )
        key = {"ingestion": ingestion, "dataset": dataset}
        connection.execute(statement("publish"), key)
        connection.execute(statement("touch_freshness"), key)
        move(connection, ingestion, State.DONE, "local")
    return ingestion
