"""Who may call split, load and finish: Pub/Sub and Cloud Scheduler, which prove it with OIDC tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.errors import ForbiddenError, UnauthenticatedError
from sluice.gcloud.identities import verify_identity
from sluice.settings import NO_AUTHENTICATION, listed

if TYPE_CHECKING:
    from sluice.settings import Settings


def verify_caller(authorization: str, settings: Settings) -> None:
    """Check that a call comes from a service account that may call the function.

    Args:
        authorization: the header of the call.
        settings: `authentication`, `push_audience`, `push_callers`, `token_signatures`.

    Raises:
        UnauthenticatedError: it has no valid token for this function.
        ForbiddenError: the account of its token may not call the function.
        IdentityUnavailableError: Google's certificates cannot be fetched; try again later.
    """
    if settings.authentication == NO_AUTHENTICATION:
        return
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise UnauthenticatedError("the call has no token")
    signatures = settings.token_signatures
    identity = verify_identity(token.strip(), listed(settings.push_audience), signatures=signatures)
    if identity.email not in {each.lower() for each in listed(settings.push_callers)}:
        raise ForbiddenError(f"{identity.email} may not call this function")
