"""Publishes notifications of the objects in the inbox that have no ingestion.

Cloud Storage repeats a notification until Pub/Sub accepts it; fake-gcs-server loses it if it is
killed, or if Pub/Sub is unavailable. A file with two notifications is loaded once.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
from sqlalchemy import create_engine, text

from sluice.ingestion.notifications import FINALIZE, UPLOADS_TOPIC, read_notification
from sluice.local.provision import publish

if TYPE_CHECKING:
    from collections.abc import Iterator

KNOWN = text("SELECT object, generation FROM sluice.ingestions WHERE bucket = :bucket")


def publish_lost_notifications(
    storage_url: str, bucket: str, database_url: str, pubsub_address: str
) -> list[str]:
    """Publish a notification for each object that has no ingestion; return their names."""
    known = _known(database_url, bucket)
    lost = [
        each
        for each in _objects(storage_url, bucket)
        if (each["name"], int(each["generation"])) not in known
        and read_notification(attributes_of(each), each, bucket) is not None
    ]
    messages = [(json.dumps(each).encode(), attributes_of(each)) for each in lost]
    publish(pubsub_address, UPLOADS_TOPIC, messages)
    return [each["name"] for each in lost]


def attributes_of(metadata: dict[str, Any]) -> dict[str, str]:
    """Return the attributes of an object's notification, from its metadata."""
    return {
        "bucketId": metadata["bucket"],
        "objectId": metadata["name"],
        "objectGeneration": metadata["generation"],
        "eventType": FINALIZE,
        "eventTime": metadata["updated"],
        "payloadFormat": "JSON_API_V1",
    }


def _known(database_url: str, bucket: str) -> set[tuple[str, int]]:
    engine = create_engine(database_url)
    try:
        with engine.connect() as connection:
            rows = connection.execute(KNOWN, {"bucket": bucket})
            return {(row.object, row.generation) for row in rows}
    finally:
        engine.dispose()


def _objects(storage_url: str, bucket: str) -> Iterator[dict[str, Any]]:
    page: dict[str, Any] = {"nextPageToken": ""}
    while (token := page.get("nextPageToken")) is not None:
        url = f"{storage_url}/storage/v1/b/{bucket}/o"
        answer = httpx.get(url, params={"pageToken": token}, timeout=60)
        page = answer.raise_for_status().json()
        yield from page.get("items", ())
