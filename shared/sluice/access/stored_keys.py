"""Keys as they are stored: found to check a secret, and touched when they are used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sluice.access.secrets import SecretHash
from sluice.documents.roles import Role
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Row


@dataclass(frozen=True)
class StoredKey:
    """A key as it is stored.

    Attributes:
        datasets: those that it applies to; None for all.
        hashes: of the secrets that are valid, each with the moment until which it is; None: no end.
        requests_per_minute: its limit; None for that of the settings.
    """

    id: str
    name: str
    role: Role
    datasets: frozenset[str] | None
    pii: bool
    identity: str | None
    hashes: tuple[tuple[SecretHash, datetime | None], ...]
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    requests_per_minute: int | None

    def is_valid(self, now: datetime) -> bool:
        """Return whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def fits(self, secret: str, now: datetime) -> bool:
        """Return whether a secret is that of the key."""
        fitting = [each.fits(secret) and _is_before(now, until) for each, until in self.hashes]
        return any(fitting)


def _is_before(now: datetime, until: datetime | None) -> bool:
    return until is None or now < until


def find_key(connection: Connection, identifier: str) -> StoredKey | None:
    """Return the key of an id."""
    row = connection.execute(statement("find_api_key"), {"id": identifier}).one_or_none()
    return None if row is None else stored_key(row)


def find_identity(connection: Connection, identity: str) -> StoredKey | None:
    """Return what is granted to a Google identity."""
    row = connection.execute(statement("find_identity"), {"identity": identity}).one_or_none()
    return None if row is None else stored_key(row)


def touch(engine: Engine, identifier: str) -> None:
    """Record that a key is used; at most one write a minute."""
    with transaction(engine) as connection:
        connection.execute(statement("touch_api_key"), {"id": identifier})


def stored_key(row: Row[Any]) -> StoredKey:
    """Return the key of a row."""
    hashes: list[tuple[SecretHash, datetime | None]] = []
    if row.hash is not None:
        hashes.append((SecretHash(row.salt, row.hash), None))
    if row.earlier_hash is not None:
        hashes.append((SecretHash(row.earlier_salt, row.earlier_hash), row.earlier_until))
    return StoredKey(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        datasets=None if row.datasets is None else frozenset(row.datasets),
        pii=row.pii,
        identity=row.identity,
        hashes=tuple(hashes),
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
        requests_per_minute=row.requests_per_minute,
    )
