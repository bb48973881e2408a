"""Dead letters through the API: listed, published again, dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sluice.documents.dead_letters import DeadLetterOutcome, DeadLetters

if TYPE_CHECKING:
    from sluice.client.transport import Transport

_PATH = "/v1/dead-letters"


class DeadLetterBox:
    """The dead letters of a Sluice; errors are those of `Client`.

    Args:
        transport: sends the requests.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def all(self) -> DeadLetters:
        """Return the dead letters, the oldest first; at most 1,000."""
        return self._transport.read(DeadLetters, "GET", _PATH)

    def replay(self, ids: Sequence[str]) -> DeadLetterOutcome:
        """Publish letters again and drop them; 1,000 at most."""
        return self._act("replay", ids)

    def drop(self, ids: Sequence[str]) -> DeadLetterOutcome:
        """Delete letters; 1,000 at most."""
        return self._act("drop", ids)

    def _act(self, action: str, ids: Sequence[str]) -> DeadLetterOutcome:
        body = {"ids": list(ids)}
        return self._transport.read(DeadLetterOutcome, "POST", f"{_PATH}/{action}", body=body)
