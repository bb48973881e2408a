"""Errors raised at a place in the flow of a file, and deliveries repeated until one is acknowledged."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flow import Flow
from sqlalchemy import Connection

from sluice.errors import RowsRefusedError, SluiceError, StorageUnavailableError
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from collections.abc import Iterator

#: More deliveries than any step may fail.
DELIVERIES = 40
ERRORS: dict[str, Exception] = {
    "permanent": RowsRefusedError("the storm refuses a row"),
    "transient": StorageUnavailableError("the storm took the storage"),
    "unknown": KeyError("the storm took a key"),
    "a NUL": ValueError("the storm left \0 and \ud800"),
}


def assert_reason(problem: Mapping[str, Any], error: Exception) -> None:
    """A problem has the message of our own errors, and the kind of others with a reference to the log."""
    detail = problem["detail"]
    if isinstance(error, SluiceError):
        assert error.detail in detail
    else:
        kind = type(error).__name__
        found = re.search(f"unexpected error {kind}; .* reference [0-9a-f]{{12}}", detail)
        assert found is not None, detail
        assert "storm" not in json.dumps(problem)


@dataclass
class Fault:
    """Raises an error at one place, while it is active."""

    error: Exception
    is_active: bool = True
    raised: int = field(default=0)

    def __call__(self, *_: object) -> None:
        if self.is_active:
            self.raised += 1
            raise self.error.with_traceback(None)  # else it would grow each time


@dataclass
class SqlFault(Fault):
    """Executes a statement that fails, in the transaction of another one."""

    sql: str = "SELECT 1 / 0"

    def __call__(self, *where: object) -> None:
        (connection,) = where
        if self.is_active and isinstance(connection, Connection):
            self.raised += 1
            connection.exec_driver_sql(self.sql)


Injector = Callable[[Flow, Fault], Callable[[], object]]


def before_sql(text: str) -> Injector:
    """Return what raises a fault before any statement that contains a text."""

    def inject(flow: Flow, fault: Fault) -> Callable[[], object]:
        def look(connection: Connection, _cursor: object, sql: str, *_: Any) -> None:
            if text in sql:
                fault(connection)

        return flow.listen("before_cursor_execute", look)

    return inject


def before_named(name: str) -> Injector:
    """Return what raises a fault before a named statement."""
    return before_sql(str(statement(name)).split(":", 1)[0].strip()[:60])


def reading(flow: Flow, fault: Fault) -> Callable[[], object]:
    """Raise a fault whenever an object is read."""
    flow.bucket.before_read = fault
    return lambda: setattr(flow.bucket, "before_read", lambda _first_byte: None)


def publishing(topic: str) -> Injector:
    """Return what raises a fault whenever something is published to a topic."""

    def inject(flow: Flow, fault: Fault) -> Callable[[], object]:
        flow.topics.before_publish = lambda to: fault() if to == topic else None
        return lambda: setattr(flow.topics, "before_publish", lambda _topic: None)

    return inject


@contextmanager
def injected(flow: Flow, inject: Injector, fault: Fault) -> Iterator[None]:
    """Raise a fault at a place."""
    remove = inject(flow, fault)
    try:
        yield
    finally:
        remove()


class Pubsub:
    """Delivers each message until it is acknowledged, at most a number of times."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.pass_time = lambda: None
        self._done = 0

    def deliver(self) -> None:
        while self._done < len(self.flow.topics.sent):
            sent = self.flow.topics.sent[self._done]
            self._done += 1
            self._push(lambda sent=sent: self.flow.handle(sent))

    def upload(self, data: bytes, name: str = "things/a.csv") -> None:
        stored = self.flow.put(data, name)
        self._push(lambda: self.flow.split(stored))
        self.deliver()

    def _push(self, handle: Callable[[], object]) -> None:
        for _ in range(DELIVERIES):
            try:
                handle()
            except Exception:  # noqa: BLE001  # not acknowledged
                self.pass_time()
                continue
            return
        raise AssertionError("a message was never acknowledged")


def age_attempts(flow: Flow, seconds: float = 300.0) -> None:
    flow.run_sql(
        f"UPDATE sluice.failed_attempts SET first_at = first_at - make_interval(secs => {seconds})"
    )


def newest_ingestion(flow: Flow) -> Any:
    return flow.one("SELECT * FROM sluice.ingestions ORDER BY id DESC LIMIT 1")
