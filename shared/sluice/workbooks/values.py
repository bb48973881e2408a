"""The values of cells as text: exact numbers, ISO 8601 dates and times."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from sluice.workbooks.number_formats import Kind

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
#: Significant digits that identify a double; a number with more was not written by Excel.
_DOUBLE_DIGITS = 17
#: Of text that may be a number; and the decimal exponents of doubles.
_MOST_DIGITS = 400
_EXPONENTS = range(-324, 308)
_DAY_MS = 86_400_000
_MOST_DAYS = 1e9
_EPOCH_1904 = datetime(1904, 1, 1)  # noqa: DTZ001  # cells have no time zone
_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001
#: The day 60 of the 1900 system, which the calendar has not; what precedes it counts from a day later.
_LEAP_DAY = 60
_LAST_DAY = 2_958_466
_LAST_DAY_1904 = 2_957_004
_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")


class Number(NamedTuple):
    """The number in a cell as it is written in the workbook, and what it means."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Moment:
    """A date, a time, or both.

    Attributes:
        value: what it is.
        text: in ISO 8601.
    """

    value: date | time | datetime
    text: str


def number_text(written: str) -> str:
    """Return a number in plain decimal notation: whole numbers exactly, others as the double they are.

    Text that is no number is returned as it is.
    """
    if written.isdigit() and written.isascii() and (written[0] != "0" or written == "0"):
        return written
    if len(written) > _MOST_DIGITS or not _NUMBER.fullmatch(written):
        return written
    value = Decimal(written)
    if value.adjusted() not in _EXPONENTS:
        return written
    is_whole_text = "." not in written and "e" not in written.lower()
    if not is_whole_text and len(value.as_tuple().digits) <= _DOUBLE_DIGITS:
        value = Decimal(repr(float(written)))
    return plain(value)


def plain(value: Decimal) -> str:
    """Return a decimal number without exponent and trailing zeros."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


@lru_cache(maxsize=65_536)
def moment_of(kind: Kind, written: str, is_1904: bool) -> Moment | None:
    """Return the date or time that a number means, to the millisecond; None where it means none.

    The value decides what it is, the format what is left open: midnight is a date alone in a format of
    dates.
    """
    ms = _milliseconds(written)
    if ms is None:
        return None
    day, of_day = divmod(ms, _DAY_MS)
    clock = (_EPOCH + timedelta(milliseconds=of_day)).time()
    if day == 0 and kind is Kind.TIME:
        return Moment(clock, _iso_time(clock))
    found = _day(day, is_1904)
    if found is None:
        return None
    if kind is Kind.DATE and not of_day:
        return Moment(found.date(), found.date().isoformat())
    both = datetime.combine(found, clock)
    return Moment(both, f"{both.date().isoformat()}T{_iso_time(clock)}")


def is_leap_day(written: str, is_1904: bool) -> bool:
    """Whether a number is the 29 February 1900, which Excel knows and no calendar."""
    ms = _milliseconds(written)
    return not is_1904 and ms is not None and ms // _DAY_MS == _LEAP_DAY


def duration_text(written: str) -> str:
    """Return a duration as hours, minutes and seconds: `36:05:00`; hours may exceed a day."""
    ms = _milliseconds(written)
    if ms is None:
        return written
    sign, ms = ("-", -ms) if ms < 0 else ("", ms)
    seconds, fraction = divmod(ms, 1000)
    text = f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{text}.{fraction:03}" if fraction else text


def serial_of(iso: str, is_1904: bool) -> str | None:
    """Return the number of a date or time in ISO 8601; None where the text is neither."""
    epoch = _EPOCH_1904 if is_1904 else _EPOCH
    try:
        given = datetime.fromisoformat(iso).replace(tzinfo=None)
    except ValueError:
        return _serial_of_time(iso)
    days = (given - epoch) / timedelta(days=1)
    if not is_1904 and days <= _LEAP_DAY:
        days -= 1
    return repr(days)


def unescape(text: str) -> str:
    """Return a text with its characters in place of `_x000D_` and the like."""
    if "_x" not in text:
        return text
    found = _ESCAPE.sub(lambda each: chr(int(each[1], 16)), text)
    return found.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _serial_of_time(iso: str) -> str | None:
    try:
        clock = time.fromisoformat(iso)
    except ValueError:
        return None
    since = datetime.combine(_EPOCH, clock.replace(tzinfo=None)) - _EPOCH
    return repr(since / timedelta(days=1))


def _milliseconds(written: str) -> int | None:
    """Return a number of days in milliseconds; None where it is none."""
    if len(written) > _MOST_DIGITS or not _NUMBER.fullmatch(written):
        return None
    days = float(written)
    return round(days * _DAY_MS) if abs(days) < _MOST_DAYS else None


def _day(day: int, is_1904: bool) -> datetime | None:
    if is_1904:
        return _EPOCH_1904 + timedelta(days=day) if 0 <= day < _LAST_DAY_1904 else None
    if not 1 <= day < _LAST_DAY or day == _LEAP_DAY:
        return None
    return _EPOCH + timedelta(days=day + (day < _LEAP_DAY))


def _iso_time(clock: time) -> str:
    return clock.isoformat("milliseconds" if clock.microsecond else "seconds")
