"""What cells may be, as *forms*: short texts that a column collects, and from which its type is decided.

    text                   no value of any other type
    word <word>            a word that means null, true, false or not a number in some columns
    number <sizes> ...     a number: how large it is in each convention that accepts it, and its marks
    time <format>|...      a date or time: the strptime formats that accept it
    uuid, point
    json                   an object or array of JSON, see `scan.py`: its shape does not decide

The form of a cell follows from its shape and, for some shapes, from single digits: its *variant*. A shape is
classified once and remembered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from sluice.datasets.grammars import WHITE_SPACE
from sluice.datasets.types import TYPES, ColumnType
from sluice.inference.detection.ends import Ends
from sluice.inference.detection.layouts import read_time
from sluice.inference.typing.numbers import read_number
from sluice.parsing.plan import MAX_LATITUDE, MAX_LONGITUDE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sluice.inference.typing.shapes import Digits

TEXT = "text"
BLANK = ""
JSON = "json"
#: Words that mean null where all other cells of a column are of another type than text.
NULL_WORDS = (
    r"\N", "NULL", "null", "Null", "NA", "N/A", "n/a", "#N/A", "(null)", "None", "none", "nil", "NaT",
    "NaN", "nan", "-", "--", "?", ".",
)  # fmt: skip
#: It means null also among texts: PostgreSQL and MySQL write it, and nobody else writes it.
NULL_MARK = r"\N"
NOT_FINITE = ("nan", "inf", "-inf", "+inf", "infinity", "-infinity", "+infinity")
BOOLEANS = ("true", "false", "t", "f", "yes", "no", "y", "n")
_LONGEST = 1000
_UUID = re.compile(TYPES[ColumnType.UUID].grammar)
_POINT = re.compile(TYPES[ColumnType.POINT].grammar)
_SIGNED = re.compile(r"\(\s*(\S+)\s+([^\s)]+)\s*\)")
_HALVES = re.compile(r"\(\s*[+-]?(\S+)\s+[+-]?([^\s)]+)\s*\)")


@dataclass(frozen=True)
class Probe:
    """A byte of a cell and the range outside of which it makes the variant 1."""

    at: int
    low: int
    high: int


def _digit(at: int, low: str, high: str) -> Probe:
    return Probe(at, ord(low), ord(high))


class Values(Protocol):
    """Decides variants from the digits of cells of one shape."""

    def variants(self, digits: Digits) -> NDArray[np.uint8]:
        """Return the variant of each cell."""

    def ends(self, digits: Digits, variants: NDArray[np.uint8]) -> Ends:
        """Return the numbers at both ends of dates that may begin with a year of two digits."""


@dataclass(frozen=True)
class Reading:
    """The forms of the cells that have one shape.

    Attributes:
        forms: by variant.
        probes: digits of which one decides that the variant is 1.
        values: what decides it otherwise, if anything.
        is_point: whether variant 1 is only suspected, and the complete cell decides.
    """

    forms: tuple[str, ...]
    probes: tuple[Probe, ...] = ()
    values: Values | None = None
    is_point: bool = False


TEXT_READING = Reading((TEXT,))


def read_shape(shape: str) -> Reading:
    """Return the forms of cells by their shape."""
    return _read(shape) if len(shape) <= _LONGEST else TEXT_READING


@lru_cache(maxsize=16 * 1024)
def _read(shape: str) -> Reading:
    text = shape.strip(WHITE_SPACE)
    if not text:
        return Reading((BLANK,))
    at = len(shape[: shape.index(text[0])].encode())
    readers = (_word, _number, _time, _uuid, _point)
    return next(filter(None, (read(text, at) for read in readers)), TEXT_READING)


def _word(text: str, _: int) -> Reading | None:
    is_known = text in NULL_WORDS or text.lower() in (*NOT_FINITE, *BOOLEANS)
    return Reading((f"word {text}",)) if is_known else None


def _number(text: str, at: int) -> Reading | None:
    number = read_number(text)
    if number is None:
        return None
    first = at + len(text[: text.index("9")].encode())
    if number.digits:
        return Reading(number.forms, values=number.measure(first))
    plain, padded = number.forms
    probes = () if plain == padded else (_digit(first, "1", "9"),)
    return Reading((plain, padded), probes)


def _time(text: str, at: int) -> Reading | None:
    layouts = read_time(text, at)
    return Reading(layouts.forms, values=layouts) if layouts else None


def _uuid(text: str, _: int) -> Reading | None:
    return Reading(("uuid",)) if _UUID.fullmatch(text) else None


def _point(text: str, at: int) -> Reading | None:
    halves = _HALVES.search(text) if _POINT.fullmatch(text) else None
    if halves is None:
        return None
    lon = _degrees(halves[1], at + halves.start(1), "17")
    lat = _degrees(halves[2], at + halves.start(2), "8")
    return Reading(("point", TEXT), (*lon, *lat), is_point=True)


def _degrees(text: str, at: int, most: str) -> tuple[Probe, ...]:
    """Return the digits by which a number may exceed a most one, which is given without its last digit."""
    digits = len(text) - len(text.lstrip("9"))
    if "e" in text.lower() or digits > len(most) + 1:
        return (Probe(at, 255, 0),)
    if digits <= len(most):
        return ()
    return tuple(_digit(at + place, "0", digit) for place, digit in enumerate(most))


def is_on_earth(text: str) -> bool:
    """Return whether the longitude and latitude of a point are valid."""
    halves = _SIGNED.search(text)
    if halves is None:
        return False
    lon, lat = map(float, halves.groups())
    return abs(lon) <= MAX_LONGITUDE and abs(lat) <= MAX_LATITUDE
