"""Finds parameters, words and statements in PostgreSQL's SQL; knows only texts, names and comments."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sluice.datasets.identifiers import literal

_LETTER = r"A-Za-z_\u0080-\U0010ffff"
#: Tokens by chapter 4.1 of PostgreSQL's manual. What is not closed, or in several levels, is left to `_end`.
_TOKEN = re.compile(
    rf"""
    (?P<space>\s+|--[^\n\r]*)
    |(?P<open>/\*|\$(?:[{_LETTER}][{_LETTER}0-9]*)?\$|[eE]?'|")
    |(?P<word>[{_LETTER}][{_LETTER}0-9$]*)
    |(?P<number>[0-9][{_LETTER}0-9.]*)
    |(?P<cast>::|:=)
    |:(?P<parameter>[{_LETTER}][{_LETTER}0-9]*)
    |(?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_CLOSING = {
    "'": re.compile(r"(?:[^']|'')*+'"),
    "e'": re.compile(r"(?:[^'\\]|''|\\.)*+'", re.DOTALL),
    '"': re.compile(r'(?:[^"]|"")*+"'),
}


class Token(NamedTuple):
    """A token; `kind` is the name of a group of `_TOKEN`, `text` or `name` (both quoted)."""

    kind: str
    text: str


@dataclass(frozen=True)
class SqlStatement:
    """One of several statements, and the line it begins on, from 1."""

    text: str
    line: int


def tokens(sql: str) -> Iterator[Token]:
    """Yield the tokens of SQL; what is never closed is one token up to the end."""
    at = 0
    while at < len(sql):
        found = _TOKEN.match(sql, at)
        assert found is not None  # noqa: S101  # the last alternative matches any character
        kind, end = str(found.lastgroup), found.end()
        if kind == "open":
            opened = found[0]
            end = _end(sql, opened, end)
            kind = {"/*": "space", '"': "name"}.get(opened, "text")
        yield Token(kind, sql[at:end])
        at = end


def _end(sql: str, opened: str, at: int) -> int:
    """Return where a comment, text or quoted name ends."""
    if opened == "/*":
        return _end_of_comment(sql, at)
    if opened[0] == "$":
        closed = sql.find(opened, at)
        return len(sql) if closed < 0 else closed + len(opened)
    found = _CLOSING[opened.lower()].match(sql, at)
    return found.end() if found else len(sql)


def _end_of_comment(sql: str, at: int) -> int:
    """Return where a comment ends; comments nest."""
    depth = 1
    for edge in _COMMENT_EDGE.finditer(sql, at):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(sql)


def comment_depth(sql: str) -> int:
    """Return how many comments are in each other at most."""
    deepest = 0
    for kind, text in tokens(sql):
        depth = 0
        for edge in _COMMENT_EDGE.findall(text) if kind == "space" and text[0] == "/" else ():
            depth += 1 if edge == "/*" else -1
            deepest = max(deepest, depth)
    return deepest


def with_parameters(sql: str, names: Collection[str], render: Callable[[str], str]) -> str:
    """Return SQL with something in place of each parameter `:name` of these names."""
    parts, before = [], ""
    for kind, text in tokens(sql):
        # `[a:b]` of an array is no parameter.
        is_parameter = (
            kind == "parameter" and text[1:] in names and before not in ("word", "number")
        )
        parts.append(render(text[1:]) if is_parameter else text)
        before = kind
    return "".join(parts)


def with_nulls(sql: str, types: Mapping[str, str]) -> str:
    """Return SQL with a null of its type for each parameter.

    PostgreSQL divides it into the same tokens as the result of `with_numbers`, wherever it finds texts and
    comments, as neither replacement has a character that begins or ends one. So what it finds out about one
    holds for the other.
    """
    return with_parameters(sql, types, lambda name: f"CAST(NULL AS {types[name]})")


def with_numbers(
    sql: str, values: Mapping[str, object], types: Mapping[str, str]
) -> tuple[str, list[object]]:
    """Return SQL with `$1`, `$2` for its parameters, and their values in that order.

    Args:
        sql: has parameters `:name`.
        values: a value for each parameter.
        types: of the parameters that the SQL does not cast itself.
    """
    if not values:
        return sql, []
    # What is not declared, such as a request for rows, is short and seldom repeated.
    number = _number_declared if types else _number
    numbered, names = number(sql, tuple(values), tuple(types.items()))
    return numbered, [values[name] for name in names]


def _number(
    sql: str, names: tuple[str, ...], types: tuple[tuple[str, str], ...]
) -> tuple[str, tuple[str, ...]]:
    kinds, places = dict(types), dict[str, int]()

    def render(name: str) -> str:
        place = places.setdefault(name, len(places) + 1)
        return f"CAST(${place} AS {kinds[name]})" if name in kinds else f"${place}"

    return with_parameters(sql, names, render), tuple(places)


_number_declared = functools.lru_cache(maxsize=256)(_number)


def with_literals(sql: str, values: Mapping[str, object], types: Mapping[str, str]) -> str:
    """Return SQL with the values of its parameters as literals: COPY takes no parameters."""

    def render(name: str) -> str:
        value = values[name]
        written = "NULL" if value is None else literal(str(value))
        return f"CAST({written} AS {types[name]})"

    return with_parameters(sql, types, render)


def words(sql: str) -> list[str]:
    """Return the tokens of SQL without comments and white space; words in lower case."""
    return [
        text.lower() if kind == "word" else text for kind, text in tokens(sql) if kind != "space"
    ]


def split_statements(sql: str) -> list[SqlStatement]:
    """Return the statements of a script, without those that are empty."""
    found: list[SqlStatement] = []
    parts: list[str] = []
    line = start = 1
    for kind, text in [*tokens(sql), Token("sign", ";")]:
        if not parts and kind != "space":
            start = line
        line += text.count("\n")
        if (kind, text) == ("sign", ";"):
            if parts:
                found.append(SqlStatement("".join(parts), start))
            parts = []
        elif parts or kind != "space":
            parts.append(text)
    return found


def line_of(sql: str, name: str) -> int:
    """Return the line of SQL on which a name is first written, from 1."""
    line = 1
    for kind, text in tokens(sql):
        if kind in ("word", "name") and text.strip('"').lower() == name.lower():
            return line
        line += text.count("\n")
    return 1
