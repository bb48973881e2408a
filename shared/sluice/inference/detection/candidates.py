"""Which forms a sample may have: delimiters, quotes and escapes of which there is any sign."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache

from sluice.csv.dialects import Dialect
from sluice.csv.encodings import UTF_8
from sluice.errors import DeclarationError
from sluice.inference.detection.reading import Form

#: How common a delimiter is, relative to the comma.
PRIORS = {
    ",": 1.0,
    ";": 1.0,
    "\t": 1.0,
    "|": 0.98,
    ":": 0.6,
    "^": 0.85,
    "~": 0.85,
    " ": 0.6,
    ", ": 0.97,
    "\u00a7": 0.8,
    "\u00a6": 0.85,
    "\u00ac": 0.8,
    "\u00b6": 0.8,
}
#: The same of marks that are rarely meant as delimiters.
RARE_PRIOR = 0.55
#: A delimiter of files of one column, to check their other marks.
_SELDOM = "\x1f"
_RARE = "#&*!@$+<>\u00b7\u2022\u00a4\u00b0"
#: Control characters are in text only to separate.
_CONTROL = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")
CONTROL_PRIOR = 1.0
#: A delimiter of several characters: a run of marks, in which a letter or digit has no place.
MARKS = r",;|:^~#&*!\u00a6\u00a7\t"
_RUN = re.compile(rf"(?<![{MARKS}])[{MARKS}\\]{{1,3}}[{MARKS}]")
RUN_PRIOR = 0.9
COMMA_SPACE = ", "
_GAP = "  "
_LITERAL_TAB = "\\t"
_MAX_RUNS = 3
_LINE_ENDS = re.compile(r"[\r\n]+")
#: Lines from which runs and rare marks are counted.
_LINES = 200
QUOTES = ('"', "'")
BACKSLASH = "\\"
_BACKSLASHES = re.compile(r"\\+")
_MIN_PAIRS = 3


def prior_of(delimiter: str) -> float:
    """Return how common a delimiter is, relative to the comma, from 0 to 1."""
    if delimiter in PRIORS:
        return PRIORS[delimiter]
    if len(delimiter) > 1:
        return RUN_PRIOR
    return CONTROL_PRIOR if _CONTROL.match(delimiter) else RARE_PRIOR


def candidate_forms(text: str, given: Mapping[str, object]) -> list[Form]:
    """Return the forms to compare, the common ones first; the last has no delimiter."""
    delimiters = [str(given["delimiter"])] if "delimiter" in given else _delimiters(text)
    forms = [
        Form(delimiter, quote, escape, spaces)
        for delimiter in delimiters
        for quote in _quotes(text, delimiter, given)
        for escape in _escapes(text, delimiter, quote, given)
        for spaces in _spaces(text, delimiter, quote, given)
    ]
    allowed = [each for each in forms if is_allowed(each, given)]
    return allowed or forms[:1]


def is_allowed(form: Form, given: Mapping[str, object]) -> bool:
    """Whether a dialect can have the marks of a form beside the declared keys."""
    encoding, comment = str(given.get("encoding", UTF_8)), str(given.get("comment", ""))
    return _is_valid(form.delimiter or _SELDOM, form.quote, form.escape, encoding, comment)


@lru_cache(maxsize=1024)
def _is_valid(delimiter: str, quote: str, escape: str, encoding: str, comment: str) -> bool:
    try:
        Dialect(delimiter, quote, encoding, escape=escape, comment=comment)
    except DeclarationError:
        return False
    return True


def _delimiters(text: str) -> list[str]:
    lines = [line for line in _LINE_ENDS.split(text) if line.strip()][:_LINES]
    common = [each for each in PRIORS if each in text and each != COMMA_SPACE]
    if " " in common and _is_in_most(_GAP, lines):
        common.remove(" ")  # columns that are aligned
    control = sorted(set(_CONTROL.findall(text[:20_000])))[:4]
    rare = [each for each in _RARE if _is_in_most(each, lines)]
    return [*common, *control, *_runs(lines), *rare, ""]


def _is_in_most(mark: str, lines: list[str]) -> bool:
    return sum(mark in line for line in lines) * 10 >= len(lines) * 6 > 0


def _runs(lines: list[str]) -> Iterator[str]:
    """Return the marks of several characters that most lines have."""
    found = Counter(run for line in lines for run in set(_RUN.findall(line)))
    runs = [run for run, _ in found.most_common(_MAX_RUNS * 2) if _is_in_most(run, lines)]
    if _is_in_most(_LITERAL_TAB, lines):
        runs.append(_LITERAL_TAB)
    if _is_in_most(COMMA_SPACE, lines):
        runs.append(COMMA_SPACE)
    yield from [run for run in runs if run.strip() or run == "\t" * len(run)][: _MAX_RUNS + 1]


def _quotes(text: str, delimiter: str, given: Mapping[str, object]) -> list[str]:
    """Return the quotes that begin a field somewhere, and the usual one; if it does, none too."""
    if "quote" in given:
        return [str(given["quote"])]
    begins = "\r\n" + (delimiter[-1:] or "\n")
    found = [
        quote for quote in QUOTES if re.search(rf"(?<![^{re.escape(begins)}])[ \t]*{quote}", text)
    ]
    return [*found, "" if '"' in found else '"']


def _escapes(text: str, delimiter: str, quote: str, given: Mapping[str, object]) -> list[str]:
    """Return no escape, and the backslash if it precedes a mark anywhere."""
    if "escape" in given:
        return [str(given["escape"])]
    marks = re.escape(quote + delimiter[:1] + "\r\n")
    if BACKSLASH in delimiter or BACKSLASH not in text:
        return [""]
    is_possible = re.search(rf"\\[{marks}]", text) or has_doubled_backslashes(text)
    return ["", BACKSLASH] if is_possible else [""]


def has_doubled_backslashes(text: str, at_least: int = _MIN_PAIRS) -> bool:
    """Whether all backslashes of a text are in pairs, and there are some."""
    runs = _BACKSLASHES.findall(text)
    return len(runs) >= at_least and all(len(run) % 2 == 0 for run in runs)


def _spaces(text: str, delimiter: str, quote: str, given: Mapping[str, object]) -> list[bool]:
    """Return whether white space round quotes is possible."""
    if "spaces_around_quotes" in given:
        return [bool(given["spaces_around_quotes"])]
    if not quote or not delimiter:
        return [False]
    mark, quote = re.escape(delimiter), re.escape(quote)
    before, after = rf"(?:{mark}|^)[ \t]+{quote}", rf"{quote}[ \t]+(?:{mark}|$)"
    is_possible = not delimiter.isspace() and re.search(f"{before}|{after}", text, re.MULTILINE)
    return [False, True] if is_possible else [False]
