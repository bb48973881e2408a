"""A service next to Pub/Sub: fault injection, backlogs and health, over gRPC with JSON, and its client.

`sluice.local.Control` and the standard `grpc.health.v1.Health` share the port of the Pub/Sub API.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

import grpc

from sluice.local.pubsub.deliveries import BacklogCounts
from sluice.local.pubsub.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from sluice.local.pubsub.broker import Broker

SERVICE = "sluice.local.Control"
# HealthCheckResponse{status: SERVING}, https://github.com/grpc/grpc/blob/master/doc/health-checking.md
_SERVING = b"\x08\x01"


def control_service(broker: Broker) -> Any:
    """Return the handlers of the control service."""

    def inject(request: dict[str, Any]) -> dict[str, Any]:
        broker.inject(Faults.from_json(request))
        return {}

    def backlogs(_request: dict[str, Any]) -> dict[str, Any]:
        return {each.name: asdict(each.backlog.counts()) for each in broker.all_subscriptions()}

    methods = {"InjectFaults": _json_method(inject), "Backlogs": _json_method(backlogs)}
    return grpc.method_handlers_generic_handler(SERVICE, methods)


def health_service() -> Any:
    """Return the handlers of the standard health check."""

    async def check(_request: bytes, _context: Any) -> bytes:
        return _SERVING

    handler = grpc.unary_unary_rpc_method_handler(check)
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler})


class ControlClient:
    """A client of the control service.

    Args:
        address: `host:port`, the value of `PUBSUB_EMULATOR_HOST`.
    """

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def inject(self, faults: Faults) -> None:
        """Inject faults into all further deliveries."""
        self._call("InjectFaults", faults.to_json())

    def backlogs(self) -> dict[str, BacklogCounts]:
        """Return the counts of every subscription, by its full name."""
        answer = self._call("Backlogs", {})
        return {name: BacklogCounts(**counts) for name, counts in answer.items()}

    def _call(self, method: str, request: dict[str, Any]) -> dict[str, Any]:
        call = self._channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=_to_bytes,
            response_deserializer=json.loads,
        )
        answer: dict[str, Any] = call(request, timeout=10, wait_for_ready=True)
        return answer


def _json_method(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    async def handle(request: dict[str, Any], _context: Any) -> dict[str, Any]:
        return answer(request)

    return grpc.unary_unary_rpc_method_handler(
        handle, request_deserializer=json.loads, response_serializer=_to_bytes
    )


def _to_bytes(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()
