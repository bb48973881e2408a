"""JSON Schemas put together from others, for OpenAPI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Schema = dict[str, Any]

_REFUSALS = {
    400: "The request is not valid.",
    401: "The request has no valid key.",
    403: "The caller may not do this.",
    404: "There is no such thing, or not for this caller.",
    406: "None of the formats that the client accepts is offered.",
    409: "The state does not allow this.",
    412: "The object exists.",
    413: "The request, or its answer, exceeds a limit.",
    416: "The range starts after the end.",
    422: "The content is not valid, or the query took too long.",
    429: "The caller has sent too many requests.",
    503: "A part of the service is unavailable; try again.",
}
#: Any request may exceed a limit of size, time or number.
_EVERYWHERE = (400, 401, 403, 404, 413, 422, 429, 503)
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds after which to try again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    }
}
_HEADERS = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}},
    416: {"Content-Range": {"required": True, "schema": {"type": "string"}}},
    429: _RETRY_AFTER,
    503: _RETRY_AFTER,
}


def ref(name: str) -> Schema:
    """Return a reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: Mapping[str, Any]) -> Schema:
    """Return the schema of an array."""
    return {"type": "array", "items": dict(items)}


def nullable(schema: Mapping[str, Any]) -> Schema:
    """Return the schema of a value that may be null."""
    return {"anyOf": [dict(schema), {"type": "null"}]}


def record(properties: Mapping[str, Schema]) -> Schema:
    """Return the schema of an object whose members are all required."""
    return {"type": "object", "properties": dict(properties), "required": list(properties)}


def list_of_names(names: Iterable[str]) -> Schema:
    """Return the schema of at least one of the names, each once at most."""
    items = {"type": "string", "enum": [*names]}
    return {"type": "array", "items": items, "minItems": 1, "uniqueItems": True}


def refusals(statuses: Iterable[int] = (), *, is_page: bool = False) -> Schema:
    """Return the responses of an operation that are problem documents.

    Args:
        statuses: besides those that every operation has.
        is_page: whether a browser gets a page that shows the problem.
    """
    kind = "problem_page" if is_page else "problem"
    return {
        str(status): {"$ref": f"#/components/responses/{kind}_{status}"}
        for status in sorted({*_EVERYWHERE, *statuses})
    }


def shared_responses() -> Schema:
    """Return the components that `refusals` refers to."""
    content = {"application/problem+json": {"schema": ref("Problem")}}
    page = {**content, "text/html": {"schema": {"type": "string"}}}
    found = {}
    for status, description in _REFUSALS.items():
        headers = {"headers": _HEADERS[status]} if status in _HEADERS else {}
        for kind, each in (("problem", content), ("problem_page", page)):
            found[f"{kind}_{status}"] = {"description": description, **headers, "content": each}
    return found


def page_of_rows(row: Mapping[str, Any]) -> Schema:
    """Return the schema of `{"rows": [...], "next": cursor or null}`."""
    return record({"rows": array(row), "next": nullable({"type": "string"})})
