"""JSON Schemas put together from others, for OpenAPI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]


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


def page_of_rows(row: Mapping[str, Any]) -> Schema:
    """Return the schema of `{"rows": [...], "next": cursor or null}`."""
    return record({"rows": array(row), "next": nullable({"type": "string"})})
