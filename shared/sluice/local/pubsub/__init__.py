"""The embedded Pub/Sub of the local cloud: `google.pubsub.v1` with the contract of the service.

services  the methods of the API      control   fault injection, backlogs, health
    |                                    |
broker    topics and subscriptions by name  <-- journal  state that survives a restart
    |
subscriptions  filter + backlog (the delivery state machine, pure) + timer
    |                     |
push (HTTP)        pull (Pull, StreamingPull)
"""

from __future__ import annotations

from sluice.local.pubsub.control import ControlClient
from sluice.local.pubsub.deliveries import BacklogCounts
from sluice.local.pubsub.faults import Faults
from sluice.local.pubsub.server import PubsubServer

__all__ = ["BacklogCounts", "ControlClient", "Faults", "PubsubServer"]
