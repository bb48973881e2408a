"""The OpenAPI paths of aliases: the routes of older systems that datasets serve."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sluice.api.schemas import array, record, ref, refusals
from sluice.api.text_schemas import NAME_TEXT, parameter_schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sluice.datasets.model import Alias, Dataset, Query

Document = dict[str, Any]

_SUMMARIES = {
    "upload": "Loads a CSV file; its name, or the parameter `table`, names the dataset.",
    "chunked_upload": "Takes a CSV file in parts, as dropzone.js sends it, in any order.",
    "job_status": "Returns the state of an upload.",
    "job_output": "Downloads the output of an upload, in full or by range.",
}
_PIECE = ("dzuuid", "dzchunkbyteoffset", "dzchunksize", "dztotalfilesize", "dzfilename")
_TEXT = {"type": "string"}
_FILE: Document = {
    "type": "string",
    "format": "binary",
    "contentMediaType": "text/csv",
    "description": "With a name that ends in .csv.",
}
#: What a server of the protocol answers for a job that it does not have, or whose file is not ready.
_JOB_REFUSAL = record({"status": _TEXT, "message": _TEXT})


def alias_paths(dataset: Dataset) -> dict[str, Document]:
    """Return the paths of a dataset's aliases."""
    paths: dict[str, Document] = {}
    for each in dataset.aliases:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(dataset, each)
    return paths


def _operation(dataset: Dataset, alias: Alias) -> Document:
    query = dataset.query(alias.query) if alias.query else None
    slug = re.sub(r"\W+", "_", alias.path).strip("_")
    found: Document = {
        "operationId": f"alias_{alias.method.lower()}_{slug}",
        "summary": _summary(alias, query),
        "description": f"A route of an older system, served for the dataset {dataset.name}.",
        "tags": [f"Dataset {dataset.name}"],
        "parameters": list(_parameters(alias, query)),
        "responses": _responses(alias),
        "security": [{"key": [str(alias.role)]}],
    }
    if body := _body(dataset, alias):
        found["requestBody"] = {"required": True, "content": body}
    return found


def _responses(alias: Alias) -> Document:
    statuses = (406, 409, 416) if alias.kind == "job_output" else (406, 409)
    found: Document = {"200": _answer(alias), **refusals(statuses)}
    if alias.query:
        found["304"] = {"description": "The answer has not changed."}
    if alias.kind == "upload":
        found["202"] = {**_answer(alias), "description": "The file is still being processed."}
    if alias.kind in ("chunked_upload", "job_status", "job_output"):
        for status in ("400", "404"):
            found[status] = {
                "description": "The request is refused.",
                "content": {
                    "application/json": {"schema": _JOB_REFUSAL},
                    "application/problem+json": {"schema": ref("Problem")},
                },
            }
    if alias.kind == "job_output":
        ranges = {"206": "The range that was requested.", "304": "The file has not changed."}
        found |= {status: {"description": text} for status, text in ranges.items()}
    return found


def _summary(alias: Alias, query: Query | None) -> str:
    if alias.kind == "text":
        return f"Answers {alias.text}."
    if query is None:
        return _SUMMARIES[alias.kind]
    return f"Adds a row, then answers: {query.summary}" if alias.kind == "row" else query.summary


def _parameters(alias: Alias, query: Query | None) -> Iterator[Document]:
    listed = query.parameters if query else ()
    parameters = {each.name: parameter_schema(each) for each in listed}
    in_path = re.findall(r"\{(\w+)\}", alias.path)
    for name in in_path:
        schema = parameters.get(name, {**_TEXT, "minLength": 1})
        yield {"name": name, "in": "path", "required": True, "schema": schema}
    for each in query.parameters if query and alias.kind == "query" else ():
        if each.name not in in_path:
            rest = {"description": each.description, "schema": parameters[each.name]}
            yield {"name": each.name, "in": "query", "required": each.required, **rest}
    if alias.kind == "upload":
        yield {"name": "table", "in": "query", "description": "The dataset.", "schema": NAME_TEXT}


def _body(dataset: Dataset, alias: Alias) -> Document | None:
    """Return the content of the body that an alias takes."""
    match alias.kind:
        case "row":
            members: Document = {each.headers[0]: {} for each in dataset.columns}
            schema = {"type": "object", "properties": members, "required": list(alias.needs)}
            return {"application/json": {"schema": schema}}
        case "upload":
            return {"multipart/form-data": {"schema": record({"file": _FILE})}}
        case "chunked_upload":
            members = {**dict.fromkeys(_PIECE, _TEXT), "file": _FILE}
            schema = {"type": "object", "properties": members, "required": ["file"]}
            return {"multipart/form-data": {"schema": schema}}
    return None


def _answer(alias: Alias) -> Document:
    if alias.kind == "job_output":
        return {"description": "The file.", "content": {"text/csv": {"schema": _TEXT}}}
    if alias.kind == "text" or alias.shape == "text":
        return {"description": "The text.", "content": {"text/plain": {"schema": _TEXT}}}
    is_list = bool(alias.query) and alias.shape != "object"
    schema = array({} if alias.shape == "list" else {"type": "object"})
    return {
        "description": "The answer.",
        "content": {"application/json": {"schema": schema if is_list else {"type": "object"}}},
    }
