"""The use cases of keys: created, listed, rotated, revoked; each is in the audit log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sluice.access import secrets
from sluice.access.audit import record
from sluice.access.secrets import KeyText, SecretHash
from sluice.access.stored_keys import find_identity, stored_key
from sluice.datasets.identifiers import NAME
from sluice.documents.access import Key, KeyRequest, NewKey
from sluice.documents.document import to_json
from sluice.documents.roles import Role
from sluice.errors import BodyError, KeyStateError, NotFoundError
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Row


def create_key(engine: Engine, wanted: KeyRequest, actor: str) -> NewKey:
    """Create a key, or grant its rights to an identity.

    Raises:
        BodyError: the request contradicts itself.
        KeyStateError: the identity has a grant already.
    """
    _check(wanted)
    identifier = secrets.new_id()
    key = None if wanted.identity else secrets.new_key(identifier)
    stored = SecretHash.of(key.secret) if key else None
    values = {
        "id": identifier,
        "name": wanted.name,
        "role": str(wanted.role),
        "datasets": None if wanted.datasets is None else sorted(set(wanted.datasets)),
        "pii": wanted.pii or wanted.role is Role.ADMIN,
        "identity": wanted.identity and wanted.identity.lower(),
        "salt": stored and stored.salt,
        "hash": stored and stored.hash,
        "expires_at": wanted.expires_at,
        "created_by": actor,
        "requests_per_minute": wanted.requests_per_minute,
    }
    with transaction(engine) as connection:
        if wanted.identity and find_identity(connection, str(values["identity"])):
            raise KeyStateError(f"identity: {wanted.identity} has a grant; revoke it first")
        row = connection.execute(statement("insert_api_key"), values).one()
        found = _document(row)
        record(connection, actor, "key.create", subject=identifier, details=to_json(found))
    return _with_text(found, key)


def _check(wanted: KeyRequest) -> None:
    if wanted.datasets is not None:
        if not wanted.datasets:
            raise BodyError("datasets: is empty; leave it out for all datasets")
        if wrong := [each for each in wanted.datasets if not NAME.fullmatch(each)]:
            raise BodyError(f"datasets: {wrong[0]!r} is not a name")
        if wanted.role is Role.ADMIN:
            raise BodyError(
                "datasets: the role admin applies to all datasets, because it declares SQL and makes keys;"
                " leave datasets out, or choose the role loader"
            )
    if wanted.identity is not None and "@" not in wanted.identity:
        raise BodyError(f"identity: {wanted.identity!r} is not an e-mail address")
    if wanted.expires_at is not None and wanted.expires_at <= datetime.now(UTC):
        raise BodyError("expires_at: is in the past")


def list_keys(engine: Engine) -> list[Key]:
    """Return every key, the newest first."""
    with transaction(engine) as connection:
        return [_document(row) for row in connection.execute(statement("list_api_keys"))]


def rotate_key(engine: Engine, identifier: str, grace_s: int, actor: str) -> NewKey:
    """Give a key a new secret.

    Args:
        engine: the database.
        identifier: of the key.
        grace_s: how long the earlier secret stays valid.
        actor: who does it.

    Raises:
        NotFoundError: there is no such key.
        KeyStateError: it has no secret, or is not valid any more.
    """
    key = secrets.new_key(identifier)
    stored = SecretHash.of(key.secret)
    with transaction(engine) as connection:
        found = stored_key(_lock(connection, identifier))
        if found.identity is not None:
            raise KeyStateError(f"key {identifier}: is of an identity and has no secret")
        if not found.is_valid(datetime.now(UTC)):
            raise KeyStateError(f"key {identifier}: is revoked or expired; create another")
        values = {
            "id": identifier,
            "salt": stored.salt,
            "hash": stored.hash,
            "grace_s": grace_s,
        }
        row = connection.execute(statement("rotate_api_key"), values).one()
        record(connection, actor, "key.rotate", subject=identifier, details={"grace_s": grace_s})
    return _with_text(_document(row), key)


def revoke_key(engine: Engine, identifier: str, actor: str) -> None:
    """Revoke a key; to repeat it changes nothing.

    Raises:
        NotFoundError: there is no such key.
    """
    with transaction(engine) as connection:
        if _lock(connection, identifier).revoked_at is None:
            connection.execute(statement("revoke_api_key"), {"id": identifier})
            record(connection, actor, "key.revoke", subject=identifier)


def _lock(connection: Connection, identifier: str) -> Row[Any]:
    row = connection.execute(statement("lock_api_key"), {"id": identifier}).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no key {identifier}; GET /v1/keys lists them")
    return row


def _with_text(found: Key, key: KeyText | None) -> NewKey:
    return NewKey(
        **{name: getattr(found, name) for name in Key.__struct_fields__},
        key=None if key is None else str(key),
    )


def _document(row: Row[Any]) -> Key:
    stored = stored_key(row)
    state = "active" if stored.is_valid(datetime.now(UTC)) else "expired"
    return Key(
        id=stored.id,
        name=stored.name,
        role=stored.role,
        datasets=None if stored.datasets is None else sorted(stored.datasets),
        pii=stored.pii,
        identity=stored.identity,
        state="revoked" if stored.revoked_at else state,
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=stored.expires_at,
        revoked_at=stored.revoked_at,
        last_used_at=stored.last_used_at,
        requests_per_minute=stored.requests_per_minute,
    )
