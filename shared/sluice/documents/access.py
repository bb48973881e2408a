"""Keys of the API with their roles, and the audit log."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from sluice.documents.document import Document, Name, Request, StorableText, Time
from sluice.documents.roles import Role


class KeyRequest(Request, frozen=True, kw_only=True):
    """What to allow: to whoever has the key, or to a Google identity, which then needs no key."""

    name: Annotated[StorableText, Meta(min_length=1, max_length=200)]
    role: Role = Role.READER
    datasets: Annotated[
        Annotated[list[Name], Meta(min_length=1, max_length=1000)] | None,
        Meta(description="Those that it applies to; all if left out."),
    ] = None
    pii: Annotated[
        bool, Meta(description="Whether it sees the values of columns with personal data.")
    ] = False
    identity: Annotated[
        Annotated[str, Meta(extra_json_schema={"pattern": r"^[^@\x00]+@[^@\x00]+$"})] | None,
        Meta(description="E-mail of a Google account, or of a service account."),
    ] = None
    expires_at: Annotated[Time | None, Meta(description="Never, if left out.")] = None
    requests_per_minute: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(description="As many as the setting allows, if left out."),
    ] = None


class RotateRequest(Request, frozen=True):
    """For how long the earlier secret stays valid."""

    grace_s: Annotated[int, Meta(ge=0, le=7 * 24 * 3600)] = 0


class Key(Document, frozen=True, kw_only=True):
    """A key, or what is granted to an identity; without the secret, which is not stored."""

    id: str
    name: str
    role: Role
    datasets: list[str] | None
    pii: bool
    identity: str | None
    state: Annotated[str, Meta(extra_json_schema={"enum": ["active", "expired", "revoked"]})]
    created_at: Time
    created_by: str
    expires_at: Time | None
    revoked_at: Time | None
    last_used_at: Annotated[Time | None, Meta(description="To the minute.")]
    requests_per_minute: Annotated[
        int | None, Meta(description="Its own limit; null for that of the settings.")
    ] = None


class NewKey(Key, frozen=True, kw_only=True):
    """A key with its text, which is shown this once."""

    key: Annotated[
        str | None, Meta(description="Send it as the bearer token; null for an identity.")
    ]


class Keys(Document, frozen=True):
    """All keys, the newest first."""

    keys: list[Key]


class AuditEntry(Document, frozen=True, kw_only=True):
    """One thing that was done."""

    id: int
    at: Time
    actor: str
    action: str
    dataset: str | None
    subject: str | None
    details: dict[str, Any]


class AuditPage(Document, frozen=True):
    """A page of the audit log, the newest first."""

    entries: list[AuditEntry]
    next: Annotated[str | None, Meta(description="Cursor of the following page.")]
