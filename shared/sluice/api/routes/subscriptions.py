"""Push subscriptions: created, listed, shown, deleted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from werkzeug.wrappers import Response

from sluice.api import schemas
from sluice.api.operations import Call, operation
from sluice.api.responses import json_response
from sluice.errors import BodyError
from sluice.postgres.catalog import dataset_version

if TYPE_CHECKING:
    from sluice.gcloud.push_subscriptions import PushSubscriptions, Subscription


def _subscriptions(call: Call) -> PushSubscriptions:
    from sluice.gcloud.push_subscriptions import PushSubscriptions  # noqa: PLC0415  # where first used

    return PushSubscriptions(call.settings, call.engine)


@operation(
    "subscribe",
    "Subscriptions",
    status=201,
    answer=schemas.ref("Subscription"),
    body=schemas.ref("SubscriptionRequest"),
)
def subscribe(call: Call) -> Response:
    """Push events to an endpoint: each POST to it has a CloudEvent as its body."""
    from sluice.gcloud.push_subscriptions import check_spec  # noqa: PLC0415  # where first used

    body = call.body(required=("endpoint",), optional=("dataset", "states"))
    endpoint, dataset, states = body["endpoint"], body.get("dataset"), body.get("states") or []
    if not isinstance(endpoint, str) or not isinstance(dataset, str | None):
        raise BodyError("endpoint and dataset are texts")
    if not isinstance(states, list) or not all(isinstance(each, str) for each in states):
        raise BodyError("states: is not a list of states")
    spec = check_spec(endpoint, dataset, states)
    if dataset is not None:
        with call.snapshot() as connection:
            dataset_version(connection, dataset)
    made = _subscriptions(call).create(spec)
    place = {"Location": f"/v1/subscriptions/{made.id}"}
    return json_response(_document(made), 201, place)


def _document(subscription: Subscription) -> Mapping[str, object]:
    return {**asdict(subscription), "created_at": subscription.created_at.isoformat()}


@operation(
    "listSubscriptions", "Subscriptions", answer=schemas.list_of("subscriptions", "Subscription")
)
def list_subscriptions(call: Call) -> Response:
    """List the push subscriptions."""
    found = [_document(each) for each in _subscriptions(call).list()]
    return json_response({"subscriptions": found})


@operation("showSubscription", "Subscriptions", answer=schemas.ref("Subscription"))
def show_subscription(call: Call) -> Response:
    """Return a push subscription."""
    return json_response(_document(_subscriptions(call).find(call.path["subscription"])))


@operation("unsubscribe", "Subscriptions", status=204)
def unsubscribe(call: Call) -> Response:
    """Delete a push subscription."""
    _subscriptions(call).delete(call.path["subscription"])
    return Response(status=204)


OPERATIONS = (subscribe, list_subscriptions, show_subscription, unsubscribe)
