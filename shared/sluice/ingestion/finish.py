"""The use case of finish: checks the account and publishes an ingestion in one transaction.

What takes long for a large file is done before that, in steps that readers do not see.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sluice.datasets.model import Dataset
from sluice.documents.ingestions import State
from sluice.errors import (
    OutdatedDeclarationError,
    PublicationUnfinishedError,
    UnknownDatasetError,
)
from sluice.ingestion.failures import Step, attempt
from sluice.ingestion.fixes import join_rows, lock_fixed, same_fix
from sluice.ingestion.generations import older_generations, superseding
from sluice.ingestion.ingestions import (
    NEWER_GENERATION,
    SAME_CONTENT,
    Changes,
    fail,
    lock_ingestion,
    move,
    select_ingestion,
    skip,
)
from sluice.ingestion.merge import (
    lock_datasets,
    make_room,
    merge_rows,
    reject_rows,
    withdraw,
)
from sluice.ingestion.model import Ingestion
from sluice.ingestion.outbox import relay
from sluice.ingestion.output import BEGINS_WITHIN_S, write_output, written_output
from sluice.ingestion.preparation import is_prepared, prepared_rows
from sluice.ingestion.publish_steps import (
    PublishSteps,
    buckets_of_parts,
    merge_buckets,
    merge_rollups,
)
from sluice.ingestion.reconciliation import (
    all_rows_rejected,
    beyond_limit_when_published,
    check_accounts,
    is_all_rejected,
    too_many_rejects,
    unfitting_values,
)
from sluice.ingestion.reject_objects import write_reject_files
from sluice.postgres.catalog import dataset_of_version, read_dataset
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.ports import Environment
    from sluice.settings import Settings


def finish_ingestion(env: Environment, ingestion: int, delivery: int = 1) -> None:
    """Publish an ingestion in state `publishing`; do nothing in any other state.

    Args:
        env: settings `project`, `outbox`, `max_rejects`, and those of `attempt`.
        ingestion: its chunks all have their receipts.
        delivery: how often the message was delivered.

    Raises:
        TransientError: deliver the message again.
    """
    step = Step(ingestion, "finish", delivery, (State.PUBLISHING,))
    attempt(env, step, lambda: _finish(env, ingestion))
    with transaction(env.engine) as connection:
        key = {"ingestion": ingestion}
        changed = connection.scalars(statement("changed_by"), key).all()
    for each in (ingestion, *changed):
        write_reject_files(env, each)
        relay(env.engine, env.publisher, each)


def _finish(env: Environment, ingestion: int) -> None:
    with transaction(env.engine) as connection:
        begun = select_ingestion(connection, ingestion)
        name = begun.dataset or ""
        dataset = dataset_of_version(connection, name, begun.declaration_version)
    if dataset is not None:
        _do_steps(env, begun, dataset)
    with transaction(env.engine) as connection:
        found = lock_ingestion(connection, ingestion)
        if found is None or found.state != State.PUBLISHING:
            return
        if dataset is None:
            raise UnknownDatasetError(
                f"dataset {name} is not declared any more; declare it and retry"
            )
        publish(connection, found, dataset, env.settings)


def _do_steps(env: Environment, begun: Ingestion, dataset: Dataset) -> None:
    """Do what takes long in transactions of its own, before anything is locked."""
    steps = PublishSteps(env.engine, begun, dataset, env.settings)
    if not steps.may_be_needed and not dataset.output:
        return
    with transaction(env.engine) as connection:
        _check_stored_form(connection, dataset)
        if not _is_publishable(connection, begun.id, dataset):
            return
    began = time.monotonic()
    if steps.may_be_needed:
        steps()
    if dataset.output:
        if time.monotonic() - began > BEGINS_WITHIN_S:
            raise PublicationUnfinishedError(begun.id, 1)
        with transaction(env.engine) as connection:
            write_output(connection, env.storage, env.settings.outbox, dataset, begun.id)


def _is_publishable(connection: Connection, ingestion: int, dataset: Dataset) -> bool:
    """Whether an ingestion will be published, as far as that is known before anything is locked."""
    found = select_ingestion(connection, ingestion)
    if found.fixes is not None or found.state != State.PUBLISHING:
        return False
    if not is_prepared(connection, ingestion):
        check_accounts(connection, [found])
    if is_all_rejected(found.account) or too_many_rejects(found.account, dataset):
        return False
    return superseding(connection, found, dataset) is None


def publish(
    connection: Connection,
    ingestion: Ingestion,
    dataset: Dataset,
    settings: Settings,
) -> None:
    """Publish an ingestion, or skip it where a published one makes it redundant.

    It fails, and keeps its rejects, where all rows are rejects or more than the dataset or Sluice allows.

    Args:
        connection: the transaction of the publication.
        ingestion: in state `publishing`, locked.
        dataset: its dataset, as it was declared when the ingestion began.
        settings: `project`, `max_rejects`.

    Raises:
        AccountImbalanceError: the account does not balance.
        OutdatedDeclarationError: the dataset has another key or other roll-ups now.
        PermanentError: its rows cannot be merged, see `sluice.ingestion.merge`.
        PublicationUnfinishedError: another ingestion took keys of its prepared rows.
    """
    project = settings.project
    lock_datasets(connection, dataset)
    _check_stored_form(connection, dataset)
    prepared = prepared_rows(connection, ingestion) if dataset.is_staged else None
    if prepared is None:
        check_accounts(connection, [ingestion])
    make_room(connection, ingestion, dataset, prepared)
    if ingestion.fixes is not None:
        _publish_fixes(connection, ingestion, dataset, settings)
        return
    other = superseding(connection, ingestion, dataset)
    if other is not None:
        why = SAME_CONTENT if dataset.skips_same_content else NEWER_GENERATION
        skip(connection, ingestion.id, other, why, project)
        return
    older = older_generations(connection, ingestion, dataset)
    if dataset.is_staged:
        kept = settings.max_rejects
        ingestion = reject_rows(connection, ingestion, dataset, older, kept, prepared)
    refusal = (
        beyond_limit_when_published(ingestion.account, settings.max_rejects)
        or too_many_rejects(ingestion.account, dataset)
        or unfitting_values(connection, ingestion, dataset)
        or all_rows_rejected(connection, ingestion)
    )
    if refusal:
        fail(connection, ingestion.id, refusal, project)
        return
    withdraw(connection, dataset, older, ingestion.id, project)
    if dataset.is_staged:
        merge_rows(connection, ingestion, dataset, prepared)
    merge_rollups(connection, dataset, ingestion.id)
    key = {"ingestion": ingestion.id, "dataset": dataset.name}
    connection.execute(statement("publish"), key)
    connection.execute(statement("touch_freshness"), key)
    output = written_output(connection, ingestion.id) if dataset.output else None
    connection.execute(statement("delete_publish_steps"), key)
    if prepared:
        connection.execute(statement("switch_prepared"), key)
    move(connection, ingestion.id, State.DONE, project, Changes(output=output))


def _publish_fixes(
    connection: Connection, fix: Ingestion, dataset: Dataset, settings: Settings
) -> None:
    """Give the rows of a file that fixes rejects to the ingestion whose rejects they were."""
    project = settings.project
    same = same_fix(connection, fix, fix.content_sha256)
    if same is not None:
        skip(connection, fix.id, same, SAME_CONTENT, project)
        return
    fixed = lock_fixed(connection, fix)
    if dataset.is_staged:
        fix = reject_rows(connection, fix, dataset, (), settings.max_rejects)
    refusal = beyond_limit_when_published(fix.account, settings.max_rejects) or all_rows_rejected(
        connection, fix
    )
    if refusal:
        fail(connection, fix.id, refusal, project)
        return
    buckets = buckets_of_parts(connection, dataset, fix.id)
    join_rows(connection, fix, fixed, dataset, project)
    merge_buckets(connection, dataset, fixed.id, buckets)
    move(connection, fix.id, State.DONE, project)


def _check_stored_form(connection: Connection, dataset: Dataset) -> None:
    """Check that the rows were written as the current declaration stores them.

    Rules may have changed meanwhile: the file is checked by those with which it began. But rows without
    the parts of a new roll-up would be missing in it.
    """
    current = read_dataset(connection, dataset.name)
    if current is None or current.version == dataset.version:
        return
    forms = {(each.key, each.is_staged, each.rollups) for each in (current, dataset)}
    if len(forms) > 1:
        raise OutdatedDeclarationError(dataset.name)
