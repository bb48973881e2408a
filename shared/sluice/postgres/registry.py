"""The declared datasets as the database holds them, kept in this process for a few seconds."""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING

from sluice.datasets.declarations import parse_document
from sluice.datasets.model import Dataset
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_KEPT_S = 5.0
_lock = threading.Lock()
_kept: weakref.WeakKeyDictionary[Engine, dict[str, tuple[float, Dataset | None]]] = (
    weakref.WeakKeyDictionary()
)


def find_dataset(engine: Engine, name: str) -> Dataset | None:
    """Return the declared dataset of that name, at most a few seconds old; None when there is none.

    Raises:
        DatabaseUnavailableError: try again later.
    """
    with _lock:
        kept = _kept.setdefault(engine, {}).get(name)
    if kept is not None and kept[0] > time.monotonic():
        return kept[1]
    dataset = _read(engine, name)
    with _lock:
        _kept[engine][name] = (time.monotonic() + _KEPT_S, dataset)
    return dataset


def _read(engine: Engine, name: str) -> Dataset | None:
    with transaction(engine) as connection:
        return read_dataset(connection, name)


def read_dataset(connection: Connection, name: str) -> Dataset | None:
    """Return the declared dataset of that name as it stands now; None when there is none."""
    row = connection.execute(statement("select_declaration"), {"dataset": name}).one_or_none()
    if row is None:
        return None
    return parse_document({**row.declaration, "version": row.version})
