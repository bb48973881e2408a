"""What the number in a cell means by its format: a number, date, time or duration (ECMA-376, 18.8.30)."""

from __future__ import annotations

import re
from enum import IntEnum


class Kind(IntEnum):
    """What a number means."""

    NUMBER = 0
    DATE = 1
    TIME = 2
    DATE_TIME = 3
    DURATION = 4


_DATE_IDS = (*range(14, 18), *range(27, 32), 36, *range(50, 59))
_TIME_IDS = (*range(18, 22), *range(32, 36), 45, 47)
_BUILT_IN = {
    **dict.fromkeys(_DATE_IDS, Kind.DATE),
    **dict.fromkeys(_TIME_IDS, Kind.TIME),
    22: Kind.DATE_TIME,
    46: Kind.DURATION,
}
#: Literal text, padding, and brackets with colours, conditions and locales.
_LITERAL = re.compile(r'"[^"]*"?|\\.|_.|\*.|\[(?!(?:h+|m+|s+)\])[^\]]*\]')
_ELAPSED = re.compile(r"\[(?:h+|m+|s+)\]")
_CLOCK = re.compile(r"[hs]|am/pm|a/p")


def kind_of_id(number: int) -> Kind:
    """Return the meaning of a built-in format."""
    return _BUILT_IN.get(number, Kind.NUMBER)


def kind_of_code(code: str) -> Kind:
    """Return the meaning of a format as it is written, such as `yyyy-mm-dd;@`."""
    written = _LITERAL.sub("", code.lower()).partition(";")[0]
    if "general" in written:
        return Kind.NUMBER
    if _ELAPSED.search(written):
        return Kind.DURATION
    has_time = bool(_CLOCK.search(written))
    has_day = bool(set("ydg") & set(re.sub("am/pm|a/p", "", written)))
    has_date = has_day or (not has_time and "m" in written)
    if has_date and has_time:
        return Kind.DATE_TIME
    if has_date:
        return Kind.DATE
    return Kind.TIME if has_time else Kind.NUMBER
