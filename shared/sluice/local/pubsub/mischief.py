"""Misbehaviour on demand: which deliveries repeat, tarry, overtake or lose their ack.

Every decision is a function of the seed, the subscription, the message's place in it and the
attempt, so a run repeats whatever the timing. Only what is in the queue at the moment decides
whom a reordered message overtakes.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Mischief:
    """How a server misbehaves; the default behaves."""

    duplicate: float = 0.0
    """Share of deliveries handed out twice, 0 to 1."""
    delay_s: float = 0.0
    """Each delivery waits between 0 and this many seconds."""
    reorder: bool = False
    """Deliveries overtake one another, except within an ordering key."""
    drop_acks: float = 0.0
    """Share of acks the server forgets, 0 to 1."""
    seed: int = 0
    subscription: str | None = None
    """Full name or id of the only subscription to misbehave; none means all."""

    @classmethod
    def parse(cls, text: str) -> Mischief:
        """Read the command line's form, `duplicate=0.3,delay=0.5s,reorder,drop_acks=0.2,seed=7`.

        Raises:
            ValueError: if a word is unknown or its value is not of its kind.
        """
        words = dict(part.strip().partition("=")[::2] for part in text.split(",") if part.strip())
        if "delay" in words:
            words["delay_s"] = words.pop("delay").removesuffix("s")
        unknown = words.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"unknown mischief: {', '.join(sorted(unknown))}")
        return cls(
            duplicate=float(words.get("duplicate", 0)),
            delay_s=float(words.get("delay_s", 0)),
            reorder="reorder" in words and words["reorder"] != "false",
            drop_acks=float(words.get("drop_acks", 0)),
            seed=int(words.get("seed", 0)),
            subscription=words.get("subscription"),
        )

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Mischief:
        """Read what `to_json` wrote."""
        return cls(**document)

    def to_json(self) -> dict[str, Any]:
        """Return the form that the control service takes."""
        return asdict(self)

    def applies_to(self, subscription: str) -> bool:
        """Tell whether the subscription of this full name is to misbehave."""
        return self.subscription in (None, subscription, subscription.rsplit("/", 1)[-1])

    def repeats(self, subscription: str, place: int, attempt: int) -> bool:
        """Tell whether this delivery is handed out twice."""
        return self._chance(self.duplicate, "duplicate", subscription, place, attempt)

    def forgets_ack(self, subscription: str, place: int, attempt: int) -> bool:
        """Tell whether the ack of this delivery is lost."""
        return self._chance(self.drop_acks, "drop", subscription, place, attempt)

    def tarries_s(self, subscription: str, place: int, attempt: int) -> float:
        """Return how many seconds this delivery is held back."""
        if not self.delay_s or not self.applies_to(subscription):
            return 0.0
        return self.delay_s * self._draw("delay", subscription, place, attempt)

    def overtakes(self, subscription: str, place: int, waiting: int) -> int:
        """Return which of the `waiting` deliveries goes next, 0 being the one in turn."""
        if not self.reorder or waiting < 2 or not self.applies_to(subscription):
            return 0
        return int(waiting * self._draw("reorder", subscription, place, 0))

    def _chance(self, share: float, kind: str, subscription: str, place: int, attempt: int) -> bool:
        if not share or not self.applies_to(subscription):
            return False
        return self._draw(kind, subscription, place, attempt) < share

    def _draw(self, kind: str, subscription: str, place: int, attempt: int) -> float:
        return random.Random(f"{self.seed}/{kind}/{subscription}/{place}/{attempt}").random()  # noqa: S311 - repeatable on purpose


GOOD_BEHAVIOUR = Mischief()
