"""What is settled together: size-tiered compaction, as LSM trees have it; knows no database.

Ingestions of similar size share a settlement, and settlements of similar size are merged when there are
`FAN_OUT` of them. So a question looks into few settlements, a row is moved only as often as its tier
rises, and who takes a small file back has a small settlement made anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: Settlements of a size that are not merged yet, and the ratio between one tier and the next.
FAN_OUT = 8
#: Rows up to which all sizes are alike.
_LEAST_ROWS = 4096


@dataclass(frozen=True)
class Group:
    """Published ingestions that are settled together, or that are to be.

    Attributes:
        ingestions: their numbers.
        rows: how many rows they have.
        is_settled: whether they are a settlement already.
    """

    ingestions: tuple[int, ...]
    rows: int
    is_settled: bool = False

    @property
    def tier(self) -> int:
        """The size, as a power of `FAN_OUT`."""
        tier, bound = 0, _LEAST_ROWS
        while self.rows >= bound:
            tier, bound = tier + 1, bound * FAN_OUT
        return tier


def next_group(groups: Iterable[Group]) -> Group | None:
    """Return what to settle next, smallest first; None when nothing is to do.

    >>> next_group([Group((1,), 50), Group((2,), 60), Group((3,), 10**6, is_settled=True)])
    Group(ingestions=(1, 2), rows=110, is_settled=False)
    """
    tiers: dict[int, list[Group]] = {}
    for each in groups:
        tiers.setdefault(each.tier, []).append(each)
    for _, alike in sorted(tiers.items()):
        new = [each for each in alike if not each.is_settled]
        if len(alike) - len(new) + bool(new) >= FAN_OUT:
            return _together(alike)
        if new:
            return _together(new)
    return None


def _together(groups: Sequence[Group]) -> Group:
    ingestions = sorted(number for each in groups for number in each.ingestions)
    return Group(tuple(ingestions), sum(each.rows for each in groups))
