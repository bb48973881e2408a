"""The grammar of cells once more, in plain Python: what a text means, or that it is not a value."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

DIGITS = frozenset("0123456789")
#: What `str.strip` removes from a cell in addition to Unicode's white space.
MARKS = " \t\r\n\v\f\u00a0\u1680\u202f\u205f\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200B)))
NOT_FINITE = {"nan", *(sign + word for sign in ("", "+", "-") for word in ("inf", "infinity"))}
TRUE, FALSE = {"true", "t", "yes", "y", "1"}, {"false", "f", "no", "n", "0"}


class NotAValueError(Exception):
    """A text is not in the grammar."""


def read_cell(text: str, column: dict[str, Any]) -> Any:
    """Return the value of a cell, None for a null.

    Raises:
        NotAValueError: the row is a reject.
    """
    kind = column["type"]
    if column.get("trim", True):
        text = text.strip(MARKS)
    if not text or text in column.get("nulls", ()):
        return None
    if kind == "text":
        return text
    if "formats" in column:
        return read_formats(text, column)
    if kind in ("integer", "bigint", "float", "numeric"):
        return read_number(text, column)
    return READERS[kind](text, column)


def require(condition: object) -> None:
    if not condition:
        raise NotAValueError


def is_digits(text: str) -> bool:
    return bool(text) and set(text) <= DIGITS


def read_number(text: str, column: dict[str, Any]) -> Any:
    kind = column["type"]
    plain = from_local_form(text, column) if is_local(column) else text
    if kind in ("integer", "bigint"):
        digits = plain[1:] if plain[:1] in ("+", "-") else plain
        require(is_digits(digits))
        bits = 32 if kind == "integer" else 64
        require(-(2 ** (bits - 1)) <= int(plain) < 2 ** (bits - 1))
        return int(plain)
    if kind == "float" and plain.lower() in NOT_FINITE:
        require(not is_local(column))
        return float(plain)
    require_decimal(plain)
    if kind == "float":
        require(abs(float(plain)) != float("inf"))
        return float(plain)
    return Decimal(plain)


def require_decimal(text: str) -> None:
    digits = text[1:] if text[:1] in ("+", "-") else text
    mantissa, mark, exponent = digits.replace("E", "e").partition("e")
    if mark:
        require(is_digits(exponent[1:] if exponent[:1] in ("+", "-") else exponent))
        require(len(exponent.lstrip("+-")) <= 3)
    whole, _, fraction = mantissa.partition(".")
    require(is_digits(whole + fraction))
    require(mantissa.count(".") <= 1)


def is_local(column: dict[str, Any]) -> bool:
    keys = ("decimal_separator", "thousands_separator", "symbols", "negatives", "percent")
    return any(column.get(key) for key in keys)


def from_local_form(text: str, column: dict[str, Any]) -> str:
    """Return a number in a column's own form as Python has it."""
    negatives = column.get("negatives", [])
    spaces = " \u00a0\u202f"
    signs = "+-\u2212" if "minus_sign" in negatives else "+-"
    is_negative = False
    is_signed = text[:1] in tuple(signs)
    if "parentheses" in negatives and text[:1] == "(":
        require(text[-1:] == ")")
        text, is_negative, is_signed = one_space(text[1:-1], spaces), True, True
        require(text[:1] not in tuple(signs))
    elif "trailing_minus" in negatives and text[-1:] == "-" and not is_signed:
        text, is_negative, is_signed = one_space(text[:-1], spaces, before=False), True, True
        symbol_first = [each for each in column.get("symbols", []) if text.startswith(each)]
        require(
            not symbol_first or text[len(symbol_first[0]) :].lstrip(spaces)[:1] not in tuple(signs)
        )
    elif is_signed:
        is_negative = text[0] != "+"
        text = one_space(text[1:], spaces, after=False)
    symbols = column.get("symbols", [])
    first = next((each for each in symbols if text.startswith(each)), None)
    last = next((each for each in symbols if text.endswith(each)), None)
    if first is not None:
        text = one_space(text[len(first) :], spaces, after=False)
        if not is_signed and text[:1] in tuple(signs):
            is_negative = text[0] != "+"
            text = one_space(text[1:], spaces, after=False)
    elif last is not None:
        text = one_space(text[: -len(last)], spaces, before=False)
    if column.get("percent"):
        require(text[-1:] == "%")
        text = one_space(text[:-1], spaces, before=False)
    return (
        ("-" if is_negative else "")
        + ungrouped(text, column)
        + ("e-2" if column.get("percent") else "")
    )


def one_space(text: str, spaces: str, *, before: bool = True, after: bool = True) -> str:
    """Take one space off each end that may have one."""
    if after is False or before:
        text = text[1:] if text[:1] in tuple(spaces) else text
    if before is False or after:
        text = text[:-1] if text[-1:] in tuple(spaces) else text
    return text


def ungrouped(text: str, column: dict[str, Any]) -> str:
    """Return digits without separators of thousands, a point before the decimals."""
    point, mark = column.get("decimal_separator", "."), column.get("thousands_separator", "")
    body, exponent = text, ""
    if not mark:
        at = next((n for n, sign in enumerate(text) if sign in "eE"), len(text))
        body, exponent = text[:at], text[at:]
    whole, separator, fraction = body.partition(point)
    require(not fraction or is_digits(fraction))
    require(not whole or set(whole) <= DIGITS | {mark, *("\u00a0\u202f" if mark == " " else "")})
    require(whole or fraction)
    if not is_digits(whole) and whole:
        for each in "\u00a0\u202f" if mark == " " else "":
            whole = whole.replace(each, mark)
        first, *groups = whole.split(mark)
        *middle, last = groups
        size = 2 if column.get("grouping") == "indian" else 3
        require(is_digits(first) and 1 <= len(first) <= size and first[0] != "0")
        require(all(is_digits(each) and len(each) == size for each in middle))
        require(is_digits(last) and len(last) == 3)
        whole = whole.replace(mark, "")
    if column["type"] in ("integer", "bigint"):
        require(not separator and not exponent)
        return whole
    return whole + ("." + fraction if fraction else "") + exponent


def read_boolean(text: str, column: dict[str, Any]) -> bool:
    require(text.lower() in TRUE | FALSE)
    return text.lower() in TRUE


def read_date(text: str, column: dict[str, Any]) -> dt.date:
    require(len(text) == 10 and text[4] == text[7] == "-")
    require(is_digits(text[:4] + text[5:7] + text[8:]))
    try:
        return dt.date(int(text[:4]), int(text[5:7]), int(text[8:]))
    except ValueError:
        raise NotAValueError from None


def read_time(text: str, column: dict[str, Any]) -> dt.time:
    parts = text.split(":")
    require(len(parts) in (2, 3) and all(len(each) == 2 for each in parts[:2]))
    seconds, point, fraction = (parts[2] if len(parts) == 3 else "00").partition(".")
    require(len(seconds) == 2 and is_digits("".join(parts[:2]) + seconds))
    require(not point or (is_digits(fraction) and len(fraction) <= 6))
    try:
        return dt.time(int(parts[0]), int(parts[1]), int(seconds), int(fraction.ljust(6, "0") or 0))
    except ValueError:
        raise NotAValueError from None


def split_zone(clock: str) -> tuple[str, dt.timezone | None]:
    """Return a time of day without its zone, and that."""
    for name in (" UTC", "UTC", " Z", "Z"):
        if clock.endswith(name):
            return clock.removesuffix(name), dt.UTC
    at = max(clock.rfind("+"), clock.rfind("-"))
    if at < 0:
        return clock, None
    hours, minutes = clock[at + 1 : at + 3], clock[at + 3 :].removeprefix(":") or "00"
    require(is_digits(hours) and len(hours) == 2 and is_digits(minutes) and len(minutes) == 2)
    require(clock[-1] != ":")
    require(int(hours) <= 15 and int(minutes) <= 59)
    offset = dt.timedelta(hours=int(hours), minutes=int(minutes))
    return clock[:at].removesuffix(" "), dt.timezone(-offset if clock[at] == "-" else offset)


def read_moment(text: str, column: dict[str, Any]) -> dt.datetime:
    """Return the local time of a text, with its zone if it names one."""
    day = read_date(text[:10], column)
    if len(text) == 10:
        return dt.datetime.combine(day, dt.time())
    require(text[10] in "T ")
    clock, zone = split_zone(text[11:])
    return dt.datetime.combine(day, read_time(clock, column), zone)


def read_timestamp(text: str, column: dict[str, Any]) -> dt.datetime:
    return as_timestamp(read_moment(text, column), column)


def as_timestamp(moment: dt.datetime, column: dict[str, Any]) -> dt.datetime:
    if moment.tzinfo is None:
        return moment
    zone = column.get("time_zone")
    require(zone)
    if zone != "drop":
        try:
            moment = moment.astimezone(ZoneInfo(zone))
        except OverflowError:
            raise NotAValueError from None
    return moment.replace(tzinfo=None)


def read_instant(text: str, column: dict[str, Any]) -> dt.datetime:
    return as_instant(read_moment(text, column), column)


def as_instant(moment: dt.datetime, column: dict[str, Any]) -> dt.datetime:
    if moment.tzinfo is None:
        local = moment.replace(tzinfo=ZoneInfo(column.get("time_zone") or "UTC"), fold=1)
        try:
            there_and_back = local.astimezone(dt.UTC).astimezone(local.tzinfo)
        except OverflowError:
            raise NotAValueError from None
        require(there_and_back.replace(tzinfo=None) == moment)
        moment = local
    try:
        return moment.astimezone(dt.UTC)
    except OverflowError:
        raise NotAValueError from None


def read_uuid(text: str, column: dict[str, Any]) -> UUID:
    sizes = [len(each) for each in text.split("-")]
    require(sizes == [8, 4, 4, 4, 12] and set(text) <= set("0123456789abcdefABCDEF-"))
    return UUID(text)


class _Json:
    """Reads a JSON text one character after another."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def whole(self) -> str:
        self.value(1)
        require(self.at == len(self.text))
        return self.text

    def skip(self, signs: str = " \t\n\r") -> str:
        start = self.at
        while self.text[self.at : self.at + 1] in {*signs}:
            self.at += 1
        return self.text[start : self.at]

    def has(self, word: str) -> bool:
        found = self.text.startswith(word, self.at)
        self.at += len(word) if found else 0
        return found

    def value(self, depth: int) -> None:
        self.skip()
        if self.has("{"):
            self.group(depth, "}", set())
        elif self.has("["):
            self.group(depth, "]", None)
        elif self.has('"'):
            self.string()
        elif not any(self.has(word) for word in ("true", "false", "null")):
            self.number()
        self.skip()

    def group(self, depth: int, end: str, names: set[str] | None) -> None:
        require(depth <= 100)
        self.skip()
        if self.has(end):
            return
        while True:
            if names is not None:
                self.skip()
                require(self.has('"'))
                name = self.string()
                require(name not in names)
                names.add(name)
                self.skip()
                require(self.has(":"))
            self.value(depth + 1)
            if self.has(end):
                return
            require(self.has(","))

    def string(self) -> str:
        units: list[int] = []
        while not self.has('"'):
            sign = self.text[self.at : self.at + 1]
            require(sign >= " ")
            self.at += 1
            units += [self.escape()] if sign == "\\" else utf16(sign)
        require(0 not in units)
        try:
            return b"".join(each.to_bytes(2, "little") for each in units).decode("utf-16-le")
        except UnicodeDecodeError:
            raise NotAValueError from None

    def escape(self) -> int:
        sign = self.text[self.at : self.at + 1]
        self.at += 1
        if sign == "u":
            digits = self.text[self.at : self.at + 4]
            self.at += 4
            require(len(digits) == 4 and set(digits) <= set("0123456789abcdefABCDEF"))
            return int(digits, 16)
        require(sign and sign in '"\\/bfnrt')
        return ord(dict(zip('"\\/bfnrt', '"\\/\b\f\n\r\t', strict=True))[sign])

    def number(self) -> None:
        start = self.at
        self.has("-")
        whole = self.skip("0123456789")
        require(whole == "0" or whole[:1] in {*"123456789"})
        if self.has("."):
            require(self.skip("0123456789"))
        if self.has("e") or self.has("E"):
            if not self.has("+"):
                self.has("-")
            require(self.skip("0123456789"))
        number = Decimal(self.text[start : self.at])
        exponent = number.as_tuple().exponent
        require(isinstance(exponent, int) and -exponent <= 16_383)
        require(not number or number.adjusted() < 131_072)


def utf16(sign: str) -> list[int]:
    data = sign.encode("utf-16-le")
    return [int.from_bytes(data[at : at + 2], "little") for at in range(0, len(data), 2)]


def read_json(text: str, column: dict[str, Any]) -> str:
    return _Json(text).whole()


def read_formats(text: str, column: dict[str, Any]) -> Any:
    for each in column["formats"]:
        try:
            return read_format(text, each, column)
        except NotAValueError:
            continue
    raise NotAValueError


def read_format(text: str, written: str, column: dict[str, Any]) -> Any:
    require(text.isascii())
    if "%z" in written:
        require(text[-1:] == "Z" or (text[-3:].isdigit() or text[-3:-2] == ":"))
    try:
        moment = dt.datetime.strptime(text, written)  # noqa: DTZ007
    except ValueError:
        raise NotAValueError from None
    require(text.count(" ") == written.count(" "))
    require("%Y%m%d" not in written or len(text) == len("20260524091011"))
    kind = column["type"]
    if kind == "instant":
        return as_instant(moment, column)
    if kind == "timestamp":
        return as_timestamp(moment, column)
    return moment.time() if kind == "time" else moment.date()


READERS = {
    "boolean": read_boolean,
    "date": read_date,
    "time": read_time,
    "timestamp": read_timestamp,
    "instant": read_instant,
    "uuid": read_uuid,
    "json": read_json,
}
