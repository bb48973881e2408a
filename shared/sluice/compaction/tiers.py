"""What to compact next: size-tiered compaction as in LSM trees. Does not import the database.

Ingestions of similar size become one segment, and `FAN_OUT` segments of similar size become a larger one.
So a query reads few segments, a row is moved only as often as its tier rises, and withdrawing a small
file costs the rebuild of a small segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: How many segments of a tier are merged, and the ratio of sizes between one tier and the next.
FAN_OUT = 8
#: Rows below which all sizes are in the lowest tier.
_LOWEST_ROWS = 4096


@dataclass(frozen=True)
class Group:
    """Published ingestions that are one segment, or that compaction should make one.

    Attributes:
        ingestions: their numbers.
        rows: how many rows they have.
        is_segment: whether they are a segment already.
    """

    ingestions: tuple[int, ...]
    rows: int
    is_segment: bool = False

    @property
    def tier(self) -> int:
        """The size, as a power of `FAN_OUT`."""
        tier, bound = 0, _LOWEST_ROWS
        while self.rows >= bound:
            tier, bound = tier + 1, bound * FAN_OUT
        return tier


def next_group(groups: Iterable[Group]) -> Group | None:
    """Return what to compact next, the lowest tier first; None when there is nothing to do.

    >>> next_group([Group((1,), 50), Group((2,), 60), Group((3,), 10**6, is_segment=True)])
    Group(ingestions=(1, 2), rows=110, is_segment=False)
    """
    tiers: dict[int, list[Group]] = {}
    for each in groups:
        tiers.setdefault(each.tier, []).append(each)
    for _, members in sorted(tiers.items()):
        new = [each for each in members if not each.is_segment]
        if len(members) - len(new) + bool(new) >= FAN_OUT:
            return _merged(members)
        if new:
            return _merged(new)
    return None


def _merged(groups: Sequence[Group]) -> Group:
    ingestions = sorted(number for each in groups for number in each.ingestions)
    return Group(tuple(ingestions), sum(each.rows for each in groups))
