"""What surrounds the records of a file, header and footer, as the database keeps it; needs no library."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any


def preamble_json(preamble: bytes) -> dict[str, Any]:
    """Return what precedes the first chunk of a file, as members of its layout in the database."""
    return {"header_end": len(preamble), "preamble": b64encode(preamble).decode()}


def footer_json(footer: bytes) -> dict[str, Any]:
    """Return what follows the last chunk of a file, as members of its layout in the database."""
    return {"footer": b64encode(footer).decode()} if footer else {}


def footer_of(document: Mapping[str, Any]) -> bytes:
    """Return what follows the last chunk of a file."""
    return b64decode(document.get("footer", ""))


def preamble_of(document: Mapping[str, Any]) -> bytes:
    """Return what precedes the first chunk of a file; empty where that was not recorded."""
    return b64decode(document.get("preamble", ""))
