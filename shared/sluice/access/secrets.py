"""The text of a key, `sluice_<id>_<secret>`, and what is stored of its secret.

The secret has 256 random bits, so nobody can guess it from its hash, however fast the hash is. A slow hash,
such as scrypt, protects passwords, which have few bits; here it would only let anybody occupy a processor
with wrong keys. Each secret has a salt of its own, so that no table of hashes serves for several.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from dataclasses import dataclass

PREFIX = "sluice_"
_ID_SIGNS = string.digits + string.ascii_lowercase
_SECRET_SIGNS = string.digits + string.ascii_letters
_ID_LENGTH = 10
_SECRET_LENGTH = 43  # 62 ** 43 is more than 2 ** 256
_SALT_BYTES = 16
_TEXT = re.compile(
    rf"{PREFIX}(?P<id>[0-9a-z]{{{_ID_LENGTH}}})_(?P<secret>[0-9A-Za-z]{{{_SECRET_LENGTH}}})"
)


@dataclass(frozen=True)
class SecretHash:
    """What is stored of a secret."""

    salt: bytes
    hash: bytes

    @classmethod
    def of(cls, secret: str) -> SecretHash:
        """Return the hash of a secret with a new salt."""
        salt = secrets.token_bytes(_SALT_BYTES)
        return cls(salt, _digest(salt, secret))

    def fits(self, secret: str) -> bool:
        """Return whether it is of this secret, in a time that does not depend on the secret."""
        return hmac.compare_digest(self.hash, _digest(self.salt, secret))


@dataclass(frozen=True)
class KeyText:
    """The parts of a key."""

    id: str
    secret: str

    def __str__(self) -> str:
        """Return the key as its owner sends it."""
        return f"{PREFIX}{self.id}_{self.secret}"

    def __repr__(self) -> str:
        """Return the key without its secret, for logs."""
        return f"{PREFIX}{self.id}_***"


def new_id() -> str:
    """Return the id of a new key."""
    return _random(_ID_SIGNS, _ID_LENGTH)


def new_key(identifier: str) -> KeyText:
    """Return a new key of this id."""
    return KeyText(identifier, _random(_SECRET_SIGNS, _SECRET_LENGTH))


def read_key(text: str) -> KeyText | None:
    """Return the parts of a key; None if the text is not one."""
    found = _TEXT.fullmatch(text)
    return KeyText(found["id"], found["secret"]) if found else None


def _random(signs: str, length: int) -> str:
    return "".join(secrets.choice(signs) for _ in range(length))


def _digest(salt: bytes, secret: str) -> bytes:
    return hashlib.sha256(salt + secret.encode()).digest()
