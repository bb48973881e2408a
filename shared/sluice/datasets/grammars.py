"""The lexical grammar of a column: exactly which texts are values of it.

A cell is trimmed, null tokens and defaults are applied, and what is left is either in the grammar or a
reject. Grammars are regular expressions that Python's `re` and RE2 (DuckDB, Arrow) interpret in the same way.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sluice.datasets.types import CLOCK, DAY, TYPES, ZONE, ColumnType

if TYPE_CHECKING:
    from sluice.datasets.model import Column

#: White space that a trim takes off: Unicode's, no-break space and byte order mark included.
WHITE_SPACE = (
    " \t\r\n\v\f\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006"
    "\u2007\u2008\u2009\u200a\u202f\u205f\u3000\ufeff"
)

#: What each directive of a format matches. Numbers may lack a leading zero, except where digits that
#: follow each other would be ambiguous; a year has the digits that its directive says.
DIRECTIVES = {
    "%Y": "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)",
    "%y": "[0-9]{2}",
    "%m": "(?:1[0-2]|0?[1-9])",
    "%d": "(?:3[01]|[12][0-9]|0?[1-9])",
    "%j": "(?:36[0-6]|3[0-5][0-9]|[12][0-9]{2}|0?[1-9][0-9]|0?0?[1-9])",
    "%b": "(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)",
    "%B": "(?i:january|february|march|april|may|june|july|august|september|october|november|december)",
    "%a": "(?i:mon|tue|wed|thu|fri|sat|sun)",
    "%A": "(?i:monday|tuesday|wednesday|thursday|friday|saturday|sunday)",
    "%H": "(?:2[0-3]|1[0-9]|0?[0-9])",
    "%I": "(?:1[0-2]|0?[1-9])",
    "%M": "(?:[1-5][0-9]|0?[0-9])",
    "%S": "(?:[1-5][0-9]|0?[0-9])",
    "%f": "[0-9]{1,6}",
    "%p": "(?i:am|pm)",
    "%z": "(?:Z|[+-](?:0[0-9]|1[0-5]):?[0-5][0-9])",
    "%%": "%",
}
_DIRECTIVE = re.compile(r"%(.|\Z)", re.DOTALL)
_FIXED = {
    "%m": "(?:1[0-2]|0[1-9])",
    "%d": "(?:3[01]|[12][0-9]|0[1-9])",
    "%H": "(?:2[0-3]|[01][0-9])",
    "%I": "(?:1[0-2]|0[1-9])",
    "%M": "[0-5][0-9]",
    "%S": "[0-5][0-9]",
}
_SIGN = "[+-]"
#: PostgreSQL's numeric has 131072 digits before the point and 16383 after it; exponents take 999 of these.
MAX_NUMERIC_LENGTH = 15_000
_EXPONENT = "(?:[eE][+-]?[0-9]{1,3})?"


def cell_grammar(column: Column) -> str:
    """Return the grammar of a column that declares no formats."""
    if column.definition.is_number and column.is_localized:
        return _localized(column)
    if column.type is ColumnType.NUMERIC and column.scale is not None:
        return f"{_SIGN}?{_digits(column)}"
    if column.type is ColumnType.TIMESTAMP and column.time_zone:
        return f"{DAY}(?:[T ]{CLOCK}{ZONE}?)?"
    return TYPES[column.type].grammar


def format_grammar(written: str) -> str:
    """Return the grammar of a strptime format."""
    parts, at = [], 0
    for found in _DIRECTIVE.finditer(written):
        parts.append(re.escape(written[at : found.start()]))
        directive, at = found[0], found.end()
        touches = written[at : at + 1] == "%" or written[: found.start()][-2:] in DIRECTIVES
        parts.append((_FIXED if touches else DIRECTIVES).get(directive, DIRECTIVES[directive]))
    return "".join((*parts, re.escape(written[at:])))


def format_problem(written: str, kind: ColumnType) -> str:
    """Return why a format cannot be used for columns of a type, or an empty text."""
    given = [found[0] for found in _DIRECTIVE.finditer(written)]
    has, hours, years = set(given), {"%H", "%I"} & set(given), {"%Y", "%y"} & set(given)
    unknown = sorted(has - DIRECTIVES.keys())
    twice = sorted(each for each in has - {"%%"} if given.count(each) > 1)
    problems = {
        f"{unknown[:1]} is not a directive; known: {' '.join(DIRECTIVES)}": unknown,
        f"{twice[:1]} occurs twice": twice,
        "'%I' is an hour from 1 to 12 and needs '%p' (AM or PM)": hours == {"%I"}
        and "%p" not in has,
        "'%p' (AM or PM) needs '%I', an hour from 1 to 12": "%p" in has and "%I" not in has,
        "'%H' and '%I' are both hours; keep one": len(hours) > 1,
        "'%Y' and '%y' are both years; keep one": len(years) > 1,
        "a date needs a year: '%Y' for four digits, '%y' for two": kind is not ColumnType.TIME
        and not years,
        "a time needs an hour: '%H', or '%I' with '%p'": kind is ColumnType.TIME and not hours,
        f"a {kind} has no time zone; remove '%z'": "%z" in has
        and kind in (ColumnType.DATE, ColumnType.TIME),
    }
    return next((problem for problem, applies in problems.items() if applies), "")


def meaning(column: Column) -> str:
    """Return what a cell of a column must be, for reasons of rejects: `a date like %d.%m.%Y`."""
    if column.formats:
        return f"{column.definition.meaning} like {' or '.join(column.formats)}"
    if column.definition.is_time:
        return f"{column.definition.meaning} like {column.definition.example}"
    if column.definition.is_number and column.is_localized:
        return f"{column.definition.meaning} like {localized_example(column)}"
    if column.type is ColumnType.NUMERIC and column.scale is not None:
        return f"a number with at most {column.scale} decimals"
    return column.definition.meaning


def localized_example(column: Column) -> str:
    """Return a number as a column with separators, symbols or signs of its own has it."""
    mark = column.thousands_separator
    whole = f"12{mark}34{mark}567" if column.grouping == "indian" else f"1{mark}234{mark}567"
    text = whole if column.definition.is_whole else f"{whole}{column.decimal_separator}89"
    text += "%" if column.percent else ""
    return f"{text} {column.symbols[0]}" if column.symbols else text


def _localized(column: Column) -> str:
    """The grammar of numbers with separators, symbols and signs of the column's own."""
    core = _digits(column)
    space = "[ \u00a0\u202f]?"
    unsigned = f"{core}{space}%" if column.percent else core
    signs = "[+\\-\u2212]" if "minus_sign" in column.negatives else _SIGN
    forms = [f"{signs}?{space}{unsigned}"]
    if column.symbols:
        symbol = "(?:" + "|".join(re.escape(each) for each in column.symbols) + ")"
        forms.append(f"{signs}?{space}{symbol}{space}{unsigned}")
        forms.append(f"{symbol}{space}{signs}{space}{unsigned}")
        forms.append(f"{signs}?{space}{unsigned}{space}{symbol}")
        unsigned = f"(?:{symbol}{space}{unsigned}|{unsigned}{space}{symbol}|{unsigned})"
    if "trailing_minus" in column.negatives:
        forms.append(f"{unsigned}{space}-")
    if "parentheses" in column.negatives:
        forms.append(rf"\({space}{unsigned}{space}\)")
    return "|".join(forms)


def _digits(column: Column) -> str:
    """The digits of an unsigned number, in groups where the column separates them, and its decimals."""
    mark = thousands_marks(column)
    point = re.escape(column.decimal_separator)
    whole = "[0-9]+"
    if mark and column.grouping == "indian":
        whole += f"|[1-9][0-9]?(?:{mark}[0-9]{{2}})*{mark}[0-9]{{3}}"
    elif mark:
        whole += f"|[1-9][0-9]{{0,2}}(?:{mark}[0-9]{{3}})+"
    if column.definition.is_whole:
        return f"(?:{whole})"
    decimals, exponent = "[0-9]+", "" if mark or column.percent else _EXPONENT
    if column.scale is not None:
        decimals, exponent = f"(?:[0-9]{{1,{column.scale}}}0*|0+)" if column.scale else "0+", ""
    return f"(?:(?:{whole})(?:{point}(?:{decimals})?)?|{point}{decimals}){exponent}"


def thousands_marks(column: Column) -> str:
    """Return the grammar of a column's thousands separator; a space also matches no-break spaces."""
    mark = column.thousands_separator
    return "[ \u00a0\u202f]" if mark == " " else re.escape(mark)
