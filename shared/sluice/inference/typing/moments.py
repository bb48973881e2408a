"""Dates and times: the formats that cells of a shape may have, and in which of them their digits are valid.

The form of a date or time is `time <format>|...`: the formats by which the cell is a valid date or time. A
format that begins with `=` is ISO 8601 as a column without formats reads it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sluice.inference.detection.ends import Ends

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sluice.inference.typing.shapes import Digits

#: Marks a format that a column reads without declaring it.
ISO = "="
#: An offset that columns without formats read, but no directive: `+02`, or `UTC`.
OFFSET = "%#"
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_LEAP_DAY = 2
_PIVOT = 69
_LIMITS = {
    "%H": (0, 23),
    "%I": (1, 12),
    "%M": (0, 59),
    "%S": (0, 59),
    "%zH": (0, 15),
    "%zM": (0, 59),
}


def _calendar() -> NDArray[np.uint8]:
    """Return for each number of month and day whether the day exists: always, or in leap years."""
    days = np.zeros(100 * 100, np.uint8)
    for month, most in enumerate(_DAYS, 1):
        days[month * 100 + 1 : month * 100 + most + 1] = 1
    days[229] = _LEAP_DAY
    return days


_CALENDAR = _calendar()


@dataclass(frozen=True)
class Slot:
    """Where a directive's number is in the cells of a shape, or the number itself.

    Attributes:
        at, length: position and number of its digits, in bytes.
        value: the number of a name, which is part of the shape.
    """

    at: int
    length: int
    value: int = 0

    def numbers(self, digits: Digits) -> NDArray[Any]:
        """Return the number in each cell."""
        if self.value:
            return np.full(len(digits), self.value, np.int16)
        return digits.number(self.at, self.length)


@dataclass(frozen=True)
class Layout:
    """A format that a shape has, and where its numbers are."""

    written: str
    slots: tuple[tuple[str, Slot], ...]

    @property
    def has_all_digits(self) -> bool:
        """Whether numbers next to another directive have two digits, which they need there."""
        short = {directive for directive, slot in self.slots if slot.length == 1}
        return not any(f"{each}%" in self.written for each in short)

    def is_valid(self, digits: Digits) -> NDArray[np.bool_]:
        """Return whether each cell is a date or time that exists."""
        numbers = {directive: slot.numbers(digits) for directive, slot in self.slots}
        valid = self._has_day(numbers) if "%d" in numbers else np.ones(len(digits), bool)
        for directive, (low, high) in _LIMITS.items():
            if directive in numbers:
                valid &= numbers[directive] <= high
                if low:
                    valid &= numbers[directive] >= low
        return valid

    def _has_day(self, numbers: dict[str, NDArray[Any]]) -> NDArray[np.bool_]:
        month, day = numbers["%m"], numbers["%d"]
        year = numbers["%Y"] if "%Y" in numbers else _century(numbers["%y"])
        found = _CALENDAR[month.astype(np.intp) * 100 + day]
        # A zone may move the first and the last day to another year.
        first, last = (2, 9998) if "%zH" in numbers else (1, 9999)
        valid: NDArray[np.bool_] = (found > 0) & (year >= first) & (year <= last)
        leap_days = np.flatnonzero(found == _LEAP_DAY)
        if len(leap_days):
            years = year[leap_days]
            is_leap = (years % 4 == 0) & ((years % 100 != 0) | (years % 400 == 0))
            valid[leap_days] &= is_leap
        return valid


def _century(year: NDArray[Any]) -> NDArray[Any]:
    return year + np.where(year >= _PIVOT, 1900, 2000)


@dataclass(frozen=True)
class Layouts:
    """All formats that a shape has; a variant is a set of them, as bits."""

    each: tuple[Layout, ...]

    @cached_property
    def forms(self) -> tuple[str, ...]:
        """The form of each variant."""
        subsets = itertools.product((False, True), repeat=len(self.each))
        return tuple(self._form(tuple(reversed(chosen))) for chosen in subsets)

    def _form(self, chosen: tuple[bool, ...]) -> str:
        names = [
            each.written for each, is_chosen in zip(self.each, chosen, strict=True) if is_chosen
        ]
        return f"time {'|'.join(names)}" if names else "text"

    def variants(self, digits: Digits) -> NDArray[np.uint8]:
        """Return for each cell which formats are valid."""
        found = np.zeros(len(digits), np.uint8)
        for bit, layout in enumerate(self.each):
            found |= layout.is_valid(digits).astype(np.uint8) << bit
        return found

    def ends(self, digits: Digits, variants: NDArray[np.uint8]) -> Ends:
        """Return the numbers at both ends of the dates that may begin with a year of two digits."""
        for layout in self.each:
            if layout.written.startswith("%y"):
                slots = dict(layout.slots)
                pair = (slots[each].numbers(digits)[variants > 0] for each in ("%y", "%d"))
                return Ends(*(frozenset(np.unique(each).tolist()) for each in pair))
        return Ends()


def formats_of(form: str) -> tuple[str, ...]:
    """Return the formats in the form of a date or time."""
    return tuple(form.partition(" ")[2].split("|"))
