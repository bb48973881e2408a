"""The embedded Pub/Sub of the local cloud: `google.pubsub.v1` with the contract of the service.

services  the wire's methods          control   misbehaviour, backlogs, health
    |                                    |
broker    topics and subscriptions by name  <-- journal  what survives the server
    |
subscriptions  filter + backlog (the delivery state machine, pure) + alarm clock
    |                     |
push (HTTP)        receiving (Pull, StreamingPull)
"""

from __future__ import annotations

from sluice.local.pubsub.control import ControlClient
from sluice.local.pubsub.deliveries import BacklogCounts
from sluice.local.pubsub.mischief import Mischief
from sluice.local.pubsub.server import PubsubServer

__all__ = ["BacklogCounts", "ControlClient", "Mischief", "PubsubServer"]
