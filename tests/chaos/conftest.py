"""Settings of the process that injects faults."""

from __future__ import annotations

import os

# It starts the server again while its threads call gRPC, whose handlers of fork() expect that none does.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
