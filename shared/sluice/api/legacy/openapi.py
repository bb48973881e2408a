"""The OpenAPI paths of aliases: the routes of older systems that datasets serve."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sluice.api.schemas import array, record, ref

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
_PROBLEM = {
    "description": "A problem document.",
    "content": {"application/problem+json": {"schema": ref("Problem")}},
}


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
        "responses": {"200": _answer(alias), "default": _PROBLEM},
    }
    if body := _body(dataset, alias):
        found["requestBody"] = {"required": True, "content": body}
    return found


def _summary(alias: Alias, query: Query | None) -> str:
    if alias.kind == "text":
        return f"Answers {alias.text}."
    if query is None:
        return _SUMMARIES[alias.kind]
    return f"Adds a row, then answers: {query.summary}" if alias.kind == "row" else query.summary


def _parameters(alias: Alias, query: Query | None) -> Iterator[Document]:
    in_path = re.findall(r"\{(\w+)\}", alias.path)
    for name in in_path:
        yield {"name": name, "in": "path", "required": True, "schema": _TEXT}
    for each in query.parameters if query and alias.kind == "query" else ():
        if each.name not in in_path:
            rest = {"description": each.description, "schema": _TEXT}
            yield {"name": each.name, "in": "query", "required": each.required, **rest}
    if alias.kind == "upload":
        yield {"name": "table", "in": "query", "description": "The dataset.", "schema": _TEXT}


def _body(dataset: Dataset, alias: Alias) -> Document | None:
    """Return the content of the body that an alias takes."""
    file: Document = {"type": "string", "contentMediaType": "text/csv"}
    match alias.kind:
        case "row":
            members: Document = {each.headers[0]: {} for each in dataset.columns}
            schema = {"type": "object", "properties": members, "required": list(alias.needs)}
            return {"application/json": {"schema": schema}}
        case "upload":
            return {"multipart/form-data": {"schema": record({"file": file})}}
        case "chunked_upload":
            members = {**dict.fromkeys(_PIECE, _TEXT), "file": file}
            return {"multipart/form-data": {"schema": record(members)}}
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
