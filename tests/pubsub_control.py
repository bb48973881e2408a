"""Waits for the embedded Pub/Sub: until it answers, and until its messages are delivered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import grpc

from sluice.local.pubsub.faults import NO_FAULTS

if TYPE_CHECKING:
    from sluice.local.pubsub import BacklogCounts, ControlClient

POLL_S = 0.01
# HealthCheckResponse{status: SERVING}, https://github.com/grpc/grpc/blob/master/doc/health-checking.md
SERVING = b"\x08\x01"


def is_serving(address: str, timeout_s: float) -> bool:
    """Return whether a server answers the standard health check within a time."""
    with grpc.insecure_channel(address) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            return bool(check(b"", timeout=timeout_s, wait_for_ready=True) == SERVING)
        except grpc.RpcError:
            return False


def clear_faults(control: ControlClient) -> None:
    """Stop injecting faults."""
    control.inject(NO_FAULTS)


def wait_until_drained(
    control: ControlClient, *subscriptions: str, timeout_s: float = 10.0
) -> None:
    """Wait until these subscriptions (full names; none means all) hold no message."""
    deadline = time.monotonic() + timeout_s
    while busy := _busy(control, subscriptions):
        assert time.monotonic() < deadline, f"messages are left after {timeout_s:g} s: {busy}"
        time.sleep(POLL_S)


def _busy(control: ControlClient, subscriptions: tuple[str, ...]) -> dict[str, BacklogCounts]:
    return {
        name: counts
        for name, counts in control.backlogs().items()
        if (counts.undelivered or counts.outstanding)
        and (not subscriptions or name in subscriptions)
    }
