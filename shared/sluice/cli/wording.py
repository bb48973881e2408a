"""Numbers and values in a person's words; knows no terminal."""

from __future__ import annotations

import json

_UNITS = ((10**3, "kB"), (10**6, "MB"), (10**9, "GB"), (10**12, "TB"))


def size(size_bytes: float) -> str:
    """Return a size as a person says it: 812 bytes, 3.4 MB."""
    if size_bytes < 1000:
        return f"{size_bytes:.0f} bytes"
    power, unit = next((each for each in _UNITS if size_bytes < each[0] * 999.5), _UNITS[-1])
    scaled = size_bytes / power
    return f"{scaled:.1f} {unit}" if scaled < 100 else f"{scaled:.0f} {unit}"


def count(number: int, noun: str) -> str:
    """Return a number with its noun: 1 row, 12,000 rows."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def cell(value: object) -> str:
    """Return a value as one line of text without control characters.

    Values come from other people's files: an escape code in one must not reach the terminal.
    """
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list() if all(isinstance(each, str) for each in value):
            text = ", ".join(value)
        case dict() | list():
            text = json.dumps(value, ensure_ascii=False)
        case _:
            text = str(value)
    return "".join(each if each.isprintable() else _visible(each) for each in text)


def _visible(character: str) -> str:
    if character in "\n\r\t":
        return {"\n": "⏎", "\r": "", "\t": " "}[character]
    return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"
