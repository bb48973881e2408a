"""Decides the formats of the dates and times of a column, and their type."""

from __future__ import annotations

import re
from dataclasses import replace

from sluice.datasets.types import ColumnType
from sluice.inference.detection.ends import Ends
from sluice.inference.typing.decisions import (
    Decision,
    Forms,
    Habits,
    contrast,
    first_of,
    show,
    text_because,
)
from sluice.inference.typing.moments import ISO, OFFSET, formats_of

#: The orders of day, month and year, as directives.
_ORDERS = {"dmy": "day first", "mdy": "month first", "ymd": "year first"}
_DIRECTIVES = re.compile("%([dmyYbB])")


def decide_time(forms: Forms, ends: Ends, habits: Habits) -> Decision:
    """Return the type and formats of dates and times; text if their order is not certain.

    Args:
        forms: of dates and times.
        ends: the numbers at both ends of dates with a year of two digits.
        habits: those of the file, which decide what the column leaves open.
    """
    orders = [order for order in _ORDERS if all(_formats_in(form, order) for form in forms)]
    if not orders:
        return _clash(forms)
    if all(_is_certain(form) for form in forms):
        return _in_order(forms, orders[0])
    if len(orders) > 1 and "ymd" in orders:
        orders = _without_year_first(forms, orders, ends)
    if len(orders) == 1:
        return _in_order(forms, orders[0], proven=Habits(order=orders[0]))
    if habits.order in orders:
        found = _in_order(forms, habits.order)
        reason = f"{_ORDERS[habits.order]}, as in other columns"
        return replace(found, reasons=(reason, *found.reasons))
    return replace(_unclear(forms, orders), is_open=True)


def _in_order(forms: Forms, order: str, proven: Habits | None = None) -> Decision:
    formats = _shared_formats({form: _formats_in(form, order) for form in forms})
    found = _decide_formats(forms, formats, _reasons(forms, order, formats))
    return replace(found, proven=proven) if proven else found


def _without_year_first(forms: Forms, orders: list[str], ends: Ends) -> list[str]:
    """Return the orders that are left after a look at how many different numbers are at both ends.

    Days are many and years are few. Where that is not clear, a year comes first only between hyphens.
    """
    others = [each for each in orders if each != "ymd"]
    if ends.are_days_last:
        return ["ymd"]
    if ends.are_days_first:
        return others
    is_hyphenated = any("-%" in each for form in forms for each in formats_of(form) if _order(each))
    return orders if is_hyphenated or len(ends.last) > len(ends.first) else others


def _order(written: str) -> str:
    """Return the order of a numeric date; empty where a name or a year of four digits in front decides it."""
    parts = _DIRECTIVES.findall(written)
    if not parts or parts[0] == "Y" or "b" in parts or "B" in parts:
        return ""
    return "".join(parts).lower()


def _formats_in(form: str, order: str) -> tuple[str, ...]:
    return tuple(each for each in formats_of(form) if _order(each) in ("", order))


def _is_certain(form: str) -> bool:
    return not any(_order(each) for each in formats_of(form))


def _shared_formats(choices: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """Return a format for each form; of several, such as `%b` and `%B` for May, one that others need."""
    needed = {each[0] for each in choices.values() if len(each) == 1}
    return {
        form: next((each for each in formats if each in needed), formats[0])
        for form, formats in choices.items()
    }


def _decide_formats(forms: Forms, formats: dict[str, str], reasons: tuple[str, ...]) -> Decision:
    """Return the type that has all formats."""
    has_date = {form: bool(_DIRECTIVES.search(each)) for form, each in formats.items()}
    has_zone = {form: _has_zone(each) for form, each in formats.items()}
    for flags, why in (
        (has_date, "some are times of day"),
        (has_zone, "some name a time zone and some do not"),
    ):
        if len(set(flags.values())) > 1:
            pair = [
                first_of({f: forms[f] for f in forms if flags[f] is flag}) for flag in (True, False)
            ]
            return contrast(why, *pair)
    used = set(formats.values())
    kind = _type_of(used)
    if all(each.startswith(ISO) for each in used):
        return Decision(kind, {}, reasons)
    if bare := {form: forms[form] for form in forms if OFFSET in formats[form]}:
        return text_because(f"{show(first_of(bare))}: no format reads this offset among others")
    return Decision(kind, {"formats": sorted({each.removeprefix(ISO) for each in used})}, reasons)


def _has_zone(written: str) -> bool:
    return "%z" in written or OFFSET in written


def _type_of(formats: set[str]) -> ColumnType:
    if not any(_DIRECTIVES.search(each) for each in formats):
        return ColumnType.TIME
    if any(_has_zone(each) for each in formats):
        return ColumnType.INSTANT
    has_clock = any("%M" in each for each in formats)
    return ColumnType.TIMESTAMP if has_clock else ColumnType.DATE


def _clash(forms: Forms) -> Decision:
    """Return the decision for dates that no single order reads."""
    ordered = sorted(forms, key=lambda form: forms[form])
    orders = {form: {o for o in _ORDERS if _formats_in(form, o)} for form in ordered}
    left = set(_ORDERS)
    for form in ordered:
        if not left & orders[form]:
            other = next((e for e in ordered if not orders[e] & orders[form]), ordered[0])
            return contrast(
                "day and month are not always in the same place", forms[other], forms[form]
            )
        left &= orders[form]
    return text_because(show(first_of(forms)))


def _unclear(forms: Forms, orders: list[str]) -> Decision:
    example = first_of({form: each for form, each in forms.items() if not _is_certain(form)})
    what = " or ".join(_ORDERS[each] for each in orders)
    return text_because(f"{show(example)}: {what}, and no cell shows which; declare the format")


def _reasons(forms: Forms, order: str, formats: dict[str, str]) -> tuple[str, ...]:
    """Return the cell that decides the order, and how years of two digits are read."""
    reasons = []
    if any(_order(each) for each in formats.values()):
        proofs = {form: each for form, each in forms.items() if not _may_be_other(form, order)}
        reasons += [f"{_ORDERS[order]}, because {show(first_of(proofs))}"] if proofs else []
    if any("%y" in each for each in formats.values()):
        reasons.append("years 69 to 99 are read as 1969 to 1999, 00 to 68 as 2000 to 2068")
    return tuple(reasons)


def _may_be_other(form: str, order: str) -> bool:
    return any(_order(each) != order for each in formats_of(form))
