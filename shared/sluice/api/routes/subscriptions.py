"""Push subscriptions: created, listed, shown, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from werkzeug.wrappers import Response

from sluice.api.operations import Call, operation
from sluice.api.responses import json_response
from sluice.documents import ingestions as documents
from sluice.postgres.catalog import dataset_version

if TYPE_CHECKING:
    from sluice.gcloud.push_subscriptions import PushSubscriptions


def _subscriptions(call: Call) -> PushSubscriptions:
    from sluice.gcloud.push_subscriptions import PushSubscriptions  # noqa: PLC0415  # where first used

    return PushSubscriptions(call.settings, call.engine)


@operation(
    "subscribe",
    "Subscriptions",
    status=201,
    answer=documents.Subscription,
    body=documents.SubscriptionRequest,
)
def subscribe(call: Call) -> Response:
    """Push events to an endpoint: each POST to it has a CloudEvent as its body."""
    from sluice.gcloud.push_subscriptions import check_spec  # noqa: PLC0415  # where first used

    body = call.body(documents.SubscriptionRequest)
    spec = check_spec(body.endpoint, body.dataset, body.states or ())
    if body.dataset is not None:
        with call.snapshot() as connection:
            dataset_version(connection, body.dataset)
    made = _subscriptions(call).create(spec)
    place = {"Location": f"/v1/subscriptions/{made.id}"}
    return json_response(made, 201, place)


@operation("listSubscriptions", "Subscriptions", answer=documents.Subscriptions)
def list_subscriptions(call: Call) -> Response:
    """List the push subscriptions."""
    return json_response(documents.Subscriptions(list(_subscriptions(call).list())))


@operation("showSubscription", "Subscriptions", answer=documents.Subscription)
def show_subscription(call: Call) -> Response:
    """Return a push subscription."""
    return json_response(_subscriptions(call).find(call.path["subscription"]))


@operation("unsubscribe", "Subscriptions", status=204)
def unsubscribe(call: Call) -> Response:
    """Delete a push subscription."""
    _subscriptions(call).delete(call.path["subscription"])
    return Response(status=204)


OPERATIONS = (subscribe, list_subscriptions, show_subscription, unsubscribe)
