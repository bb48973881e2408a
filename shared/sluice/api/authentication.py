"""Authentication: from the header Authorization to a `Caller`.

A bearer credential is a key, a Google ID token, or the token of the settings. What the database says of a key
is cached for `CACHE_S`, so a revocation or a rotation takes effect within that time everywhere; an expiry is
exact.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Generic, TypeVar

from sluice.access import stored_keys
from sluice.access.secrets import PREFIX, read_key
from sluice.api.caller import ANONYMOUS, BOOTSTRAP, Caller, caller_of
from sluice.api.limits import AddressLimits
from sluice.errors import SluiceError, UnauthenticatedError
from sluice.postgres.connection import open_database, read_only
from sluice.settings import NO_AUTHENTICATION, listed

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from werkzeug.wrappers import Request

    from sluice.access.stored_keys import StoredKey
    from sluice.settings import Settings

T = TypeVar("T")
#: Longest time for which a revoked key is still accepted.
CACHE_S = 5.0
_CACHED = 4096
_LOOKUP_TIMEOUT_S = 10.0
#: How exact the time of the last use is.
_TOUCH_EVERY = timedelta(minutes=1)
_HINT = "send the header `Authorization: Bearer KEY`"
_log = logging.getLogger("sluice.api")


class Authenticator:
    """Finds the caller of a request; any thread may use it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._audiences = (settings.public_url, *listed(settings.audiences))
        self._administrators = frozenset(each.lower() for each in listed(settings.administrators))
        self._stored: _Cache[StoredKey | None] = _Cache(CACHE_S)
        self._emails: _Cache[tuple[str, float]] = _Cache(3600.0)
        self._touched: _Cache[bool] = _Cache(_TOUCH_EVERY.total_seconds())
        self._addresses = AddressLimits(settings)

    def __call__(self, request: Request) -> Caller:
        """Return who sent a request.

        Raises:
            UnauthenticatedError: nobody who is known; a missing or an empty credential is nobody.
            RateLimitedError: the same, and its address has sent too many such requests.
        """
        if self._settings.authentication == NO_AUTHENTICATION:
            return ANONYMOUS
        try:
            return self._identify(request)
        except UnauthenticatedError:
            self._addresses.record_failure(request)
            raise

    def _identify(self, request: Request) -> Caller:
        scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer" or not credential:
            raise UnauthenticatedError(f"the request has no key; {_HINT}")
        token = self._settings.token
        if token and hmac.compare_digest(credential.encode(), token.encode()):
            return BOOTSTRAP
        if credential.startswith(PREFIX):
            return self._of_key(credential, request)
        if credential.count(".") == 2:
            return self._of_identity(credential, request)
        raise UnauthenticatedError(
            f"the credential is neither a key nor an identity token; {_HINT}"
        )

    def _of_key(self, credential: str, request: Request) -> Caller:
        key = read_key(credential)
        if key is None:
            raise UnauthenticatedError("the key is not complete; copy all of it")
        if not self._stored.has(("key", key.id)):
            self._addresses.check(request)
        stored = self._find(("key", key.id), lambda it: stored_keys.find_key(it, key.id))
        now = datetime.now(UTC)
        # An unknown key and a wrong secret get one answer.
        if stored is None or not stored.fits(key.secret, now):
            raise UnauthenticatedError("the key is not known; it may be revoked or rotated")
        return self._valid(stored, now)

    def _of_identity(self, token: str, request: Request) -> Caller:
        from sluice.gcloud.identities import verify_identity  # noqa: PLC0415  # paid where first used

        digest = hashlib.sha256(token.encode()).digest()
        known = self._emails.find(digest)
        if known is None or known[1] <= time.time():
            self._addresses.check(request)
            signatures = self._settings.token_signatures
            identity = verify_identity(token, self._audiences, signatures=signatures)
            known = (identity.email, identity.expires_at)
            self._emails.keep(digest, known)
        email = known[0]
        if email in self._administrators:
            return Caller(f"identity:{email}", BOOTSTRAP.role, pii=True)
        stored = self._find(("identity", email), lambda it: stored_keys.find_identity(it, email))
        if stored is None:
            raise UnauthenticatedError(f"{email} has no rights here; an administrator grants them")
        return self._valid(stored, datetime.now(UTC))

    def _valid(self, stored: StoredKey, now: datetime) -> Caller:
        if not stored.is_valid(now):
            raise UnauthenticatedError("the key is revoked or has expired; ask for another")
        return caller_of(stored)

    def _find(
        self, name: Hashable, read: Callable[[Connection], StoredKey | None]
    ) -> StoredKey | None:
        found = self._stored.find(name)
        if found is None:
            engine = open_database(self._settings)
            with read_only(engine, _LOOKUP_TIMEOUT_S, _LOOKUP_TIMEOUT_S) as connection:
                found = read(connection)
            if found is not None:  # guesses must not displace what is known
                self._stored.keep(name, found)
        return found

    def touch(self, caller: Caller) -> None:
        """Record that a caller's key is used, at most once a minute; called after the response is sent."""
        if not caller.key or self._touched.find(caller.key):
            return
        self._touched.keep(caller.key, True)
        try:
            stored_keys.touch(open_database(self._settings), caller.key)
        except SluiceError as error:
            _log.warning("the use of key %s is not recorded: %s", caller.key, error)


@functools.cache
def authenticator_of(settings: Settings) -> Authenticator:
    """Return this process's authenticator for the settings."""
    return Authenticator(settings)


@dataclass(frozen=True)
class _Kept(Generic[T]):
    value: T
    until: float


class _Cache(Generic[T]):
    """The values kept last, each for some time; any thread may use it."""

    def __init__(self, max_age_s: float) -> None:
        self._max_age_s = max_age_s
        self._kept: OrderedDict[Hashable, _Kept[T]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, name: Hashable) -> T | None:
        with self._lock:
            kept = self._kept.get(name)
            return kept.value if kept and time.monotonic() < kept.until else None

    def has(self, name: Hashable) -> bool:
        """Return whether there is a value, be it too old."""
        with self._lock:
            return name in self._kept

    def keep(self, name: Hashable, value: T) -> None:
        with self._lock:
            self._kept[name] = _Kept(value, time.monotonic() + self._max_age_s)
            self._kept.move_to_end(name)
            if len(self._kept) > _CACHED:
                self._kept.popitem(last=False)
