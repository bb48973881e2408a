"""Reads results for clients from one read-only snapshot, streamed in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sluice.datasets.identifiers import quote
from sluice.datasets.sql_text import with_numbers
from sluice.datasets.types import STORED_TYPES
from sluice.errors import ParameterError, QueryTimeoutError
from sluice.postgres.connection import (
    QUERY_CANCELED,
    PlainAnswer,
    message_of,
    read_only,
    run_as_reader,
    run_bound,
    run_plain,
    sqlstate,
    stream_plain,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

#: Rows of a batch, and about their bytes: fewer rows where they are long.
BATCH_ROWS = 2000
_BATCH_BYTES = 4 * 1024 * 1024
#: Time after which the transaction of a client that stopped reading is cancelled.
_LONGEST_PAUSE_S = 60
_DATA_EXCEPTION = "22"
_NUMERIC = STORED_TYPES["numeric"]


@dataclass(frozen=True)
class ResultColumn:
    """A column of a result.

    Attributes:
        name: as the result has it.
        oid: the OID of its PostgreSQL type.
        digits: of a numeric, most digits before and after the point; None if they are not counted, or if
            a value is not finite.
    """

    name: str
    oid: int
    digits: tuple[int, int] | None = None


@contextmanager
def snapshot(engine: Engine, timeout_s: float) -> Iterator[Connection]:
    """A read-only transaction in which every statement sees the same rows.

    Args:
        engine: the database.
        timeout_s: time after which a statement is cancelled.

    Raises:
        QueryTimeoutError: a statement took longer.
        ParameterError: PostgreSQL refuses a value.
        DatabaseUnavailableError: try again later.
    """
    with translated_errors(timeout_s), read_only(engine, timeout_s, _LONGEST_PAUSE_S) as connection:
        yield connection


@contextmanager
def translated_errors(timeout_s: float) -> Iterator[None]:
    """Translate PostgreSQL's errors about a client's query."""
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415  # 0.3 s, paid where first used

    try:
        yield
    except DBAPIError as error:
        if sqlstate(error) == QUERY_CANCELED:
            raise QueryTimeoutError(
                f"the query was cancelled after {timeout_s:g} s; narrow it with filters or parameters",
                timeout_s=timeout_s,
            ) from error
        if sqlstate(error).startswith(_DATA_EXCEPTION):
            raise ParameterError(message_of(error)) from error
        raise


def read(
    connection: Connection,
    sql: str,
    values: Mapping[str, object],
    *,
    types: Mapping[str, str] = {},
    is_of_engine: bool = False,
) -> PlainAnswer:
    """Run one statement of a snapshot with the rights of readers: published views, and nothing else.

    Args:
        connection: an open snapshot.
        sql: with `:name` placeholders.
        values: a value for each placeholder.
        types: PostgreSQL types of placeholders that the statement does not cast itself.
        is_of_engine: whether it reads tables of the engine, with the rights of the function.
    """
    run = run_bound if is_of_engine else run_as_reader
    return run(connection, *with_numbers(sql, values, types))


def stream(
    connection: Connection,
    sql: str,
    values: Mapping[str, object],
    *,
    types: Mapping[str, str] = {},
    as_json: bool = False,
    counts_digits: bool = False,
    is_of_engine: bool = False,
    batch_bytes: int = _BATCH_BYTES,
) -> tuple[tuple[ResultColumn, ...], Iterator[Sequence[Sequence[Any]]]]:
    """Run a SELECT through a server-side cursor and return its columns and batches of rows.

    Args:
        connection: an open snapshot.
        sql: the SELECT, with `:name` placeholders.
        values: a value for each placeholder.
        types: PostgreSQL types of placeholders that the SELECT does not cast itself.
        as_json: make each row one text, its JSON object, written by PostgreSQL.
        counts_digits: count the digits of numeric columns, for formats that fix them in advance; if
            there are such columns, the SELECT runs twice.
        is_of_engine: as for `read`.
        batch_bytes: about the size of a batch; it has `BATCH_ROWS` at most.
    """
    select = (
        f"SELECT CAST(row_to_json(answer.*) AS text) FROM (\n{sql}\n) AS answer" if as_json else sql
    )
    read(
        connection,
        f"DECLARE rows_of_answer NO SCROLL CURSOR FOR\n{select}",
        values,
        types=types,
        is_of_engine=is_of_engine,
    )
    first = run_plain(connection, "FETCH 1 FROM rows_of_answer")
    batches = _batches(connection, first.rows, batch_bytes)
    columns = tuple(ResultColumn(*each) for each in first.columns)
    numerics = [each.name for each in columns if each.oid == _NUMERIC.oid]
    if counts_digits and numerics:
        (found,) = read(
            connection, _digits_sql(sql, numerics), values, types=types, is_of_engine=is_of_engine
        ).rows
        digits = {name: _digits(*found[2 * at : 2 * at + 2]) for at, name in enumerate(numerics)}
        columns = tuple(replace(each, digits=digits.get(each.name)) for each in columns)
    return columns, batches


def _digits_sql(sql: str, names: Sequence[str]) -> str:
    """Return the SELECT of the largest value and the largest scale of columns of another SELECT."""
    listed = ", ".join(f"max(abs({each})), max(scale({each}))" for each in map(quote, names))
    return f"SELECT {listed} FROM (\n{sql}\n) AS answer"


def _digits(largest: Decimal | None, scale: int | None) -> tuple[int, int] | None:
    if largest is None:
        return (0, 0)
    return (max(0, largest.adjusted() + 1), scale or 0) if largest.is_finite() else None


def fetch_json(
    connection: Connection, sql: str, values: Mapping[str, object]
) -> list[list[tuple[str]]] | None:
    """Run a SELECT of few rows and return their JSON objects as one batch of one text, or none.

    This takes a tenth of the time of reading the rows one by one, because the driver is in Python. If they
    are long, None: stream them.
    """
    texts = f"SELECT CAST(row_to_json(answer.*) AS text) AS text FROM (\n{sql}\n) AS answer"
    so_far = "sum(length(text)) OVER (ROWS UNBOUNDED PRECEDING) AS so_far"
    sized = f"SELECT text, {so_far} FROM ({texts}) AS texts"
    is_short = f"so_far <= {_BATCH_BYTES}"
    joined = (
        f"SELECT string_agg(text, E',\n') FILTER (WHERE {is_short}), coalesce(bool_and({is_short}), true)"
        f" FROM ({sized}) AS sized"
    )
    ((found, is_all),) = read(connection, joined, values).rows
    if not is_all:
        return None
    return [[(found,)]] if found is not None else []


def _batches(
    connection: Connection, first: Sequence[Sequence[Any]], batch_bytes: int
) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield the first row, and the others."""
    rows = len(first)
    if first:
        yield first
    while rows:
        rows = 0
        fetch = f"FETCH {BATCH_ROWS} FROM rows_of_answer"
        for batch in stream_plain(connection, fetch, batch_bytes):
            rows += len(batch)
            yield batch
        rows = rows if rows == BATCH_ROWS else 0
