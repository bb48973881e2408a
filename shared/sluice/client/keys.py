"""Keys through the API: created, listed, rotated, revoked; and the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sluice.documents.access import Key, Keys, NewKey

if TYPE_CHECKING:
    from datetime import datetime

    from sluice.client.transport import Transport

_PATH = "/v1/keys"


class KeyRing:
    """The keys of a Sluice; errors are those of `Client`.

    Args:
        transport: sends the requests.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        name: str,
        role: str = "reader",
        datasets: Sequence[str] = (),
        *,
        pii: bool = False,
        identity: str | None = None,
        expires_at: datetime | None = None,
        requests_per_minute: int | None = None,
    ) -> NewKey:
        """Create a key, which is in the answer and nowhere else, or grant its rights to an identity.

        Args:
            name: for people.
            role: `reader`, `loader` or `admin`.
            datasets: those that it applies to; all if there are none.
            pii: whether it sees the values of columns with personal data.
            identity: e-mail of a Google account, which then needs no key.
            expires_at: when it stops to be valid; None: never.
            requests_per_minute: its limit; None for that of the settings.
        """
        body: dict[str, Any] = {"name": name, "role": role, "pii": pii}
        if datasets:
            body["datasets"] = list(datasets)
        if identity:
            body["identity"] = identity
        if expires_at:
            body["expires_at"] = expires_at.isoformat()
        if requests_per_minute:
            body["requests_per_minute"] = requests_per_minute
        return self._transport.read(NewKey, "POST", _PATH, body=body)

    def all(self) -> list[Key]:
        """Return the keys, the newest first."""
        return self._transport.read(Keys, "GET", _PATH).keys

    def rotate(self, key: str, grace_s: int = 0) -> NewKey:
        """Give a key a new secret; the earlier one stays valid for some seconds, or not at all."""
        path = f"{_PATH}/{quote(key, safe='')}/rotate"
        return self._transport.read(NewKey, "POST", path, body={"grace_s": grace_s})

    def revoke(self, key: str) -> None:
        """Revoke a key."""
        self._transport.json("DELETE", f"{_PATH}/{quote(key, safe='')}")
