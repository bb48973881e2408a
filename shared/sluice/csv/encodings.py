"""Detects the encoding of a file while it is read, if its declaration names none.

A file has one encoding, UTF-8 or Windows-1252, which agree on ASCII. The first block with other bytes
decides: if any of them form a UTF-8 character, the file is UTF-8, and rows that are not UTF-8 become rejects.
Otherwise it is Windows-1252, because text with several non-ASCII letters is rarely valid UTF-8 by chance.
The splitter dispatches no chunk before the encoding of that chunk is decided.

If UTF-8 appears later in a file taken for Windows-1252, the loader finds it with `contradicts` and the
file fails, so it is never loaded with some of its text garbled.
"""

from __future__ import annotations

import re

UTF_8 = "utf-8"
WINDOWS = "cp1252"

#: A non-ASCII character in UTF-8 (RFC 3629).
_CHARACTER = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]"
    rb"|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
#: An incomplete one at the end of a block.
_INCOMPLETE = re.compile(rb"(?:[\xc2-\xf4]|[\xe0-\xf4][\x80-\xbf]|[\xf0-\xf4][\x80-\xbf]{2})\Z")


class EncodingWatch:
    """Detects the encoding of a file that is read in blocks.

    Args:
        is_known: the encoding is known, and nothing is to be detected.
    """

    def __init__(self, *, is_known: bool = False) -> None:
        self._is_open = not is_known
        self._found: str | None = None
        self._tail = b""

    def take(self) -> str | None:
        """Return the encoding once, when it is detected; else None."""
        found, self._found = self._found, None
        return found

    def feed(self, block: bytes) -> None:
        """Process the next bytes of the file."""
        if not self._is_open or (not self._tail and block.isascii()):
            return
        data = self._tail + block
        if _CHARACTER.search(data):
            self._find(UTF_8)
            return
        incomplete = _INCOMPLETE.search(data)
        self._tail = incomplete[0] if incomplete else b""
        if not data[: len(data) - len(self._tail)].isascii():
            self._find(WINDOWS)

    def finish(self) -> None:
        """Process the end of the file."""
        if self._is_open and self._tail:
            self._find(WINDOWS)

    def _find(self, encoding: str) -> None:
        self._found = encoding
        self._is_open = False


def contradicts(data: bytes) -> bool:
    """Whether bytes of a file detected as Windows-1252 are UTF-8."""
    if data.isascii():
        return False
    try:
        data.decode(UTF_8)
    except UnicodeDecodeError:
        return False
    return True
