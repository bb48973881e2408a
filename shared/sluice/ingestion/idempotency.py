"""Idempotency keys: a repeated request gets the answer of the first, and has no effect of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluice.documents.document import parse, to_json
from sluice.documents.ingestions import InsertedRows
from sluice.errors import IdempotencyKeyError
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True)
class IdempotencyKey:
    """The key that makes a request take effect once, and the fingerprint of that request."""

    key: str
    fingerprint: str

    @classmethod
    def of(cls, key: str, route: str, body: object) -> IdempotencyKey:
        """Return the key of a request; the order of the body's members does not matter."""
        request = json.dumps([route, body], sort_keys=True)
        return cls(key, hashlib.sha256(request.encode()).hexdigest())


@dataclass(frozen=True)
class InsertResult:
    """The result of a request.

    Attributes:
        groups: the outcome of each group of rows, in their order.
        is_repeated: whether the request was answered before, under the same key.
    """

    groups: list[InsertedRows]
    is_repeated: bool = False


@dataclass(frozen=True)
class UsedKey:
    """A key that a request used before, with the answer of that request as JSON."""

    fingerprint: str
    answer: object

    def repeat(self, key: IdempotencyKey) -> InsertResult:
        """Return the answer of the first request to a repetition.

        Raises:
            IdempotencyKeyError: the key was used with another request.
        """
        if self.fingerprint != key.fingerprint:
            raise IdempotencyKeyError(
                f"Idempotency-Key {key.key}: was used with another request; choose a new key"
            )
        return InsertResult(parse(self.answer, list[InsertedRows]), is_repeated=True)


def claim(connection: Connection, keys: Sequence[IdempotencyKey]) -> dict[str, UsedKey]:
    """Claim keys; return those that were used before.

    Waits for concurrent requests with one of the keys.

    Args:
        connection: the transaction of the requests.
        keys: of different requests, each another one.
    """
    if not keys:
        return {}
    connection.execute(statement("delete_expired_keys"))
    names = [each.key for each in keys]
    values = {"keys": names, "fingerprints": [each.fingerprint for each in keys]}
    claimed = connection.scalars(statement("claim_idempotency_keys"), values).all()
    rest = sorted({*names} - {*claimed})
    if not rest:
        return {}
    rows = connection.execute(statement("find_idempotency_keys"), {"keys": rest})
    return {row.key: UsedKey(row.fingerprint, row.answer) for row in rows}


def store_answers(connection: Connection, results: Mapping[str, InsertResult]) -> None:
    """Store the answers that repetitions get, by the claimed key."""
    if results:
        answers = [json.dumps(to_json(each.groups)) for each in results.values()]
        values = {"keys": list(results), "answers": answers}
        connection.execute(statement("store_answers"), values)
