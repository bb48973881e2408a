"""Resumable uploads directly to the inbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.api.operations import Call, operation
from sluice.api.responses import json_response
from sluice.csv.contents import ENDINGS, content_type_of, is_csv_name
from sluice.datasets.identifiers import NAME
from sluice.documents import ingestions as documents
from sluice.errors import BodyError
from sluice.ingestion.notifications import OPTION_PREFIX, dialect_options
from sluice.ingestion.uploads import record_upload
from sluice.ports import MAX_OBJECT_NAME_BYTES
from sluice.postgres.connection import transaction

if TYPE_CHECKING:
    from werkzeug.wrappers import Response


@operation(
    "openUpload",
    "Ingestions",
    status=201,
    answer=documents.UploadSession,
    refusals=(412,),
    body=documents.UploadRequest,
)
def open_upload(call: Call) -> Response:
    """Open a resumable upload directly to the inbox; then `curl -T FILE "$url"`."""
    from sluice.gcloud.storage import open_session  # noqa: PLC0415  # paid where first used

    body = call.body(documents.UploadRequest)
    name = _file_name(body.name)
    if not NAME.fullmatch(body.dataset):
        raise BodyError(
            f"dataset: {body.dataset!r} is not a name: lowercase letters, digits and _, 48 at most"
        )
    call.caller.check_dataset(body.dataset)
    dialect_options(body.dialect)
    stored = _object_name(body.dataset, name)
    with transaction(call.engine) as connection:
        record_upload(connection, call.environment(), stored)
    url = open_session(
        call.settings.project,
        call.settings.inbox,
        stored,
        content_type=body.content_type or content_type_of(name),
        size_bytes=body.size if body.size_bytes is None else body.size_bytes,
        create_only=body.create_only,
        metadata={OPTION_PREFIX + key: value for key, value in body.dialect.items()},
        origin=call.request.headers.get("Origin"),
    )
    session = documents.UploadSession(url, call.settings.inbox, stored)
    return json_response(session, 201, {"Location": url})


def _file_name(name: str) -> str:
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or any(ord(sign) < 32 for sign in name):
        raise BodyError(f'name: "{name}" is not the name of an object')
    if not is_csv_name(name):
        raise BodyError(f'name: "{name}" does not end in {ENDINGS}')
    return name


def _object_name(dataset: str, name: str) -> str:
    stored = f"{dataset}/{name}"
    if len(stored.encode()) > MAX_OBJECT_NAME_BYTES:
        raise BodyError(f"name: longer than {MAX_OBJECT_NAME_BYTES} bytes with its prefix")
    return stored


OPERATIONS = (open_upload,)
