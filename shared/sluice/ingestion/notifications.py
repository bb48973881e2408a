"""What a Cloud Storage notification announces: a file for a dataset, or something to pass over; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sluice.errors import BodyError, NotCsvError, UnknownDatasetError
from sluice.ports import StoredObject

UPLOADS_TOPIC = "uploads"
FINALIZE = "OBJECT_FINALIZE"
#: Parts of composite uploads of gcloud and gsutil; the composed object is announced by itself.
PART_PREFIXES = ("gcloud/tmp/parallel_composite_uploads/", "gsutil/tmp/parallel_composite_uploads/")
SUFFIXES = (".csv", ".csv.gz", ".csv.zst")


def read_announcement(
    attributes: Mapping[str, str], body: Mapping[str, Any]
) -> StoredObject | None:
    """Read a notification; None for one that announces no file.

    Passed over are other events than a finished upload, parts of composite uploads, folders and
    objects without a byte, which gcsfuse writes before the file itself.

    Raises:
        BodyError: it is not a notification of Cloud Storage.
    """
    if attributes.get("eventType") != FINALIZE:
        return None
    try:
        name = attributes["objectId"]
        announced = StoredObject(
            bucket=attributes["bucketId"],
            name=name,
            generation=int(attributes["objectGeneration"]),
            size_bytes=int(body["size"]),
            crc32c=body.get("crc32c"),
            content_encoding=body.get("contentEncoding") or "",
        )
    except (KeyError, ValueError) as error:
        raise BodyError(f"not a notification of Cloud Storage: {error}") from None
    is_part = any(part in name for part in PART_PREFIXES)
    if is_part or name.endswith("/") or announced.size_bytes == 0:
        return None
    return announced


def announcement_of(announced: StoredObject) -> tuple[bytes, dict[str, str]]:
    """Return the notification of an object, data and attributes, as Cloud Storage would send it."""
    attributes = {
        "eventType": FINALIZE,
        "bucketId": announced.bucket,
        "objectId": announced.name,
        "objectGeneration": str(announced.generation),
        "payloadFormat": "JSON_API_V1",
    }
    body = {
        "bucket": announced.bucket,
        "name": announced.name,
        "generation": str(announced.generation),
        "size": str(announced.size_bytes),
        "crc32c": announced.crc32c,
        "contentEncoding": announced.content_encoding,
    }
    return json.dumps(body).encode(), attributes


def dataset_of(announced: StoredObject) -> str:
    """Return the dataset to which an object belongs: the first folder of its name.

    Raises:
        UnknownDatasetError: the object lies in no folder.
        NotCsvError: its name does not end like that of a CSV file.
    """
    dataset, slash, _ = announced.name.partition("/")
    where = f"gs://{announced.bucket}/{announced.name}"
    if not slash:
        raise UnknownDatasetError(
            f"{where}: the object lies in no folder; upload it to gs://{announced.bucket}/<dataset>/"
        )
    if not announced.name.lower().endswith(SUFFIXES):
        raise NotCsvError(f"{where}: the name does not end in {', '.join(SUFFIXES)}")
    return dataset
