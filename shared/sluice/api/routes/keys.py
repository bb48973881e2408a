"""Keys of the API: created, listed, rotated, revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from werkzeug.wrappers import Response

from sluice.access import keys
from sluice.api.operations import Call, operation
from sluice.api.responses import json_response
from sluice.documents import access as documents

if TYPE_CHECKING:
    from collections.abc import Mapping

#: An answer with a secret is kept nowhere.
_NOT_KEPT: Mapping[str, str] = {"Cache-Control": "no-store"}


@operation(
    "createKey",
    "Keys",
    status=201,
    answer=documents.NewKey,
    refusals=(409,),
    body=documents.KeyRequest,
)
def create_key(call: Call) -> Response:
    """Create a key, or grant its rights to a Google identity.

    The answer has the key, which is shown this once: only a salted hash of it is stored. With `identity`
    there is none; the account sends an ID token of Google as its bearer token instead.
    """
    made = keys.create_key(call.engine, call.body(documents.KeyRequest), call.caller.actor)
    return json_response(made, 201, _NOT_KEPT)


@operation("listKeys", "Keys", answer=documents.Keys)
def list_keys(call: Call) -> Response:
    """List all keys, the newest first: role, datasets, expiry, last use; revoked ones, too."""
    return json_response(documents.Keys(keys.list_keys(call.engine)))


@operation(
    "rotateKey", "Keys", answer=documents.NewKey, refusals=(409,), body=documents.RotateRequest
)
def rotate_key(call: Call) -> Response:
    """Replace the secret of a key; its rights stay.

    The earlier secret is invalid within five seconds, or remains valid for `grace_s` seconds, a week at
    most, in which its users change to the new one.
    """
    grace_s = call.body(documents.RotateRequest).grace_s
    made = keys.rotate_key(call.engine, call.path["id"], grace_s, call.caller.actor)
    return json_response(made, headers=_NOT_KEPT)


@operation("revokeKey", "Keys", status=204)
def revoke_key(call: Call) -> Response:
    """Revoke a key, or what is granted to an identity; effective within five seconds everywhere.

    A stream of events that is open ends within twenty seconds.
    """
    keys.revoke_key(call.engine, call.path["id"], call.caller.actor)
    return Response(status=204)


OPERATIONS = (create_key, list_keys, rotate_key, revoke_key)
