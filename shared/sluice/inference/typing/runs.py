"""Ranges of records in which a column of whole numbers ascends, which proves that its values are unique."""

from __future__ import annotations

from typing import NamedTuple

Runs = tuple["Run", ...] | None


class Run(NamedTuple):
    """A range of records whose numbers ascend strictly.

    Attributes:
        begin, end: the first record, and the one after the last.
        low, high: the number of the first and of the last record.
    """

    begin: int
    end: int
    low: int
    high: int


def join_runs(left: Runs, right: Runs) -> Runs:
    """Return the runs of two parts of a column; None if it does not ascend as a whole."""
    if left is None or right is None:
        return None
    joined: list[Run] = []
    for run in sorted((*left, *right)):
        before = joined[-1] if joined else None
        if before and before.high >= run.low:
            return None
        if before and before.end == run.begin:
            joined[-1] = Run(before.begin, run.end, before.low, run.high)
        else:
            joined.append(run)
    return tuple(joined)
