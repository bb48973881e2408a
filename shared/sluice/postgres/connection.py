"""Connects to PostgreSQL: one engine per process, errors translated in one place.

The engine and the Cloud SQL connector are created on first use, never at import.
"""

from __future__ import annotations

import functools
import io
import itertools
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sluice.errors import DatabaseUnavailableError, SettingError, SluiceError, postgres_fields

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from sluice.ports import Sink
    from sluice.settings import Settings

#: SQLSTATE classes and codes after which the same statement may succeed later.
_TRANSIENT_CLASSES = ("08", "40", "53", "55P03", "57", "58030")
#: Values out of range, violated constraints, values too large for an index.
_REFUSALS = ("22", "23", "54")
_TOO_MANY_CONNECTIONS = "53300"
QUERY_CANCELED = "57014"
UNDEFINED_TABLE = "42P01"
#: The role of declared SQL and requests for rows: it reads published views, and nothing else.
READER = "sluice_reader"
_COPY_FAIL = b"f"
#: How often PostgreSQL looks whether the client of a statement is still there: the session of a killed
#: function that waits for a lock would wait on, and then hold it.
CLIENT_CHECK_S = 2
#: Time after which a connection to a server that acknowledges nothing is lost.
LOST_S = 15
#: How often a server that sends nothing is asked for an acknowledgement.
_PROBE_S = 5
#: Time for which a function waits while the database has as many connections as it may.
CONNECT_WAIT_S = 20.0
#: Time after which PostgreSQL ends an idle session, so that at its limit of connections others get it.
IDLE_S = 120
#: Lets a session be idle for any time.
KEEP_IDLE = "SET idle_session_timeout = 0"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

#: Of a statement that is kept with its parameters numbered.
_MAX_KEPT_CHARACTERS = 16 * 1024
#: When a connection was returned to the pool.
_IDLE_SINCE = "idle_since"
#: Marks a session that ran declared SQL.
_IS_USED = "ran_declared_sql"
#: Ends the transaction, and undoes what would outlive it: locks, temporary tables, settings. Prepared
#: statements stay, as declared SQL cannot prepare any.
_RESET = (
    "ROLLBACK; SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES; CLOSE ALL; UNLISTEN *;"
    " RESET ALL"
)

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

    _convert_statements_once()
    engine = _make_engine(settings)
    event.listen(engine, "checkin", _note_idle)
    event.listen(engine, "checkout", _replace_idle)
    event.listen(engine, "connect", _configure_socket)
    event.listen(engine, "connect", _pipeline_statements)
    event.listen(engine, "connect", _close_file_with_socket)
    event.listen(engine, "reset", _reset_session)
    if settings.database_role:
        take_role(engine, settings.database_role)
    # Around the pool: who waits gets a connection that is returned to it, too.
    connect = engine.raw_connection
    engine.raw_connection = lambda: _patiently(connect)  # type: ignore[method-assign]
    return engine


_open = functools.cache(new_engine)


def take_role(engine: Engine, role: str) -> None:
    """Let every new connection have the rights of a role that the user is a member of."""
    from sqlalchemy import event  # noqa: PLC0415

    quoted = role.replace('"', '""')

    def take(connection: Any, _: object) -> None:  # a pg8000 connection
        connection.execute_simple(f'SET SESSION ROLE "{quoted}"')

    event.listen(engine, "connect", take)


def _configure_socket(connection: Any, _: object) -> None:  # a pg8000 connection
    """Notice within `LOST_S` that the server no longer answers, and send small packets at once.

    A failover or a firewall may drop all packets without a word: TCP would send again for a quarter of an
    hour, and wait for an answer for two hours. With Nagle's algorithm the end of a small COPY would wait
    40 ms for an acknowledgement.
    """
    options = {socket.TCP_NODELAY: 1}
    if hasattr(
        socket, "TCP_USER_TIMEOUT"
    ):  # not on macOS, where the local cloud is on the same machine
        options |= {
            socket.TCP_KEEPIDLE: _PROBE_S,
            socket.TCP_KEEPINTVL: _PROBE_S,
            socket.TCP_USER_TIMEOUT: LOST_S * 1000,
        }
    sock = connection._usock  # noqa: SLF001  # no option
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in options.items():
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


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
        return _execute_pipelined(connection, statement, vals, oids)

    connection.execute_unnamed = execute_unnamed


@functools.cache
def _convert_statements_once() -> None:
    """Let pg8000 number the parameters of a statement once: it looks at each character, each time."""
    from pg8000 import legacy  # noqa: PLC0415

    convert = legacy.convert_paramstyle
    kept = functools.lru_cache(maxsize=512)(lambda query: convert("format", query, ())[0])

    def convert_paramstyle(style: str, query: str, values: Any) -> tuple[str, Any]:
        if style == "format" and len(query) <= _MAX_KEPT_CHARACTERS:
            return kept(query), values
        return convert(style, query, values)  # type: ignore[no-any-return]

    legacy.convert_paramstyle = convert_paramstyle


def _reset_session(connection: Any, record: Any, _: object) -> None:
    """Reset a session that ran declared SQL, before it returns to the pool; one that cannot be is closed."""
    if record is not None and record.info.pop(_IS_USED, False):
        connection.execute_simple(_RESET)


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
    connection: Any, statement: str, vals: Sequence[Any], oids: Sequence[int], before: str = ""
) -> Any:
    """Execute one statement by the extended protocol, which takes no second one; and one before it."""
    from pg8000 import core  # noqa: PLC0415

    context = core.Context(statement)
    parameters = core.make_params(connection.py_types, vals)
    if before:
        connection.send_PARSE(core.NULL_BYTE, before, ())
        connection.send_BIND(core.NULL_BYTE, ())
        connection.send_EXECUTE()
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
        "hide_parameters": True,  # errors are logged, and values are not
    }
    if settings.database_instance:
        connect = functools.partial(_connect, settings)
        return create_engine("postgresql+pg8000://", creator=connect, **options)
    if not settings.database_url:
        raise SettingError("SLUICE_DATABASE_URL or SLUICE_DATABASE_INSTANCE: neither is set")
    url = make_url(settings.database_url)
    if settings.database_user:
        url = url.set(username=settings.database_user)
    arguments: dict[str, Any] = {"startup_params": _session()}
    if url.host in _LOOPBACK:
        arguments["ssl_context"] = False  # to offer TLS takes 25 ms of CPU time
    return create_engine(url, connect_args=arguments, **options)


def _session() -> dict[str, str]:
    """Return the settings of every session."""
    return {
        "client_connection_check_interval": f"{CLIENT_CHECK_S}s",
        "idle_session_timeout": f"{IDLE_S}s",
    }


def _patiently(connect: Callable[[], Any]) -> Any:
    """Connect; while the database has as many connections as it may, wait instead of failing."""
    until = time.monotonic() + CONNECT_WAIT_S
    for attempt in itertools.count():
        try:
            return connect()
        except Exception as error:
            if sqlstate(error) != _TOO_MANY_CONNECTIONS or time.monotonic() > until:
                raise
        # Random, so that those who wait do not ask at the same time.
        time.sleep(random.uniform(0.5, 1) * min(1.0, 0.05 * 2**attempt))  # noqa: S311
    raise AssertionError


def _note_idle(_: object, record: Any) -> None:
    record.info[_IDLE_SINCE] = time.monotonic()


def _replace_idle(_: object, record: Any, __: object) -> None:
    """Replace a connection that was idle for so long that PostgreSQL may have ended its session."""
    from sqlalchemy.exc import DisconnectionError  # noqa: PLC0415

    since = record.info.pop(_IDLE_SINCE, None)
    if since is not None and time.monotonic() - since > 0.9 * IDLE_S:
        raise DisconnectionError("idle for too long")


@contextmanager
def own_connection(engine: Engine) -> Iterator[Connection]:
    """A connection outside the pool, which may be idle for any time, such as one that holds a lock.

    Raises:
        DatabaseUnavailableError: the same work may succeed later.
    """
    with translated(), engine.connect() as connection:
        run_plain(connection, KEEP_IDLE)
        connection.detach()
        yield connection


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
            startup_params=_session(),
        )
    except ClientError as error:  # of the Admin API: a new permission takes a while to propagate
        raise DatabaseUnavailableError(f"{settings.database_instance}: {error}") from error


@functools.cache
def _connector() -> Any:  # google.cloud.sql.connector.Connector
    from google.cloud.sql.connector import Connector  # noqa: PLC0415  # 1 s, paid where first used

    return Connector(refresh_strategy="lazy")


def sqlstate(error: BaseException) -> str:
    """Return the SQLSTATE of a database error, or an empty string."""
    return postgres_fields(error).get("C", "")


def message_of(error: BaseException) -> str:
    """Return PostgreSQL's own message of a database error."""
    return postgres_fields(error).get("M") or str(getattr(error, "orig", error))


def line_of_error(error: BaseException, statement: str) -> int:
    """Return the line of a statement at which PostgreSQL found an error, from 1."""
    place = int(postgres_fields(error).get("P", 0))
    return statement.count("\n", 0, max(0, place - 1)) + 1


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


def receive_copy(connection: Connection, query: str, sink: Sink) -> None:
    """Send the result of a query to a sink as a binary COPY, with a message for each row."""
    with _driver_cursor(connection, query) as cursor:
        cursor.execute(f"COPY ({query}) TO STDOUT (FORMAT binary)", stream=sink)


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
    statement = f"COPY (\n{select}\n) TO STDOUT (FORMAT csv, HEADER)"
    driver: Any = connection.connection.driver_connection
    with _seen(connection, statement):
        try:
            driver.execute_unnamed(statement, stream=sink)
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
        if not connection.invalidated and _IS_USED not in connection.info:
            # Nothing was written; it also ends a failed transaction.
            run_plain(connection, "ROLLBACK")


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
    return _plain_answer(found)


def _plain_answer(found: Any) -> PlainAnswer:  # pg8000's context of a statement
    columns = tuple((str(each["name"]), int(each["type_oid"])) for each in found.columns or ())
    return PlainAnswer(columns, found.rows or ())


def run_as_reader(connection: Connection, statement: str, values: Sequence[object]) -> PlainAnswer:
    """Run one statement with the rights of `sluice_reader`, which the rest of the transaction has too.

    Args:
        connection: in a transaction; its session is reset before another one uses it.
        statement: with `$1`, `$2` for values.
        values: the values.
    """
    driver: Any = connection.connection.driver_connection
    connection.info[_IS_USED] = True
    with _seen(connection, statement):
        found = _execute_pipelined(driver, statement, values, (), f"SET LOCAL ROLE {READER}")
    return _plain_answer(found)


def run_bound(connection: Connection, statement: str, values: Sequence[object]) -> PlainAnswer:
    """Run one statement with `$1`, `$2` for values, whose text is sent as it is."""
    driver: Any = connection.connection.driver_connection
    with _seen(connection, statement):
        return _plain_answer(_execute_pipelined(driver, statement, values, ()))


def become_reader(connection: Connection, timeout_s: float) -> None:
    """Let the rest of a transaction, or of a savepoint, read as `sluice_reader` and write nothing."""
    connection.info[_IS_USED] = True
    run_plain(
        connection,
        f"SET LOCAL ROLE {READER}; SET LOCAL transaction_read_only = on;"
        f" SET LOCAL statement_timeout = {int(timeout_s * 1000)}",
    )


def parse_alone(connection: Connection, statement: str) -> None:
    """Have PostgreSQL parse one statement, which it does not run; several are an error."""
    from pg8000 import core  # noqa: PLC0415

    driver: Any = connection.connection.driver_connection
    with _seen(connection, statement):
        driver.send_PARSE(core.NULL_BYTE, statement, ())
        core._write(driver._sock, core.SYNC_MSG)  # noqa: SLF001  # raise what SQLAlchemy knows
        core._flush(driver._sock)  # noqa: SLF001
        driver.handle_messages(core.Context(statement))


def stream_plain(
    connection: Connection, statement: str, max_bytes: int
) -> Iterator[Sequence[Sequence[Any]]]:
    """Run a statement as `run_plain` does, and yield its rows as they arrive, about so many bytes at a time.

    Until it ends, or is closed, the connection takes no other statement.
    """
    from pg8000 import core  # noqa: PLC0415

    driver: Any = connection.connection.driver_connection
    with _seen(connection, statement):
        context = core.Context(statement)
        driver.send_QUERY(statement)
        core._flush(driver._sock)  # noqa: SLF001
        messages = _messages(driver, context)
        with _reserved(driver):
            try:
                size_bytes = 0
                for each in messages:
                    size_bytes += each
                    if size_bytes >= max_bytes and context.rows:
                        rows, context.rows, size_bytes = context.rows, [], 0
                        yield rows
            finally:
                for _ in messages:
                    context.rows = []
        if context.error is not None:
            raise context.error
        if context.rows:
            yield context.rows


@contextmanager
def _reserved(driver: Any) -> Iterator[None]:
    """Refuse other statements: they would read the rest of an answer as theirs."""
    from pg8000.exceptions import InterfaceError  # noqa: PLC0415

    def refuse(*_: object) -> None:
        raise InterfaceError("connection is closed")  # so that it is not used again

    driver._send_message = refuse  # noqa: SLF001  # all statements pass through it
    try:
        yield
    finally:
        del driver._send_message  # noqa: SLF001


def _messages(driver: Any, context: Any) -> Iterator[int]:
    """Handle the server's answer message by message, and yield the size of each."""
    from pg8000 import core  # noqa: PLC0415

    code = None
    while code != core.READY_FOR_QUERY:
        code, length = core.ci_unpack(core._read(driver._sock, 5))  # noqa: SLF001
        driver.message_types[code](core._read(driver._sock, length - 4), context)  # noqa: SLF001
        yield length


@contextmanager
def refusals(make: Callable[[str, Exception], SluiceError]) -> Iterator[None]:
    """Translate PostgreSQL's error about a statement into one that names where the statement is from.

    Args:
        make: is given PostgreSQL's message, and its error.
    """
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    try:
        yield
    except DBAPIError as error:
        if error.connection_invalidated or sqlstate(error).startswith(_TRANSIENT_CLASSES):
            raise
        raise make(message_of(error), error) from error


def run_script(connection: Connection, script: str) -> None:
    """Run several statements inside the connection's transaction."""
    connection.exec_driver_sql("SELECT 1")  # opens the transaction that SQLAlchemy announced
    run_plain(connection, script)
