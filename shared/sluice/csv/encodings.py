"""Detects the encoding of a file while it is read, if its declaration names none.

A file has one encoding, UTF-8 or Windows-1252, which agree on ASCII. The first block with other bytes
decides: if any of them form a UTF-8 character, the file is UTF-8, and rows that are not UTF-8 become rejects.
Otherwise it is Windows-1252, because text with several non-ASCII letters is rarely valid UTF-8 by chance.
The splitter dispatches no chunk before the encoding of that chunk is decided.

Text of another encoding is refused with what it would be in the likely ones, for a person to choose: no
statistics tell these apart with certainty by the few words of a small file.

If UTF-8 appears later in a file taken for Windows-1252, the loader finds it with `contradicts` and the
file fails, so it is never loaded with some of its text garbled.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sluice.csv.dialects import dialect_option
from sluice.errors import EncodingMismatchError

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

#: Bytes from the first line that is not ASCII by which another encoding is recognised.
_EXAMINED_BYTES = 256 * 1024
#: Encodings of several bytes for a character, in which other text hardly reads as words; and of one byte.
_WIDE = ("gb18030", "cp932", "euc_jp", "big5", "euc_kr")
_NARROW = ("cp1251", "koi8_r", "iso8859_7")
_REPLACED = "\N{REPLACEMENT CHARACTER}"
_RUN = re.compile(r"[^\x00-\x7f]+")
_WORD = re.compile(r"(?<![A-Za-z])[^\x00-\x7f]+(?![A-Za-z])")
_LETTERS = re.compile(r"[^\W\d_]{3,}")
#: Of the text, for a person to recognise.
_SHOWN_CHARACTERS = 20
_MAX_READINGS = 3
_KANA, _HANGUL = re.compile("[\u3041-\u30ff]"), re.compile("[\uac00-\ud7a3]")
_SYLLABLES = {"cp932": _KANA, "euc_jp": _KANA, "euc_kr": _HANGUL}
_NARROW_KANA = re.compile("[\uff61-\uff9f]+")
#: Encodings of the common characters of a larger one.
_COMMON = {"gb18030": "gb2312", "cp932": "shift_jis"}
_PRIVATE = re.compile("[\ue000-\uf8ff]")
#: More letters than Western European languages have accents, of which a test may list all.
_MANY_LETTERS = 9


def check_plausible(data: bytes) -> None:
    """Refuse text that is neither UTF-8 nor Windows-1252, but words in other encodings.

    Args:
        data: the first bytes of a file that are not ASCII, with those around them.

    Raises:
        EncodingMismatchError: it is in one of these encodings.
    """
    first = next((at for at, byte in enumerate(data) if byte > 0x7F), len(data))
    start = max(data.rfind(b"\n", 0, first), data.rfind(b"\r", 0, first)) + 1
    data = data[start : start + _EXAMINED_BYTES]
    text = data.decode(UTF_8, "replace")
    if text.count(_REPLACED) * 2 <= sum(map(len, _RUN.findall(text))):
        return
    readings = _readings(data)
    if readings:
        encoding = readings[0].encoding
        shown = " or ".join(map(str, readings))
        raise EncodingMismatchError(
            f"the text is neither {UTF_8} nor {WINDOWS}, and its encoding is not declared; it would be"
            f" {shown}. Load the file with the right one, such as {dialect_option('encoding', encoding)},"
            f' or declare it: encoding = "{encoding}"; if the text is {WINDOWS} after all, declare that'
        )


@dataclass(frozen=True)
class _Reading:
    """Bytes as words of an encoding."""

    encoding: str
    words: Sequence[str]

    @property
    def likelihood(self) -> float:
        """Return how much the words look like those of a language, from 0."""
        letters = "".join(self.words)
        if self.encoding in _NARROW:
            usual = sum(each.islower() or each.istitle() for each in self.words)
            return 1.5 * (usual * 2 > len(self.words))
        syllables = _SYLLABLES.get(self.encoding)
        if syllables and len(syllables.findall(letters)) * 20 > len(letters):
            return 2.0
        common = letters.encode(_COMMON.get(self.encoding, self.encoding), "ignore")
        return float(len(common) == 2 * len(letters))

    def __str__(self) -> str:
        return f"{self.words[0][:_SHOWN_CHARACTERS]!r} in {self.encoding}"


def _readings(data: bytes) -> list[_Reading]:
    """Return the encodings in which bytes read as words, the likely ones first, or only these."""
    encodings = (*_WIDE, *_NARROW) if _has_long_words(data) else _WIDE
    found = []
    for encoding in encodings:
        # The last character may be cut.
        text = data.decode(encoding, "replace")
        words = [
            each
            for each in _WORD.findall(text)
            if len(each) > 1 and not _NARROW_KANA.fullmatch(each)
        ]
        is_text = text.count(_REPLACED) <= 1 and not _PRIVATE.search(text)
        runs = sum(len(each) > 1 for each in _RUN.findall(text))
        if is_text and len(set(words)) > 1 and len(words) * 10 >= runs * 8:
            found.append(_Reading(encoding, words))
    found.sort(key=lambda each: -each.likelihood)
    return ([each for each in found if each.likelihood] or found)[:_MAX_READINGS]


def _has_long_words(data: bytes) -> bool:
    """Whether most runs of letters beyond ASCII are words, as in no language of Windows-1252."""
    runs = _RUN.findall(data.decode(WINDOWS, "replace"))
    words = [run for run in runs if _LETTERS.fullmatch(run)]
    return len(words) * 2 > len(runs) and len(set("".join(words))) >= _MANY_LETTERS


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
        """Process the next bytes of the file.

        Raises:
            EncodingMismatchError: the text is in neither encoding, see `check_plausible`.
        """
        if not self._is_open or (not self._tail and block.isascii()):
            return
        data = self._tail + block
        if not data.isascii() and not _INCOMPLETE.fullmatch(data):
            check_plausible(data)
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
