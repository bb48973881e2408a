"""Whether the first record of a table has the names of its columns.

Each column votes: a text above numbers or dates is a name, a value like those below is none. Where all
columns are text, names are recognised by how people write names, and values by their repetition.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from sluice.inference.detection.cell_kinds import VALUES, Kind, kind_of
from sluice.inference.detection.reading import QUOTED

Row = Sequence[str]
#: Rows that are compared with the first record.
MAX_ROWS = 200
#: How names of columns are written by programs: snake_case, camelCase.
_IDENTIFIER = re.compile(
    r"[^\W\d]+(?:[_.][^\W_]+)+|[a-z]+(?:[A-Z][a-z0-9]*)+|[A-Z]{2,}(?:_[A-Z0-9]+)+"
)
_NAMES = re.compile(
    r"(?i)\W*(?:\w+[ _.\-]?)?(?:id|ids|no|nr|key|val|value|name|names|first|last|date|time|datetime|timestamp"
    r"|year|month|day|type|code|title|status|state|city|country|county|region|zip|address|street|email|e-mail"
    r"|phone|age|sex|gender|price|cost|amount|total|qty|quantity|count|number|num|rate|rank|score|size"
    r"|weight|height|width|length|lat|lon|lng|latitude|longitude|x|y|z|url|link|description|desc|comment"
    r"|comments|note|notes|category|class|group|label|text|unit|units|currency|product|item|order|user"
    r"|customer|company|department|salary|revenue|language|version|col\d*|column\d*|field\d*|var\d*"
    r"|header\d*|artist|song|genre|director|origin|source|target|destination|column|author|start|end"
    r"|nom|datum|betrag|preis|menge|ort|strasse|plz|fecha|nombre|ciudad|precio|valor|ville|prix)"
    r"(?:[ _.\-]?(?:id|\d+|name|at|code|no))?\W*"
)
_NAME_KINDS = (Kind.WORDS, Kind.CODE, Kind.QUOTED)
_LETTER = re.compile(r"[^\W\d_]")
_UNIT = re.compile(r"[\[(].*[\])]")
_YEARS = range(1900, 2101)
_SINGLE_LETTERS = re.compile(r"[A-Za-z]\w?")


@dataclass(frozen=True)
class Header:
    """Whether there is a header, of how many lines, why, and whether that is certain."""

    is_present: bool
    lines: int
    reason: str
    is_certain: bool


def find_header(first: Row, rows: Sequence[Row]) -> Header:
    """Decide whether the first record of a table is its header.

    Args:
        first: the masked cells of the first record.
        rows: the masked cells of records after it, all of the same width.
    """
    rows = [each for each in rows[:MAX_ROWS] if len(first) < 2 or list(each) != list(first)]
    if not rows:
        return _alone(first)
    below = rows[1:] if len(rows) > 1 and _has_units_only(rows[0]) else rows
    votes = [_vote(name, column) for name, column in zip(first, _columns(below), strict=False)]
    if _is_years(first, rows):
        reason = "the first record has successive years, the rows have not"
        return Header(True, _header_lines(first, rows), reason, True)
    names, values = votes.count(1), votes.count(-1)
    if names > values:
        lines = _header_lines(first, rows)
        reason = f"{_columns_of(names)} a text above values of another kind"
        return Header(True, lines, reason, True)
    if values:
        reason = f"in {_columns_of(values)} the first record is a value like those below"
        return Header(False, 1, reason.replace(" has", "", 1).replace(" have", "", 1), names == 0)
    return _all_text(first, rows)


def _has_units_only(row: Row) -> bool:
    """Whether a record below the names has their units, in brackets."""
    present = [each for each in map(plain, row) if each]
    return bool(present) and all(_UNIT.fullmatch(each) for each in present)


def _columns(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    return list(zip(*rows, strict=False))


def _columns_of(count: int) -> str:
    return "1 column has" if count == 1 else f"{count} columns have"


def plain(cell: str) -> str:
    """Return the text of a masked cell without mark and white space round it."""
    return cell.removeprefix(QUOTED).strip()


def are_names(cells: Row) -> bool:
    """Whether cells could be nothing but names: three or more different texts, or two words."""
    texts = [cell.removeprefix(QUOTED) for cell in cells]
    is_named = all(kind_of(cell) in _NAME_KINDS for cell in cells)
    is_apart = any(text != text.strip() for text in texts)
    is_certain = len(texts) > 2 or (len(texts) == 2 and not any(" " in text for text in texts))
    return is_named and is_certain and not is_apart and len(set(texts)) == len(texts)


def main_kind(column: Sequence[str]) -> Kind | None:
    """Return the kind of most values of a column that are there; None if they differ."""
    kinds = Counter(kind_of(cell) for cell in column)
    for nothing in (Kind.EMPTY, Kind.NOTHING):
        kinds.pop(nothing, None)
    if not kinds:
        return None
    kind, count = kinds.most_common(1)[0]
    return kind if count * 10 >= kinds.total() * 7 else None


def _vote(name: str, column: Sequence[str]) -> int:
    """Return 1 for a name above values, -1 for a value, 0 for neither."""
    kind, below = kind_of(name), main_kind(column)
    if kind in (Kind.EMPTY, Kind.NOTHING) or not any(map(plain, column)):
        return 0
    if kind in VALUES:
        is_value = below not in VALUES or kind is below or Kind.NUMBER in (kind, below)
        return -1 if (is_value and kind is not Kind.LOGICAL) or kind is below else 0
    if below in VALUES:
        return 1
    if below is Kind.CODE and kind is Kind.WORDS and not _IDENTIFIER.fullmatch(column[0]):
        return 1
    return _vote_of_length(plain(name), [plain(each) for each in column]) if below else 0


def _vote_of_length(name: str, column: Sequence[str]) -> int:
    """Return 1 if many texts have one length, and the name another."""
    lengths = {len(each) for each in column}
    return int(len(column) > 4 and len(lengths) == 1 and len(name) not in lengths)


def _is_years(first: Row, rows: Sequence[Row]) -> bool:
    """Whether the first record counts years, as in tables that have a column for each."""
    texts = [plain(each) for each in first]
    years = [int(each) for each in texts if each.isdecimal() and int(each[:5]) in _YEARS]
    steps = {b - a for a, b in pairwise(years)}
    if len(years) < 2 or not steps <= {1, -1} or len(steps) != 1:
        return False
    below = [plain(each) for each in rows[0]]
    return not any(each.isdecimal() and int(each[:5]) in _YEARS for each in below)


def _all_text(first: Row, rows: Sequence[Row]) -> Header:
    """Decide by how names are written, where no column has values of a kind."""
    names = [plain(each) for each in first]
    present = [each for each in names if each]
    if not present:
        is_named = all(any(map(plain, row)) for row in rows)
        return Header(is_named, 1, "the first record has empty names", False)
    written = sum(_is_written_as_name(each) for each in present)
    if written * 2 >= len(present):
        return Header(True, 1, f"{written} of {len(present)} cells are written as names are", True)
    repeated = [
        name
        for name, column in zip(names, _columns(rows), strict=False)
        if name and name in map(plain, column)
    ]
    if repeated:
        return Header(
            False, 1, f"{repeated[0]!r} of the first record is a value of other rows", True
        )
    if not all(_LETTER.search(each) for each in present):
        return Header(False, 1, "the first record has texts without letters", True)
    is_unique = len(set(present)) == len(names)
    if not is_unique or any(len(each) > 60 or "\n" in each for each in names):
        return Header(False, 1, "the first record has long, repeated or empty texts", False)
    return Header(True, 1, "all columns are text, and the first record could have names", False)


def _is_written_as_name(text: str) -> bool:
    return bool(_IDENTIFIER.fullmatch(text) or _NAMES.fullmatch(text))


def _alone(first: Row) -> Header:
    """Decide for a file of one record."""
    texts = [plain(each) for each in first]
    if any(kind_of(each) in VALUES for each in first):
        return Header(False, 1, "the only record has values, not names", True)
    written = sum(map(_is_written_as_name, texts))
    is_unique = len(set(texts)) == len(texts) and all(texts)
    if written * 2 >= len(texts) and is_unique:
        return Header(True, 1, "the only record has texts that are written as names are", True)
    is_header = is_unique and all(_SINGLE_LETTERS.fullmatch(each) for each in texts)
    return Header(is_header, 1, "there is only one record, which may be names or values", False)


def _header_lines(first: Row, rows: Sequence[Row]) -> int:
    """Return 2 if the record after the first has names or units too, else 1."""
    second, others = rows[0], rows[1:]
    if len(others) < 2:
        return 1
    votes = [_vote(name, column) for name, column in zip(second, _columns(others), strict=False)]
    typed = [main_kind(column) in VALUES for column in _columns(others)]
    misfits = sum(
        vote == 1 and is_typed and kind_of(cell) not in (Kind.NOTHING, Kind.CODE)
        for vote, is_typed, cell in zip(votes, typed, second, strict=False)
    )
    has_units = any(_UNIT.fullmatch(plain(each)) for each in second)
    is_second = misfits >= (1 if has_units else 2) and misfits == sum(typed) and -1 not in votes
    is_repeated = [plain(each) for each in second] == [plain(each) for each in first]
    return 2 if is_second and not is_repeated else 1
