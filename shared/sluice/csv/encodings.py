"""Which encoding a file is in, found while it passes; for files whose declaration names none.

A file is in one encoding, so one answer holds for all of it, and no chunk is sent to a loader before it
holds for that chunk: as long as all is ASCII both encodings agree. The first other bytes decide. Where any
of them forms a character of UTF-8 the file is UTF-8, and rows that are not become rejects. Where none does,
it is Windows-1252: a text of several letters beyond ASCII is hardly ever UTF-8 by chance.

Windows-1252 that turns out to be UTF-8 later on is for the loader to find, by `contradicts`: the file is
then refused as a whole, and never loaded half garbled.
"""

from __future__ import annotations

import re

UTF_8 = "utf-8"
WINDOWS = "cp1252"

#: A character of UTF-8 beyond ASCII, as RFC 3629 defines them.
_CHARACTER = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]"
    rb"|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
#: The beginning of one at the end of what was read.
_BEGUN = re.compile(rb"(?:[\xc2-\xf4]|[\xe0-\xf4][\x80-\xbf]|[\xf0-\xf4][\x80-\xbf]{2})\Z")


class EncodingWatch:
    """Watches a file that is being read in blocks.

    Args:
        is_known: the encoding is known already, and there is nothing to find.
    """

    def __init__(self, *, is_known: bool = False) -> None:
        self._is_open = not is_known
        self._found: str | None = None
        self._tail = b""

    def take(self) -> str | None:
        """Return the encoding once it is found, and None before and after."""
        found, self._found = self._found, None
        return found

    def feed(self, block: bytes) -> None:
        """Take the next bytes of the file."""
        if not self._is_open or (not self._tail and block.isascii()):
            return
        data = self._tail + block
        if _CHARACTER.search(data):
            self._find(UTF_8)
            return
        begun = _BEGUN.search(data)
        self._tail = begun[0] if begun else b""
        if not data[: len(data) - len(self._tail)].isascii():
            self._find(WINDOWS)

    def finish(self) -> None:
        """Take the end of the file."""
        if self._is_open and self._tail:
            self._find(WINDOWS)

    def _find(self, encoding: str) -> None:
        self._found = encoding
        self._is_open = False


def contradicts(data: bytes) -> bool:
    """Whether bytes of a file that was taken for Windows-1252 are UTF-8."""
    if data.isascii():
        return False
    try:
        data.decode(UTF_8)
    except UnicodeDecodeError:
        return False
    return True
