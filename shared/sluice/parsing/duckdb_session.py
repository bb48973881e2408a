"""This process's DuckDB; the only module that opens one."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


@functools.cache
def session() -> duckdb.DuckDBPyConnection:
    """Return this process's DuckDB: in memory, with one thread, because there are many loaders."""
    import duckdb  # noqa: PLC0415  # 0.25 s, paid where first used

    connection = duckdb.connect(":memory:", config={"threads": 1, "memory_limit": "384MB"})
    connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = true")
    connection.execute("SET enable_progress_bar = false")
    return connection
