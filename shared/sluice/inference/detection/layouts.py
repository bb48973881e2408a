"""Finds the strptime formats that a shape may have; `moments` decides in which its digits are valid."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sluice.inference.typing.moments import ISO, OFFSET, Layout, Layouts, Slot

_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
_MONTH_NUMBERS = {
    name: number for number, each in enumerate(_MONTHS, 1) for name in (each, each[:3])
}
_MONTH_NAME = "(?i:" + "|".join((*_MONTHS, *(each[:3] for each in _MONTHS))) + ")"
_DAY_NAME = "(?i:(?:mon|tues|wednes|thurs|fri|satur|sun)day|mon|tue|wed|thu|fri|sat|sun)"
_CLOCK = re.compile(
    r"(?P<H>99?):(?P<M>99)(?::(?P<S>99)(?:(?P<point>[.,])(?P<f>9{1,6}))?)?"
    r"(?:(?P<p_space> ?)(?P<p>[AaPp][Mm]))?"
    r"(?:(?P<z_space> ?)(?P<z>Z|UTC|[+-]99(?::?99)?))?\Z"
)
_HOUR = re.compile("(?<!9)99?(?=:99)")
#: What is between a date and a time; logs of web servers have a colon.
_LINK = re.compile(r"(?:T| |, |:)\Z")
#: As in C and in posts of some services: the year is last.
_YEAR_LAST = re.compile(
    rf"(?P<a>{_DAY_NAME}) (?P<b>{_MONTH_NAME}) (?P<d>99?) (?P<clock>\S+(?: \S+)?) (?P<y>9{{4}})"
)
_ISO = re.compile(
    r"9999-99-99(?:[T ]99:99(?::99(?:\.9{1,6})?)?(?: ?(?:Z|UTC|[+-]99(?::?99)?))?)?"
    r"|99:99(?::99(?:\.9{1,6})?)?"
)
_DATES = (
    re.compile(r"(?P<a>9{4})(?P<s>[-/. ])(?P<b>99?)(?P=s)(?P<c>99?)"),
    re.compile(r"(?P<a>99?)(?P<s>[-/. ]|\. )(?P<b>99?)(?P=s)(?P<c>9{4}|99)"),
)
_NAMED = (
    re.compile(rf"(?P<d>99?)(?P<s>[-/. ]?)(?P<b>{_MONTH_NAME})(?P<t>[-/. ]?)(?P<y>9{{4}}|99)"),
    re.compile(rf"(?P<d>99?)(?P<s>\. )(?P<b>{_MONTH_NAME})(?P<t> )(?P<y>9{{4}})"),
    re.compile(rf"(?P<b>{_MONTH_NAME})(?P<s>[-/. ])(?P<d>99?)(?P<t>[-/. ]|, )(?P<y>9{{4}}|99)"),
    re.compile(rf"(?P<y>9{{4}})(?P<s>[-/. ])(?P<b>{_MONTH_NAME})(?P<t>[-/. ])(?P<d>99?)"),
)
_BASIC = re.compile("(?P<Y>9{4})(?P<m>99)(?P<d>99)T(?P<H>99)(?P<M>99)(?P<S>99)(?P<z>Z?)")
_COMPACT = re.compile("(?P<Y>9{4})(?P<m>99)(?P<d>99)")


def read_time(text: str, at: int) -> Layouts | None:
    """Return the formats of a shape that begins at a position of its cells; None if it is no date or time."""
    if basic := _BASIC.fullmatch(text):
        slots = tuple((f"%{name}", _slot(basic, name, at)) for name in "YmdHMS")
        zone = "%z" if basic["z"] else ""
        return Layouts((Layout(f"%Y%m%dT%H%M%S{zone}", slots),))
    if last := _YEAR_LAST.fullmatch(text):
        return _year_last(last, at)
    clocks = list(_clocks(text, at)) if ":" in text else [(text, Layout("", ()))]
    found = [
        Layout(day.written + clock.written, day.slots + clock.slots)
        for date, clock in clocks
        for day in _days(date, at, is_alone=not clock.written)
    ]
    if _ISO.fullmatch(text):
        found = [Layout(ISO + each.written, each.slots) for each in found]
    else:
        found = [each for each in found if OFFSET not in each.written and each.has_all_digits]
    return Layouts(tuple(found)) if found else None


def _year_last(found: re.Match[str], at: int) -> Layouts | None:
    """Return the format of a date and time such as `Mon May 28 09:03:40 2018`."""
    clock = _CLOCK.match(found["clock"])
    if clock is None:
        return None
    middle = _clock(clock, at + found.start("clock"))
    day = "%a" if len(found["a"]) == len("Mon") else "%A"
    month = _MONTH_NUMBERS[found["b"].lower()]
    slots = (
        ("%d", _slot(found, "d", at)),
        ("%m", Slot(0, 0, month)),
        ("%Y", _slot(found, "y", at)),
        *middle.slots,
    )
    name = "%b" if len(found["b"]) == len("May") else "%B"
    layout = Layout(f"{day} {name} %d {middle.written} %Y", slots)
    return Layouts((layout,)) if OFFSET not in layout.written else None


def _clocks(text: str, at: int) -> Iterator[tuple[str, Layout]]:
    """Yield the text before a time of day at the end of a text, and the layout of the time."""
    for hour in _HOUR.finditer(text):
        if found := _CLOCK.match(text, hour.start()):
            date = _LINK.sub("", text[: hour.start()])
            layout = _clock(found, at)
            yield date, Layout(text[len(date) : hour.start()] + layout.written, layout.slots)
            return


def _clock(found: re.Match[str], at: int) -> Layout:
    """Return the layout of a time of day."""
    hour = "%I" if found["p"] else "%H"
    named = {hour: "H", "%M": "M", "%S": "S"}
    written = (
        f"{hour}:%M"
        + (":%S" if found["S"] else "")
        + ((found["point"] or "") + "%f" if found["f"] else "")
    )
    written += f"{found['p_space']}%p" if found["p"] else ""
    slots = [(name, _slot(found, group, at)) for name, group in named.items() if found[group]]
    zone = found["z"] or ""
    if zone:
        is_read = zone == "Z" or len(zone) >= len("+9999")
        written += found["z_space"] + ("%z" if is_read else OFFSET)
    if zone[1:2] == "9":
        begin = found.start("z") + at
        slots.append(("%zH", Slot(begin + 1, 2)))
        slots += [("%zM", Slot(begin + len(zone) - 2, 2))] if len(zone) > 3 else []
    elif zone:
        slots.append(("%zH", Slot(0, 0)))
    return Layout(written, tuple(slots))


def _slot(found: re.Match[str], group: str, at: int) -> Slot:
    return Slot(at + found.start(group), len(found[group]))


def _days(text: str, at: int, *, is_alone: bool) -> Iterator[Layout]:
    """Yield the layouts of a date; of an empty text the empty layout."""
    if not text:
        yield Layout("", ())
        return
    if not is_alone and (compact := _COMPACT.fullmatch(text)):
        slots = tuple((f"%{name}", _slot(compact, name, at)) for name in "Ymd")
        yield Layout("%Y%m%d", slots)
    for pattern in _DATES:
        if found := pattern.fullmatch(text):
            yield from _numeric(found, at)
    weekday = re.match(rf"({_DAY_NAME})(,? )", text)
    prefix = ""
    if weekday:
        prefix = ("%a" if len(weekday[1]) == 3 else "%A") + weekday[2]
        at, text = at + weekday.end(), text[weekday.end() :]
    for pattern in _NAMED:
        if found := pattern.fullmatch(text):
            yield from _named(found, at, prefix)
            return


def _numeric(found: re.Match[str], at: int) -> Iterator[Layout]:
    """Yield the orders that day, month and year may have."""
    lengths = [len(found[group]) for group in "abc"]
    orders = ("Ymd",) if lengths[0] == 4 else ("dmY", "mdY") if lengths[2] == 4 else ("dmy", "mdy")
    if lengths[0] == lengths[2] == 2:
        orders = (*orders, "ymd")
    for order in orders:
        slots = tuple(
            (f"%{name}", _slot(found, group, at)) for name, group in zip(order, "abc", strict=True)
        )
        yield Layout(found["s"].join(f"%{name}" for name in order), slots)


def _named(found: re.Match[str], at: int, prefix: str) -> Iterator[Layout]:
    """Yield the formats of a date with the name of its month: `May` is both short and long."""
    name = found["b"].lower()
    month = _MONTH_NUMBERS[name]
    year = "%Y" if len(found["y"]) == 4 else "%y"
    slots = (
        ("%d", _slot(found, "d", at)),
        ("%m", Slot(0, 0, month)),
        (year, _slot(found, "y", at)),
    )
    for directive in ("%b", "%B"):
        if (len(name) == 3) if directive == "%b" else (name == _MONTHS[month - 1]):
            groups = {"d": "%d", "b": directive, "y": year, "s": found["s"], "t": found["t"]}
            order = sorted(groups, key=found.start)
            yield Layout(prefix + "".join(groups[each] for each in order), slots)
