"""Snapshots of the database that several sessions share, and what a backup reads from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sluice.backups.column_copy import Dictionary
from sluice.backups.manifest import Definition, Shape, Source
from sluice.backups.type_mapping import TableColumn
from sluice.datasets.identifiers import dictionary_table, literal
from sluice.postgres.connection import copy_out, translated
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from sluice.datasets.model import Dataset

_BEGIN = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"


@dataclass(frozen=True)
class Snapshot:
    """A snapshot that other sessions may use, and the session that holds it open."""

    id: str
    connection: Connection


@contextmanager
def exported_snapshot(engine: Engine, backup: str) -> Iterator[Snapshot]:
    """Hold a snapshot of the database open, and lock its tables against swaps, during a backup.

    Raises:
        DatabaseUnavailableError: try again later.
    """
    with translated(), engine.connect() as connection:
        with connection.begin():  # before the snapshot: the tables that it shows must still exist
            connection.execute(statement("lock_tables_shared"))
        try:
            with connection.begin():
                connection.exec_driver_sql(_BEGIN)
                connection.execute(statement("lock_backup"), {"backup": backup})
                yield Snapshot(connection.scalar(statement("export_snapshot")) or "", connection)
        finally:
            if not connection.invalidated:
                with connection.begin():
                    connection.execute(statement("unlock_tables_shared"))


@contextmanager
def shared_snapshot(engine: Engine, snapshot: str) -> Iterator[Connection]:
    """Open a transaction on the snapshot of another session.

    Raises:
        DatabaseUnavailableError: try again later.
    """
    with translated(), engine.connect() as connection, connection.begin():
        connection.exec_driver_sql(_BEGIN)
        connection.exec_driver_sql(f"SET TRANSACTION SNAPSHOT {literal(snapshot)}")
        yield connection


@dataclass(frozen=True)
class DeclaredDataset:
    """A dataset and its declaration, the JSON document."""

    name: str
    version: int
    origin: str
    declaration: Mapping[str, Any]


def select_datasets(connection: Connection) -> list[DeclaredDataset]:
    """Return every declared dataset."""
    return [DeclaredDataset(*row) for row in connection.execute(statement("select_datasets"))]


def sources_of(connection: Connection, dataset: str) -> tuple[Source, ...]:
    """Return the published ingestions of a dataset."""
    rows = connection.execute(statement("published_sources"), {"dataset": dataset})
    return tuple(Source(row.ingestion, row.bucket, row.object, row.generation) for row in rows)


def shape_of(connection: Connection, dataset: Dataset, table: str) -> Shape:
    """Return the layout of one of the dataset's stored tables."""
    texts = {each.name for each in dataset.dictionaries}
    key = {"table": table}
    columns = tuple(
        TableColumn(row.name, row.type, row.nullable, row.name if row.name in texts else "")
        for row in connection.execute(statement("columns_of_table"), key)
    )
    return Shape(
        columns,
        _definitions(connection, "constraints_of_table", table),
        _definitions(connection, "indexes_of_table", table),
    )


def _definitions(connection: Connection, name: str, table: str) -> tuple[Definition, ...]:
    rows = connection.execute(statement(name), {"table": table})
    return tuple(Definition(row.name.rpartition(".")[2].strip('"'), row.sql) for row in rows)


def size_of(connection: Connection, table: str) -> tuple[int, int]:
    """Return the pages of a stored table, and its size in bytes with its TOAST data."""
    row = connection.execute(statement("size_of_table"), {"table": table}).one()
    return row.pages, row.size_bytes


def dictionaries_of(connection: Connection, dataset: Dataset) -> dict[str, Dictionary]:
    """Return the dictionaries of a dataset by column."""
    return {
        each.name: Dictionary.of(_texts(connection, dictionary_table(dataset.name, each.name)))
        for each in dataset.dictionaries
    }


def _texts(connection: Connection, table: str) -> dict[int, str]:
    rows = connection.exec_driver_sql(f"SELECT code, text FROM {table}")
    return {row.code: row.text for row in rows}


def published_rows(dataset: str, table: str, first_page: int, end_page: int) -> str:
    """Return the FROM and WHERE clauses for the published rows of some pages of a stored table.

    The bounds on ctid make PostgreSQL read only those pages.
    """
    published = f"SELECT ingestion FROM sluice.publications WHERE dataset = {literal(dataset)}"
    return (
        f"{table} AS stored WHERE stored.ctid >= '({first_page},0)'::tid"
        f" AND stored.ctid < '({end_page},0)'::tid AND stored.ingestion IN ({published})"
    )


def fetch_block(connection: Connection, query: str) -> bytes:
    """Return the result of a query as binary COPY."""
    return copy_out(connection, query)
