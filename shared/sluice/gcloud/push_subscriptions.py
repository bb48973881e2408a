"""Push subscriptions on the topic `status` that clients create: their endpoints receive the CloudEvents."""

from __future__ import annotations

import functools
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sluice.documents.ingestions import PROGRESS, State, Subscription
from sluice.errors import BodyError, NotFoundError, PubsubUnavailableError, TooLargeError
from sluice.ingestion.outbox import STATUS_TOPIC
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from google.pubsub_v1 import SubscriberClient
    from sqlalchemy import Engine, Row

    from sluice.settings import Settings

MAX_FILTER_BYTES = 256  # https://cloud.google.com/pubsub/docs/subscription-message-filter
KINDS = (*map(str, State), PROGRESS)
ACK_DEADLINE_S = 30
RETRY_S = (1, 600)
DELIVERY_ATTEMPTS = 20
_TIMEOUT_S = 10.0
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class SubscriptionSpec:
    """What to push to an endpoint: events of one dataset or of all, of some states or of all."""

    endpoint: str
    dataset: str | None = None
    states: tuple[str, ...] = ()

    @property
    def filter(self) -> str:
        """The filter of the Pub/Sub subscription.

        Raises:
            TooLargeError: it is longer than Pub/Sub allows.
        """
        parts = []
        if self.dataset is not None:
            parts.append(f'attributes.dataset = "{self.dataset}"')
        if self.states:
            states = " OR ".join(f'attributes.state = "{each}"' for each in self.states)
            parts.append(f"({states})" if len(self.states) > 1 and parts else states)
        text = " AND ".join(parts)
        if len(text.encode()) > MAX_FILTER_BYTES:
            raise TooLargeError(
                f"the filter has {len(text.encode())} bytes and Pub/Sub allows {MAX_FILTER_BYTES};"
                " name fewer states, or leave `states` out"
            )
        return text


def check_spec(endpoint: str, dataset: str | None, states: Sequence[str]) -> SubscriptionSpec:
    """Check what a client requests and return it.

    Raises:
        BodyError: Pub/Sub does not push to this endpoint, or a state is unknown.
    """
    try:
        parts = urlsplit(endpoint)
        is_local, has_host = parts.hostname in _LOCAL_HOSTS, bool(parts.hostname)
    except ValueError:
        raise BodyError(f'endpoint: "{endpoint}" is not a URL') from None
    if not has_host or parts.scheme not in ("https", "http"):
        raise BodyError(f'endpoint: "{endpoint}" is not an https URL')
    if parts.scheme == "http" and not is_local:
        raise BodyError(
            f'endpoint: "{endpoint}" must begin with https://; plain http is for localhost only,'
            " because Pub/Sub pushes over encrypted connections"
        )
    unknown = [each for each in states if each not in KINDS]
    if unknown:
        raise BodyError(f"states: {', '.join(unknown)}: not one of {', '.join(KINDS)}")
    return SubscriptionSpec(endpoint, dataset, tuple(dict.fromkeys(states)))


class PushSubscriptions:
    """The push subscriptions of a project.

    Args:
        settings: `project`, `push_service_account` (whose token authenticates the pushes).
        engine: the database, which stores them.
    """

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine

    def create(self, spec: SubscriptionSpec) -> Subscription:
        """Create a subscription.

        Raises:
            TooLargeError: see `SubscriptionSpec.filter`.
            PubsubUnavailableError: nothing was created.
        """
        name = f"push-{uuid.uuid4().hex[:16]}"
        request = self._request(name, spec)
        values = {
            "id": name,
            "endpoint": spec.endpoint,
            "dataset": spec.dataset,
            "states": list(spec.states),
        }
        # The row commits after Pub/Sub has the subscription, so no row lacks its subscription.
        with transaction(self._engine) as connection:
            row = connection.execute(statement("insert_subscription"), values).one()
            _call("create_subscription", request)
        return _subscription(row)

    def list(self) -> Sequence[Subscription]:
        """Return all subscriptions, the oldest first."""
        with transaction(self._engine) as connection:
            rows = connection.execute(statement("list_subscriptions"), {"id": None})
            return [_subscription(row) for row in rows]

    def find(self, name: str) -> Subscription:
        """Return one subscription.

        Raises:
            NotFoundError: there is no subscription with this id.
        """
        with transaction(self._engine) as connection:
            row = connection.execute(statement("list_subscriptions"), {"id": name}).one_or_none()
        if row is None:
            raise NotFoundError(f"there is no subscription {name}")
        return _subscription(row)

    def delete(self, name: str) -> None:
        """Delete a subscription.

        Raises:
            NotFoundError: there is no subscription with this id.
            PubsubUnavailableError: it still exists; try again.
        """
        self.find(name)
        _call("delete_subscription", {"subscription": self._path("subscriptions", name)})
        with transaction(self._engine) as connection:
            connection.execute(statement("delete_subscription"), {"id": name})

    def _path(self, kind: str, name: str) -> str:
        return f"projects/{self._settings.project}/{kind}/{name}"

    def _request(self, name: str, spec: SubscriptionSpec) -> dict[str, Any]:
        push: dict[str, Any] = {
            "push_endpoint": spec.endpoint,
            "no_wrapper": {"write_metadata": False},
        }
        account = self._settings.push_service_account
        if account:
            push["oidc_token"] = {"service_account_email": account, "audience": spec.endpoint}
        return {
            "name": self._path("subscriptions", name),
            "topic": self._path("topics", STATUS_TOPIC),
            "push_config": push,
            "filter": spec.filter,
            "enable_message_ordering": True,
            "ack_deadline_seconds": ACK_DEADLINE_S,
            "expiration_policy": {},  # no ttl: it never expires
            "retry_policy": {
                "minimum_backoff": {"seconds": RETRY_S[0]},
                "maximum_backoff": {"seconds": RETRY_S[1]},
            },
            "dead_letter_policy": {
                "dead_letter_topic": self._path("topics", "dead-letters"),
                "max_delivery_attempts": DELIVERY_ATTEMPTS,
            },
        }


def _call(method: str, request: dict[str, Any]) -> None:
    """Call a method of Pub/Sub; creating twice and deleting twice succeed."""
    from google.api_core.exceptions import (  # noqa: PLC0415  # paid where first used
        AlreadyExists,
        GoogleAPICallError,
        InvalidArgument,
        NotFound,
        RetryError,
    )

    done = NotFound if method == "delete_subscription" else AlreadyExists
    try:
        getattr(_client(os.environ.get("PUBSUB_EMULATOR_HOST", "")), method)(
            request=request,
            timeout=_TIMEOUT_S,
            retry=None,  # the client of the API retries
        )
    except done:
        return
    except InvalidArgument as error:
        raise BodyError(f"Pub/Sub refuses the subscription: {error.message}") from error
    except (GoogleAPICallError, RetryError) as error:
        raise PubsubUnavailableError(f"{method}: {error}") from error


@functools.cache
def _client(emulator: str) -> SubscriberClient:
    from google.pubsub_v1 import SubscriberClient  # noqa: PLC0415  # 0.3 s, paid where first used

    if not emulator:
        return SubscriberClient()
    import grpc  # noqa: PLC0415
    from google.pubsub_v1.services.subscriber.transports import (  # noqa: PLC0415
        SubscriberGrpcTransport,
    )

    return SubscriberClient(
        transport=SubscriberGrpcTransport(channel=grpc.insecure_channel(emulator))
    )


def _subscription(row: Row[Any]) -> Subscription:
    return Subscription(row.id, row.endpoint, row.dataset, list(row.states), row.created_at)
