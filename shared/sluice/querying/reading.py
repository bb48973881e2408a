"""Reads results for clients from one read-only snapshot, streamed in batches."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sluice.datasets.identifiers import quote
from sluice.datasets.types import STORED_TYPES
from sluice.errors import ParameterError, QueryTimeoutError
from sluice.postgres.connection import (
    QUERY_CANCELED,
    PlainAnswer,
    message_of,
    read_only,
    run_plain,
    sqlstate,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, TextClause

BATCH_ROWS = 2000
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


def stream(
    connection: Connection,
    sql: str,
    values: Mapping[str, object],
    *,
    types: Mapping[str, str] = {},
    as_json: bool = False,
    counts_digits: bool = False,
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
    """
    select = (
        f"SELECT CAST(row_to_json(answer.*) AS text) FROM (\n{sql}\n) AS answer" if as_json else sql
    )
    connection.execute(
        _typed(f"DECLARE rows_of_answer NO SCROLL CURSOR FOR {select}", types), dict(values)
    )
    first = _fetch(connection)
    batches = _batches(connection, first.rows)
    columns = tuple(ResultColumn(*each) for each in first.columns)
    numerics = [each.name for each in columns if each.oid == _NUMERIC.oid]
    if counts_digits and numerics:
        counted = _digits_sql(sql, numerics)
        found = connection.execute(_typed(counted, types), dict(values)).one()
        digits = {name: _digits(*found[2 * at : 2 * at + 2]) for at, name in enumerate(numerics)}
        columns = tuple(replace(each, digits=digits.get(each.name)) for each in columns)
    return columns, batches


def _digits_sql(sql: str, names: Sequence[str]) -> str:
    """Return the SELECT of the largest value and the largest scale of columns of another SELECT."""
    quoted = [quote(name).replace(":", "\\:") for name in names]
    listed = ", ".join(f"max(abs({each})), max(scale({each}))" for each in quoted)
    return f"SELECT {listed} FROM (\n{sql}\n) AS answer"


def _digits(largest: Decimal | None, scale: int | None) -> tuple[int, int] | None:
    if largest is None:
        return (0, 0)
    return (max(0, largest.adjusted() + 1), scale or 0) if largest.is_finite() else None


def fetch_json(
    connection: Connection, sql: str, values: Mapping[str, object]
) -> list[list[tuple[str]]]:
    """Run a SELECT of few rows and return their JSON objects as one batch of one text, or none.

    This takes a tenth of the time of reading the rows one by one, because the driver is in Python.
    """
    joined = (
        f"SELECT string_agg(CAST(row_to_json(answer.*) AS text), E',\n') FROM (\n{sql}\n) AS answer"
    )
    found = connection.execute(_typed(joined, {}), dict(values)).scalar_one()
    return [[(found,)]] if found is not None else []


def _fetch(connection: Connection) -> PlainAnswer:
    return run_plain(connection, f"FETCH {BATCH_ROWS} FROM rows_of_answer")


def _batches(
    connection: Connection, first: Sequence[Sequence[Any]]
) -> Iterator[Sequence[Sequence[Any]]]:
    batch = first
    while batch:
        yield batch
        if len(batch) < BATCH_ROWS:
            return
        batch = _fetch(connection).rows


def _typed(sql: str, types: Mapping[str, str]) -> TextClause:
    """Return the statement with its placeholders cast, so that PostgreSQL need not infer their types."""
    import sqlalchemy as sa  # noqa: PLC0415  # 0.3 s, paid where first used
    from sqlalchemy.dialects.postgresql.base import ischema_names  # noqa: PLC0415

    clause = sa.text(sql)
    if clause._bindparams:  # noqa: SLF001  # otherwise pg8000 sends the text unchanged
        clause = sa.text(escape_percents(sql))
    bound = [sa.bindparam(name, type_=ischema_names[kind]()) for name, kind in types.items()]
    return clause.bindparams(*(each for each in bound if each.key in clause._bindparams))  # noqa: SLF001


#: What pg8000 does not change: texts, names, comments. Elsewhere `%` begins a placeholder.
_QUOTED = re.compile(
    r"""E'(?:[^'\\]|\\.)*'|'(?:[^']|'')*'|"[^"]*"|--[^\n]*|\$\$.*?\$\$""", re.DOTALL
)


def escape_percents(sql: str) -> str:
    """Double the percent signs of operators, such as `%` and `<%`."""
    parts, at = [], 0
    for quoted in _QUOTED.finditer(sql):
        parts += [sql[at : quoted.start()].replace("%", "%%"), quoted[0]]
        at = quoted.end()
    return "".join([*parts, sql[at:].replace("%", "%%")])


def with_literals(
    connection: Connection, sql: str, values: Mapping[str, object], types: Mapping[str, str]
) -> str:
    """Return a SELECT with its values as literals, quoted by the dialect: COPY takes no parameters."""
    clause = _typed(without_comments(sql), types)
    known = {name: value for name, value in values.items() if name in clause._bindparams}  # noqa: SLF001
    compiled = clause.bindparams(**known).compile(
        dialect=connection.dialect, compile_kwargs={"literal_binds": True}
    )
    text = str(compiled)
    return text if known else escape_percents(text)  # pg8000 parses a COPY in any case


def without_comments(sql: str) -> str:
    """Remove comment lines, in which SQLAlchemy would bind `:word` too."""
    return "\n".join(line for line in sql.splitlines() if not line.lstrip().startswith("--"))
