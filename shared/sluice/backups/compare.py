"""The use case of comparing a dataset with its restored copy, duplicate rows counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sluice.backups.manifest import FOLDER, Manifest, SavedDataset
from sluice.datasets.identifiers import quote, view
from sluice.errors import BackupMismatchError, NotFoundError, ParameterError
from sluice.postgres.catalog import DatasetVersion, dataset_version
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_SAMPLE = 5


@dataclass(frozen=True)
class Comparison:
    """How a dataset and its copy differ.

    Attributes:
        rows, rows_of_copy: published rows of each.
        only_here, only_there: rows of the dataset that the copy lacks, and the reverse; a row that one
            has twice and the other once counts as one.
        sample_here, sample_there: some of them, each with its count `_times`.
    """

    dataset: str
    copy: str
    rows: int
    rows_of_copy: int
    only_here: int
    only_there: int
    sample_here: list[dict[str, Any]]
    sample_there: list[dict[str, Any]]


def compare(
    engine: Engine, manifest: Manifest, datasets: Sequence[str] | None, suffix: str
) -> list[Comparison]:
    """Compare the current datasets of a backup with their copies.

    Args:
        engine: the database.
        manifest: the backup from which the copies were restored.
        datasets: names; None for all that have a copy.
        suffix: of the names of the copies.

    Raises:
        NotFoundError: a dataset or its copy does not exist.
        BackupMismatchError: a copy was restored from another backup.
    """
    if not suffix:
        raise ParameterError(
            "suffix: is empty; a dataset restored in place has no copy", parameter="suffix"
        )
    with transaction(engine) as connection:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        found = [
            _compare(connection, manifest, each, suffix)
            for each in manifest.chosen(datasets)
            if datasets is not None or _is_declared(connection, each.name + suffix)
        ]
    if not found:
        raise NotFoundError(
            f"no dataset of backup {manifest.id} has a copy with the suffix {suffix}; restore it first"
        )
    return found


def _is_declared(connection: Connection, name: str) -> bool:
    key = {"dataset": name}
    return connection.execute(statement("list_dataset_versions"), key).one_or_none() is not None


def _compare(
    connection: Connection, manifest: Manifest, saved: SavedDataset, suffix: str
) -> Comparison:
    here, there = (dataset_version(connection, name) for name in (saved.name, saved.name + suffix))
    _check_origin(connection, manifest, saved, there)
    columns = [
        quote(each.name)
        for each in here.dataset.fields
        if each.name in {other.name for other in there.dataset.fields}
    ]
    listed = ", ".join(columns)
    one, other = view(here.dataset.name), view(there.dataset.name)
    # One pass without a sort: for each distinct row, how many times more often it is here than there.
    connection.exec_driver_sql("SET LOCAL work_mem = '128MB'")
    answer = connection.exec_driver_sql(
        f"WITH sides AS ("
        f"SELECT {listed}, 1 AS _side FROM {one} UNION ALL SELECT {listed}, -1 FROM {other}"
        f"), surpluses AS MATERIALIZED ("
        f"SELECT {listed}, sum(_side) AS _times FROM sides GROUP BY {listed} HAVING sum(_side) <> 0"
        f") SELECT (SELECT count(*) FROM {one}) AS rows, (SELECT count(*) FROM {other}) AS rows_of_copy,"
        f" CAST(coalesce((SELECT sum(_times) FROM surpluses WHERE _times > 0), 0) AS bigint) AS only_here,"
        f" CAST(coalesce((SELECT -sum(_times) FROM surpluses WHERE _times < 0), 0) AS bigint) AS only_there,"
        f" {_sample(listed, '>')} AS sample_here, {_sample(listed, '<')} AS sample_there"
    ).one()
    return Comparison(
        saved.name,
        there.dataset.name,
        answer.rows,
        answer.rows_of_copy,
        answer.only_here,
        answer.only_there,
        answer.sample_here or [],
        answer.sample_there or [],
    )


def _sample(listed: str, sign: str) -> str:
    return (
        f"(SELECT json_agg(picked.*) FROM (SELECT {listed}, abs(_times) AS _times FROM surpluses"
        f" WHERE _times {sign} 0 ORDER BY {listed} LIMIT {_SAMPLE}) AS picked)"
    )


def _check_origin(
    connection: Connection, manifest: Manifest, saved: SavedDataset, copy: DatasetVersion
) -> None:
    sources = connection.execute(
        statement("published_sources"), {"dataset": copy.dataset.name}
    ).all()
    wanted = f"{FOLDER}{manifest.id}/{saved.name}"
    if copy.origin != "restored" or wanted not in {each.object for each in sources}:
        raise BackupMismatchError(
            f"{copy.dataset.name} was not restored from backup {manifest.id};"
            " restore it, then compare",
            dataset=copy.dataset.name,
        )
