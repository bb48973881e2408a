"""Writes stored values as cells that their column reads back as equal values."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from sluice.datasets.grammars import DIRECTIVES, format_grammar
from sluice.datasets.types import ColumnType

if TYPE_CHECKING:
    from sluice.datasets.model import Column

#: Digits of a number written with an exponent that are still written out: of all doubles, or of others.
_MAX_DOUBLE_DIGITS = 400
_MAX_DIGITS = 60
_EXACT = Context(prec=10_000)
#: Two digits from 69 on are a year of the 1900s.
_PIVOT = 69
_DIRECTIVE = re.compile("|".join(DIRECTIVES))
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_WRITERS: dict[str, Callable[[datetime], str]] = {
    "%Y": lambda at: f"{at.year:04}",
    "%y": lambda at: f"{at.year % 100:02}",
    "%m": lambda at: f"{at.month:02}",
    "%d": lambda at: f"{at.day:02}",
    "%j": lambda at: f"{at.timetuple().tm_yday:03}",
    "%b": lambda at: _MONTHS[at.month - 1][:3],
    "%B": lambda at: _MONTHS[at.month - 1],
    "%a": lambda at: _DAYS[at.weekday()][:3],
    "%A": lambda at: _DAYS[at.weekday()],
    "%H": lambda at: f"{at.hour:02}",
    "%I": lambda at: f"{at.hour % 12 or 12:02}",
    "%M": lambda at: f"{at.minute:02}",
    "%S": lambda at: f"{at.second:02}",
    "%f": lambda at: f"{at.microsecond:06}",
    "%p": lambda at: "AM" if at.hour < 12 else "PM",  # noon
    "%z": lambda at: at.isoformat()[-6:],
    "%%": lambda _: "%",
}


def is_plain(column: Column) -> bool:
    """Return whether cells of a column have the form that answers have for its type."""
    return not (column.formats or column.is_localized)


def write_cell(column: Column, value: object) -> str:
    """Return the cell of a stored value in the form that the column declares.

    A value that no declared form expresses is written as answers have it, and rejected when it is read.
    """
    if isinstance(value, date | time) and column.formats:
        return write_time(column, value)
    if isinstance(value, int | float | Decimal) and column.is_localized:
        return write_number(column, Decimal(repr(value) if isinstance(value, float) else value))
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return str(value)


def write_number(column: Column, number: Decimal) -> str:
    """Return a finite number as the cells of its column have it."""
    if column.percent:
        number = _EXACT.scaleb(number, Decimal(2))
    text = str(number)
    if column.type is not ColumnType.FLOAT or column.is_localized:
        text = _without_exponent(number, column.type) or text
    return text.replace(".", column.decimal_separator) + ("%" if column.percent else "")


def _without_exponent(number: Decimal, kind: ColumnType) -> str:
    """Return a number in digits, a whole one without a fraction; empty if it is too long."""
    limit = _MAX_DOUBLE_DIGITS if kind is ColumnType.FLOAT else _MAX_DIGITS
    if abs(number.adjusted()) > limit:
        return ""
    is_whole = number == number.to_integral_value()
    return str(int(number)) if is_whole else format(number, "f")


def write_time(column: Column, value: date | time) -> str:
    """Return a date or time in the first of its forms that the column reads back as the same value.

    The form of answers (ISO 8601) is tried first, and years of four digits before those of two.
    """
    plain = value.isoformat(sep=" ") if isinstance(value, datetime) else value.isoformat()
    formats = sorted(column.formats, key=lambda written: "%y" in written)
    forms = [text for each in formats if (text := _written(column, each, value)) is not None]
    return next((text for text in (plain, *forms) if _reads_back(column, text, value)), plain)


def reads_as_other(column: Column, text: str, value: date | time) -> bool:
    """Return whether a column reads a text, but not as this value."""
    is_read = any(re.fullmatch(format_grammar(each), text) for each in column.formats)
    return is_read and not _reads_back(column, text, value)


def _reads_back(column: Column, text: str, value: date | time) -> bool:
    """Whether the first format that accepts a text gives this value."""
    for written in column.formats:
        if re.fullmatch(format_grammar(written), text):
            return _written(column, written, value) == text
    return False


def _written(column: Column, written: str, value: date | time) -> str | None:
    """Return a value by one format; None if the format loses a part of it."""
    at = _local(column, value, has_zone="%z" in written)
    if at is None or not _keeps(column, set(_DIRECTIVE.findall(written)), at):
        return None
    return _DIRECTIVE.sub(lambda found: _WRITERS[found[0]](at), written)


def _local(column: Column, value: date | time, *, has_zone: bool) -> datetime | None:
    """Return a value as the local time that a cell states; None if the clocks make it ambiguous."""
    if isinstance(value, time):
        return datetime.combine(date(1, 1, 1), value)
    if not isinstance(value, datetime):
        return datetime.combine(value, time())
    if value.tzinfo is not None:
        zone = UTC if has_zone else ZoneInfo(column.time_zone or "UTC")
        local = value.astimezone(zone)
        return (
            local if local.utcoffset() == local.replace(fold=1 - local.fold).utcoffset() else None
        )
    if not has_zone:
        return value
    if column.time_zone == "drop":
        return value.replace(tzinfo=UTC)
    local = value.replace(tzinfo=ZoneInfo(column.time_zone))
    is_skipped = local.astimezone(UTC).astimezone(local.tzinfo).replace(tzinfo=None) != value
    offset = local.utcoffset() or timedelta()
    return None if is_skipped or offset % timedelta(minutes=1) else local


def _keeps(column: Column, directives: set[str], at: datetime) -> bool:
    """Whether directives express all of a local time."""
    has_hour = "%H" in directives or {"%I", "%p"} <= directives
    has_clock = (
        (has_hour or not at.hour)
        and ("%M" in directives or not at.minute)
        and ("%S" in directives or not at.second)
        and ("%f" in directives or not at.microsecond)
    )
    if column.type is ColumnType.TIME:
        return has_clock
    has_month = bool({"%m", "%b", "%B"} & directives)
    has_day = "%j" in directives or (has_month and "%d" in directives)
    has_year = "%Y" in directives or ("%y" in directives and _year_of_two_digits(column, at))
    return has_clock and has_day and has_year


def _year_of_two_digits(column: Column, at: datetime) -> bool:
    """Whether two digits of a year are read as this year."""
    digits = at.year % 100
    year = digits + (1900 if digits >= _PIVOT else 2000)
    if column.two_digit_years == "past" and year > at.year:
        # The local time of a hundred years later; a leap day need not exist there.
        later = (year, *at.timetuple()[1:6])
        year -= 100 if later > datetime.now().timetuple()[:6] else 0  # noqa: DTZ005
    return year == at.year
