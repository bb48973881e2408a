"""Push subscriptions on the topic `status` that clients create: their endpoints receive the CloudEvents."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sluice.access.audit import SYSTEM, record
from sluice.documents.ingestions import PROGRESS, State, Subscription
from sluice.errors import BodyError, NotFoundError, PubsubUnavailableError, TooLargeError
from sluice.gcloud.identities import identity_token
from sluice.gcloud.push_endpoints import LOCAL_HOSTS, check_endpoint, confirm_endpoint
from sluice.gcloud.subscriber import emulator, subscriber_client
from sluice.ingestion.outbox import STATUS_TOPIC
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import statement
from sluice.settings import prefixed

if TYPE_CHECKING:
    from sqlalchemy import Engine, Row

    from sluice.settings import Settings

MAX_FILTER_BYTES = 256  # https://cloud.google.com/pubsub/docs/subscription-message-filter
KINDS = (*map(str, State), PROGRESS)
ACK_DEADLINE_S = 30
RETRY_S = (1, 600)
DELIVERY_ATTEMPTS = 20
_TIMEOUT_S = 10.0


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


def check_spec(
    endpoint: str, dataset: str | None, states: Sequence[str], *, allows_local: bool
) -> SubscriptionSpec:
    """Check what a client requests and return it.

    Args:
        endpoint: receives the events.
        dataset: whose events; None for those of all.
        states: which events; none for all.
        allows_local: whether the endpoint may be on this machine.

    Raises:
        BodyError: events are not pushed to this endpoint, or a state is unknown.
    """
    check_endpoint(endpoint, allows_local=allows_local)
    unknown = [each for each in states if each not in KINDS]
    if unknown:
        raise BodyError(f"states: {', '.join(unknown)}: not one of {', '.join(KINDS)}")
    return SubscriptionSpec(endpoint, dataset, tuple(dict.fromkeys(states)))


class PushSubscriptions:
    """The push subscriptions of a project.

    Args:
        settings: `project`, `name_prefix`, `push_service_account` (whose token authenticates the pushes).
        engine: the database, which stores them.
        actor: who creates and deletes them, for the audit log.
    """

    def __init__(self, settings: Settings, engine: Engine, actor: str = SYSTEM) -> None:
        self._settings = settings
        self._engine = engine
        self._actor = actor

    def create(self, spec: SubscriptionSpec) -> Subscription:
        """Create a subscription, if its endpoint agrees; one on this machine is not asked.

        Raises:
            BodyError: the endpoint does not agree to receive events.
            TooLargeError: see `SubscriptionSpec.filter`.
            PubsubUnavailableError: nothing was created.
        """
        if urlsplit(spec.endpoint).hostname not in LOCAL_HOSTS:
            self._confirm(spec.endpoint)
        name = prefixed(self._settings.name_prefix, f"push-{uuid.uuid4().hex[:16]}")
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
            record(
                connection,
                self._actor,
                "subscription.create",
                dataset=spec.dataset,
                subject=name,
                details={"endpoint": spec.endpoint, "states": list(spec.states)},
            )
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
        found = self.find(name)
        _call("delete_subscription", {"subscription": self._path("subscriptions", name)})
        with transaction(self._engine) as connection:
            connection.execute(statement("delete_subscription"), {"id": name})
            record(
                connection,
                self._actor,
                "subscription.delete",
                dataset=found.dataset,
                subject=name,
                details={"endpoint": found.endpoint},
            )

    def _confirm(self, endpoint: str) -> None:
        account = self._settings.push_service_account
        token = identity_token(account, endpoint) if account and not emulator() else ""
        confirm_endpoint(endpoint, urlsplit(self._settings.public_url).hostname or "", token)

    def _path(self, kind: str, name: str) -> str:
        return f"projects/{self._settings.project}/{kind}/{name}"

    def _topic(self, name: str) -> str:
        return self._path("topics", prefixed(self._settings.name_prefix, name))

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
            "topic": self._topic(STATUS_TOPIC),
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
                "dead_letter_topic": self._topic("dead-letters"),
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
        getattr(subscriber_client(), method)(
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


def _subscription(row: Row[Any]) -> Subscription:
    return Subscription(row.id, row.endpoint, row.dataset, list(row.states), row.created_at)
