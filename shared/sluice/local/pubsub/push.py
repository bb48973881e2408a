"""Push delivery: one pusher for each subscription, with a fixed number of concurrent requests."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from sluice.local.pubsub.endpoints import Endpoint, EndpointError
from sluice.local.pubsub.envelopes import push_request
from sluice.local.pubsub.flow_control import UNLIMITED
from sluice.local.pubsub.tokens import sign_token

if TYPE_CHECKING:
    from sluice.local.pubsub.clock import Clock
    from sluice.local.pubsub.deliveries import Delivery
    from sluice.local.pubsub.subscriptions import Subscription

# https://cloud.google.com/pubsub/docs/push#receive_push
ACK_STATUSES = frozenset({102, 200, 201, 202, 204})
DEFAULT_PUSH_WINDOW = 64

_logger = logging.getLogger(__name__)


class Pushers:
    """The pushers of a server, by subscription."""

    def __init__(self, clock: Clock, window: int = DEFAULT_PUSH_WINDOW) -> None:
        self._clock = clock
        self._window = window
        self._pushers: dict[str, Pusher] = {}

    def configured(self, subscription: Subscription) -> None:
        """Start, redirect or stop the pusher of a subscription."""
        self.deleted(subscription)
        if subscription.push_endpoint:
            self._pushers[subscription.name] = Pusher(subscription, self._clock, self._window)

    def deleted(self, subscription: Subscription) -> None:
        """Stop the pusher of a subscription; open requests complete."""
        pusher = self._pushers.pop(subscription.name, None)
        if pusher is not None:
            pusher.stop()

    async def close(self) -> None:
        """Abort all pushers; messages of open requests stay unacked."""
        pushers = list(self._pushers.values())
        self._pushers.clear()
        for pusher in pushers:
            await pusher.abort()


class Pusher:
    """Sends a subscription's messages to its endpoint as they become ready."""

    def __init__(self, subscription: Subscription, clock: Clock, window: int) -> None:
        self._subscription = subscription
        self._clock = clock
        self._window = window
        self._endpoint = Endpoint(subscription.push_endpoint)
        self._open_requests: set[asyncio.Task[None]] = set()
        self._is_stopped = False
        subscription.listeners.add(self._pump)
        subscription.wake_soon()

    def stop(self) -> None:
        """Send nothing more."""
        self._is_stopped = True
        self._subscription.listeners.discard(self._pump)
        self._endpoint.close()

    async def abort(self) -> None:
        """Send nothing more, and cancel open requests."""
        self.stop()
        tasks = list(self._open_requests)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _pump(self) -> None:
        while not self._is_stopped and len(self._open_requests) < self._window:
            room = self._window - len(self._open_requests)
            deliveries = self._subscription.take(room, UNLIMITED)
            if not deliveries:
                return
            for delivery in deliveries:
                task = asyncio.create_task(self._deliver(delivery))
                self._open_requests.add(task)
                task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._open_requests.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _logger.error("A push failed unexpectedly.", exc_info=task.exception())
        self._pump()

    async def _deliver(self, delivery: Delivery) -> None:
        if await self._is_accepted(delivery):
            self._subscription.ack(delivery.ack_id)
        else:
            self._subscription.extend(delivery.ack_id, 0)

    async def _is_accepted(self, delivery: Delivery) -> bool:
        request = push_request(self._subscription, delivery)
        headers = request.headers + self._authorization()
        timeout_s = self._clock.real_s(self._subscription.backlog.policy.ack_deadline_s)
        try:
            async with asyncio.timeout(timeout_s):
                status = await self._endpoint.post(headers, request.body)
        except (EndpointError, TimeoutError) as error:
            self._log_nack(delivery, f"no answer ({error or 'ack deadline'})")
            return False
        if status not in ACK_STATUSES:
            self._log_nack(delivery, f"status {status}")
        return status in ACK_STATUSES

    def _authorization(self) -> list[tuple[str, str]]:
        push_config = self._subscription.config.push_config
        if not push_config.HasField("oidc_token"):
            return []
        oidc = push_config.oidc_token
        audience = oidc.audience or push_config.push_endpoint
        token = sign_token(oidc.service_account_email, audience, self._clock.now())
        return [("Authorization", f"Bearer {token}")]

    def _log_nack(self, delivery: Delivery, reason: str) -> None:
        _logger.info(
            "Push of message %s to %s nacked on attempt %d: %s",
            delivery.message.message_id,
            self._subscription.push_endpoint,
            delivery.attempt,
            reason,
        )
