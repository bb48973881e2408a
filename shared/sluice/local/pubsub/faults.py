"""Fault injection: which deliveries are duplicated, delayed or reordered, and which acks are dropped.

Each decision is a function of the seed, the subscription, the message's place in it and the
attempt, so a run is repeatable whatever its timing. Only the order depends on the queue: a message
overtakes those that are in it at that moment.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults of a server; by default none."""

    duplicate: float = 0.0
    """Share of deliveries that are made twice, 0 to 1."""
    delay_s: float = 0.0
    """Longest delay of a delivery, in seconds; each is drawn between 0 and this."""
    reorder: bool = False
    """Deliveries overtake one another, except within an ordering key."""
    drop_acks: float = 0.0
    """Share of acks that are ignored, 0 to 1."""
    seed: int = 0
    subscription: str | None = None
    """Full name or id of the only subscription with faults; None for all."""

    @classmethod
    def parse(cls, text: str) -> Faults:
        """Read the command line's form, `duplicate=0.3,delay=0.5s,reorder,drop_acks=0.2,seed=7`.

        Raises:
            ValueError: a word is unknown, or its value is malformed.
        """
        words = dict(part.strip().partition("=")[::2] for part in text.split(",") if part.strip())
        if "delay" in words:
            words["delay_s"] = words.pop("delay").removesuffix("s")
        unknown = words.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"unknown faults: {', '.join(sorted(unknown))}")
        return cls(
            duplicate=float(words.get("duplicate", 0)),
            delay_s=float(words.get("delay_s", 0)),
            reorder="reorder" in words and words["reorder"] != "false",
            drop_acks=float(words.get("drop_acks", 0)),
            seed=int(words.get("seed", 0)),
            subscription=words.get("subscription"),
        )

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Faults:
        """Read what `to_json` wrote."""
        return cls(**document)

    def to_json(self) -> dict[str, Any]:
        """Return the form that the control service takes."""
        return asdict(self)

    def applies_to(self, subscription: str) -> bool:
        """Return whether the subscription of this full name has faults."""
        return self.subscription in (None, subscription, subscription.rsplit("/", 1)[-1])

    def is_duplicated(self, subscription: str, place: int, attempt: int) -> bool:
        """Return whether this delivery is made twice."""
        return self._chance(self.duplicate, "duplicate", subscription, place, attempt)

    def is_ack_dropped(self, subscription: str, place: int, attempt: int) -> bool:
        """Return whether the ack of this delivery is ignored."""
        return self._chance(self.drop_acks, "drop", subscription, place, attempt)

    def delay_s_of(self, subscription: str, place: int, attempt: int) -> float:
        """Return the delay of this delivery, in seconds."""
        if not self.delay_s or not self.applies_to(subscription):
            return 0.0
        return self.delay_s * self._draw("delay", subscription, place, attempt)

    def overtakes(self, subscription: str, place: int, waiting: int) -> int:
        """Return which of the `waiting` deliveries is next; 0 is the one in order."""
        if not self.reorder or waiting < 2 or not self.applies_to(subscription):
            return 0
        return int(waiting * self._draw("reorder", subscription, place, 0))

    def _chance(self, share: float, kind: str, subscription: str, place: int, attempt: int) -> bool:
        if not share or not self.applies_to(subscription):
            return False
        return self._draw(kind, subscription, place, attempt) < share

    def _draw(self, kind: str, subscription: str, place: int, attempt: int) -> float:
        return random.Random(f"{self.seed}/{kind}/{subscription}/{place}/{attempt}").random()  # noqa: S311 - repeatable on purpose


NO_FAULTS = Faults()
