"""This process's DuckDB; the only module that opens one."""

from __future__ import annotations

import atexit
import functools
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from sluice.datasets.json_grammar import json_problem
from sluice.errors import SlowDeclarationError
from sluice.parsing.plan import IS_JSON

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

#: How long a statement may run: those of a chunk take less than a second, unless a declaration has SQL that
#: does not end.
STATEMENT_TIMEOUT_S = 60.0
#: How often the running statements are compared with their limit.
_ROUND_S = 1.0
_CONFIGURATION: Mapping[str, str | int] = {
    "threads": 1,
    "memory_limit": "384MB",
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "python_enable_replacements": False,
}


class _Watchdog:
    """Interrupts statements that run for too long: one thread for all, while there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[duckdb.DuckDBPyConnection, float] = {}
        self._thread: threading.Thread | None = None
        self._is_over = threading.Event()

    @contextmanager
    def limited(self, cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Interrupt what the cursor runs within this context after the time limit.

        Raises:
            SlowDeclarationError: it was interrupted.
        """
        from duckdb import InterruptException  # noqa: PLC0415

        limit_s = STATEMENT_TIMEOUT_S
        with self._lock:
            self._running[cursor] = time.monotonic() + limit_s
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="duckdb", daemon=True)
                self._thread.start()
        try:
            yield
        except InterruptException:
            raise SlowDeclarationError(limit_s) from None
        finally:
            with self._lock:
                del self._running[cursor]

    def close(self) -> None:
        """End the thread: what it holds at the end of the process, DuckDB reports as leaks."""
        self._is_over.set()
        if thread := self._thread:
            thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(min(_ROUND_S, STATEMENT_TIMEOUT_S)):
            with self._lock:
                if not self._running:
                    self._thread = None
                    return
                # Within the lock: so it is this statement, and not a later one, that is interrupted.
                self._interrupt_late()

    def _interrupt_late(self) -> None:
        now = time.monotonic()
        for cursor, until in self._running.items():
            if until < now:
                cursor.interrupt()


_WATCHDOG = _Watchdog()


class Cursor:
    """A cursor of this process's DuckDB, whose statements have a time limit.

    All methods that run a statement raise `SlowDeclarationError` after the limit.
    """

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor

    def table(self, sql: str) -> pa.Table:
        """Return the result of a query in Arrow."""
        with _WATCHDOG.limited(self._cursor):
            return self._cursor.sql(sql).to_arrow_table()

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query, with `?` for values."""
        with _WATCHDOG.limited(self._cursor):
            return self._cursor.execute(sql, values or None).fetchall()

    def register(self, name: str, table: pa.Table) -> None:
        """Let statements read a table by a name."""
        self._cursor.register(name, table)

    def unregister(self, name: str) -> None:
        """Forget a table."""
        self._cursor.unregister(name)

    def is_one_select(self, sql: str) -> bool:
        """Whether a text is one statement, and a SELECT.

        Raises:
            duckdb.Error: it cannot be parsed.
        """
        import duckdb  # noqa: PLC0415

        kinds = [each.type for each in self._cursor.extract_statements(sql)]
        return kinds == [duckdb.StatementType.SELECT]

    def close(self) -> None:
        """Close the cursor."""
        self._cursor.close()

    def __enter__(self) -> Self:
        """Return the cursor, which is closed at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the cursor."""
        self.close()


def open_cursor() -> Cursor:
    """Return a new cursor of this process's DuckDB."""
    return Cursor(_session().cursor())


@functools.cache
def _session() -> duckdb.DuckDBPyConnection:
    """Return this process's DuckDB: in memory, with one thread, because there are many loaders.

    It reads no files, variables of Python or extensions, and its configuration is locked.
    """
    import duckdb  # noqa: PLC0415  # 0.25 s, paid where first used

    connection = duckdb.connect(":memory:", config=dict(_CONFIGURATION))
    connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = true")
    connection.execute("SET enable_progress_bar = false")
    connection.create_function(IS_JSON, _is_json, ["VARCHAR"], "BOOLEAN")
    connection.execute("SET lock_configuration = true")
    atexit.register(_WATCHDOG.close)
    atexit.register(connection.close)  # DuckDB reports a function that outlives it as a leak
    return connection


def duckdb_error() -> type[Exception]:
    """Return the class of DuckDB's errors."""
    import duckdb  # noqa: PLC0415

    return duckdb.Error


def _is_json(text: str) -> bool:
    return not json_problem(text)
