"""The output of a file: the answer of the dataset's query about its ingestion, as a CSV in the outbox.

It is written before the ingestion is published, and the event of the publication reports it. PostgreSQL
sends row by row and Cloud Storage receives blocks, so memory holds one block whatever the size. If the
handler crashes in between, the object is left unreported; the next handler writes it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.errors import OutputInProgressError, OutputRefusedError
from sluice.postgres.connection import copy_csv_out, message_of, sqlstate, translated
from sluice.postgres.named_sql import statement
from sluice.querying.parameters import read_parameters
from sluice.querying.reading import with_literals

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.datasets.model import Dataset
    from sluice.ports import Storage, StoredObject

#: SQLSTATE classes of a query that fails each time: data, cardinality, syntax or access rule.
_PERMANENT_CLASSES = ("21", "22", "42")


def write_output(
    connection: Connection, storage: Storage, bucket: str, dataset: Dataset, ingestion: int
) -> StoredObject:
    """Write the output of an ingestion that is about to be published.

    Only this transaction sees the ingestion's rows, and only while the query runs.

    Args:
        connection: the transaction that will publish it; holds no lock that others wait for.
        storage: Cloud Storage.
        bucket: where the output is written.
        dataset: declares an output.
        ingestion: in state `publishing`.

    Raises:
        OutputInProgressError: another handler is writing it; deliver the message again.
        OutputRefusedError: the query fails.
        StorageUnavailableError: deliver the message again.
    """
    key = {"ingestion": ingestion, "dataset": dataset.name}
    if not connection.scalar(statement("lock_output"), {"ingestion": ingestion}):
        raise OutputInProgressError(ingestion)
    name = f"outputs/{dataset.name}/{ingestion}.csv"
    select = _select(connection, dataset, ingestion)
    unpublished = connection.begin_nested()
    try:
        with translated():
            connection.execute(statement("publish"), key)
            stored = storage.write_stream(
                bucket, name, lambda sink: copy_csv_out(connection, select, sink)
            )
            unpublished.rollback()
            return stored
    except Exception as error:
        if sqlstate(error).startswith(_PERMANENT_CLASSES):
            raise OutputRefusedError(
                f"query {dataset.output} of {dataset.name}: {message_of(error)}; fix it, declare it"
                " and retry the ingestion"
            ) from error
        raise


def _select(connection: Connection, dataset: Dataset, ingestion: int) -> str:
    query = dataset.query(dataset.output)
    assert query is not None  # noqa: S101  # the declaration was checked
    values = read_parameters(query, [("ingestion", str(ingestion))])
    types = query.parameter_types
    return with_literals(connection, query.sql, values, types)
