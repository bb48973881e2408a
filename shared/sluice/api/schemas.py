"""The documents of the API as JSON Schemas, for OpenAPI's components."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sluice.ingestion.events import PROGRESS
from sluice.ingestion.model import State

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_WHOLE: Schema = {"type": "integer"}
_FLAG: Schema = {"type": "boolean"}
_MOMENT: Schema = {"type": "string", "format": "date-time"}
_OPEN: Schema = {"type": "object"}
_STATE: Schema = {"type": "string", "enum": [str(each) for each in State]}


def ref(name: str) -> Schema:
    """Return a reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: Mapping[str, Any]) -> Schema:
    """Return the schema of an array."""
    return {"type": "array", "items": dict(items)}


def nullable(schema: Mapping[str, Any]) -> Schema:
    """Return the schema of a value that may be null."""
    return {"anyOf": [dict(schema), {"type": "null"}]}


def record(properties: Mapping[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    """Return the schema of an object, whose members are required unless named."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required}


def list_of(name: str, component: str) -> Schema:
    """Return the schema of `{"<name>": [component, ...]}`."""
    return record({name: array(ref(component))})


def page_of(name: str, items: Mapping[str, Any]) -> Schema:
    """Return the schema of `{"<name>": [...], "next": cursor or null}`."""
    return record({name: array(items), "next": nullable(_TEXT)})


_FRESHNESS = record(
    {"version": _WHOLE, "ingestion": nullable(_WHOLE), "changed_at": nullable(_MOMENT)}
)
_FIELD = record({"name": _TEXT, "type": _TEXT, "nullable": _FLAG})
_COLUMN = record(
    {
        "name": _TEXT,
        "type": _TEXT,
        "description": _TEXT,
        "required": _FLAG,
        "headers": array(_TEXT),
        "fields": array(_FIELD),
    }
)
_DATASET = {
    "name": _TEXT,
    "description": _TEXT,
    "version": _WHOLE,
    "origin": {"type": "string", "enum": ["folder", "api", "inferred", "restored"]},
    "rows": _WHOLE,
    "freshness": _FRESHNESS,
}
_ACCOUNT = record({"read": _WHOLE, "loaded": _WHOLE, "rejected": _WHOLE, "duplicates": _WHOLE})
_INGESTION = {
    "id": _WHOLE,
    "dataset": nullable(_TEXT),
    "state": _STATE,
    "bucket": _TEXT,
    "object": _TEXT,
    "generation": _TEXT,
    "size_bytes": _WHOLE,
    "bytes_loaded": _WHOLE,
    "chunks": record({"total": nullable(_WHOLE), "loaded": _WHOLE}),
    "account": ref("Account"),
    "warnings": array(_OPEN),
    "output": nullable(record({"url": _TEXT, "size_bytes": _WHOLE})),
    "problem": nullable(ref("Problem")),
    "sequence": _WHOLE,
    "replaced_by": nullable(_WHOLE),
    "received_at": _MOMENT,
    "updated_at": _MOMENT,
    "finished_at": nullable(_MOMENT),
}

COMPONENTS: Mapping[str, Schema] = {
    "Problem": {
        "description": "What, where and what to do about it (RFC 9457).",
        **record(
            {
                "type": {"type": "string", "format": "uri"},
                "title": _TEXT,
                "status": _WHOLE,
                "code": _TEXT,
                "detail": _TEXT,
            }
        ),
    },
    "Dataset": record(_DATASET),
    "DatasetDescription": record(
        {
            **_DATASET,
            "columns": array(_COLUMN),
            "key": array(_TEXT),
            "duplicates": _TEXT,
            "load": _TEXT,
            "reupload": _TEXT,
            "rollups": array(record({"name": _TEXT, "description": _TEXT})),
            "queries": array(record({"name": _TEXT, "summary": _TEXT})),
            "declaration": _OPEN,
        }
    ),
    "Query": record(
        {
            "name": _TEXT,
            "summary": _TEXT,
            "description": _TEXT,
            "parameters": array(_OPEN),
            "needs": array(array(_TEXT)),
            "returns": {"type": "string", "enum": ["one", "many"]},
            "drawing": nullable(_OPEN),
            "verb": _TEXT,
            "output": _TEXT,
            "near": nullable(_OPEN),
            "formats": array(_TEXT),
            "url": _TEXT,
        }
    ),
    "Account": {"description": "read = loaded + rejected + duplicates.", **_ACCOUNT},
    "Ingestion": record(_INGESTION),
    "Backup": record(
        {
            "id": _TEXT,
            "state": {"type": "string", "enum": ["running", "done", "failed"]},
            "format": _TEXT,
            "started_at": _MOMENT,
            "finished_at": nullable(_MOMENT),
            "rows": _WHOLE,
            "size_bytes": _WHOLE,
            "datasets": array(
                record({"name": _TEXT, "rows": _WHOLE, "size_bytes": _WHOLE, "parts": _WHOLE})
            ),
            "problem": nullable(_OPEN),
        }
    ),
    "Comparison": record(
        {
            "backup": _TEXT,
            "equal": _FLAG,
            "datasets": array(
                record(
                    {
                        "dataset": _TEXT,
                        "copy": _TEXT,
                        "equal": _FLAG,
                        "rows": _WHOLE,
                        "rows_of_copy": _WHOLE,
                        "only_here": _WHOLE,
                        "only_there": _WHOLE,
                        "sample_here": array(_OPEN),
                        "sample_there": array(_OPEN),
                    }
                )
            ),
        }
    ),
    "Admission": record(
        {
            "dataset": _TEXT,
            "ingestion": _WHOLE,
            "state": _STATE,
            "account": ref("Account"),
            "problem": nullable(ref("Problem")),
            "rows": array(
                record(
                    {
                        "row": {"type": "integer", "description": "From 1, as it was sent."},
                        "outcome": {
                            "type": "string",
                            "enum": ["loaded", "duplicate", "rejected", "not_loaded"],
                        },
                        "column": nullable(_TEXT),
                        "rule": _TEXT,
                        "value": nullable(_TEXT),
                        "reason": _TEXT,
                    },
                    optional=("column", "rule", "value", "reason"),
                )
            ),
        }
    ),
    "Reject": record(
        {
            "line": _WHOLE,
            "column": nullable(_TEXT),
            "rule": _TEXT,
            "value": nullable(_TEXT),
            "reason": _TEXT,
            "original": _TEXT,
        }
    ),
    "Event": {
        "description": "A CloudEvent (1.0) of a state reached, or of progress.",
        **record(
            {
                "specversion": _TEXT,
                "id": _TEXT,
                "source": _TEXT,
                "type": {
                    "type": "string",
                    "enum": [f"sluice.ingestion.{each}" for each in (*State, PROGRESS)],
                },
                "subject": _TEXT,
                "time": _MOMENT,
                "datacontenttype": _TEXT,
                "sequence": _WHOLE,
                "data": _OPEN,
            }
        ),
    },
    "UploadRequest": record(
        {
            "dataset": _TEXT,
            "name": {"type": "string", "description": "Ends in .csv, .csv.gz or .csv.zst."},
            "size_bytes": _WHOLE,
            "content_type": _TEXT,
            "create_only": {
                "type": "boolean",
                "description": "Refuse the upload when the object is there already.",
            },
        },
        optional=("size_bytes", "content_type", "create_only"),
    ),
    "Upload": record(
        {
            "url": {"type": "string", "description": "PUT the file here: curl -T FILE URL."},
            "bucket": _TEXT,
            "object": _TEXT,
        }
    ),
    "SubscriptionRequest": record(
        {
            "endpoint": {"type": "string", "format": "uri"},
            "dataset": nullable(_TEXT),
            "states": array({"type": "string", "enum": [*map(str, State), PROGRESS]}),
        },
        optional=("dataset", "states"),
    ),
    "Subscription": record(
        {
            "id": _TEXT,
            "endpoint": _TEXT,
            "dataset": nullable(_TEXT),
            "states": array(_TEXT),
            "created_at": _MOMENT,
        }
    ),
}
