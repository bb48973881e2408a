"""Push subscriptions: created, listed, shown, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from werkzeug.wrappers import Response

from sluice.api.operations import Call, operation
from sluice.api.responses import json_response
from sluice.documents import ingestions as documents
from sluice.documents.roles import Role
from sluice.errors import NotFoundError
from sluice.postgres.catalog import dataset_version

if TYPE_CHECKING:
    from sluice.gcloud.push_subscriptions import PushSubscriptions


def _subscriptions(call: Call) -> PushSubscriptions:
    from sluice.gcloud.push_subscriptions import PushSubscriptions  # noqa: PLC0415  # where first used

    return PushSubscriptions(call.settings, call.engine, call.caller.actor)


def _find(call: Call) -> documents.Subscription:
    """Return the subscription that the path names.

    Raises:
        NotFoundError: there is none that the caller may see.
    """
    name = call.path["subscription"]
    found = _subscriptions(call).find(name)
    if not call.caller.sees(found.dataset):
        raise NotFoundError(f"there is no subscription {name}")
    return found


@operation(
    "subscribe",
    "Subscriptions",
    status=201,
    answer=documents.Subscription,
    body=documents.SubscriptionRequest,
)
def subscribe(call: Call) -> Response:
    """Push events to an endpoint: each POST to it has a CloudEvent as its body.

    The endpoint is an https URL on a public name, and must agree: it receives `OPTIONS` with the
    header `WebHook-Request-Origin`, and answers with 200 and `WebHook-Allowed-Origin`. In the local
    cloud it may be on localhost, and is not asked. Events of all datasets need the role admin.
    """
    from sluice.gcloud.push_subscriptions import check_spec  # noqa: PLC0415  # where first used
    from sluice.gcloud.subscriber import emulator  # noqa: PLC0415

    body = call.body(documents.SubscriptionRequest)
    is_local = bool(emulator())
    spec = check_spec(body.endpoint, body.dataset, body.states or (), allows_local=is_local)
    if body.dataset is None:
        call.caller.require(Role.ADMIN)
    else:
        call.caller.check_dataset(body.dataset)
        with call.snapshot() as connection:
            dataset_version(connection, body.dataset)
    made = _subscriptions(call).create(spec)
    place = {"Location": f"/v1/subscriptions/{made.id}"}
    return json_response(made, 201, place)


@operation("listSubscriptions", "Subscriptions", answer=documents.Subscriptions)
def list_subscriptions(call: Call) -> Response:
    """List the push subscriptions."""
    found = [each for each in _subscriptions(call).list() if call.caller.sees(each.dataset)]
    return json_response(documents.Subscriptions(found))


@operation("showSubscription", "Subscriptions", answer=documents.Subscription)
def show_subscription(call: Call) -> Response:
    """Return a push subscription."""
    return json_response(_find(call))


@operation("unsubscribe", "Subscriptions", status=204)
def unsubscribe(call: Call) -> Response:
    """Delete a push subscription."""
    found = _find(call)
    if found.dataset is None:
        call.caller.require(Role.ADMIN)
    _subscriptions(call).delete(found.id)
    return Response(status=204)


OPERATIONS = (subscribe, list_subscriptions, show_subscription, unsubscribe)
