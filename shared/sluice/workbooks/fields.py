"""Fields and records of the CSV that a sheet becomes: RFC 4180, UTF-8, with commas."""

from __future__ import annotations

import re
from collections.abc import Iterable

_QUOTED = re.compile('[",\r\n]|\\A\ufeff')


def field(text: str) -> bytes:
    """Return a text as a field."""
    if _QUOTED.search(text):
        text = '"' + text.replace('"', '""') + '"'
    return text.encode()


def record(fields: Iterable[bytes]) -> bytes:
    """Return a record with its line end; one with a single empty field is a blank line."""
    return b",".join(fields) + b"\n"


def text_of(encoded: bytes) -> str:
    """Return the text of a field."""
    text = encoded.decode()
    return text[1:-1].replace('""', '"') if text.startswith('"') else text
