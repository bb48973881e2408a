"""The numbers at both ends of dates such as 31/12/17, which show where the year is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

#: So many different days show where days are, if there are at most half as many years.
_MANY_DAYS = 8


@dataclass(frozen=True)
class Ends:
    """The different numbers of two digits that dates begin and end with."""

    first: frozenset[int] = frozenset()
    last: frozenset[int] = frozenset()

    @property
    def are_days_first(self) -> bool:
        """Whether the first numbers are so many that they are days."""
        return len(self.first) >= max(_MANY_DAYS, 2 * len(self.last))

    @property
    def are_days_last(self) -> bool:
        """Whether the last numbers are so many that they are days."""
        return len(self.last) >= max(_MANY_DAYS, 2 * len(self.first))

    def merge(self, other: Ends) -> Ends:
        """Return the numbers of both."""
        return Ends(self.first | other.first, self.last | other.last)

    def to_json(self) -> list[list[int]]:
        """Return it as JSON."""
        return [sorted(self.first), sorted(self.last)]

    @classmethod
    def from_json(cls, document: Iterable[Iterable[int]]) -> Ends:
        """Read it from JSON."""
        return cls(*map(frozenset, document))
