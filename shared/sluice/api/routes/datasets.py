"""Datasets: listed, described, declared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.api import schemas
from sluice.api.conditional import conditional, freshness_headers
from sluice.api.operations import Call, operation
from sluice.api.responses import json_response
from sluice.datasets.identifiers import view
from sluice.errors import BodyError
from sluice.postgres.catalog import DatasetVersion, dataset_version, dataset_versions
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import composed

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from werkzeug.wrappers import Response

    from sluice.datasets.model import Column


@operation("listDatasets", "Datasets", answer=schemas.list_of("datasets", "Dataset"))
def list_datasets(call: Call) -> Response:
    """List the datasets, each with its number of published rows and its freshness."""
    with call.snapshot() as connection:
        found = [_summary(connection, each) for each in dataset_versions(connection)]
    return json_response({"datasets": found})


def _current(call: Call, connection: Connection) -> tuple[DatasetVersion, dict[str, str]]:
    found = dataset_version(connection, call.path["dataset"], has_counts=True)
    return found, freshness_headers(found, "json")


@operation("describeDataset", "Datasets", answer=schemas.ref("DatasetDescription"))
@conditional(_current)
def describe_dataset(_: Call, connection: Connection, found: DatasetVersion) -> Response:
    """Describe a dataset: columns, key, policies, queries, freshness, declaration."""
    dataset = found.dataset
    document = {
        **_summary(connection, found),
        "columns": [_column_document(each) for each in dataset.columns],
        "key": list(dataset.key),
        "duplicates": str(dataset.duplicates),
        "load": str(dataset.load),
        "reupload": str(dataset.reupload),
        "rollups": [
            {"name": each.name, "description": each.description} for each in dataset.rollups
        ],
        "queries": [{"name": each.name, "summary": each.summary} for each in dataset.queries],
        "declaration": found.document,
    }
    return json_response(document)


def _summary(connection: Connection, found: DatasetVersion) -> dict[str, object]:
    return {
        "name": found.dataset.name,
        "description": found.dataset.description,
        "version": found.dataset.version,
        "origin": found.origin,
        "rows": _count(connection, found),
        "freshness": {
            "version": found.freshness,
            "ingestion": found.ingestion,
            "changed_at": found.changed_at.isoformat() if found.changed_at else None,
        },
    }


def _count(connection: Connection, found: DatasetVersion) -> int:
    """Return the number of published rows: counted where a row may replace another, else summed."""
    if not found.dataset.key:
        return found.rows_loaded or 0
    count = composed(f"SELECT count(*) FROM {view(found.dataset.name)}")
    return int(connection.execute(count).scalar_one())


def _column_document(column: Column) -> dict[str, object]:
    return {
        "name": column.name,
        "type": str(column.type),
        "description": column.description,
        "required": column.required,
        "headers": list(column.headers),
        "fields": [
            {"name": each.name, "type": each.postgres_type, "nullable": each.nullable}
            for each in column.fields
        ],
    }


@operation(
    "declareDataset",
    "Datasets",
    answer=schemas.record(
        {"name": {"type": "string"}, "version": {"type": "integer"}, "changed": {"type": "boolean"}}
    ),
    body={"type": "object"},
)
def declare_dataset(call: Call) -> Response:
    """Declare a dataset, or change its declaration."""
    from sluice.postgres.declare import declare  # noqa: PLC0415  # SQLAlchemy and DuckDB, paid here

    name = call.path["dataset"]
    document = call.document()
    if document.setdefault("name", name) != name:
        raise BodyError(f"name: the body says {document['name']!r}, the path {name!r}")
    is_changed = declare(call.engine, document, origin="api")
    with transaction(call.engine) as connection:
        version = dataset_version(connection, name).dataset.version
    answer = {"name": name, "version": version, "changed": is_changed}
    return json_response(answer, headers={"Location": f"/v1/datasets/{name}"})


OPERATIONS = (list_datasets, describe_dataset, declare_dataset)
