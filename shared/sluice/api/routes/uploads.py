"""The function `intake`: uploads to the inbox, declarations of datasets, commands to ingestions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.api import schemas
from sluice.api.ingestion_documents import ingestion_document, ingestion_number
from sluice.api.operations import Operation
from sluice.api.responses import json_response
from sluice.errors import BodyError
from sluice.ingestion.ingestions import select_ingestion
from sluice.postgres.catalog import dataset_version
from sluice.postgres.connection import transaction
from sluice.querying.reading import snapshot

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

    from sluice.api.operations import Call

#: Content type of each kind of file that may be dropped.
SUFFIXES = {
    ".csv": "text/csv",
    ".csv.gz": "application/gzip",
    ".csv.zst": "application/zstd",
}
MAX_OBJECT_NAME_BYTES = 1024  # https://cloud.google.com/storage/docs/objects#naming


def open_upload(call: Call) -> Response:
    """Answer `POST /v1/uploads`."""
    from sluice.gcloud.upload_sessions import open_session  # noqa: PLC0415  # paid where first used

    body = call.body(
        required=("dataset", "name"),
        optional=("size", "size_bytes", "content_type", "create_only"),
    )
    dataset, name = _text(body, "dataset"), _file_name(_text(body, "name"))
    with snapshot(call.engine, call.settings.statement_timeout_s) as connection:
        dataset_version(connection, dataset)
    stored = _object_name(dataset, name)
    url = open_session(
        call.settings,
        stored,
        content_type=_text(body, "content_type") if "content_type" in body else _type_of(name),
        size_bytes=_size(body),
        create_only=_flag(body, "create_only"),
    )
    answer = {"url": url, "bucket": call.settings.inbox, "object": stored}
    return json_response(answer, 201, {"Location": url})


def _text(body: dict[str, object], name: str) -> str:
    value = body[name]
    if not isinstance(value, str) or not value:
        raise BodyError(f"{name}: {value!r} is not a text")
    return value


def _flag(body: dict[str, object], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise BodyError(f"{name}: {value!r} is not true or false")
    return value


def _size(body: dict[str, object]) -> int | None:
    value = body.get("size_bytes", body.get("size"))
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BodyError(f"size_bytes: {value!r} is not a number of bytes")
    return value


def _file_name(name: str) -> str:
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or any(ord(sign) < 32 for sign in name):
        raise BodyError(f'name: "{name}" is not the name of an object')
    if not name.endswith(tuple(SUFFIXES)):
        raise BodyError(f'name: "{name}" does not end in one of {", ".join(SUFFIXES)}')
    return name


def _type_of(name: str) -> str:
    return next(kind for suffix, kind in SUFFIXES.items() if name.endswith(suffix))


def _object_name(dataset: str, name: str) -> str:
    stored = f"{dataset}/{name}"
    if len(stored.encode()) > MAX_OBJECT_NAME_BYTES:
        raise BodyError(f"name: longer than {MAX_OBJECT_NAME_BYTES} bytes with its prefix")
    return stored


def declare_dataset(call: Call) -> Response:
    """Answer `PUT /v1/datasets/{dataset}`."""
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


def _command(call: Call, name: str) -> Response:
    from sluice.gcloud.pubsub import PubsubPublisher  # noqa: PLC0415
    from sluice.ingestion.commands import Control  # noqa: PLC0415  # SQLAlchemy, paid where first used

    control = Control(call.settings, call.engine, PubsubPublisher(call.settings.project))
    number = ingestion_number(call)
    getattr(control, name)(number)
    with snapshot(call.engine, call.settings.statement_timeout_s) as connection:
        row = select_ingestion(connection, number)
    return json_response(ingestion_document(row))


def cancel_ingestion(call: Call) -> Response:
    """Answer `POST /v1/ingestions/{ingestion}/cancel`."""
    return _command(call, "cancel")


def retry_ingestion(call: Call) -> Response:
    """Answer `POST /v1/ingestions/{ingestion}/retry`."""
    return _command(call, "retry")


def undo_ingestion(call: Call) -> Response:
    """Answer `POST /v1/ingestions/{ingestion}/undo`."""
    return _command(call, "undo")


OPERATIONS = (
    Operation(
        "POST", "/v1/uploads", open_upload, "openUpload",
        "Opens a resumable upload straight to the inbox; then `curl -T FILE \"$url\"`.",
        "Ingestions", status=201, answer=schemas.ref("Upload"), body=schemas.ref("UploadRequest"),
    ),
    Operation(
        "PUT", "/v1/datasets/{dataset}", declare_dataset, "declareDataset",
        "Declares a dataset, or changes its declaration.",
        "Datasets",
        answer=schemas.record(
            {
                "name": {"type": "string"},
                "version": {"type": "integer"},
                "changed": {"type": "boolean"},
            }
        ),
        body={"type": "object"},
    ),
    Operation(
        "POST", "/v1/ingestions/{ingestion}/cancel", cancel_ingestion, "cancelIngestion",
        "Stops an ingestion that is not published yet.",
        "Ingestions", answer=schemas.ref("Ingestion"),
    ),
    Operation(
        "POST", "/v1/ingestions/{ingestion}/retry", retry_ingestion, "retryIngestion",
        "Begins a failed or cancelled ingestion again.",
        "Ingestions", answer=schemas.ref("Ingestion"),
    ),
    Operation(
        "POST", "/v1/ingestions/{ingestion}/undo", undo_ingestion, "undoIngestion",
        "Takes the rows of a published ingestion back.",
        "Ingestions", answer=schemas.ref("Ingestion"),
    ),
)  # fmt: skip
