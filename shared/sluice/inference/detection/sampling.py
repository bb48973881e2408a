"""The part of a file that is examined: decoded, bounded, and cut after a line.

Owns bytes and encodings; everything else of the detection sees text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sluice.csv.encodings import UTF_8, EncodingWatch

#: Characters of a file that are examined; more would not change a decision, and bounds the time.
MAX_CHARS = 96 * 1024
#: Characters of the end of a file that are examined.
TAIL_CHARS = 16 * 1024
#: Characters around the first quote of a file whose beginning has none.
WINDOW_CHARS = 32 * 1024
BOM = "\ufeff"
_LINE_END = re.compile(r"\r\n|\n|\r")
_LATE_QUOTE = re.compile(r"[,;\t|]([\"'])")


@dataclass(frozen=True)
class Sample:
    """What is examined of a file.

    Attributes:
        text: the beginning of the file, without byte order mark; whole lines if it has any.
        late: a later part, with the first quotes of the file, if its beginning has none; else empty.
        tail: whole lines of the end of the file, empty if it is not known.
        tail_is_text: whether the tail begins where the text does.
        is_whole: whether the text is the whole file.
        encoding: the detected or given encoding.
        is_encoding_certain: whether any character decides the encoding.
    """

    text: str
    late: str
    tail: str
    tail_is_text: bool
    is_whole: bool
    encoding: str
    is_encoding_certain: bool

    def line_again(self, head: bytes, line: int) -> int:
        """Return the number of a later line, after the text, that is equal to a line; 0 if none is."""
        if self.is_whole or not line:
            return 0
        text = _LINE_END.split(self.text, maxsplit=line)[line - 1]
        start = len(self.text.encode(self.encoding, "replace"))
        at = head.find(f"\n{text}".encode(self.encoding, "replace"), start)
        is_line = at >= 0 and head[at + len(text.encode(self.encoding)) + 1 :][:1] in b"\r\n"
        return head.count(b"\n", 0, at) + 2 if is_line else 0


def take_sample(head: bytes, tail: bytes, *, is_complete: bool, encoding: str | None) -> Sample:
    """Decode the first and last bytes of a file and cut them to what is examined."""
    found = encoding or _detect_encoding(head + tail)
    start = head[: MAX_CHARS * 4].decode(found or UTF_8, "replace").lstrip(BOM)
    is_whole = is_complete and len(head) <= MAX_CHARS * 4 and len(start) <= MAX_CHARS
    text = start if is_whole else _whole_lines(start[:MAX_CHARS])
    end = (tail or (head[-TAIL_CHARS:] if is_complete else b"")).decode(found or UTF_8, "replace")
    return Sample(
        text=text,
        late="" if is_whole else _around_late_quote(text, head, found or UTF_8),
        tail=text if is_whole else _after_line_end(end[-TAIL_CHARS:]),
        tail_is_text=is_whole,
        is_whole=is_whole,
        encoding=found or UTF_8,
        is_encoding_certain=found is not None,
    )


def _detect_encoding(data: bytes) -> str | None:
    watch = EncodingWatch()
    watch.feed(data)
    watch.finish()
    return watch.take()


def _whole_lines(text: str) -> str:
    """Cut text after its last line end, unless it has none."""
    cut = max(text.rfind("\n"), text.rfind("\r", 0, len(text) - 1)) + 1
    return text[:cut] if cut else text


def _after_line_end(text: str) -> str:
    found = _LINE_END.search(text)
    return text[found.end() :] if found else ""


def _around_late_quote(text: str, head: bytes, encoding: str) -> str:
    """Return whole lines around the first quotes, if the text has none of its own."""
    if _LATE_QUOTE.search(text):
        return ""
    rest = head.decode(encoding, "replace").lstrip(BOM)
    found = _LATE_QUOTE.search(rest, len(text))
    if not found:
        return ""
    start = rest.rfind("\n", 0, found.start()) + 1
    return _whole_lines(rest[start : start + WINDOW_CHARS])
