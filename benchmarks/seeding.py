"""Creates very large objects of the local cloud: writes them to its folder and publishes their notifications.

The storage server keeps an upload in memory until it is complete, so gigabytes cannot be uploaded.
"""

from __future__ import annotations

import base64
import json
import os
import time
from typing import TYPE_CHECKING

import google_crc32c
import grpc
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

from sluice.local.state import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

    from sluice.local.cloud import Cloud

BLOCK_BYTES = 8 * 1024 * 1024


def place(cloud: Cloud, name: str) -> Path:
    """Return the path of an object of the inbox on this machine."""
    path = cloud.state.data / "storage" / "inbox" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def seal(path: Path) -> dict[str, str]:
    """Make a file in the folder of the inbox an object; return the facts of its notification."""
    checksum = google_crc32c.Checksum()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            checksum.update(block)
    crc32c = base64.b64encode(checksum.digest()).decode()
    generation = time.time_ns() // 1000
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    never = "0001-01-01T00:00:00Z"
    described = {
        "StorageClass": "STANDARD",
        "ContentType": "text/csv",
        "Crc32c": crc32c,
        "Etag": crc32c,
        "Created": moment,
        "Updated": moment,
        "Deleted": never,
        "CustomTime": never,
        "Generation": generation,
    }
    os.setxattr(path, "user.metadata", json.dumps(described).encode())
    return {"generation": str(generation), "size": str(path.stat().st_size), "crc32c": crc32c}


def notify(cloud: Cloud, objects: dict[str, dict[str, str]]) -> None:
    """Publish the notifications of objects."""
    channel = grpc.insecure_channel(cloud.pubsub_address)
    client = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
    messages = []
    for name, facts in objects.items():
        body = {"kind": "storage#object", "name": name, "bucket": "inbox", **facts}
        attributes = {
            "eventType": "OBJECT_FINALIZE",
            "payloadFormat": "JSON_API_V1",
            "bucketId": "inbox",
            "objectId": name,
            "objectGeneration": facts["generation"],
        }
        messages.append({"data": json.dumps(body).encode(), "attributes": attributes})
    topic = f"projects/{PROJECT}/topics/uploads"
    for first in range(0, len(messages), 1000):
        client.publish(request={"topic": topic, "messages": messages[first : first + 1000]})
    channel.close()
