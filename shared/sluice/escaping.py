"""Characters that cannot be stored (NUL, lone surrogates), or have no place in a document; pure."""

from __future__ import annotations

import re
from typing import Any

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


#: What XML 1.0, section 2.2, leaves out, and the control characters that it discourages.
_UNPRINTABLE = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


def is_storable_text(text: str) -> bool:
    """Return whether PostgreSQL can store a text: without NUL and halves of surrogate pairs."""
    return _UNSTORABLE.search(text) is None


def printable(text: str) -> str:
    """Return a text for HTML and XML: each character that these cannot have is U+FFFD."""
    return _UNPRINTABLE.sub("\ufffd", text)


def escape(text: str) -> str:
    """Return a text with each NUL and lone surrogate written as JSON escapes it."""
    if text.isascii() and "\0" not in text:
        return text
    return _UNSTORABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def escape_all(value: object) -> Any:  # a JSON value
    """Return a JSON value with its texts and names of members escaped."""
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, dict):
        return {escape(str(name)): escape_all(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [escape_all(each) for each in value]
    return value
