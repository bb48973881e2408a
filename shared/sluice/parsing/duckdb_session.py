"""This process's DuckDB, and what every reading of a chunk does with it; the only importer of DuckDB."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.datasets.identifiers import quote

if TYPE_CHECKING:
    import duckdb


@functools.cache
def scratch() -> duckdb.DuckDBPyConnection:
    """This process's DuckDB: one thread, because loaders are many; files of its own nowhere."""
    import duckdb  # noqa: PLC0415  # 0.25 s, paid where first used

    connection = duckdb.connect(":memory:", config={"threads": 1, "memory_limit": "384MB"})
    connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = true")
    connection.execute("SET enable_progress_bar = false")
    return connection


@contextmanager
def memory_file(data: bytes) -> Iterator[Path]:
    """The bytes as a file in memory, for DuckDB reads files."""
    if not hasattr(os, "memfd_create"):  # not Linux
        with tempfile.NamedTemporaryFile(suffix=".csv") as file:
            file.write(data)
            file.flush()
            yield Path(file.name)
        return
    with os.fdopen(os.memfd_create("chunk"), "wb", buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        yield Path(f"/proc/self/fd/{file.fileno()}")


def new_line_of(data: bytes) -> str:
    """Return the line end of bytes that have one kind throughout, as DuckDB is told it."""
    return "\\r\\n" if b"\r" in data else "\\n"


def count_rows(cursor: duckdb.DuckDBPyConnection, table: str, condition: str = "true") -> int:
    """Return how many rows of a table fulfil a condition."""
    sql = f"SELECT count(*) FROM {table} WHERE {condition}"
    ((count,),) = cursor.execute(sql).fetchall()
    return int(count)


def distinct_texts(cursor: duckdb.DuckDBPyConnection, column: str) -> list[str]:
    """Return the texts of a column of the good rows of `typed`, in order."""
    name = quote(column)
    sql = f"SELECT DISTINCT {name} FROM typed WHERE _ok AND {name} IS NOT NULL ORDER BY 1"
    return [text for (text,) in cursor.execute(sql).fetchall()]
