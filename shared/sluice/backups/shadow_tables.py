"""The SQL of a restore: shadow tables in the schema `restoring`, swapped with the stored ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from sluice.backups.manifest import Definition, Shape, damaged
from sluice.backups.parquet import copy_blocks
from sluice.backups.type_mapping import TableColumn
from sluice.datasets.identifiers import quote, replaced_table, staging_table
from sluice.datasets.model import INGESTION_COLUMN, Rollup
from sluice.errors import BackupMismatchError, DatabaseUnavailableError
from sluice.postgres.connection import copy_in, message_of, run_bound, run_script, sqlstate
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.backups.column_buffers import Values

_NAME_BYTES = 63  # PostgreSQL cuts longer names
#: As pg_get_indexdef writes every one.
_INDEX = re.compile(r"CREATE (UNIQUE )?INDEX .*? ON (?:ONLY )?\S.*? (USING .*)$", re.DOTALL)

_DEPENDED_ON = "2BP01"
_LOCKED = "55P03"
#: Values, constraints, and names that another table or constraint has.
_REFUSALS = ("22", "23", "42P07", "42710")


@contextmanager
def translated_refusals() -> Iterator[None]:
    """Translate PostgreSQL's errors in building or swapping a table.

    Raises:
        BackupMismatchError: another object depends on the table, or its constraints refuse the rows.
        DatabaseUnavailableError: a table was locked for too long.
    """
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    try:
        yield
    except DBAPIError as error:
        state = sqlstate(error)
        if state == _LOCKED:
            raise DatabaseUnavailableError(
                "the tables were in use for too long; nothing was changed, try again"
            ) from error
        if state == _DEPENDED_ON or state.startswith(_REFUSALS):
            raise BackupMismatchError(f"{message_of(error)}; nothing was changed") from error
        raise


def shadow_of(table: str) -> str:
    """Return the shadow of a stored table: the same name in the schema `restoring`."""
    return "restoring." + table.removeprefix("store.")


def create_shadow(connection: Connection, table: str, shape: Shape, like: str = "") -> None:
    """Create a shadow table, without constraints and indexes, which are cheaper to add at the end.

    Args:
        connection: an open transaction.
        table: the stored table.
        shape: its columns.
        like: a table to copy the columns from, with their defaults; by default they follow the shape.
    """
    target = shadow_of(table)
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


def copy_into_shadow(
    connection: Connection,
    table: str,
    columns: Sequence[TableColumn],
    values: Sequence[Values],
    block_bytes: int,
) -> int:
    """Copy rows into a shadow table; return how many PostgreSQL wrote."""
    names = ", ".join(quote(each.name) for each in columns)
    # `complete_shadow` casts the texts.
    plain = [replace(each, type="text") if each.is_cast else each for each in columns]
    blocks = copy_blocks(plain, values, block_bytes)
    return copy_in(
        connection, f"COPY {shadow_of(table)} ({names}) FROM STDIN (FORMAT binary)", blocks
    )


def complete_shadow(
    connection: Connection, table: str, shape: Shape, rename: Mapping[str, str]
) -> None:
    """Give a shadow table its types, constraints and indexes.

    Args:
        connection: an open transaction.
        table: the stored table.
        shape: of the backup, or of the present table.
        rename: other names for constraints and indexes of the shape.
    """
    cast_columns(connection, table, shape)
    for constraint in shape.constraints:
        add_constraint(connection, table, constraint, rename)
    for index in shape.indexes:
        add_index(connection, table, index, rename)
    run_script(connection, f"ANALYZE {shadow_of(table)}")


def cast_columns(connection: Connection, table: str, shape: Shape) -> None:
    """Give the columns of a shadow table that were filled as texts their types."""
    for each in shape.columns:
        if each.is_cast:
            name = quote(each.name)
            run_script(
                connection,
                f"ALTER TABLE {shadow_of(table)} ALTER {name} TYPE {each.type} USING {name}::{each.type}",
            )


def add_constraint(
    connection: Connection, table: str, constraint: Definition, rename: Mapping[str, str]
) -> None:
    """Add a constraint to a shadow table; its text is sent as one statement."""
    name = quote(rename.get(constraint.name, constraint.name))
    added = f"ALTER TABLE {shadow_of(table)} ADD CONSTRAINT {name} {constraint.sql}"
    run_bound(connection, added, ())


def add_index(
    connection: Connection, table: str, index: Definition, rename: Mapping[str, str]
) -> None:
    """Add an index to a shadow table; its text is sent as one statement.

    Raises:
        DamagedBackupError: it is not as PostgreSQL writes one.
    """
    found = _INDEX.match(index.sql)
    if found is None:
        raise damaged(f"index {index.name}", "is no CREATE INDEX")
    name = quote(rename.get(index.name, index.name))
    made = f"CREATE {found[1] or ''}INDEX {name} ON {shadow_of(table)} {found[2]}"
    run_bound(connection, made, ())


def names_for_copy(dataset: str, target: str, shape: Shape) -> dict[str, str]:
    """Return unique names for the constraints and indexes of a copy, by the original names."""
    names = [each.name for each in (*shape.constraints, *shape.indexes)]
    return {
        name: (
            target + name.removeprefix(dataset) if name.startswith(dataset) else f"{target}_{name}"
        )[:_NAME_BYTES]
        for name in names
    }


def merge_rollup_parts(connection: Connection, table: str, rollup: Rollup) -> None:
    """Merge the parts of a roll-up that have the same ingestion now."""
    target = shadow_of(table)
    keys = ", ".join(quote(name) for name in (*rollup.keys, INGESTION_COLUMN))
    names = ", ".join(quote(name) for name, _ in rollup.measures)
    merged = ", ".join(f"{how}({quote(name)})" for name, how in rollup.measures)
    run_script(
        connection,
        f"WITH parts AS (DELETE FROM {target} RETURNING *) INSERT INTO {target} ({keys}, {names})"
        f" SELECT {keys}, {merged} FROM parts GROUP BY {keys}",
    )


def adopt_rows(connection: Connection, table: str, gone: Iterable[int], ingestion: int) -> int:
    """Move the rows of withdrawn ingestions to the ingestion of the restore; return how many."""
    listed = ", ".join(str(each) for each in gone)
    if not listed:
        return 0
    changed = connection.exec_driver_sql(
        f"UPDATE {shadow_of(table)} SET {INGESTION_COLUMN} = {ingestion}"
        f" WHERE {INGESTION_COLUMN} IN ({listed})"
    )
    return changed.rowcount


def run_all(connection: Connection, scripts: Iterable[str]) -> None:
    """Run scripts in order."""
    for each in scripts:
        run_script(connection, each)


def copy_loading_rows(
    connection: Connection, table: str, columns: Sequence[TableColumn], ingestions: Iterable[int]
) -> None:
    """Copy the rows of ingestions that are still loading to the shadow table."""
    listed = ", ".join(str(each) for each in ingestions)
    if listed:
        names = ", ".join(quote(each.name) for each in columns)
        run_script(
            connection,
            f"INSERT INTO {shadow_of(table)} ({names}) SELECT {names} FROM {table}"
            f" WHERE {INGESTION_COLUMN} IN ({listed})",
        )


def lock_tables(connection: Connection, tables: Sequence[str]) -> None:
    """Lock tables until the transaction ends; chunks that are being loaded finish first."""
    run_script(connection, "SET LOCAL lock_timeout = '60s'")
    run_script(connection, f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")


def swap(connection: Connection, table: str, views: Iterable[str]) -> None:
    """Replace a stored table by its shadow, and drop the views of the old one."""
    run_all(connection, (f"DROP VIEW IF EXISTS {each}" for each in views))
    run_script(connection, f"DROP TABLE IF EXISTS {table}")
    run_script(connection, f"ALTER TABLE {shadow_of(table)} SET SCHEMA store")


def drop_companions(connection: Connection, dataset: str) -> None:
    """Drop the staging and replaced tables of an earlier copy; declaring the new one creates them."""
    for table in (staging_table(dataset), replaced_table(dataset)):
        run_script(connection, f"DROP TABLE IF EXISTS {table}")


def begin_ingestion(connection: Connection, facts: Mapping[str, object]) -> int:
    """Begin the ingestion of a restore; return its number."""
    return int(connection.execute(statement("begin_restored_ingestion"), dict(facts)).scalar_one())
