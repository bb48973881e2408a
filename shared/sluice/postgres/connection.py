"""Connects to PostgreSQL: one engine per process, errors translated in one place.

The engine and the Cloud SQL connector are created on first use, never at import.
"""

from __future__ import annotations

import functools
import io
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sluice.errors import DatabaseUnavailableError, SettingError, SluiceError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from sluice.ports import Sink
    from sluice.settings import Settings

#: SQLSTATE classes and codes after which the same statement may succeed later.
_TRANSIENT_CLASSES = ("08", "40", "53", "55P03", "57", "58030")
#: Values out of range, violated constraints, values too large for an index.
_REFUSALS = ("22", "23", "54")
QUERY_CANCELED = "57014"
UNDEFINED_TABLE = "42P01"
_COPY_FAIL = b"f"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

_lock = threading.Lock()


def open_database(settings: Settings) -> Engine:
    """Return this process's engine for the settings, made at the first call.

    Raises:
        SettingError: neither a URL nor an instance is set.
    """
    with _lock:
        return _open(settings)


def new_engine(settings: Settings) -> Engine:
    """Return an engine with its own pool of connections.

    Raises:
        SettingError: neither a URL nor an instance is set.
    """
    from sqlalchemy import event  # noqa: PLC0415  # 0.3 s, paid where first used

    engine = _make_engine(settings)
    event.listen(engine, "connect", _disable_nagle)
    event.listen(engine, "connect", _pipeline_statements)
    event.listen(engine, "connect", _close_file_with_socket)
    if settings.database_role:
        take_role(engine, settings.database_role)
    return engine


_open = functools.cache(new_engine)


def take_role(engine: Engine, role: str) -> None:
    """Let every new connection have the rights of a role that the user is a member of."""
    from sqlalchemy import event  # noqa: PLC0415

    quoted = role.replace('"', '""')

    def take(connection: Any, _: object) -> None:  # a pg8000 connection
        connection.execute_simple(f'SET SESSION ROLE "{quoted}"')

    event.listen(engine, "connect", take)


def _disable_nagle(connection: Any, _: object) -> None:  # a pg8000 connection
    """Disable Nagle's algorithm: the end of a small COPY would wait 40 ms for an acknowledgement."""
    connection._usock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # noqa: SLF001  # no option


def _pipeline_statements(connection: Any, _: object) -> None:  # a pg8000 connection
    """Parse, describe, bind and execute a statement in one round trip, where pg8000 takes three.

    PostgreSQL's manual, "Pipelining" in chapter 54.2: after an error it skips what follows up to the Sync.
    """
    step_by_step = connection.execute_unnamed

    def execute_unnamed(
        statement: str, vals: Sequence[Any] = (), oids: Sequence[int] = (), stream: Any = None
    ) -> Any:  # pg8000's context of a statement
        if stream is not None:
            return step_by_step(statement, vals, oids, stream)
        if not vals:
            return connection.execute_simple(statement)
        return _execute_pipelined(connection, statement, vals, oids)

    connection.execute_unnamed = execute_unnamed


def _close_file_with_socket(connection: Any, _: object) -> None:  # a pg8000 connection
    """Close the file over the socket too: without that, the socket of a lost connection stays open."""
    file = connection._sock  # noqa: SLF001  # no other way to it
    close_socket = connection.close

    def close() -> None:
        try:
            close_socket()
        finally:
            with suppress(OSError):  # what was not sent never will be
                file.close()

    connection.close = close


def _execute_pipelined(
    connection: Any, statement: str, vals: Sequence[Any], oids: Sequence[int]
) -> Any:
    from pg8000 import core  # noqa: PLC0415

    context = core.Context(statement)
    parameters = core.make_params(connection.py_types, vals)
    connection.send_PARSE(core.NULL_BYTE, statement, oids)
    connection.send_DESCRIBE_STATEMENT(core.NULL_BYTE)
    connection.send_BIND(core.NULL_BYTE, parameters)
    connection.send_EXECUTE()
    core._write(connection._sock, core.SYNC_MSG)  # noqa: SLF001  # raise what SQLAlchemy knows
    core._flush(connection._sock)  # noqa: SLF001
    connection.handle_messages(context)
    return context


def _make_engine(settings: Settings) -> Engine:
    from sqlalchemy import create_engine, make_url  # noqa: PLC0415

    options: dict[str, Any] = {
        "pool_size": settings.pool_size,
        "max_overflow": 0,
        "pool_pre_ping": False,
        "pool_use_lifo": True,
        "pool_recycle": 1800,
    }
    if settings.database_instance:
        return create_engine(
            "postgresql+pg8000://", creator=functools.partial(_connect, settings), **options
        )
    if not settings.database_url:
        raise SettingError("SLUICE_DATABASE_URL or SLUICE_DATABASE_INSTANCE: neither is set")
    if make_url(settings.database_url).host in _LOOPBACK:
        options["connect_args"] = {"ssl_context": False}  # to offer TLS takes 25 ms of CPU time
    return create_engine(settings.database_url, **options)


def _connect(settings: Settings) -> Any:  # a pg8000 connection
    from aiohttp import ClientError  # noqa: PLC0415

    try:
        return _connector().connect(
            settings.database_instance,
            "pg8000",
            user=settings.database_user,
            db=settings.database_name,
            enable_iam_auth=True,
            ip_type=settings.database_ip_type,
        )
    except ClientError as error:  # of the Admin API: a new permission takes a while to propagate
        raise DatabaseUnavailableError(f"{settings.database_instance}: {error}") from error


@functools.cache
def _connector() -> Any:  # google.cloud.sql.connector.Connector
    from google.cloud.sql.connector import Connector  # noqa: PLC0415  # 1 s, paid where first used

    return Connector(refresh_strategy="lazy")


def sqlstate(error: BaseException) -> str:
    """Return the SQLSTATE of a database error, or an empty string."""
    original = getattr(error, "orig", error)
    arguments = original.args[0] if original is not None and original.args else None
    return str(arguments.get("C", "")) if isinstance(arguments, dict) else ""


def message_of(error: BaseException) -> str:
    """Return PostgreSQL's own message of a database error."""
    original = getattr(error, "orig", error)
    arguments = original.args[0] if original is not None and original.args else None
    return str(arguments.get("M", "")) if isinstance(arguments, dict) else str(original)


def refuses_value(error: BaseException) -> bool:
    """Whether PostgreSQL refused a value: it is out of range or violates a constraint."""
    return sqlstate(error).startswith(_REFUSALS)


@contextmanager
def translated() -> Iterator[None]:
    """Turn connection losses, serialization failures and shutdowns into a transient error.

    Other database errors pass unchanged.

    Raises:
        DatabaseUnavailableError: the same work may succeed later.
    """
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415
    from sqlalchemy.exc import TimeoutError as PoolTimeoutError  # noqa: PLC0415

    try:
        yield
    except SluiceError:
        raise
    except PoolTimeoutError as error:
        raise DatabaseUnavailableError("no free database connection; try again") from error
    except DBAPIError as error:
        state = sqlstate(error)
        lost = error.connection_invalidated or not state
        if state != QUERY_CANCELED and (lost or state.startswith(_TRANSIENT_CLASSES)):
            raise DatabaseUnavailableError(
                f"the database did not answer: {message_of(error)}"
            ) from error
        raise
    except OSError as error:
        raise DatabaseUnavailableError(f"the database cannot be reached: {error}") from error


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """One transaction: committed at the end, rolled back on an error.

    Raises:
        DatabaseUnavailableError: the same work may succeed later.
    """
    with translated(), engine.begin() as connection:
        yield connection


def copy_out(connection: Connection, query: str) -> bytes:
    """Return the result of a query as `COPY ... TO STDOUT (FORMAT binary)` sends it."""
    answer = io.BytesIO()
    with _driver_cursor(connection, query) as cursor:
        cursor.execute(f"COPY ({query}) TO STDOUT (FORMAT binary)", stream=answer)
    return answer.getvalue()


def copy_in(connection: Connection, statement: str, blocks: Iterable[bytes]) -> int:
    """Run `COPY ... FROM STDIN` inside the connection's transaction; return the rows it wrote.

    Args:
        connection: an open transaction.
        statement: the COPY statement.
        blocks: the stream, in blocks of 128 KiB or more: pg8000 sends each as one message.

    Raises:
        Exception: what `blocks` raised; nothing was written, and the connection is usable.
    """
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    errors: list[Exception] = []
    stream = _or_fail(connection.connection.driver_connection, blocks, errors)
    try:
        with _driver_cursor(connection, statement) as cursor:
            cursor.execute(statement, stream=stream)
            return int(cursor.rowcount)
    except DBAPIError:
        if errors:
            raise errors[0] from None
        raise


def _or_fail(driver: Any, blocks: Iterable[bytes], errors: list[Exception]) -> Iterator[bytes]:
    """Yield the blocks; if one cannot be made, keep its error and make PostgreSQL end the COPY with one."""
    try:
        yield from blocks
    except Exception as error:  # noqa: BLE001  # raised when PostgreSQL has answered
        errors.append(error)
        driver._send_message(_COPY_FAIL, b"the rows cannot be encoded\0")  # noqa: SLF001  # no method


@contextmanager
def _driver_cursor(connection: Connection, statement: str) -> Iterator[Any]:
    """pg8000's cursor, which takes a stream."""
    cursor: Any = connection.connection.cursor()
    try:
        with _seen(connection, statement):
            yield cursor
    finally:
        cursor.close()


@contextmanager
def _seen(connection: Connection, statement: str) -> Iterator[None]:
    """Raise the driver's errors as SQLAlchemy's, and invalidate a lost connection, as SQLAlchemy would."""
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    errors = connection.dialect.loaded_dbapi.Error
    try:
        yield
    except errors as error:
        is_lost = connection.dialect.is_disconnect(error, None, None)
        if is_lost:
            connection.invalidate(error)
        raise DBAPIError(statement, None, error, connection_invalidated=is_lost) from error


def copy_csv_out(connection: Connection, select: str, sink: Sink) -> None:
    """Run `COPY (...) TO STDOUT` as CSV with a header; streamed to `sink` row by row.

    Args:
        connection: an open transaction.
        select: the SELECT, without placeholders: COPY takes none.
        sink: receives the bytes; if it raises, the connection is closed.
    """
    statement = f"COPY ({select}) TO STDOUT (FORMAT csv, HEADER)"
    with _driver_cursor(connection, statement) as cursor:
        try:
            cursor.execute(statement, stream=sink)
        except connection.dialect.loaded_dbapi.Error:
            raise
        except BaseException:
            connection.invalidate()  # PostgreSQL still sends rows
            raise


@contextmanager
def read_only(engine: Engine, timeout_s: float, pause_s: float) -> Iterator[Connection]:
    """A read-only transaction on one snapshot; its begin and its end take one message each.

    Args:
        engine: the database.
        timeout_s: time after which a statement is cancelled.
        pause_s: idle time after which the transaction is cancelled.

    Raises:
        DatabaseUnavailableError: the same work may succeed later.
    """
    begin = (
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
        f" SET LOCAL statement_timeout = {int(timeout_s * 1000)};"
        f" SET LOCAL idle_in_transaction_session_timeout = {int(pause_s * 1000)}"
    )
    with translated(), engine.connect() as connection:
        _begin(connection, begin)
        yield connection
        if not connection.invalidated:
            run_plain(
                connection, "ROLLBACK"
            )  # nothing was written; it also ends a failed transaction


@contextmanager
def autocommit_connection(engine: Engine) -> Iterator[Connection]:
    """A connection in autocommit mode, for single statements that need no common snapshot.

    Raises:
        DatabaseUnavailableError: the same work may succeed later.
    """
    with translated(), engine.connect() as connection:
        yield connection


def _begin(connection: Connection, begin: str) -> None:
    """Begin a transaction; replace a connection that was lost while idle."""
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    try:
        run_plain(connection, begin)
    except (DBAPIError, OSError) as error:
        if isinstance(error, OSError):  # the driver passes a reset on as it is
            connection.invalidate()
        if not connection.invalidated:
            raise
        connection.engine.dispose()  # a restart of PostgreSQL closed the other idle ones too
        run_plain(connection, begin)


@dataclass(frozen=True)
class PlainAnswer:
    """The result of a statement without placeholders: columns as (name, OID of the type), and rows."""

    columns: tuple[tuple[str, int], ...]
    rows: Sequence[Sequence[Any]]


def run_plain(connection: Connection, statement: str) -> PlainAnswer:
    """Run a statement without placeholders in one round trip, where the driver takes three.

    Args:
        connection: in the transaction that the statement belongs to.
        statement: composed of our own SQL and quoted names, never of a client's text.
    """
    driver: Any = connection.connection.driver_connection
    with _seen(connection, statement):
        found = driver.execute_simple(statement)
    columns = tuple((str(each["name"]), int(each["type_oid"])) for each in found.columns or ())
    return PlainAnswer(columns, found.rows or ())


@contextmanager
def refusals(make: Callable[[str], SluiceError]) -> Iterator[None]:
    """Translate PostgreSQL's error about a statement into one that names where the statement is from."""
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    try:
        yield
    except DBAPIError as error:
        raise make(message_of(error)) from error


def run_script(connection: Connection, script: str) -> None:
    """Run several statements inside the connection's transaction."""
    connection.exec_driver_sql("SELECT 1")  # opens the transaction that SQLAlchemy announced
    run_plain(connection, script)
