"""This process's DuckDB; the only module that opens one."""

from __future__ import annotations

import atexit
import functools
from typing import TYPE_CHECKING

from sluice.datasets.json_grammar import json_problem
from sluice.parsing.plan import IS_JSON

if TYPE_CHECKING:
    import duckdb


@functools.cache
def session() -> duckdb.DuckDBPyConnection:
    """Return this process's DuckDB: in memory, with one thread, because there are many loaders."""
    import duckdb  # noqa: PLC0415  # 0.25 s, paid where first used

    connection = duckdb.connect(":memory:", config={"threads": 1, "memory_limit": "384MB"})
    connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = true")
    connection.execute("SET enable_progress_bar = false")
    connection.create_function(IS_JSON, _is_json, ["VARCHAR"], "BOOLEAN")
    atexit.register(connection.close)  # DuckDB reports a function that outlives it as a leak
    return connection


def _is_json(text: str) -> bool:
    return not json_problem(text)
