"""The use case of redo: publishes an undone ingestion again, while its rows are still stored.

The rows of a dataset with a key were taken out of it and staged, and are merged again among those that other
ingestions have brought meanwhile. Other rows only become visible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.datasets.model import Dataset, Duplicates
from sluice.documents.ingestions import State
from sluice.errors import IllegalTransitionError, NotFoundError, UnknownDatasetError
from sluice.ingestion.commands import record_command
from sluice.ingestion.generations import older_generations, superseding
from sluice.ingestion.ingestions import lock_ingestion, move, select_ingestion
from sluice.ingestion.merge import lock_datasets, make_room, merge_again, withdraw
from sluice.ingestion.outbox import relay
from sluice.postgres.catalog import dataset_of_version, read_dataset
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.ingestion.model import Ingestion
    from sluice.ports import Environment


def redo(env: Environment, ingestion: int) -> None:
    """Publish an undone ingestion again.

    Raises:
        IllegalTransitionError: it is not undone, or its rows are gone or would be there twice.
        NotFoundError: there is no such ingestion.
        UnknownDatasetError: its dataset is not declared any more.
    """
    project = env.settings.project
    with transaction(env.engine) as connection:
        dataset = _dataset(connection, select_ingestion(connection, ingestion))
        lock_datasets(connection, dataset)
        found = lock_ingestion(connection, ingestion)
        if found is None:
            raise NotFoundError(f"there is no ingestion {ingestion}")
        _check(connection, found, dataset)
        older = older_generations(connection, found, dataset)
        withdraw(connection, dataset, older, ingestion, project)
        make_room(connection, found, dataset)
        duplicates = merge_again(connection, found, dataset) if dataset.key else 0
        if duplicates and dataset.duplicates is Duplicates.ERROR:
            raise _refused(found, f"the keys of {duplicates} of its rows were loaded meanwhile")
        key = {"ingestion": ingestion, "dataset": dataset.name}
        connection.execute(statement("count_redone"), {**key, "duplicates": duplicates})
        record_command(connection, env, "ingestion.redo", found)
        connection.execute(statement("publish"), key)
        connection.execute(statement("touch_freshness"), key)
        move(connection, ingestion, State.DONE, project)
    for each in (ingestion, *older):
        relay(env.engine, env.publisher, each)


def _dataset(connection: Connection, ingestion: Ingestion) -> Dataset:
    """Return the dataset of an ingestion.

    Raises:
        UnknownDatasetError: it is not declared any more.
    """
    dataset = read_dataset(connection, ingestion.dataset or "")
    if dataset is None:
        raise UnknownDatasetError(f"dataset {ingestion.dataset} is not declared any more")
    return dataset


def _check(connection: Connection, ingestion: Ingestion, dataset: Dataset) -> None:
    """Check that the rows of an ingestion are stored, and belong into what readers see.

    Raises:
        IllegalTransitionError: not so.
    """
    if ingestion.state != State.UNDONE:
        raise IllegalTransitionError(
            f"ingestion {ingestion.id} is {ingestion.state}; only one that is undone can be redone",
            state=str(ingestion.state),
        )
    key = {"ingestion": ingestion.id}
    obstacle = connection.execute(statement("obstacles_to_redo"), key).one()
    if obstacle.is_collected:
        raise _refused(ingestion, "its rows were deleted meanwhile; upload the file again")
    if obstacle.is_restored:
        raise _refused(ingestion, "the dataset was restored meanwhile; upload the file again")
    version = ingestion.declaration_version
    then = dataset_of_version(connection, dataset.name, version)
    if then is None or _form(then) != _form(dataset):
        raise _refused(
            ingestion, "the dataset has another key or other roll-ups now; upload it again"
        )
    other = superseding(connection, ingestion, dataset)
    if other is not None:
        raise _refused(
            ingestion, f"ingestion {other} has a newer version of the object or the same content"
        )


def _form(dataset: Dataset) -> tuple[object, ...]:
    return dataset.key, dataset.is_staged, dataset.rollups


def _refused(ingestion: Ingestion, why: str) -> IllegalTransitionError:
    return IllegalTransitionError(
        f"ingestion {ingestion.id} cannot be redone: {why}", state=str(ingestion.state)
    )
