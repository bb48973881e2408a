"""Migrates a database: `sql/migrations` in order, then the datasets of `sql/datasets`.

Safe to repeat and to run concurrently: an advisory lock admits one at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.datasets.declarations import folder_document, read_folders, with_line
from sluice.errors import DeclarationError, OtherMigrationsError
from sluice.postgres.connection import run_script, transaction
from sluice.postgres.declare import check_queries, declare_within
from sluice.postgres.named_sql import composed, sql_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sqlalchemy import Connection, Engine

#: Key of the advisory lock of migrations.
_LOCK = 5_105_160

_LEDGER = """
CREATE TABLE IF NOT EXISTS public.sluice_migrations (
    name text CONSTRAINT sluice_migrations_pk PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


def migrate(engine: Engine) -> list[str]:
    """Apply every migration that is missing and declare every dataset folder that changed.

    Returns:
        What was done, a name each: `0001_schema`, `dataset trips`; and the queries of users that are not
        answered any more, each with the reason.

    Raises:
        DeclarationError: a dataset's folder is wrong.
        OtherMigrationsError: the database was made by a version with other migrations.
        DatabaseUnavailableError: the current step is rolled back; run it again.
    """
    folder = sql_folder()
    done = []
    with transaction(engine) as connection:
        connection.execute(composed(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        connection.execute(composed(_LEDGER))
        applied = set(connection.scalars(composed("SELECT name FROM public.sluice_migrations")))
        paths = sorted((folder / "migrations").glob("*.sql"))
        _check_history(applied, [each.stem for each in paths])
        for path in paths:
            if path.stem not in applied:
                _apply(connection, path)
                done.append(path.stem)
    datasets = read_folders(folder / "datasets")
    for dataset in datasets:
        place = folder / "datasets" / dataset.name
        try:
            with transaction(engine) as connection:
                if declare_within(
                    connection, folder_document(place), origin="folder", is_last=False
                ):
                    done.append(f"dataset {dataset.name}")
        except DeclarationError as error:
            raise with_line(error, place) from error.__cause__
    with transaction(engine) as connection:
        refused = check_queries(connection, [each.name for each in datasets])
    return [*done, *(f"refused {each}" for each in refused)]


def _check_history(applied: set[str], known: Sequence[str]) -> None:
    """Refuse a database whose earlier migrations are others; later ones are of a newer version.

    Raises:
        OtherMigrationsError: it has one that is not known.
    """
    for name in sorted(applied.difference(known)):
        if name < known[-1]:
            raise OtherMigrationsError(name)


def _apply(connection: Connection, path: Path) -> None:
    run_script(connection, path.read_text("utf-8"))
    connection.execute(
        composed("INSERT INTO public.sluice_migrations (name) VALUES (:name)"), {"name": path.stem}
    )
