"""The OpenAPI 3.1 document: from the table of operations, the declared datasets and their queries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sluice.api.formats import FORMATS, MEDIA_TYPES, ROW_FORMATS, formats_of
from sluice.api.legacy.openapi import alias_paths
from sluice.api.schemas import array, nullable, page_of_rows, record, ref
from sluice.documents.document import schemas
from sluice.querying.filters import PREFIX, operators_of
from sluice.querying.rows import RESERVED, readable_columns

if TYPE_CHECKING:
    from sluice.api.operations import Argument, Operation, Schema
    from sluice.datasets.model import Column, Dataset, Field, Parameter, Query
    from sluice.settings import Settings

Document = dict[str, Any]

_PROBLEM = {
    "description": "A problem document.",
    "content": {"application/problem+json": {"schema": ref("Problem")}},
}


def document(
    operations: Sequence[Operation], datasets: Sequence[Dataset], settings: Settings
) -> Document:
    """Return the OpenAPI document of operations over datasets."""
    paths: dict[str, Document] = {}
    for each in operations:
        paths.setdefault(each.route.path, {})[each.route.method.lower()] = _operation(each)
    rows_arguments = next(each.arguments for each in operations if each.route.name == "listRows")
    for dataset in datasets:
        paths.update(_dataset_paths(dataset, rows_arguments))
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
        "security": [{"token": []}] if settings.token else [],
        "paths": paths,
        "components": {
            "schemas": {**schemas(), **rows},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _tags(operations: Sequence[Operation], datasets: Sequence[Dataset]) -> list[str]:
    named = [f"Dataset {each.name}" for each in datasets]
    return list(dict.fromkeys([*named, *(each.tag for each in operations)]))


def _operation(each: Operation) -> Document:
    parameters = [*_path_parameters(each.route.path), *(_argument(a) for a in each.arguments)]
    answer = {str(each.status): _answer(each.answer, each.formats), "default": _PROBLEM}
    found: Document = {
        "operationId": each.route.name,
        "summary": each.summary,
        "tags": [each.tag],
        "parameters": parameters,
        "responses": answer,
    }
    if each.description:
        found["description"] = each.description
    if each.body is not None:
        content = {"application/json": {"schema": _schema(each.body)}}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _path_parameters(path: str) -> Iterator[Document]:
    for name in re.findall(r"\{(\w+)\}", path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _argument(each: Argument) -> Document:
    return {
        "name": each.name,
        "in": each.place,
        "description": each.description,
        "schema": dict(each.schema),
    }


def _schema(given: Schema) -> Document:
    return ref(given.__name__) if isinstance(given, type) else dict(given)


def _answer(schema: Schema | None, formats: Iterable[str]) -> Document:
    content = {} if schema is None else {FORMATS["json"]: {"schema": _schema(schema)}}
    for name in formats:
        media_type = MEDIA_TYPES.get(name, name).split(";")[0]
        content.setdefault(media_type, {"schema": {"type": "string"}})
    return {"description": "The answer.", **({"content": content} if content else {})}


def _dataset_paths(dataset: Dataset, rows_arguments: Sequence[Argument]) -> dict[str, Document]:
    """Return the paths of a dataset by its own name, with its own columns and parameters."""
    base = f"/v1/datasets/{dataset.name}"
    rows = {f"{base}/rows": {"get": _rows_operation(dataset, rows_arguments)}}
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
        "schema": {"type": "string"},
    }
    return {
        "operationId": f"showRow_{dataset.name}",
        "summary": f"The row of a key of {dataset.name}.",
        "tags": [f"Dataset {dataset.name}"],
        "parameters": [key],
        "responses": {"200": _answer(ref(_row_name(dataset)), ()), "default": _PROBLEM},
    }


def _rows_operation(dataset: Dataset, arguments: Sequence[Argument]) -> Document:
    filters = [_filter(each) for each in readable_columns(dataset).values()]
    return {
        "operationId": f"listRows_{dataset.name}",
        "summary": f"Rows of {dataset.name}.",
        "description": dataset.description,
        "tags": [f"Dataset {dataset.name}"],
        "parameters": [*filters, *(_argument(each) for each in arguments)],
        "responses": {
            "200": _answer(page_of_rows(ref(_row_name(dataset))), ROW_FORMATS),
            "default": _PROBLEM,
        },
    }


def _filter(each: Field) -> Document:
    operators = "|".join(operators_of(each.postgres_type))
    return {
        "name": f"{PREFIX}{each.name}" if each.name in RESERVED else each.name,
        "in": "query",
        "description": f"Filter `op.value` on a column of type {each.postgres_type}.",
        "schema": {"type": "string", "pattern": f"^({operators})\\."},
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
        "responses": {"200": _answer(answer, formats_of(query)), "default": _PROBLEM},
    }


def _query_parameter(each: Parameter) -> Document:
    schema: Document = dict(each.stored.json_schema)
    limits = {"minimum": each.minimum, "maximum": each.maximum}
    schema.update({name: value for name, value in limits.items() if value is not None})
    if each.one_of:
        schema["enum"] = list(each.one_of)
    if each.default is not None:
        schema["default"] = _default(each)
    return {
        "name": each.name,
        "in": "query",
        "description": each.description,
        "required": each.required,
        "schema": schema,
    }


def _default(each: Parameter) -> object:
    value = each.stored.parse(each.default or "")
    return value if isinstance(value, int | float) else each.default


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
    return record(properties)


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
