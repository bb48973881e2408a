"""Parses row filters, `column=op.value`, and compiles them to conditions with bound values.

The grammar is PostgREST's: `eq ne lt le gt ge` with a value, `like` and `ilike` with `*` or `%` for
any text, `in.(a,"b,c")`, `is.null`, `is.not_null`, `is.true`, `is.false`. `filter.column=op.value` is the
same, also for a column that is called like a parameter of the route, such as `order`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sluice.datasets.identifiers import quote
from sluice.datasets.model import Field
from sluice.datasets.types import STORED_TYPES, StoredType
from sluice.errors import FilterError

COMPARISONS = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
ORDERINGS = frozenset(("lt", "le", "gt", "ge"))
PATTERNS = {"like": "LIKE", "ilike": "ILIKE"}
STATES = {
    "null": "IS NULL",
    "not_null": "IS NOT NULL",
    "true": "IS TRUE",
    "false": "IS FALSE",
}
OPERATORS = (*COMPARISONS, "in", *PATTERNS, "is")
MAX_VALUES = 1000
#: Precedes the name of a column in a filter; required where a parameter has the same name.
PREFIX = "filter."
_STAR = re.compile(r"(\\.)|\*", re.DOTALL)


def operators_of(postgres_type: str) -> tuple[str, ...]:
    """Return the operators that a column of a type takes: patterns are for texts, JSON has no order."""
    refused = set() if postgres_type == "text" else set(PATTERNS)
    if not STORED_TYPES.get(postgres_type, STORED_TYPES["text"]).is_sortable:
        refused |= ORDERINGS
    return tuple(each for each in OPERATORS if each not in refused)


@dataclass(frozen=True)
class Filter:
    """One condition on one column: an operator of `OPERATORS` and its values as texts."""

    column: Field
    operator: str
    values: tuple[str, ...]


@dataclass
class Bindings:
    """Collects the values of a statement, and returns their placeholders."""

    values: dict[str, str] = field(default_factory=dict)

    def add(self, value: str, postgres_type: str) -> str:
        """Bind a value and return its placeholder, cast to its type."""
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"CAST(:{name} AS {postgres_type})"


def parse_filters(
    arguments: Iterable[tuple[str, str]], columns: Mapping[str, Field]
) -> tuple[Filter, ...]:
    """Parse filters; a row must match all of them.

    Args:
        arguments: pairs of column, with or without `PREFIX`, and `op.value`; a column may occur
            several times.
        columns: the columns that may be filtered, by name.

    Raises:
        FilterError: an unknown column or operator, or a value of the wrong type.
    """
    return tuple(_parse(name.removeprefix(PREFIX), text, columns) for name, text in arguments)


def is_filter(text: str) -> bool:
    """Return whether a text has the form `op.value`."""
    operator, dot, _ = text.partition(".")
    return bool(dot) and operator in OPERATORS


def parse_value(kind: StoredType, text: str) -> object:
    """Return the value that a request's text means.

    Raises:
        ValueError: it is not one; the message says what one looks like, and how a plus is written.
    """
    try:
        return kind.parse(text)
    except ValueError as error:
        if not _is_value(kind, text.replace(" ", "+")):
            raise
        hint = "a + in a URL means a space: write %2B for a plus"
        raise ValueError(f"{error}; {hint}") from None


def _is_value(kind: StoredType, text: str) -> bool:
    try:
        kind.parse(text)
    except ValueError:
        return False
    return True


def _parse(name: str, text: str, columns: Mapping[str, Field]) -> Filter:
    if name not in columns:
        raise FilterError(
            f"{name}: no such column or parameter; columns are {', '.join(columns)}",
            parameter=name,
        )
    operator, dot, rest = text.partition(".")
    if not dot or operator not in OPERATORS:
        raise FilterError(
            f'{name}: "{text}" is not op.value with op one of {", ".join(OPERATORS)};'
            f" write {name}=eq.{text}",
            parameter=name,
        )
    try:
        return Filter(columns[name], operator, _values(columns[name], operator, rest))
    except ValueError as error:
        raise FilterError(f"{name}: {error}", parameter=name) from None


def _values(column: Field, operator: str, text: str) -> tuple[str, ...]:
    if operator == "is":
        return (_state(column, text),)
    if operator in PATTERNS:
        return (_pattern(column, operator, text),)
    if operator in ORDERINGS and not column.stored.is_sortable:
        usable = ", ".join(operators_of(column.postgres_type))
        raise ValueError(f"{column.postgres_type} has no order; this column takes {usable}")
    values = _elements(text) if operator == "in" else (text,)
    for each in values:
        parse_value(column.stored, each)
    return values


def _state(column: Field, text: str) -> str:
    if text not in STATES:
        raise ValueError(f'"is.{text}": write is. and one of {", ".join(STATES)}')
    if text in ("true", "false") and column.postgres_type != "boolean":
        raise ValueError(f"is.{text} is for boolean columns; this one is {column.postgres_type}")
    return text


def _pattern(column: Field, operator: str, text: str) -> str:
    if column.postgres_type != "text":
        raise ValueError(f"{operator} is for text columns; this one is {column.postgres_type}")
    column.stored.parse(text)
    # A backslash escapes in PostgreSQL's patterns; one at the end escapes nothing and is an error.
    if (len(text) - len(text.rstrip("\\"))) % 2:
        raise ValueError("the pattern ends in a backslash; write it twice for one")
    return _STAR.sub(_part_of_pattern, text)


def _part_of_pattern(found: re.Match[str]) -> str:
    """Return `%` for a star, and an escaped character as PostgreSQL has it."""
    escaped = found[1] or "%"
    return "*" if escaped == "\\*" else escaped


def _elements(text: str) -> tuple[str, ...]:
    if not (text.startswith("(") and text.endswith(")")):
        raise ValueError('in takes a list in parentheses: in.(a,b,"c,d")')
    values = tuple(parse_list(text[1:-1]))
    if len(values) > MAX_VALUES:
        raise ValueError(f"in takes {MAX_VALUES} values at most, not {len(values)}")
    return values


def condition(each: Filter, bindings: Bindings) -> str:
    """Compile a filter to an SQL condition whose values are bound."""
    name = quote(each.column.name)
    if each.operator == "is":
        return f"{name} {STATES[each.values[0]]}"
    kind = each.column.postgres_type
    placeholders = [bindings.add(value, kind) for value in each.values]
    if each.operator == "in":
        return f"{name} IN ({', '.join(placeholders)})"
    operator = (COMPARISONS | PATTERNS)[each.operator]
    return f"{name} {operator} {placeholders[0]}"


def conjunction(conditions: Iterable[str]) -> str:
    """Join conditions with AND; TRUE for none."""
    return " AND ".join(conditions) or "TRUE"


def parse_list(text: str) -> list[str]:
    """Split `a,"b,c",d` at its commas; `""` or a backslash before a quote inside quotes is a quote.

    Raises:
        ValueError: a quote is not closed, or text follows it.
    """
    values: list[str] = []
    rest = text
    while True:
        value, rest = _quoted(rest) if rest.startswith('"') else _plain(rest)
        values.append(value)
        if not rest:
            return values
        if not rest.startswith(","):
            raise ValueError(f"{rest!r} follows a closing quote; a comma separates values")
        rest = rest[1:]


def _plain(text: str) -> tuple[str, str]:
    value, comma, rest = text.partition(",")
    return value, comma + rest


def _quoted(text: str) -> tuple[str, str]:
    value = ""
    position = 1
    while position < len(text):
        pair = text[position : position + 2]
        if pair in ('""', '\\"', "\\\\"):
            value += pair[1]
            position += 2
        elif pair[0] == '"':
            return value, text[position + 1 :]
        else:
            value += pair[0]
            position += 1
    raise ValueError(f"{text!r}: the quote is not closed")
