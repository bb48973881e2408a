"""Which texts are JSON that PostgreSQL's `jsonb` stores; no regular expression can say it.

RFC 8259, less what `jsonb` refuses or would drop without a word: NUL, halves of surrogate pairs, numbers
beyond `numeric`, and all but the last of members with the same name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

#: Objects and arrays in each other.
MAX_DEPTH = 100
#: Digits of PostgreSQL's numeric: https://www.postgresql.org/docs/current/datatype-numeric.html
_MAX_WHOLE_DIGITS, _MAX_DECIMALS = 131_072, 16_383
#: Digits of an exponent, more than any that fits.
_MAX_EXPONENT_DIGITS = 7

NOT_JSON = "is not JSON"
_REPEATS = "has a member name twice in one object"
_TOO_DEEP = f"is JSON nested more than {MAX_DEPTH} deep"
_NUMBER = (
    "has a number beyond those of PostgreSQL, 131,072 digits before the point and 16,383 after it"
)
_NUL = "has the escape \\u0000, which PostgreSQL cannot store"
_SURROGATE = "has half of a surrogate pair, which is no character"


class _ProblemError(Exception):
    """A text is JSON that cannot be stored."""


def json_problem(text: str) -> str:
    """Return what is wrong with a text as JSON, as a predicate such as `is not JSON`; empty if nothing is.

    No predicate repeats anything of the text.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_number,
            parse_float=_number,
            parse_constant=_constant,
        )
        if "\\u" in text:
            _check_characters(value)
        if text.count("[") + text.count("{") > MAX_DEPTH:
            _check_depth(value)
    except RecursionError:
        return _TOO_DEEP
    except _ProblemError as error:
        return str(error)
    except ValueError:
        return NOT_JSON
    return ""


def read_json_text(text: str) -> str:
    """Return a text that is JSON.

    Raises:
        ValueError: it is not, or cannot be stored.
    """
    if problem := json_problem(text):
        raise ValueError(problem)
    return text


def _object(members: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(members)
    if len(found) < len(members):
        raise _ProblemError(_REPEATS)
    return found


def _constant(name: str) -> None:
    raise ValueError(name)


def _number(text: str) -> None:
    mantissa, _, exponent = text.lower().lstrip("-").partition("e")
    digits = exponent.lstrip("+-0")
    if len(digits) > _MAX_EXPONENT_DIGITS:
        raise _ProblemError(_NUMBER)
    whole, _, decimals = mantissa.partition(".")
    shift = int(digits or 0) * (-1 if exponent.startswith("-") else 1)
    leading = (whole + decimals).lstrip("0")
    whole_digits = len(leading) - len(decimals) + shift if leading else 0
    if whole_digits > _MAX_WHOLE_DIGITS or len(decimals) - shift > _MAX_DECIMALS:
        raise _ProblemError(_NUMBER)


def _check_characters(value: object) -> None:
    for text in _texts([value]):
        if "\0" in text:
            raise _ProblemError(_NUL)
        if any("\ud800" <= sign <= "\udfff" for sign in text):
            raise _ProblemError(_SURROGATE)


def _texts(values: Iterable[object]) -> Iterator[str]:
    """Yield all strings and member names of values."""
    waiting = list(values)
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict):
            waiting += each
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each


def _check_depth(value: object) -> None:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH + 1):
        groups = [each for each in level if isinstance(each, dict | list)]
        if not groups:
            return
        level = [inner for each in groups for inner in _members(each)]
    raise _ProblemError(_TOO_DEEP)


def _members(group: dict[str, object] | list[object]) -> Iterable[object]:
    return group.values() if isinstance(group, dict) else group
