"""Resumable uploads straight to the inbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.api import schemas
from sluice.api.operations import Call, operation
from sluice.api.responses import json_response
from sluice.errors import BodyError
from sluice.postgres.catalog import dataset_version

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

#: Content type of each kind of file that the inbox takes.
SUFFIXES = {
    ".csv": "text/csv",
    ".csv.gz": "application/gzip",
    ".csv.zst": "application/zstd",
}
MAX_OBJECT_NAME_BYTES = 1024  # https://cloud.google.com/storage/docs/objects#naming


@operation(
    "openUpload",
    "Ingestions",
    status=201,
    answer=schemas.ref("Upload"),
    body=schemas.ref("UploadRequest"),
)
def open_upload(call: Call) -> Response:
    """Open a resumable upload straight to the inbox; then `curl -T FILE "$url"`."""
    from sluice.gcloud.storage import open_session  # noqa: PLC0415  # paid where first used

    body = call.body(
        required=("dataset", "name"),
        optional=("size", "size_bytes", "content_type", "create_only"),
    )
    dataset, name = _text(body, "dataset"), _file_name(_text(body, "name"))
    with call.snapshot() as connection:
        dataset_version(connection, dataset)
    stored = _object_name(dataset, name)
    url = open_session(
        call.settings.project,
        call.settings.inbox,
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


OPERATIONS = (open_upload,)
