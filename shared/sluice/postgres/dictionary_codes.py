"""The codes of dictionary columns: each text has one permanently, so that a process may cache them."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import composed

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_lock = threading.Lock()
#: By database and dictionary table: the codes of the texts that this process has met.
_cached: weakref.WeakKeyDictionary[Engine, dict[str, dict[str, int]]] = weakref.WeakKeyDictionary()


def find_codes(engine: Engine, table: str, texts: list[str]) -> dict[str, int]:
    """Return the code of each text; new texts get theirs in a transaction of its own.

    So loaders do not wait for each other's rows. If the caller rolls back, a new code remains unused.

    Args:
        engine: the database.
        table: the dictionary table, see `sluice.datasets.identifiers`.
        texts: distinct texts.
    """
    with _lock:
        known = _cached.setdefault(engine, {}).setdefault(table, {})
        found = {text: known[text] for text in texts if text in known}
    missing = [text for text in texts if text not in found]
    if not missing:
        return found
    # Outside the lock: a thread that waits for a connection must not block those that have one.
    with transaction(engine) as connection:
        added = add_texts(connection, table, missing)
    with _lock:
        known.update(added)
    return {**found, **added}


def add_texts(connection: Connection, table: str, texts: list[str]) -> dict[str, int]:
    """Return the code of each text, within the caller's transaction; new texts get theirs."""
    connection.execute(
        composed(
            f"INSERT INTO {table} (text) SELECT each FROM unnest(CAST(:texts AS text[])) AS each"
            f" WHERE each NOT IN (SELECT text FROM {table}) ORDER BY each ON CONFLICT DO NOTHING"
        ),
        {"texts": texts},
    )
    # A second statement sees the codes that other transactions committed meanwhile.
    rows = connection.execute(
        composed(f"SELECT text, code FROM {table} WHERE text = ANY (CAST(:texts AS text[]))"),
        {"texts": texts},
    )
    return {row.text: row.code for row in rows}
