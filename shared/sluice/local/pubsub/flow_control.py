"""Flow control: how many messages and bytes a receiver may have outstanding."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Window:
    """The limits of a receiver; 0 means no limit."""

    __slots__ = ("_bytes", "_max_bytes", "_max_messages", "_messages", "_on_room")

    def __init__(
        self,
        max_messages: int = 0,
        max_bytes: int = 0,
        on_room: Callable[[], None] | None = None,
    ) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._on_room = on_room
        self._messages = 0
        self._bytes = 0

    def has_room(self) -> bool:
        """Return whether one more message may be delivered; the last one may exceed the bytes."""
        if self._max_messages and self._messages >= self._max_messages:
            return False
        return not self._max_bytes or self._bytes < self._max_bytes

    def charge(self, size_bytes: int) -> None:
        """Count a message as outstanding."""
        self._messages += 1
        self._bytes += size_bytes

    def credit(self, size_bytes: int) -> None:
        """Count a message as settled."""
        self._messages -= 1
        self._bytes -= size_bytes
        if self._on_room is not None:
            self._on_room()


UNLIMITED = Window()
