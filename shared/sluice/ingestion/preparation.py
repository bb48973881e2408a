"""Prepares a large ingestion of a dataset with a key or references: its rows are copied in steps that commit.

Readers do not see prepared rows, as their ingestion is not published. Who publishes or redoes another one
meanwhile takes prepared rows with the same keys out of the way (`sluice.ingestion.merge.make_room`), and
their steps are repeated. So a publication merges only the rows whose keys were in the dataset before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluice.errors import AccountImbalanceError, PublicationUnfinishedError
from sluice.ingestion.constraint_errors import constraint_errors
from sluice.ingestion.generations import older_generations
from sluice.ingestion.merge import reject_rows
from sluice.postgres.connection import run_script, transaction
from sluice.postgres.named_sql import composed, statement
from sluice.postgres.prepare_sql import PrepareStatements, staging_index

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Row

    from sluice.datasets.model import Dataset
    from sluice.ingestion.model import Ingestion


@dataclass(frozen=True)
class Prepared:
    """What the steps of an ingestion did.

    Attributes:
        staged: staged rows that they handled, duplicates included.
        rows: rows that they copied into the dataset.
        remaining: staged rows that they left for the publication.
    """

    staged: int
    rows: int
    remaining: int


def may_be_prepared(dataset: Dataset) -> bool:
    """Whether rows can be prepared: not where the publication numbers them."""
    return dataset.is_staged and not any(each.absent for each in dataset.columns)


def index_staged(engine: Engine, dataset: Dataset, ingestion: int) -> None:
    """Index the staged rows of an ingestion, so that each step finds its own.

    Args:
        engine: the database; its user may become the owner of all tables.
        dataset: its dataset.
        ingestion: all its rows are staged.
    """
    with transaction(engine) as connection:
        connection.execute(statement("become_owner"))
        run_script(connection, PrepareStatements(dataset, ingestion).create_index())


def drop_staging_index(connection: Connection, ingestion: int) -> None:
    """Drop the index of `index_staged`, as the owner of all tables."""
    connection.execute(statement("become_owner"))
    run_script(connection, f"DROP INDEX IF EXISTS {staging_index(ingestion)}")


def check_and_begin(
    connection: Connection, ingestion: Ingestion, dataset: Dataset, max_rejects: int
) -> Ingestion:
    """Check what must be checked across all rows, and begin to prepare them.

    Args:
        connection: a transaction. It takes no lock of the dataset, which others may change meanwhile: the
            publication looks again at the rows whose keys it has then.
        ingestion: locked, its account balanced.
        dataset: its dataset.
        max_rejects: see `reject_rows`.

    Returns:
        The ingestion with its new account.

    Raises:
        PermanentError: see `reject_rows`.
    """
    older = older_generations(connection, ingestion, dataset)
    ingestion = reject_rows(connection, ingestion, dataset, older, max_rejects)
    key = {"ingestion": ingestion.id}
    connection.execute(statement("delete_duplicates"), key)
    connection.execute(statement("insert_prepared"), {**key, "dataset": dataset.name})
    return ingestion


def prepare_rows(
    connection: Connection, ingestion: int, dataset: Dataset, step: Row[tuple[object, ...]]
) -> None:
    """Do a step: copy the rows of some keys, and leave those whose key the dataset has.

    Args:
        connection: the transaction of the step; no publication of the dataset runs at the same time.
        ingestion: whose rows.
        dataset: its dataset.
        step: what `claim_publish_step` returned.

    Raises:
        RowsRefusedError: PostgreSQL refuses a row that the declaration allows.
    """
    merging = PrepareStatements(dataset, ingestion)
    buckets = {"first": step.first_bucket, "last": step.last_bucket}
    connection.execute(statement("share_dataset"), {"dataset": dataset.name})
    with constraint_errors(is_masked=dataset.has_pii):
        found = connection.execute(composed(merging.copy()), buckets).one()
    rows = keys = 0
    if dataset.key and found.copied < found.keys:
        rows, keys = connection.execute(composed(merging.leave()), buckets).one()
    staged, prepared = found.staged - rows, found.keys - keys
    if prepared < staged:
        connection.execute(composed(merging.list_copies()), buckets)
    counts = {"staged": staged, "prepared": prepared, "remaining": rows}
    key = {"ingestion": ingestion, "number": step.number}
    connection.execute(statement("count_prepared"), {**key, **counts})


def is_prepared(connection: Connection, ingestion: int) -> bool:
    """Whether the account of an ingestion was checked before its rows were prepared."""
    values = {"ingestions": [ingestion]}
    return bool(connection.scalars(statement("prepared_ingestions"), values).all())


def prepared_rows(connection: Connection, ingestion: Ingestion) -> Prepared | None:
    """Return what the steps of an ingestion prepared; None if it was not prepared.

    Args:
        connection: a transaction that holds the dataset's lock.
        ingestion: in state `publishing`.

    Raises:
        AccountImbalanceError: a row was lost.
        PublicationUnfinishedError: steps are left, as another ingestion took keys of prepared rows.
    """
    found = connection.execute(
        statement("prepared_rows"), {"ingestion": ingestion.id}
    ).one_or_none()
    if found is None:
        return None
    if found.steps_left:
        raise PublicationUnfinishedError(ingestion.id, found.steps_left)
    if found.staged + found.remaining != ingestion.account.loaded:
        raise AccountImbalanceError(
            f"ingestion {ingestion.id}: {found.staged + found.remaining} rows were prepared instead of"
            f" {ingestion.account.loaded}. Nothing of it is published; retry it"
        )
    return Prepared(found.staged, found.prepared, found.remaining)
