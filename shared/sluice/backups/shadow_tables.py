"""The SQL of a restore: tables built aside in the schema `restoring`, then put in the place of others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from sluice.backups.manifest import Definition, Shape
from sluice.backups.parquet import copy_blocks
from sluice.backups.type_mapping import TableColumn
from sluice.datasets.identifiers import dictionary_table, quote, replaced_table, staging_table
from sluice.datasets.model import INGESTION_COLUMN, Rollup
from sluice.errors import BackupMismatchError, DatabaseUnavailableError
from sluice.postgres.connection import copy_in, message_of, run_script, sqlstate
from sluice.postgres.merge_sql import REPLACED_BY
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.backups.column_buffers import Values

_NAME_BYTES = 63  # PostgreSQL cuts longer names


_DEPENDED_ON = "2BP01"
_LOCKED = "55P03"
_REFUSALS = ("22", "23")


@contextmanager
def refused() -> Iterator[None]:
    """Turn PostgreSQL's refusal to build or to swap a table into what a person can act on.

    Raises:
        BackupMismatchError: something of somebody's own hangs on a table, or its rules refuse the rows.
        DatabaseUnavailableError: a table was in use for too long.
    """
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    try:
        yield
    except DBAPIError as error:
        state = sqlstate(error)
        if state == _LOCKED:
            raise DatabaseUnavailableError(
                "the tables are in use for too long; nothing was changed, try again"
            ) from error
        if state == _DEPENDED_ON or state.startswith(_REFUSALS):
            raise BackupMismatchError(f"{message_of(error)}; nothing was changed") from error
        raise


def aside(table: str) -> str:
    """Return where a stored table is built: the same name in the schema `restoring`."""
    return "restoring." + table.removeprefix("store.")


def create_aside(connection: Connection, table: str, shape: Shape, like: str = "") -> None:
    """Create a table aside, without constraints and indexes, which are cheaper to make at the end.

    Args:
        connection: an open transaction.
        table: the stored table.
        shape: its columns.
        like: a table that has them, defaults and all; else they are made as the shape says.
    """
    target = aside(table)
    if like:
        how = "INCLUDING ALL EXCLUDING INDEXES EXCLUDING CONSTRAINTS"
        run_script(connection, f"CREATE TABLE {target} (LIKE {like} {how})")
        for each in shape.columns:
            if each.is_cast:
                run_script(connection, f"ALTER TABLE {target} ALTER {quote(each.name)} TYPE text")
        return
    columns = ", ".join(
        f"{quote(each.name)} {'text' if each.is_cast else each.type}"
        f"{'' if each.nullable else ' NOT NULL'}"
        for each in shape.columns
    )
    run_script(connection, f"CREATE TABLE {target} ({columns})")


def copy_aside(
    connection: Connection,
    table: str,
    columns: Sequence[TableColumn],
    values: Sequence[Values],
    block_bytes: int,
) -> int:
    """Copy rows into a table aside; return how many PostgreSQL wrote."""
    names = ", ".join(quote(each.name) for each in columns)
    # A text that is cast later is a text until then.
    plain = [replace(each, type="text") if each.is_cast else each for each in columns]
    blocks = copy_blocks(plain, values, block_bytes)
    return copy_in(connection, f"COPY {aside(table)} ({names}) FROM STDIN (FORMAT binary)", blocks)


def complete_aside(
    connection: Connection, table: str, shape: Shape, rename: Mapping[str, str]
) -> None:
    """Give a table aside its types, constraints and indexes.

    Args:
        connection: an open transaction.
        table: the stored table.
        shape: as it was at the backup, or as the table in its place is.
        rename: names of the constraints and indexes, where they are others than the shape's.
    """
    target = aside(table)
    for each in shape.columns:
        if each.is_cast:
            name = quote(each.name)
            run_script(
                connection,
                f"ALTER TABLE {target} ALTER {name} TYPE {each.type} USING {name}::{each.type}",
            )
    for constraint in shape.constraints:
        name = quote(rename.get(constraint.name, constraint.name))
        run_script(connection, f"ALTER TABLE {target} ADD CONSTRAINT {name} {constraint.sql}")
    for index in shape.indexes:
        run_script(connection, _index(index, target, rename.get(index.name, index.name)))
    run_script(connection, f"ANALYZE {target}")


def _index(index: Definition, target: str, name: str) -> str:
    """Return an index's definition for another table: PostgreSQL writes `INDEX name ON table USING`."""
    found = re.match(
        r"CREATE (UNIQUE )?INDEX .*? ON (ONLY )?\S.*? (USING .*)$", index.sql, re.DOTALL
    )
    assert found is not None, index.sql  # noqa: S101  # as pg_get_indexdef writes every one
    return f"CREATE {found[1] or ''}INDEX {quote(name)} ON {target} {found[3]}"


def names_for(dataset: str, target: str, shape: Shape) -> dict[str, str]:
    """Return names for the constraints and indexes of a copy, which may not have the original's."""
    names = [each.name for each in (*shape.constraints, *shape.indexes)]
    return {
        name: (
            target + name.removeprefix(dataset) if name.startswith(dataset) else f"{target}_{name}"
        )[:_NAME_BYTES]
        for name in names
    }


def merge_aside(connection: Connection, table: str, rollup: Rollup) -> None:
    """Merge the parts of a roll-up that now belong to one ingestion."""
    target = aside(table)
    keys = ", ".join(quote(name) for name in (*rollup.keys, INGESTION_COLUMN))
    names = ", ".join(quote(name) for name, _ in rollup.measures)
    merged = ", ".join(f"{how}({quote(name)})" for name, how in rollup.measures)
    run_script(
        connection,
        f"WITH parts AS (DELETE FROM {target} RETURNING *) INSERT INTO {target} ({keys}, {names})"
        f" SELECT {keys}, {merged} FROM parts GROUP BY {keys}",
    )


def adopt_aside(connection: Connection, table: str, gone: Iterable[int], ingestion: int) -> int:
    """Give rows whose ingestion was withdrawn meanwhile to the restore's own; return how many."""
    listed = ", ".join(str(each) for each in gone)
    if not listed:
        return 0
    changed = connection.exec_driver_sql(
        f"UPDATE {aside(table)} SET {INGESTION_COLUMN} = {ingestion}"
        f" WHERE {INGESTION_COLUMN} IN ({listed})"
    )
    return changed.rowcount


def run_all(connection: Connection, scripts: Iterable[str]) -> None:
    """Run SQL texts, one after the other."""
    for each in scripts:
        run_script(connection, each)


def carry_over(
    connection: Connection, table: str, columns: Sequence[TableColumn], ingestions: Iterable[int]
) -> None:
    """Copy the rows of ingestions that still load from the table in place to the one aside."""
    listed = ", ".join(str(each) for each in ingestions)
    if listed:
        names = ", ".join(quote(each.name) for each in columns)
        run_script(
            connection,
            f"INSERT INTO {aside(table)} ({names}) SELECT {names} FROM {table}"
            f" WHERE {INGESTION_COLUMN} IN ({listed})",
        )


def lock_tables(connection: Connection, tables: Sequence[str]) -> None:
    """Keep everybody from tables until the transaction ends; loads of chunks finish first."""
    run_script(connection, "SET LOCAL lock_timeout = '60s'")
    run_script(connection, f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")


def put_in_place(connection: Connection, table: str, views: Iterable[str]) -> None:
    """Put the table aside in the place of the stored one, whose views go with it."""
    run_all(connection, (f"DROP VIEW IF EXISTS {each}" for each in views))
    run_script(connection, f"DROP TABLE IF EXISTS {table}")
    run_script(connection, f"ALTER TABLE {aside(table)} SET SCHEMA store")


def forget_replaced(connection: Connection, dataset: str, kept: Iterable[int]) -> None:
    """Forget rows that are kept for an undo, but those that kept ingestions replaced of one another."""
    listed = ", ".join(["0", *(str(each) for each in kept)])
    run_script(
        connection,
        f"DELETE FROM {replaced_table(dataset)}"
        f" WHERE {REPLACED_BY} NOT IN ({listed}) OR {INGESTION_COLUMN} NOT IN ({listed})",
    )


def drop_waiting(connection: Connection, dataset: str) -> None:
    """Drop the tables beside a copy's own, which are made anew with the next one."""
    for table in (staging_table(dataset), replaced_table(dataset)):
        run_script(connection, f"DROP TABLE IF EXISTS {table}")


def codes_of(connection: Connection, dataset: str, column: str, texts: list[str]) -> dict[str, int]:
    """Return the code of each text of a dictionary column; texts that are new get theirs."""
    from sqlalchemy import text as sql  # noqa: PLC0415

    table = dictionary_table(dataset, column)
    connection.execute(
        sql(
            f"INSERT INTO {table} (text) SELECT each FROM unnest(CAST(:texts AS text[])) AS each"
            f" WHERE each NOT IN (SELECT text FROM {table}) ORDER BY each ON CONFLICT DO NOTHING"
        ),
        {"texts": texts},
    )
    rows = connection.exec_driver_sql(f"SELECT text, code FROM {table}")
    return {row.text: row.code for row in rows}


def begin_ingestion(connection: Connection, facts: Mapping[str, object]) -> int:
    """Begin the ingestion that stands for what a restore brings; return its number."""
    return int(connection.execute(statement("begin_restored_ingestion"), dict(facts)).scalar_one())
