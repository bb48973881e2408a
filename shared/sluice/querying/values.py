"""Texts of a request as typed values: what each type of PostgreSQL takes; knows no SQL and no HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from uuid import UUID

_WORDS = {"true": True, "false": False, "t": True, "f": False, "1": True, "0": False}


def _whole(text: str, bits: int) -> int:
    number = int(text, 10)
    if not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
        raise ValueError(text)
    return number


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(text)
    return number


def _text(text: str) -> str:
    if "\0" in text:
        raise ValueError(text)
    return text


def _instant(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment


def _naive(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is not None:
        raise ValueError(text)
    return moment


#: How each type reads a text, and what to call it in an error.
_READERS: dict[str, tuple[Callable[[str], object], str]] = {
    "text": (_text, "a text without NUL"),
    "smallint": (lambda text: _whole(text, 16), "a whole number"),
    "integer": (lambda text: _whole(text, 32), "a whole number of 32 bits"),
    "bigint": (lambda text: _whole(text, 64), "a whole number of 64 bits"),
    "double precision": (_finite, "a number"),
    "numeric": (Decimal, "a number"),
    "boolean": (lambda text: _WORDS[text.lower()], "true or false"),
    "date": (date.fromisoformat, "a date such as 2018-05-28"),
    "timestamp": (_naive, "a time such as 2018-05-28T09:03:40, without a time zone"),
    "timestamptz": (_instant, "a time with its time zone, such as 2018-05-28T09:03:40Z"),
    "time": (time.fromisoformat, "a time of day such as 09:03:40"),
    "uuid": (UUID, "a UUID"),
}


def parse_value(text: str, postgres_type: str) -> object:
    """Read a text as a value of a type.

    Raises:
        ValueError: it is none; the message says what one looks like.
    """
    read, description = _READERS[postgres_type]
    try:
        return read(text)
    except (ValueError, KeyError, InvalidOperation):
        raise ValueError(f'"{text}" is not {description}') from None


def parse_list(text: str) -> list[str]:
    """Split `a,"b,c",d` at its commas; `""` or a backslash before a quote inside quotes is a quote.

    Raises:
        ValueError: a quote is not closed, or text follows it.
    """
    values: list[str] = []
    rest = text
    while True:
        value, rest = _quoted(rest) if rest.startswith('"') else _plain(rest)
        values.append(value)
        if not rest:
            return values
        if not rest.startswith(","):
            raise ValueError(f"{rest!r} follows a closing quote; a comma separates values")
        rest = rest[1:]


def _plain(text: str) -> tuple[str, str]:
    value, comma, rest = text.partition(",")
    return value, comma + rest


def _quoted(text: str) -> tuple[str, str]:
    value = ""
    position = 1
    while position < len(text):
        pair = text[position : position + 2]
        if pair in ('""', '\\"', "\\\\"):
            value += pair[1]
            position += 2
        elif pair[0] == '"':
            return value, text[position + 1 :]
        else:
            value += pair[0]
            position += 1
    raise ValueError(f"{text!r}: the quote is not closed")
