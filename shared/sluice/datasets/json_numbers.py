"""JSON whose numbers keep every digit they are written with; pure."""

from __future__ import annotations

import json
from typing import Any


class Numeral(str):
    """A number as a JSON document writes it."""

    __slots__ = ()


def read_json(text: str | bytes) -> Any:  # any JSON value
    """Return the value of a JSON text, its numbers as numerals.

    Raises:
        ValueError: it is no JSON, or nested too deep.
    """
    try:
        return json.loads(text, parse_float=Numeral, parse_int=Numeral, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def write_json(value: object) -> str:
    """Return a value as JSON text, its numerals as they were written."""
    if isinstance(value, Numeral):
        return str(value)
    if isinstance(value, dict):
        members = (f"{write_json(name)}: {write_json(each)}" for name, each in value.items())
        return f"{{{', '.join(members)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(write_json, value))}]"
    return json.dumps(value, ensure_ascii=False)
