"""The output of a file: what the dataset's query answers about its ingestion alone, as a CSV in the outbox.

It is written before the ingestion is published and told with it. PostgreSQL sends the rows one by one
and Cloud Storage takes them in blocks, so memory holds a block, whatever the size. Whoever dies in
between leaves an object that nobody was told of; the next handler writes it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluice.errors import OutputInProgressError, OutputRefusedError
from sluice.postgres.connection import copy_csv_out, message_of, sqlstate, translated
from sluice.postgres.named_sql import statement
from sluice.querying.parameters import read_parameters
from sluice.querying.reading import spelled_out

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.datasets.model import Dataset
    from sluice.ports import Objects, StoredObject

#: SQLSTATE classes of a query that fails again each time: data, syntax or a missing right or name.
_PERMANENT_CLASSES = ("22", "42", "21")


@dataclass(frozen=True)
class Outputs:
    """Where outputs go: Cloud Storage, and a bucket in it."""

    objects: Objects
    bucket: str


def write_output(
    connection: Connection, outputs: Outputs, dataset: Dataset, ingestion: int
) -> StoredObject:
    """Write the output of an ingestion that is about to be published, and return where it lies.

    Its rows are seen by this transaction alone, and only while the query runs.

    Args:
        connection: the transaction that will publish it; locks nothing that others wait for.
        outputs: where it goes.
        dataset: declares an output.
        ingestion: in state `publishing`.

    Raises:
        OutputInProgressError: another handler writes it; deliver the message again.
        OutputRefusedError: the query fails.
        StorageUnavailableError: deliver the message again.
    """
    if not connection.scalar(statement("lock_output"), {"ingestion": ingestion}):
        raise OutputInProgressError(
            f"the output of ingestion {ingestion} is being written elsewhere"
        )
    name = f"outputs/{dataset.name}/{ingestion}.csv"
    return _write(connection, outputs, name, dataset, ingestion)


def _select(connection: Connection, dataset: Dataset, ingestion: int) -> str:
    query = dataset.query(dataset.output)
    assert query is not None  # noqa: S101  # the declaration was checked
    values = read_parameters(query, [("ingestion", str(ingestion))])
    types = query.parameter_types
    return spelled_out(connection, query.sql, values, types)


def _write(
    connection: Connection, outputs: Outputs, name: str, dataset: Dataset, ingestion: int
) -> StoredObject:
    select = _select(connection, dataset, ingestion)
    unpublished = connection.begin_nested()
    try:
        with translated():
            key = {"ingestion": ingestion, "dataset": dataset.name}
            connection.execute(statement("publish"), key)
            stored = outputs.objects.write_stream(
                outputs.bucket, name, lambda sink: copy_csv_out(connection, select, sink)
            )
            unpublished.rollback()
            return stored
    except Exception as error:
        if sqlstate(error).startswith(_PERMANENT_CLASSES):
            raise OutputRefusedError(
                f"query {dataset.output} of {dataset.name}: {message_of(error)}; mend it, declare it"
                " and retry the ingestion"
            ) from error
        raise
