"""Pull and StreamingPull: how subscribers fetch messages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sluice.local.pubsub import limits, wire
from sluice.local.pubsub.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from sluice.local.pubsub.flow_control import UNLIMITED, Window

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sluice.local.pubsub.subscriptions import Subscription

PULL_WAIT_S = 1.0
"""How long a Pull waits for a first message."""
MAX_MESSAGES_A_RESPONSE = 1000


async def pull(subscription: Subscription, request: wire.Wire) -> wire.Wire:
    """Answer a Pull as soon as there is a message, or with none after `PULL_WAIT_S`."""
    _check_pullable(subscription)
    limits.check_max_messages(request.max_messages)
    limit = min(request.max_messages, MAX_MESSAGES_A_RESPONSE)
    deliveries = subscription.take(limit, UNLIMITED)
    if not deliveries and not request.return_immediately:
        await _wait_for_message(subscription)
        deliveries = subscription.take(limit, UNLIMITED)
    return wire.PullResponse(received_messages=map(subscription.received, deliveries))


async def _wait_for_message(subscription: Subscription) -> None:
    ready = asyncio.Event()
    subscription.listeners.add(ready.set)
    try:
        async with asyncio.timeout(PULL_WAIT_S):
            await ready.wait()
    except TimeoutError:
        return
    finally:
        subscription.listeners.discard(ready.set)


class Stream:
    """One StreamingPull: it receives acks and deadlines, and sends messages."""

    def __init__(self, subscription: Subscription, first: wire.Wire) -> None:
        _check_pullable(subscription)
        limits.check_stream_ack_deadline(first.stream_ack_deadline_seconds)
        self._subscription = subscription
        self._ack_deadline_s = first.stream_ack_deadline_seconds
        self._may_send = asyncio.Event()
        self._may_send.set()
        self._is_ended = False
        self._window = Window(
            max(0, first.max_outstanding_messages),
            max(0, first.max_outstanding_bytes),
            self._may_send.set,
        )

    async def responses(self, requests: AsyncIterator[wire.Wire]) -> AsyncIterator[wire.Wire]:
        """Yield messages as they become ready and the window has room, until the client ends."""
        reader = asyncio.create_task(self._read(requests))
        self._subscription.listeners.add(self._may_send.set)
        try:
            while not self._is_ended:
                await self._may_send.wait()
                self._may_send.clear()
                while not self._is_ended and (response := self._next_response()) is not None:
                    yield response
            if reader.done():
                reader.result()
        finally:
            self._subscription.listeners.discard(self._may_send.set)
            reader.cancel()

    def _next_response(self) -> wire.Wire | None:
        if self._subscription.is_deleted:
            raise NotFoundError(self._subscription.name)
        _check_pullable(self._subscription)
        deliveries = self._subscription.take(
            MAX_MESSAGES_A_RESPONSE, self._window, self._ack_deadline_s
        )
        if not deliveries:
            return None
        response = wire.StreamingPullResponse(
            received_messages=map(self._subscription.received, deliveries)
        )
        is_ordered = self._subscription.backlog.policy.is_ordered
        response.subscription_properties.message_ordering_enabled = is_ordered
        return response

    async def _read(self, requests: AsyncIterator[wire.Wire]) -> None:
        try:
            async for request in requests:
                self._apply(request)
        finally:
            self._is_ended = True
            self._may_send.set()

    def _apply(self, request: wire.Wire) -> None:
        if request.subscription:
            raise InvalidArgumentError(
                "The subscription may only be set in the first request of a stream."
            )
        if request.stream_ack_deadline_seconds:
            limits.check_stream_ack_deadline(request.stream_ack_deadline_seconds)
            self._ack_deadline_s = request.stream_ack_deadline_seconds
        for ack_id in request.ack_ids:
            self._subscription.ack(ack_id)
        ack_ids, seconds = request.modify_deadline_ack_ids, request.modify_deadline_seconds
        if len(ack_ids) != len(seconds):
            raise InvalidArgumentError("IDs and deadlines must have the same size.")
        for ack_id, deadline_s in zip(ack_ids, seconds, strict=True):
            self._subscription.extend(ack_id, deadline_s)


def _check_pullable(subscription: Subscription) -> None:
    if subscription.push_endpoint:
        raise FailedPreconditionError("This method is not supported for this subscription type.")
