"""Datasets: listed, described, declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sluice.api.conditional import conditional, freshness_headers
from sluice.api.operations import Call, operation
from sluice.api.responses import json_response
from sluice.datasets.declarations import declaration_schema
from sluice.datasets.identifiers import view
from sluice.documents import datasets as documents
from sluice.errors import BodyError, DeclarationError
from sluice.inference.declaration import document_toml
from sluice.postgres.catalog import DatasetVersion, dataset_version, dataset_versions
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import composed, statement

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from werkzeug.wrappers import Response

    from sluice.datasets.model import Column


@operation("listDatasets", "Datasets", answer=documents.Datasets)
def list_datasets(call: Call) -> Response:
    """List the datasets, each with its number of published rows and its freshness."""
    with call.snapshot() as connection:
        found = [
            documents.Dataset(**_facts(connection, each))
            for each in dataset_versions(connection)
            if call.caller.sees(each.dataset.name)
        ]
    return json_response(documents.Datasets(found))


def _current(call: Call, connection: Connection) -> tuple[DatasetVersion, dict[str, str]]:
    found = dataset_version(connection, call.path["dataset"], has_counts=True)
    return found, freshness_headers(found, "json")


@operation("describeDataset", "Datasets", answer=documents.DatasetDescription, statuses=(304,))
@conditional(_current)
def describe_dataset(_: Call, connection: Connection, found: DatasetVersion) -> Response:
    """Describe a dataset: columns, key, policies, queries, freshness, declaration."""
    dataset = found.dataset
    document = documents.DatasetDescription(
        **_facts(connection, found),
        columns=[_column(each) for each in dataset.columns],
        key=list(dataset.key),
        duplicates=str(dataset.duplicates),
        load=str(dataset.load),
        reupload=str(dataset.reupload),
        rollups=[documents.RollupSummary(e.name, e.description) for e in dataset.rollups],
        queries=[documents.QuerySummary(e.name, e.summary) for e in dataset.queries],
        declaration=found.document,
        toml=_toml(connection, found),
    )
    return json_response(document)


def _toml(connection: Connection, found: DatasetVersion) -> str:
    key = {"dataset": found.dataset.name, "version": found.dataset.version}
    stored = connection.scalar(statement("toml_of_declaration"), key)
    return str(stored) if stored else document_toml(found.document)


def _facts(connection: Connection, found: DatasetVersion) -> dict[str, Any]:
    """Return the members that the list and the description of a dataset share."""
    return {
        "name": found.dataset.name,
        "description": found.dataset.description,
        "version": found.dataset.version,
        "origin": found.origin,
        "rows": _count(connection, found),
        "freshness": documents.Freshness(found.freshness, found.ingestion, found.changed_at),
    }


def _count(connection: Connection, found: DatasetVersion) -> int:
    """Return the number of published rows: counted where a row may replace another, else summed."""
    if not found.dataset.key:
        return found.rows_loaded or 0
    count = composed(f"SELECT count(*) FROM {view(found.dataset.name)}")
    return int(connection.execute(count).scalar_one())


def _column(column: Column) -> documents.Column:
    return documents.Column(
        name=column.name,
        type=str(column.type),
        description=column.description,
        required=column.required,
        headers=list(column.headers),
        fields=[documents.Field(e.name, e.postgres_type, e.nullable) for e in column.fields],
    )


@operation(
    "declareDataset",
    "Datasets",
    answer=documents.Declared,
    refusals=(409,),
    body=declaration_schema(),
)
def declare_dataset(call: Call) -> Response:
    """Declare a dataset, or change its declaration."""
    from sluice.postgres.declare import declare  # noqa: PLC0415  # SQLAlchemy and DuckDB, paid here

    name = call.path["dataset"]
    document = call.body(dict[str, Any])
    if document.setdefault("name", name) != name:
        raise BodyError(f"name: the body has {document['name']!r}, the path {name!r}")
    try:
        is_changed = declare(call.engine, document, origin="api", actor=call.caller.actor)
    except DeclarationError as error:
        raise error.of_document() from None
    with transaction(call.engine) as connection:
        version = dataset_version(connection, name).dataset.version
    answer = documents.Declared(name, version, is_changed)
    return json_response(answer, headers={"Location": f"/v1/datasets/{name}"})


OPERATIONS = (list_datasets, describe_dataset, declare_dataset)
