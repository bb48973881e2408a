"""What a text looks like: a number, a date, a word, ...; evidence for or against a way to split lines.

These are not the grammars of column types (`datasets/grammars.py`), which decide what is loaded. Here
a text only has to look as a person would write a value. The idea, that the right dialect is the one
in which most cells are of a known type: van den Burg, Nazabal, Sutton, "Wrangling messy CSV files by
detecting row and type patterns", 2019.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache

from sluice.inference.detection.reading import CR, DELIMITER, ESCAPE, LF, QUOTED


class Kind(StrEnum):
    """What a cell looks like."""

    NUMBER = "number"
    MONEY = "money"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    LOGICAL = "logical"
    ADDRESS = "address"
    CODE = "code"
    WORDS = "words"
    QUOTED = "quoted"
    NOTHING = "nothing"
    EMPTY = "empty"
    OTHER = "other"
    BROKEN = "broken"


#: Kinds of values that a name of a column does not have.
VALUES = frozenset(
    {
        Kind.NUMBER,
        Kind.MONEY,
        Kind.DATE,
        Kind.TIME,
        Kind.TIMESTAMP,
        Kind.LOGICAL,
        Kind.ADDRESS,
    }
)
#: How much a cell of a kind speaks for the way it was split off, from 0 to 1.
WEIGHTS = dict.fromkeys(VALUES, 1.0) | {
    Kind.CODE: 0.95,
    Kind.WORDS: 0.9,
    Kind.QUOTED: 0.95,
    Kind.NOTHING: 0.9,
    Kind.EMPTY: 0.7,
    Kind.OTHER: 0.5,
    Kind.BROKEN: 0.0,
}

#: Characters of a cell that are looked at.
MAX_CHARS = 200

_NUMBER = (
    r"[+\-\u2212(]?(?:\d{1,3}(?:[,.'\u00a0\u202f ]\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d*)?|[.,]\d+)"
    r"(?:[eE][+\-]?\d+)?\)?-?"
)
_DAY = (
    r"(?:\d{1,4}[\-/.]\d{1,2}[\-/.]\d{1,4}\.?|\d{4}-?W\d\d(?:-?\d)?|\d{4}-\d\d"
    r"|(?:[A-Za-z]{3,9},? )?\d{1,2}[.\- ]? ?[A-Za-z\u00c0-\u017f]{3,9}\.?,?[\- ]?\d{2,4}"
    r"|(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.? \d{1,2}(?:[a-z]{2})?,? \d{4})"
)
_CLOCK = (
    r"(?:\d{2}:\d|\d{1,2}:\d{2})(?::\d{2}(?:\.\d+|,\d{3})?)?(?: ?[AaPp]\.?[Mm]\.?)?"
    r"(?: ?(?:Z|UTC|GMT|[+\-]\d{2}:?(?:\d{2})?))?"
)
_SIGN = r"(?:[$\u20ac\u00a3\u00a5\u20b9]|USD|EUR|GBP|CHF)"
_PATTERNS = {
    Kind.NUMBER: rf"{_NUMBER}(?: ?%)?|0[xX][0-9A-Fa-f]+|[+\-]?(?:NaN|nan|[Ii]nf(?:inity)?)",
    Kind.MONEY: rf"-?{_SIGN} ?{_NUMBER}|{_NUMBER} ?{_SIGN}",
    Kind.TIMESTAMP: rf"{_DAY}(?:[T ] ?|, ){_CLOCK}|\[?\d{{1,2}}/[A-Za-z]{{3}}/\d{{4}}(?::\d{{2}}){{3}}",
    Kind.DATE: _DAY,
    Kind.TIME: rf"{_CLOCK}|PT?(?:\d+[DHMSWY]T?)+",
    Kind.LOGICAL: r"(?i:true|false|yes|no)",
    Kind.NOTHING: r"(?i:n/?a|null|none|nil|missing|unknown)|\\N|-{1,3}|\?|\.|<NA>",
    Kind.ADDRESS: (
        r"[\w.+\-%]+@[\w\-]+(?:\.[\w\-]+)+|(?:https?|ftps?|s3|gs|file)://[^\s\"]+|www\.[^\s\"]+"
        r"|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|(?:\d{1,3}\.){3}\d{1,3}(?:[/:]\d+)?"
        r"|(?:/[\w.\-]+)+/?|(?:[0-9a-fA-F]{2}[:\-]){5}[0-9a-fA-F]{2}"
        r"|(?:[0-9a-fA-F]{0,4}:){3,7}[0-9a-fA-F]{1,4}"
        r"|\+?\d{0,3}[ \-]?\(?\d{2,4}\)?[ \-/]\d{3,4}[ \-]\d{2,5}"
    ),
    Kind.CODE: r"(?=[^\s]*\d)[^\W_](?:[\w.\-/#]*\w)?|\w+(?:[.\-/]\w+)*\d\w*",
    Kind.WORDS: r"[^\W\d_](?:[\w .'\u2019\-()&/!?+%]|[,:] )*:?|\w+(?:[._\-]\w+)*",
}
_ANY = re.compile("|".join(f"(?P<{kind.name}>{pattern})" for kind, pattern in _PATTERNS.items()))
#: Marks that would have separated fields: between two characters, so not in prose.
_FOREIGN = re.compile(r"[\t|;]|(?<=\S),(?=\S)|\w[~^:]\w|:[^\s/\\:][^:]*:[^\s/\\]")
_TIGHT = re.compile(
    r"\d *;|\S;\S|\t|[\x01-\x08\x0b\x0c\x0e-\x1f]|[:,;|\t^~]\"|\"[:,;|\t^~]"
    r"|(?::[^\s/\\:][^:]*){3}|\A[^\\]*\\\Z"
)
#: Weights of a cell that should have been divided: certainly, or perhaps.
_UNDIVIDED, _PERHAPS_UNDIVIDED = 0.1, 0.3


#: What the masks of delimiters and line ends may stand for.
_LITERALS = str.maketrans({DELIMITER: ",", ESCAPE: "\\", LF: " ", CR: " "})


@lru_cache(maxsize=8192)
def kind_of(cell: str) -> Kind:
    """Return the kind of a masked cell."""
    is_quoted = cell.startswith(QUOTED)
    text = cell[is_quoted:MAX_CHARS].strip().translate(_LITERALS)
    if not text:
        return Kind.EMPTY
    if not is_quoted and (text[0] in "\"'`" or text[-1] in '"`'):
        return _broken_kind(text)
    found = _ANY.fullmatch(text)
    if found:
        return Kind[found.lastgroup or ""]
    return Kind.QUOTED if is_quoted else Kind.OTHER


def _broken_kind(text: str) -> Kind:
    """Return the kind of a text that begins or ends with a quote that does not enclose it."""
    is_enclosed = len(text) > 2 and text[0] == text[-1]
    is_measure = text[0] not in "\"'`" and text.count('"') > 1
    return Kind.OTHER if is_enclosed or is_measure else Kind.BROKEN


@lru_cache(maxsize=8192)
def weight_of(cell: str) -> float:
    """Return how much a masked cell speaks for the way it was split off, from 0 to 1."""
    kind = kind_of(cell)
    if kind is not Kind.OTHER:
        return WEIGHTS[kind]
    if _TIGHT.search(cell, 0, MAX_CHARS) or _is_packed(cell[:MAX_CHARS]):
        return _UNDIVIDED
    return _PERHAPS_UNDIVIDED if _FOREIGN.search(cell, 0, MAX_CHARS) else WEIGHTS[kind]


def _is_packed(text: str) -> bool:
    """Whether a text is a list of values, divided by spaces."""
    parts = text.split()
    values = sum(kind_of(part) in VALUES for part in parts)
    return values > 1 and values * 10 >= len(parts) * 6
