"""Checks the layouts of tables in a manifest before a copy gets them: their texts become SQL of the owner.

As with `table.sql`: PostgreSQL runs each text alone, on a table without rows, and its catalog shows what was
made. So no expression is computed before its functions are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sluice.backups import shadow_tables
from sluice.backups.manifest import Shape, Table, damaged
from sluice.datasets.model import INGESTION_COLUMN, Dataset
from sluice.datasets.sql_text import words
from sluice.errors import DamagedBackupError, DeclarationError
from sluice.postgres.connection import refusals, run_script
from sluice.postgres.dependencies import refuse_functions
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

_CONSTRAINTS = (["primary", "key"], ["unique"], ["check"])


def check_layout(
    connection: Connection, dataset: Dataset, table: Table, name: str, rename: Mapping[str, str]
) -> None:
    """Check the layout of a table of a backup, of which a copy will be made.

    Args:
        connection: the transaction of the restore.
        dataset: the copy.
        table: as the manifest has it.
        name: the stored table of the copy.
        rename: the names of its constraints and indexes in the copy.

    Raises:
        DamagedBackupError: it is not that of a table of the dataset, or does anything else; names the field.
    """
    where = f"{table.rollup or 'rows'} of {dataset.name}"
    _check_columns(connection, dataset, table, where)
    for each in table.shape.constraints:
        if not _is_constraint(each.sql):
            raise damaged(f"{where}: constraint {each.name}", "is no key and no check, or more")
    _try_without_rows(connection, name, table.shape, rename, where)


def _check_columns(connection: Connection, dataset: Dataset, table: Table, where: str) -> None:
    columns = {each.name for each in table.shape.columns}
    if different := sorted(columns ^ _expected(dataset, table, where)):
        raise damaged(f"{where}: column {different[0]}", "is not in the table or not declared")
    for each in table.shape.columns:
        with _named(f"{where}: column {each.name}"):
            known = connection.scalar(statement("is_plain_type"), {"type": each.type})
        if not known:
            raise damaged(f"{where}: column {each.name}", "has a type that is not PostgreSQL's own")


def _expected(dataset: Dataset, table: Table, where: str) -> set[str]:
    """Return the columns that the declaration gives a table."""
    if not table.rollup:
        return {*(each.name for each in dataset.fields), INGESTION_COLUMN}
    for each in dataset.rollups:
        if each.name == table.rollup:
            return {*each.keys, *(name for name, _ in each.measures), INGESTION_COLUMN}
    raise damaged(where, "the declaration has no such roll-up")


def _is_constraint(sql: str) -> bool:
    """Whether a text is one constraint; after a comma ALTER TABLE would take another action."""
    tokens = words(sql)
    depth = 0
    for each in tokens:
        depth += {"(": 1, ")": -1}.get(each, 0)
        if depth < 0 or (depth == 0 and each in (",", ";")):
            return False
    return depth == 0 and any(tokens[: len(kind)] == kind for kind in _CONSTRAINTS)


def _try_without_rows(
    connection: Connection, name: str, shape: Shape, rename: Mapping[str, str], where: str
) -> None:
    shadow = shadow_tables.shadow_of(name)
    with _named(where):
        shadow_tables.create_shadow(connection, name, shape)
        shadow_tables.cast_columns(connection, name, shape)
    for each in shape.constraints:
        with _named(f"{where}: constraint {each.name}"):
            shadow_tables.add_constraint(connection, name, each, rename)
    for each in shape.indexes:
        with _named(f"{where}: index {each.name}"):
            shadow_tables.add_index(connection, name, each, rename)
    facts = connection.execute(statement("facts_of_store_table"), {"table": shadow}).one()
    if facts.unusual:
        raise damaged(f"{where}: {facts.unusual[0]}", "is not allowed")
    texts = " ".join(each.sql for each in (*shape.constraints, *shape.indexes))
    try:
        refuse_functions(connection, texts, facts.tree)
    except DeclarationError as error:
        raise damaged(where, error.what) from error
    run_script(connection, f"DROP TABLE {shadow}")


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Name the field that PostgreSQL refuses."""

    def refuse(message: str, _: Exception) -> DamagedBackupError:
        return damaged(where, message)

    with refusals(refuse):
        yield
