"""Flow control: how many messages and bytes one receiver may hold unacked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Window:
    """A receiver's allowance; a limit of 0 is none."""

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
        """Tell whether one more message may be handed out; the last one may exceed the bytes."""
        if self._max_messages and self._messages >= self._max_messages:
            return False
        return not self._max_bytes or self._bytes < self._max_bytes

    def charge(self, size_bytes: int) -> None:
        """Count a message as held."""
        self._messages += 1
        self._bytes += size_bytes

    def credit(self, size_bytes: int) -> None:
        """Count a message as given back."""
        self._messages -= 1
        self._bytes -= size_bytes
        if self._on_room is not None:
            self._on_room()


UNLIMITED = Window()
