"""The use case of finish: checks the account and publishes an ingestion in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sluice.datasets import identifiers
from sluice.datasets.identifiers import quote
from sluice.datasets.model import INGESTION_COLUMN, Dataset, Reupload, Rollup
from sluice.errors import PermanentError, UnknownDatasetError
from sluice.ingestion.ingestions import (
    Changes,
    fail,
    lock_ingestion,
    move,
    same_content,
    select_ingestion,
)
from sluice.ingestion.merge import lock_datasets, merge_rows, refuse_rows, withdraw
from sluice.ingestion.model import Ingestion, State
from sluice.ingestion.outbox import relay
from sluice.ingestion.output import Outputs, write_output
from sluice.ingestion.reconciliation import check_accounts, too_many_rejects
from sluice.postgres.catalog import find_dataset
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import composed, statement

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from sluice.ports import Publisher, StoredObject
    from sluice.settings import Settings


class Finish:
    """Publishes ingestions whose chunks all have their receipts.

    Args:
        settings: `project`.
        engine: the database.
        publisher: Pub/Sub.
        outputs: where the files go that are made of files.
    """

    def __init__(
        self, settings: Settings, engine: Engine, publisher: Publisher, outputs: Outputs
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._publisher = publisher
        self._outputs = outputs

    def __call__(self, ingestion: int) -> None:
        """Publish an ingestion that waits for it; do nothing for one that does not.

        Raises:
            TransientError: deliver the message again.
        """
        try:
            self._finish(ingestion)
        except PermanentError as error:
            self._fail(ingestion, error)
        self._relay(ingestion)

    def _relay(self, ingestion: int) -> None:
        """Publish its events and those of the ingestions that it took back."""
        with transaction(self._engine) as connection:
            key = {"ingestion": ingestion}
            withdrawn = connection.scalars(statement("withdrawn_by"), key).all()
        for each in (ingestion, *withdrawn):
            relay(self._engine, self._publisher, each)

    def _finish(self, ingestion: int) -> None:
        project = self._settings.project
        with transaction(self._engine) as connection:
            name = select_ingestion(connection, ingestion).dataset
        dataset = find_dataset(self._engine, name or "")
        with transaction(self._engine) as connection:
            output = self._output(connection, ingestion, dataset) if dataset else None
            row = lock_ingestion(connection, ingestion)
            if row is None or row.state != State.PUBLISHING:
                return
            if dataset is None:
                raise UnknownDatasetError(f"dataset {row.dataset} is not declared any more")
            publish(connection, row, dataset, project, output=output)

    def _output(
        self, connection: Connection, ingestion: int, dataset: Dataset
    ) -> StoredObject | None:
        """Write the output of an ingestion that will be published, before anything is locked."""
        row = select_ingestion(connection, ingestion)
        if not dataset.output or row.state != State.PUBLISHING:
            return None
        check_accounts(connection, [row])
        too_many = too_many_rejects(row.account, dataset)
        if too_many or _same_or_newer(connection, row, dataset):
            return None
        return write_output(connection, self._outputs, dataset, ingestion)

    def _fail(self, ingestion: int, error: PermanentError) -> None:
        with transaction(self._engine) as connection:
            row = lock_ingestion(connection, ingestion)
            if row is not None and row.state == State.PUBLISHING:
                fail(connection, ingestion, error, self._settings.project)


def publish(
    connection: Connection,
    row: Ingestion,
    dataset: Dataset,
    project: str,
    *,
    output: StoredObject | None = None,
) -> None:
    """Publish an ingestion, or skip it where a published one makes it superfluous.

    It fails, and keeps its rejects, where it has more of them than the dataset allows.

    Args:
        connection: the transaction in which all of it happens.
        row: the ingestion, locked, in state `publishing`.
        dataset: its dataset.
        project: part of the source of its events.
        output: the file that was made of it, as `write_output` returns it.

    Raises:
        AccountImbalanceError: what was counted does not add up.
        PermanentError: its rows cannot be merged, see `sluice.ingestion.merge`.
    """
    lock_datasets(connection, dataset)
    check_accounts(connection, [row])
    other = _same_or_newer(connection, row, dataset)
    if other is not None:
        move(connection, row.id, State.SKIPPED, project, Changes(replaced_by=other))
        return
    older = _older(connection, row, dataset)
    if dataset.is_staged:
        row = refuse_rows(connection, row, dataset, older)
    too_many = too_many_rejects(row.account, dataset)
    if too_many:
        fail(connection, row.id, too_many, project)
        return
    withdraw(connection, dataset, older, row.id, project)
    if dataset.is_staged:
        merge_rows(connection, row, dataset)
    for rollup in dataset.rollups:
        _merge(connection, dataset, rollup, row.id)
    key = {"ingestion": row.id, "dataset": dataset.name}
    connection.execute(statement("publish"), key)
    connection.execute(statement("touch_freshness"), key)
    move(connection, row.id, State.DONE, project, Changes(output=output))


def _older(connection: Connection, row: Ingestion, dataset: Dataset) -> Sequence[int]:
    """Return the published older generations of the object, where the dataset replaces them."""
    if dataset.reupload is not Reupload.REPLACE:
        return ()
    return connection.scalars(statement("older_generations"), _place(row)).all()


def _same_or_newer(connection: Connection, row: Ingestion, dataset: Dataset) -> int | None:
    """Return the published ingestion that makes this one superfluous, if there is one.

    Generations may overtake one another: one that comes late may not bring back what a newer one
    replaced.
    """
    other = same_content(connection, row)
    if other is None and dataset.reupload is Reupload.REPLACE:
        newer: int | None = connection.scalar(statement("newer_generation_done"), _place(row))
        return newer
    return other


def _place(row: Ingestion) -> dict[str, object]:
    file = row.file
    return {"bucket": file.bucket, "object": file.name, "generation": file.generation}


def _merge(connection: Connection, dataset: Dataset, rollup: Rollup, ingestion: int) -> None:
    """Merge the chunks' parts of a roll-up into one row for each group."""
    table = identifiers.rollup_table(dataset.name, rollup.name)
    keys = ", ".join(quote(name) for name in rollup.keys)
    names = ", ".join(quote(name) for name, _ in rollup.measures)
    merged = ", ".join(f"{how}({quote(name)})" for name, how in rollup.measures)
    connection.execute(
        composed(
            f"WITH parts AS (DELETE FROM {table} WHERE {INGESTION_COLUMN} = :ingestion RETURNING *) "
            f"INSERT INTO {table} ({keys}, {names}, {INGESTION_COLUMN}) "
            f"SELECT {keys}, {merged}, CAST(:ingestion AS integer) FROM parts GROUP BY {keys}"
        ),
        {"ingestion": ingestion},
    )
