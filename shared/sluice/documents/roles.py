"""The roles of callers."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a caller may do; each role may also do what those before it may."""

    READER = "reader"
    LOADER = "loader"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Return whether this role may do what the other one may."""
        order = tuple(Role)
        return order.index(self) >= order.index(other)
