"""The output of a file: the answer of the dataset's query about its ingestion, as a CSV in the outbox.

It is written in a transaction of its own before the ingestion is published, and the event of the
publication reports it. PostgreSQL sends row by row and Cloud Storage receives blocks, so memory holds one
block whatever the size. The next handler uses what one that crashes has written; an object that is not
complete is written again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.datasets.model import INGESTION_COLUMN
from sluice.datasets.sql_text import with_literals
from sluice.errors import DeclarationError, OutputInProgressError, OutputRefusedError
from sluice.ingestion.ingestions import output_document
from sluice.ingestion.model import output_of
from sluice.postgres.catalog import declared_datasets
from sluice.postgres.connection import (
    QUERY_CANCELED,
    become_reader,
    copy_csv_out,
    message_of,
    sqlstate,
    translated,
)
from sluice.postgres.dependencies import check_select, located, published_views
from sluice.postgres.named_sql import jsonb, statement
from sluice.querying.parameters import read_parameters

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.datasets.model import Dataset, Query
    from sluice.ports import Storage, StoredObject

#: SQLSTATE classes of a query that fails each time: data, cardinality, syntax or access rule.
_PERMANENT_CLASSES = ("21", "22", "42", QUERY_CANCELED)
#: Time after which the query is cancelled; finish itself is ended after 570 s.
TIMEOUT_S = 480.0
#: Time after which a handler leaves the output to the next one, which has more time.
BEGINS_WITHIN_S = 60.0


def written_output(connection: Connection, ingestion: int) -> StoredObject | None:
    """Return the output of an ingestion that `write_output` wrote, and that is not published yet."""
    found = connection.scalar(statement("select_output"), {"ingestion": ingestion})
    return None if found is None else output_of(found)


def write_output(
    connection: Connection, storage: Storage, bucket: str, dataset: Dataset, ingestion: int
) -> None:
    """Write the output of an ingestion that is about to be published, unless it is written.

    Only this transaction sees the ingestion's rows, and only while the query runs.

    Args:
        connection: a transaction for it alone; holds no lock that others wait for.
        storage: Cloud Storage.
        bucket: where the output is written.
        dataset: declares an output.
        ingestion: in state `publishing`.

    Raises:
        OutputInProgressError: another handler is writing it; deliver the message again.
        OutputRefusedError: the query fails, takes too long, or reads what it may not.
        StorageUnavailableError: deliver the message again.
    """
    key = {"ingestion": ingestion, "dataset": dataset.name}
    if not connection.scalar(statement("lock_output"), {"ingestion": ingestion}):
        raise OutputInProgressError(ingestion)
    if written_output(connection, ingestion) is not None:
        return
    name = f"outputs/{dataset.name}/{ingestion}.csv"
    query = dataset.query(dataset.output)
    assert query is not None  # noqa: S101  # the declaration was checked
    select = _select(query, ingestion)
    unpublished = connection.begin_nested()
    try:
        with translated():
            owners = published_views(declared_datasets(connection))
            with located(f"queries/{query.name}.sql", query.line):
                check_select(connection, select, owners)
            connection.execute(statement("publish"), key)
            become_reader(connection, TIMEOUT_S)
            stored = storage.write_stream(
                bucket, name, lambda sink: copy_csv_out(connection, select, sink)
            )
            unpublished.rollback()
            facts = {"ingestion": ingestion, "output": jsonb(output_document(stored))}
            connection.execute(statement("insert_output"), facts)
    except DeclarationError as error:
        raise _refused(dataset, error.detail) from error
    except Exception as error:
        if sqlstate(error).startswith(_PERMANENT_CLASSES):
            raise _refused(dataset, message_of(error)) from error
        raise


def _refused(dataset: Dataset, why: str) -> OutputRefusedError:
    return OutputRefusedError(
        f"query {dataset.output} of {dataset.name}: {why}; fix it, declare it and retry the ingestion"
    )


def _select(query: Query, ingestion: int) -> str:
    values = read_parameters(query, [(INGESTION_COLUMN, str(ingestion))])
    return with_literals(query.sql, values, query.parameter_types)
