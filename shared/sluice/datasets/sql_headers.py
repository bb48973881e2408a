"""Parses and checks the comment header of a file of `queries/`, `rollups/` or `projections/`.

    -- name: weekly_average
    -- Weekly average number of trips of a region or a box.
    -- param region text: Name of the region.
    -- param by text = origin (origin, destination, both, either): Which end the box tests.
    -- param limit integer = 100 (1..1000): Most groups.
    -- needs: region | min_lon min_lat max_lon max_lat    (an empty alternative: none is needed)
    -- ascending: min_lon max_lon | min_lat max_lat
    -- returns: one
    -- draw: line x=week y=trips series=region label=trips_a_week
    -- verb: title
    -- near: search title

Prose lines (no keyword) form the description; the first sentence is the summary.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from sluice.datasets.identifiers import NAME
from sluice.datasets.model import Drawing, Near, Parameter, Projection, Query, Rollup
from sluice.datasets.types import PARAMETER_TYPES
from sluice.errors import DeclarationError

MERGES = ("sum", "min", "max")
#: The options that each kind of drawing requires, and those that it allows.
DRAWINGS = {
    "bar": (("x", "y"), ("series", "rows", "label")),
    "line": (("x", "y"), ("series", "rows", "label")),
    "map": (("x", "y", "size"), ("cell", "rows", "label")),
}

_KEYWORD = re.compile(
    r"(name|param|needs|ascending|returns|draw|verb|output|heading|near|key|measure|index|columns|slice)"
    r"(?:[ ]([^:]*))?:(.*)"
)
_PARAM = re.compile(
    r"(?P<name>[a-z_][a-z0-9_]*)[ ]+(?P<type>[a-z]+)(?P<required>!)?[ ]*"
    r"(?:=(?P<default>[^(]*))?(?:\((?P<range>[^)]*)\))?"
)


class _Lines:
    """The lines of a header, each with its number, and errors that name the file and line."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file

    def __iter__(self) -> Iterator[tuple[int, str]]:
        for number, line in enumerate(self.text.splitlines(), 1):
            if not line.startswith("--"):
                return
            yield number, line[2:].strip()

    def error(self, line: int, key: str, detail: str) -> DeclarationError:
        return DeclarationError(detail, file=self.file, line=line, key=key)


def _split(lines: _Lines) -> tuple[list[tuple[int, str, str, str]], list[str]]:
    """Return (line, keyword, subject, value) of keyword lines, and the prose lines."""
    keywords, prose = [], []
    for number, line in lines:
        if match := _KEYWORD.fullmatch(line):
            keywords.append((number, match[1], (match[2] or "").strip(), match[3].strip()))
        elif line:
            prose.append(line)
    return keywords, prose


def _range(lines: _Lines, number: int, name: str, text: str | None) -> dict[str, object]:
    if not text:
        return {}
    if ".." not in text:
        return {"one_of": tuple(each.strip() for each in text.split(","))}
    low, high = text.split("..", 1)
    try:
        return {
            "minimum": float(low) if low.strip() else None,
            "maximum": float(high) if high.strip() else None,
        }
    except ValueError:
        raise lines.error(
            number, f"param {name}", f"range {text!r} is not LOW..HIGH with numbers"
        ) from None


def _parameter(lines: _Lines, number: int, subject: str, description: str) -> Parameter:
    match = _PARAM.fullmatch(subject)
    if not match:
        raise lines.error(
            number,
            f"param {subject}",
            "write `param NAME TYPE[!] [= DEFAULT] [(LOW..HIGH)|(A, B, ...)]: Sentence.`",
        )
    if match["type"] not in PARAMETER_TYPES:
        raise lines.error(
            number, f"param {match['name']}", f"type is one of {', '.join(PARAMETER_TYPES)}"
        )
    default = match["default"] and match["default"].strip()
    return Parameter(
        name=match["name"],
        type=match["type"],
        description=description,
        required=bool(match["required"]),
        default=None if default in (None, "null") else default,
        **_range(lines, number, match["name"], match["range"]),  # type: ignore[arg-type]
    )


def _name(lines: _Lines, found: str, file_name: str) -> str:
    name = found or file_name
    if not NAME.fullmatch(name):
        raise lines.error(
            1, "name", f"{name!r} is not a name: lowercase letters, digits and _, 48 at most"
        )
    return name


class _Body(NamedTuple):
    """The statement without the comment header and the closing semicolon, and the line it begins on."""

    sql: str
    line: int


def _body(text: str) -> _Body:
    lines = text.splitlines()
    starts = (at for at, line in enumerate(lines) if line.strip() and not line.startswith("--"))
    start = next(starts, len(lines))
    return _Body("\n".join(lines[start:]).strip().rstrip(";"), start + 1)


def _prose(lines: _Lines, prose: list[str]) -> tuple[str, str]:
    """Return the summary (the first sentence) and the whole description."""
    description = " ".join(prose)
    if not description:
        raise lines.error(1, "summary", "describe in a sentence what it answers, as a -- comment")
    return re.split(r"(?<=[.!?])\s", description, maxsplit=1)[0], description


def parse_query(file_name: str, text: str) -> Query:
    """Parse one file of `queries/`.

    Args:
        file_name: the file's stem, the query's name unless the header declares another.
        text: the file's text.

    Raises:
        DeclarationError: names file, line and keyword.
    """
    lines = _Lines(text, f"queries/{file_name}.sql")
    keywords, prose = _split(lines)
    plain = {keyword: value for _, keyword, _, value in keywords if keyword != "param"}
    parameters = tuple(
        _parameter(lines, number, subject, value)
        for number, keyword, subject, value in keywords
        if keyword == "param"
    )
    known = {each.name for each in parameters}
    groups = {keyword: _groups(plain.get(keyword)) for keyword in ("needs", "ascending")}
    for number, keyword, _, _ in keywords:
        named = {name for group in groups.get(keyword, ()) for name in group}
        if unknown := named - known:
            raise lines.error(number, keyword, f"{', '.join(sorted(unknown))}: no such parameter")
        if keyword == "returns" and plain["returns"] not in ("one", "many"):
            raise lines.error(number, "returns", "is one or many")
    drawings = [
        _drawing(lines, number, value)
        for number, keyword, _, value in keywords
        if keyword == "draw"
    ]
    nears = [
        _near(lines, number, value) for number, keyword, _, value in keywords if keyword == "near"
    ]
    summary, description = _prose(lines, prose)
    return Query(
        name=_name(lines, plain.get("name", ""), file_name),
        summary=summary,
        description=description,
        **_body(text)._asdict(),
        parameters=parameters,
        needs=groups["needs"],
        ascending=groups["ascending"],
        returns=plain.get("returns", "many"),
        drawing=drawings[-1] if drawings else None,
        verb=plain.get("verb", ""),
        verb_output=plain.get("output", ""),
        verb_heading=plain.get("heading", ""),
        near=nears[-1] if nears else None,
    )


def _groups(text: str | None) -> tuple[tuple[str, ...], ...]:
    """Return the names of `a b | c`."""
    return () if text is None else tuple(tuple(each.split()) for each in text.split("|"))


def _near(lines: _Lines, number: int, text: str) -> Near:
    match text.split():
        case [query, column]:
            return Near(query, column)
    raise lines.error(number, "near", "write `near: QUERY COLUMN`")


def _drawing(lines: _Lines, number: int, text: str) -> Drawing:
    kind, *given = text.split() or [""]
    if kind not in DRAWINGS:
        raise lines.error(number, "draw", f"{kind!r} is not one of {', '.join(DRAWINGS)}")
    needed, allowed = DRAWINGS[kind]
    options = tuple((name, value) for name, _, value in (each.partition("=") for each in given))
    named = {name for name, value in options if value}
    if missing := [each for each in needed if each not in named]:
        raise lines.error(
            number, "draw", f"{kind} needs {', '.join(f'{m}=COLUMN' for m in missing)}"
        )
    if unknown := [name for name, _ in options if name not in (*needed, *allowed)]:
        known = ", ".join((*needed, *allowed))
        raise lines.error(number, "draw", f"{', '.join(unknown)}: {kind} takes {known}")
    return Drawing(kind, options)


def parse_rollup(file_name: str, text: str) -> Rollup:
    """Parse one file of `rollups/`: a DuckDB query over `rows`, its keys and measures.

    Raises:
        DeclarationError: names file, line and keyword.
    """
    lines = _Lines(text, f"rollups/{file_name}.sql")
    keywords, prose = _split(lines)
    plain = {keyword: value for _, keyword, _, value in keywords}
    measures = []
    for number, keyword, subject, value in keywords:
        if keyword == "measure":
            if value not in MERGES:
                raise lines.error(
                    number, f"measure {subject}", f"merges by one of {', '.join(MERGES)}"
                )
            measures.append((subject, value))
    if "key" not in plain or not measures:
        raise lines.error(1, "key", "a roll-up has a `-- key: a, b` and `-- measure x: sum` lines")
    return Rollup(
        name=_name(lines, plain.get("name", ""), file_name),
        description=_prose(lines, prose)[1],
        keys=tuple(each.strip() for each in plain["key"].split(",")),
        measures=tuple(measures),
        **_body(text)._asdict(),
        indexes=_indexes(keywords),
    )


def parse_projection(file_name: str, text: str) -> Projection:
    """Parse one file of `projections/`: a PostgreSQL query over `rows`.

    Raises:
        DeclarationError: names file, line and keyword.
    """
    lines = _Lines(text, f"projections/{file_name}.sql")
    keywords, prose = _split(lines)
    for number, keyword, _, _ in keywords:
        if keyword not in ("name", "columns", "slice", "index"):
            raise lines.error(number, keyword, "a projection has columns, slice, index lines")
    plain = {keyword: value for _, keyword, _, value in keywords}
    if "columns" not in plain:
        raise lines.error(1, "columns", "a projection has a `-- columns: a, b` line")
    return Projection(
        name=_name(lines, plain.get("name", ""), file_name),
        description=_prose(lines, prose)[1],
        columns=tuple(each.strip() for each in plain["columns"].split(",")),
        **_body(text)._asdict(),
        slice=plain.get("slice", ""),
        indexes=_indexes(keywords),
    )


def _indexes(keywords: list[tuple[int, str, str, str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        tuple(each.strip() for each in value.split(","))
        for _, keyword, _, value in keywords
        if keyword == "index"
    )
