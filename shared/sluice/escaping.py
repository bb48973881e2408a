"""Escapes the characters that neither PostgreSQL nor UTF-8 can store: NUL and lone surrogates; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def escape(text: str) -> str:
    """Return a text with each NUL and lone surrogate written as JSON escapes it."""
    if text.isascii() and "\0" not in text:
        return text
    return _UNSTORABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def escape_all(value: object) -> Any:  # a JSON value
    """Return a JSON value with its texts and names of members escaped."""
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, Mapping):
        return {escape(str(name)): escape_all(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [escape_all(each) for each in value]
    return value
