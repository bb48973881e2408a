"""The OpenAPI 3.1 document: from the table of operations, the declared datasets and their queries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sluice.api.formats import FORMATS, MEDIA_TYPES, ROW_FORMATS, formats_of
from sluice.api.legacy.openapi import alias_paths
from sluice.api.operations import LIMIT
from sluice.api.schemas import (
    array,
    list_of_names,
    nullable,
    page_of_rows,
    record,
    ref,
    refusals,
    shared_responses,
)
from sluice.api.sse import EVENT_STREAM
from sluice.api.text_schemas import NAME_TEXT, filter_schema, parameter_schema, text_schema
from sluice.documents.document import has_required_fields, schemas
from sluice.documents.roles import Role
from sluice.querying.filters import PREFIX
from sluice.querying.measures import measures_of
from sluice.querying.rows import RESERVED, readable_columns

if TYPE_CHECKING:
    from sluice.api.operations import Argument, Operation, Schema
    from sluice.datasets.model import Column, Dataset, Field, Parameter, Query
    from sluice.settings import Settings

Document = dict[str, Any]

#: Name of the security scheme.
SCHEME = "key"
_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key, or an ID token of Google. An operation lists the least role that it needs:"
    " reader, loader or admin.",
}
_NOT_MODIFIED = {"description": "The answer has not changed."}
_OTHER_ANSWERS = {206: {"description": "The range that was requested."}, 304: _NOT_MODIFIED}
_PATH_SCHEMAS: dict[str, Document] = {
    "dataset": NAME_TEXT,
    "query": NAME_TEXT,
    "ingestion": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
}


def document(
    operations: Sequence[Operation], datasets: Sequence[Dataset], settings: Settings
) -> Document:
    """Return the OpenAPI document of operations over datasets."""
    operations = [_with_maximum(each, settings) for each in operations]
    paths: dict[str, Document] = {}
    for each in operations:
        paths.setdefault(each.route.path, {})[each.route.method.lower()] = _operation(each)
    named = {each.route.name: each for each in operations}
    for dataset in datasets:
        paths.update(_dataset_paths(dataset, named["listRows"], named["postRows"]))
        paths.update(alias_paths(dataset))
    rows = {_row_name(each): _row_schema(each) for each in datasets}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sluice",
            "version": "1",
            "description": "Drop a CSV in a bucket; get typed, checked rows and answers.",
        },
        "servers": [{"url": settings.public_url}],
        "tags": [{"name": name} for name in _tags(operations, datasets)],
        "security": [{SCHEME: [str(Role.READER)]}],
        "paths": paths,
        "components": {
            "schemas": {**schemas(), **rows},
            "responses": shared_responses(),
            "securitySchemes": {SCHEME: _SCHEME},
        },
    }


def _tags(operations: Sequence[Operation], datasets: Sequence[Dataset]) -> list[str]:
    named = [f"Dataset {each.name}" for each in datasets]
    return list(dict.fromkeys([*named, *(each.tag for each in operations)]))


def _with_maximum(each: Operation, settings: Settings) -> Operation:
    """Return an operation whose pages have as many entries as the settings allow, if it has no less."""
    limit = replace(LIMIT, schema={**LIMIT.schema, "maximum": settings.max_rows})
    return replace(each, arguments=tuple(limit if a is LIMIT else a for a in each.arguments))


def _operation(each: Operation) -> Document:
    parameters = [*_path_parameters(each.route.path), *(_argument(a) for a in each.arguments)]
    found: Document = {
        "operationId": each.route.name,
        "summary": each.summary,
        "tags": [each.tag],
        "parameters": parameters,
        "responses": _responses(each, _answer(each.answer, each.formats)),
        "security": [{SCHEME: [str(each.route.role)]}],
    }
    if each.description:
        found["description"] = each.description
    if each.body is not None:
        content = {each.body_type: {"schema": _schema(each.body)}}
        found["requestBody"] = {"required": not _may_be_empty(each.body), "content": content}
    return found


def _responses(each: Operation, answer: Document) -> Document:
    is_page = "html" in each.formats
    return {str(each.status): answer, **_others(each), **refusals(each.refusals, is_page=is_page)}


def _others(each: Operation) -> Document:
    return {str(status): _OTHER_ANSWERS[status] for status in each.statuses}


def _may_be_empty(body: Schema) -> bool:
    """Whether an empty body is a document, all of whose members have defaults."""
    return isinstance(body, type) and not has_required_fields(body)


def _path_parameters(path: str) -> Iterator[Document]:
    for name in re.findall(r"\{(\w+)\}", path):
        schema = _PATH_SCHEMAS.get(name, {"type": "string", "minLength": 1})
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _argument(each: Argument) -> Document:
    found: Document = {"name": each.name, "in": each.place, "description": each.description}
    if each.schema.get("type") == "array":
        found |= {"style": "form", "explode": False}  # one text, separated by commas
    return {**found, "schema": dict(each.schema)}


def _schema(given: Schema) -> Document:
    return ref(given.__name__) if isinstance(given, type) else dict(given)


def _answer(schema: Schema | None, formats: Iterable[str]) -> Document:
    content = {} if schema is None else {FORMATS["json"]: {"schema": _schema(schema)}}
    for name in formats:
        media_type = MEDIA_TYPES.get(name, name).split(";")[0]
        is_text = media_type != EVENT_STREAM  # a stream of events has no schema in OpenAPI 3.1
        content.setdefault(media_type, {"schema": {"type": "string"}} if is_text else {})
    return {"description": "The answer.", **({"content": content} if content else {})}


def _dataset_paths(
    dataset: Dataset, list_rows: Operation, post_rows: Operation
) -> dict[str, Document]:
    """Return the paths of a dataset by its own name, with its own columns and parameters."""
    base = f"/v1/datasets/{dataset.name}"
    rows = {
        f"{base}/rows": {
            "get": _rows_operation(dataset, list_rows),
            "post": _post_operation(dataset, post_rows),
        }
    }
    if dataset.key:
        rows[f"{base}/rows/{{key}}"] = {"get": _row_operation(dataset)}
    queries = {
        f"{base}/queries/{each.name}": {"get": _query_operation(dataset, each)}
        for each in dataset.queries
    }
    return {**rows, **queries}


def _row_operation(dataset: Dataset) -> Document:
    key = {
        "name": "key",
        "in": "path",
        "required": True,
        "description": f"The key: {','.join(dataset.key)}.",
        "schema": _key_schema(dataset),
    }
    return {
        "operationId": f"showRow_{dataset.name}",
        "summary": f"The row of a key of {dataset.name}.",
        "tags": [f"Dataset {dataset.name}"],
        "parameters": [key],
        "responses": {
            "200": _answer(_complete_row(dataset), ()),
            "304": _NOT_MODIFIED,
            **refusals(),
        },
    }


def _complete_row(dataset: Dataset) -> Document:
    return {"allOf": [ref(_row_name(dataset))], "required": [*readable_columns(dataset)]}


def _key_schema(dataset: Dataset) -> Document:
    """Return the schema of a key; one of several columns is a list."""
    if len(dataset.key) > 1:
        return {"type": "string", "minLength": 1}
    (name,) = dataset.key
    return text_schema(readable_columns(dataset)[name].stored)


def _post_operation(dataset: Dataset, of_any: Operation) -> Document:
    """Return the operation that posts rows of a dataset; what the rules refuse is no error."""
    return {
        **_operation(of_any),
        "operationId": f"postRows_{dataset.name}",
        "summary": f"Loads rows of {dataset.name}.",
        "tags": [f"Dataset {dataset.name}"],
        "parameters": [_argument(each) for each in of_any.arguments],
    }


def _rows_operation(dataset: Dataset, of_any: Operation) -> Document:
    columns = readable_columns(dataset)
    filters = [_filter(each) for each in columns.values()]
    named = _arguments_of_columns(columns)
    arguments = [
        replace(each, schema=named.get(each.name, each.schema)) for each in of_any.arguments
    ]
    return {
        "operationId": f"listRows_{dataset.name}",
        "summary": f"Rows of {dataset.name}.",
        "description": dataset.description,
        "tags": [f"Dataset {dataset.name}"],
        "parameters": [*filters, *(_argument(each) for each in arguments)],
        "responses": _responses(
            of_any, _answer(page_of_rows(ref(_row_name(dataset))), ROW_FORMATS)
        ),
    }


def _arguments_of_columns(columns: Mapping[str, Field]) -> dict[str, Document]:
    """Return the schemas of the parameters that name columns of a dataset."""
    sortable = [each.name for each in columns.values() if each.stored.is_sortable]
    orders = [f"{name}{direction}" for name in sortable for direction in ("", ".asc", ".desc")]
    return {
        "select": list_of_names(columns),
        "order": list_of_names(orders),
        "group": list_of_names(sortable),
        "measure": list_of_names(measures_of(columns.values())),
    }


def _filter(each: Field) -> Document:
    return {
        "name": f"{PREFIX}{each.name}" if each.name in RESERVED else each.name,
        "in": "query",
        "description": f"Filter `op.value` on a column of type {each.postgres_type}.",
        "schema": filter_schema(each),
        "example": f"eq.{_example_text(each)}",
    }


def _example_text(each: Field) -> str:
    example = each.stored.example
    return str(example).lower() if isinstance(example, bool) else str(example)


def _query_operation(dataset: Dataset, query: Query) -> Document:
    alternatives = [" ".join(each) or "none" for each in query.needs]
    needs = f" Needs {' or '.join(alternatives)}." if alternatives else ""
    is_one = query.returns == "one"
    answer = {"type": "object"} if is_one else record({"rows": array({"type": "object"})})
    return {
        "operationId": f"ask_{dataset.name}_{query.name}",
        "summary": query.summary,
        "description": query.description + needs,
        "tags": [f"Dataset {dataset.name}"],
        "parameters": [_query_parameter(each) for each in query.parameters],
        "responses": {
            "200": _answer(answer, formats_of(query)),
            "304": _NOT_MODIFIED,
            **refusals((406, 409), is_page=True),
        },
    }


def _query_parameter(each: Parameter) -> Document:
    return {
        "name": each.name,
        "in": "query",
        "description": each.description,
        "required": each.required,
        "schema": parameter_schema(each),
    }


def _row_name(dataset: Dataset) -> str:
    return f"Row_{dataset.name}"


def _row_schema(dataset: Dataset) -> Document:
    columns = {field.name: column for column in dataset.columns for field in column.fields}
    properties = {}
    for each in readable_columns(dataset).values():
        schema: Document = dict(each.stored.json_schema)
        schema["examples"] = [each.stored.example]
        if column := columns.get(each.name):
            schema.update(_declared(column))
        properties[each.name] = nullable(schema) if each.nullable else schema
    return {
        "type": "object",
        "description": "A row, or the columns of it that were selected.",
        "properties": properties,
    }


def _declared(column: Column) -> Document:
    """Return the constraints that a column declares."""
    found: Document = {"description": column.description} if column.description else {}
    if column.one_of:
        found |= {"enum": list(column.one_of), "examples": [column.one_of[0]]}
    if column.max_length is not None:
        found["maxLength"] = column.max_length
    limits = {"minimum": column.minimum, "maximum": column.maximum}
    found |= {name: each for name, each in limits.items() if isinstance(each, int | float)}
    return found
