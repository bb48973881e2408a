"""Object notifications of Cloud Storage: which report a new file, and of which dataset; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sluice.csv.contents import ENDINGS, is_csv_name
from sluice.csv.dialects import options_of
from sluice.errors import BodyError, NotCsvError, UnknownDatasetError
from sluice.escaping import escape
from sluice.ports import MAX_BIGINT, MAX_OBJECT_NAME_BYTES, StoredObject

UPLOADS_TOPIC = "uploads"
FINALIZE = "OBJECT_FINALIZE"
#: Folder, in that of a dataset, of files that fix rejects.
FIXES_FOLDER = "_fixes"
_FIX = re.compile(rf"[^/]+/{FIXES_FOLDER}/(\d{{1,9}})/.")
#: Custom metadata of an object that says how it is written: `sluice-delimiter`, `sluice-header`, ...
OPTION_PREFIX = "sluice-"
#: The option that is no key of a dialect: the sheet of a workbook.
SHEET = "sheet"
#: Parts of composite uploads of gcloud and gsutil; the composed object has its own notification.
PART_PREFIXES = ("gcloud/tmp/parallel_composite_uploads/", "gsutil/tmp/parallel_composite_uploads/")


def read_notification(
    attributes: Mapping[str, str], body: Mapping[str, Any], inbox: str
) -> StoredObject | None:
    """Return the file that a notification reports; None where it reports none.

    Ignored are events other than a finished upload, parts of composite uploads, folders, and empty
    objects, which gcsfuse writes before the file itself.

    Args:
        attributes: of the message.
        body: the metadata of the object.
        inbox: the bucket whose files are loaded.

    Raises:
        BodyError: it is not a notification of Cloud Storage, or not of the inbox.
    """
    if attributes.get("eventType") != FINALIZE:
        return None
    created = body.get("timeCreated")
    try:
        name = attributes["objectId"]
        file = StoredObject(
            bucket=attributes["bucketId"],
            name=name,
            generation=int(attributes["objectGeneration"]),
            size_bytes=int(body["size"]),
            crc32c=_text(body, "crc32c") or None,
            content_encoding=_text(body, "contentEncoding"),
            uploaded_at=datetime.fromisoformat(created) if created else None,
            options=_options(body.get("metadata") or {}),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BodyError(f"not a notification of Cloud Storage: {error}") from None
    if len(name.encode(errors="replace")) > MAX_OBJECT_NAME_BYTES or "\0" in name:
        raise BodyError("not a notification of Cloud Storage: no object can have the name in it")
    if max(file.generation, file.size_bytes) > MAX_BIGINT:
        raise BodyError("not a notification of Cloud Storage: its generation or size is too large")
    if file.bucket != inbox:
        raise BodyError(f"{file.url}: the object is not in the inbox gs://{inbox}; it is not read")
    is_part = any(part in name for part in PART_PREFIXES)
    if is_part or name.endswith("/") or file.size_bytes == 0:
        return None
    return file


def fixes_of(name: str) -> int | None:
    """Return the ingestion whose rejects an object fixes: `<dataset>/_fixes/<ingestion>/name.csv`."""
    found = _FIX.match(name)
    return int(found[1]) if found else None


def is_in_fixes(name: str) -> bool:
    """Whether an object is in the folder of fixes of its dataset."""
    return name.partition("/")[2].startswith(f"{FIXES_FOLDER}/")


def _text(body: Mapping[str, Any], member: str) -> str:
    """Return a text of the metadata as it can be stored, "" if there is none."""
    value = body.get(member) or ""
    if not isinstance(value, str):
        raise TypeError(f"{member} is not a text")
    return escape(value)


def _options(metadata: object) -> dict[str, str]:
    """Return what the metadata of an object says about its dialect."""
    if not isinstance(metadata, dict) or not all(
        isinstance(each, str) for each in metadata.values()
    ):
        raise TypeError("its metadata are not texts")
    return {
        key.lower().removeprefix(OPTION_PREFIX): value
        for key, value in metadata.items()
        if key.lower().startswith(OPTION_PREFIX)
    }


def dialect_options(options: Mapping[str, str]) -> dict[str, str | int | bool]:
    """Return the keys of a dialect among the options of an upload.

    Raises:
        DeclarationError: a key is unknown, or its text is not of its type.
    """
    return options_of({key: text for key, text in options.items() if key != SHEET})


def notification_of(file: StoredObject) -> tuple[bytes, dict[str, str]]:
    """Return the data and the attributes of the notification that Cloud Storage sends of a file."""
    attributes = {
        "eventType": FINALIZE,
        "bucketId": file.bucket,
        "objectId": file.name,
        "objectGeneration": str(file.generation),
        "payloadFormat": "JSON_API_V1",
    }
    body = {
        "bucket": file.bucket,
        "name": file.name,
        "generation": str(file.generation),
        "size": str(file.size_bytes),
        "crc32c": file.crc32c,
        "contentEncoding": file.content_encoding,
        "timeCreated": file.uploaded_at and file.uploaded_at.isoformat(),
        "metadata": {OPTION_PREFIX + key: value for key, value in file.options.items()},
    }
    return json.dumps(body).encode(), attributes


def dataset_of(file: StoredObject) -> str:
    """Return the dataset of a file: the first folder of its name.

    Raises:
        UnknownDatasetError: the object is in no folder.
        NotCsvError: its name does not end like that of a CSV file.
    """
    dataset, slash, _ = file.name.partition("/")
    if not slash:
        raise UnknownDatasetError(
            f"{file.url}: the object is in no folder; upload it to gs://{file.bucket}/<dataset>/"
        )
    if not is_csv_name(file.name):
        raise NotCsvError(f"{file.url}: the name does not end in {ENDINGS}; rename the file")
    return dataset
