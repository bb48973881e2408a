"""The subscriber client of Pub/Sub, and the address of the Pub/Sub of the local cloud."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.pubsub_v1 import SubscriberClient


def emulator() -> str:
    """Return the address of the Pub/Sub of the local cloud, or an empty string in the cloud."""
    return os.environ.get("PUBSUB_EMULATOR_HOST", "")


def subscriber_client() -> SubscriberClient:
    """Return this process's client."""
    return _client(emulator())


@functools.cache
def _client(address: str) -> SubscriberClient:
    from google.pubsub_v1 import SubscriberClient  # noqa: PLC0415  # 0.3 s, paid where first used

    if not address:
        return SubscriberClient()
    import grpc  # noqa: PLC0415
    from google.pubsub_v1.services.subscriber.transports import (  # noqa: PLC0415
        SubscriberGrpcTransport,
    )

    return SubscriberClient(
        transport=SubscriberGrpcTransport(channel=grpc.insecure_channel(address))
    )
