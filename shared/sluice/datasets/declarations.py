"""Reads and checks a dataset's declaration, from a folder of `sql/datasets/` or a JSON document.

The JSON document has the keys of `dataset.toml` and `name`, `table` (SQL text),
`rollups`, `projections` and `queries` (SQL texts by file name; a projection may also be a table of a
`kind`, as in `dataset.toml`). An error names file, line and key.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sluice.csv.dialects import Dialect
from sluice.datasets.aliases import AliasError, check_alias, parse_alias
from sluice.datasets.box_counts import BoxCountsError, parse_box_counts, table_schema
from sluice.datasets.grammars import format_problem
from sluice.datasets.identifiers import NAME
from sluice.datasets.model import (
    INGESTION_COLUMN,
    MAX_COLUMNS,
    RESCUED,
    RESERVED_COLUMNS,
    SEGMENT_COLUMN,
    SYSTEM_COLUMNS,
    UNCOMPACTED,
    Alias,
    Check,
    Column,
    Dangling,
    Dataset,
    Duplicates,
    LoadPolicy,
    NewColumns,
    Projection,
    RejectLimit,
    Reupload,
    Unfitting,
)
from sluice.datasets.sql_headers import parse_projection, parse_query, parse_rollup
from sluice.datasets.types import TYPES, ColumnType
from sluice.errors import DeclarationError
from sluice.escaping import is_storable_text

_NAME_SCHEMA = {"type": "string", "pattern": f"^{NAME.pattern}$"}
_CHECK_SCHEMA = {
    "type": "object",
    "properties": {"sql": {"type": "string"}, "message": {"type": "string"}},
    "required": ["sql", "message"],
    "additionalProperties": False,
}
#: Keys of the document that are not keys of `dataset.toml`.
SQL_KEYS = ("table", "rollups", "projections", "queries")
NOT_TOML = ("name", "version", *SQL_KEYS)

_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,6})?) ?%", re.ASCII)
#: Keys that decide how a file is read.
FILE_KEYS = (*(each.name for each in fields(Dialect)), "stray_quotes", "ragged")
#: Keys of `dataset.toml`: the type of the value, and its description for errors.
_DATASET_KEYS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "description": (str, "a sentence"),
    "header": (bool, "true or false"),
    "delimiter": (str, "one character or more"),
    "quote": (str, "one character"),
    "escape": (str, "one character"),
    "comment": (str, "what a comment begins with"),
    "skip_lines": (int, "a number of lines"),
    "header_lines": (int, "1 to 5"),
    "footer_lines": (int, "a number of lines"),
    "spaces_around_quotes": (bool, "true or false"),
    "trailing_delimiter": (bool, "true or false"),
    "encoding": (str, "the name of an encoding, such as utf-8"),
    "key": (list, "a list of column names"),
    "duplicates": (str, "ignore, update or error"),
    "load": (str, "partial or all_or_nothing"),
    "max_rejects": ((int, str), 'a whole number, or a share such as "1%"'),
    "reupload": (str, "append or replace"),
    "dialect": (str, "declared or detect"),
    "new_columns": (str, "add, ignore or reject"),
    "unfitting": (str, "widen, reject or fail"),
    "rescue": (bool, "true or false"),
    "cluster": (list, "a list of stored columns"),
    "stray_quotes": (str, "reject or literal"),
    "ragged": (str, "reject, pad or rescue"),
    "sheet": (str, "the name of a sheet"),
    "output": (str, "the name of a query"),
    "columns": (list, "[[columns]] tables"),
    "aliases": (dict, "a table of routes"),
}
_COLUMN_KEYS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "name": (str, "a name"),
    "type": (str, "one of " + ", ".join(ColumnType)),
    "header": ((str, list), "a header, or a list of them"),
    "description": (str, "a sentence"),
    "required": (bool, "true or false"),
    "trim": (bool, "true or false"),
    "nulls": (list, "a list of texts"),
    "formats": (list, "a list of strptime formats"),
    "two_digit_years": (str, "past"),
    "dictionary": (bool, "true or false"),
    "minimum": ((int, float, str), "a number, or a date as text"),
    "maximum": ((int, float, str), "a number, or a date as text"),
    "max_length": (int, "a whole number"),
    "pattern": (str, "a regular expression"),
    "one_of": (list, "a list of texts"),
    "decimal_separator": (str, "one character"),
    "thousands_separator": (str, "one character"),
    "symbols": (list, "a list of texts"),
    "grouping": (str, "western or indian"),
    "negatives": (list, "a list of parentheses, trailing_minus and minus_sign"),
    "percent": (bool, "true or false"),
    "precision": (int, "a whole number"),
    "scale": (int, "a whole number"),
    "time_zone": (str, "the name of a time zone, or drop"),
    "default": (str, "a text"),
    "references": (str, "the name of a dataset"),
    "dangling": (str, "reject or warn"),
    "absent": (str, "next"),
    "pii": (bool, "true or false"),
    "checks": (list, "a list of { sql, message }"),
}
_CHOICES = {
    "duplicates": tuple(Duplicates),
    "load": tuple(LoadPolicy),
    "reupload": tuple(Reupload),
    "dialect": ("declared", "detect"),
    "new_columns": tuple(NewColumns),
    "unfitting": tuple(Unfitting),
    "stray_quotes": ("reject", "literal"),
    "ragged": ("reject", "pad", "rescue"),
    "type": tuple(ColumnType),
    "two_digit_years": ("past",),
    "dangling": tuple(Dangling),
    "absent": ("next",),
    "grouping": ("western", "indian"),
}
_NUMBER_KEYS = (
    "decimal_separator",
    "thousands_separator",
    "symbols",
    "grouping",
    "negatives",
    "percent",
    "precision",
    "scale",
)
#: What compares values or their texts; an object or array has no order, and is written in several ways.
_NOT_JSON_KEYS = ("minimum", "maximum", "max_length", "pattern", "one_of", "references")
_DIALECT_KEYS = tuple(each.name for each in fields(Dialect))
_RESCUED_MEANING = "Cells of columns that are not declared, as a JSON object of texts by header."
_NEGATIVES = ("parentheses", "trailing_minus", "minus_sign")
#: PostgreSQL's numeric has more, but no table needs them.
_MOST_DIGITS = 1000
#: Lists and tables in each other; a declaration needs five.
_MAX_DEPTH = 16


_JSON_TYPES = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
}
#: Keys with lists of something else than texts.
_LISTS_OF_TABLES = ("columns", "checks")


def declaration_schema() -> dict[str, Any]:
    """Return the JSON Schema of a JSON document; `parse_document` checks the rest."""
    texts = {"type": "object", "additionalProperties": {"type": "string"}}
    column = {
        "type": "object",
        "properties": {key: _value_schema(key, kind) for key, (kind, _) in _COLUMN_KEYS.items()},
        "required": ["name", "type"],
        "additionalProperties": False,
    }
    properties = {key: _value_schema(key, kind) for key, (kind, _) in _DATASET_KEYS.items()}
    return {
        "type": "object",
        "properties": {
            "name": _NAME_SCHEMA,
            **properties,
            "columns": {"type": "array", "minItems": 1, "items": column},
            "table": {"type": "string"},
            "rollups": texts,
            "projections": {
                "type": "object",
                "additionalProperties": {"anyOf": [{"type": "string"}, table_schema()]},
            },
            "queries": texts,
        },
        "required": ["columns"],
        "additionalProperties": False,
    }


def _value_schema(key: str, kind: type | tuple[type, ...]) -> dict[str, Any]:
    if key == "name":
        return dict(_NAME_SCHEMA)
    kinds = kind if isinstance(kind, tuple) else (kind,)
    found: dict[str, Any] = {"type": [_JSON_TYPES[each] for each in kinds]}
    if list in kinds and key not in _LISTS_OF_TABLES:
        found["items"] = {"type": "string"}
    if key == "checks":
        found["items"] = _CHECK_SCHEMA
    if key in _CHOICES:
        found["enum"] = [str(each) for each in _CHOICES[key]]
    return found


class _Toml:
    """The text of a `dataset.toml`, to find the line of a key; empty for a JSON document."""

    def __init__(self, text: str = "") -> None:
        self._lines = text.splitlines()

    def error(self, detail: str, key: str, column: int | None = None) -> DeclarationError:
        shown = key or '""'
        path = shown if column is None else f"columns[{column}].{shown}"
        return DeclarationError(detail, line=self._line(key, column), key=path)

    def alias_error(self, detail: str, route: str, key: str) -> DeclarationError:
        quoted = f'"{route}"'
        places = (n for n, line in enumerate(self._lines, 1) if quoted in line)
        path = f"aliases.{quoted}.{key}" if key else f"aliases.{quoted}"
        return DeclarationError(detail, line=next(places, None), key=path)

    def projection_error(self, detail: str, name: str, key: str) -> DeclarationError:
        path = f"projections.{name}.{key}" if key else f"projections.{name}"
        return DeclarationError(detail, line=self._projection_line(name, key), key=path)

    def _projection_line(self, name: str, key: str) -> int | None:
        """Return the line of a key in the table of a projection, or else of its header."""
        header = None
        for number, line in enumerate(self._lines, 1):
            if line.lstrip().startswith("["):
                if header is not None:
                    return header
                if re.fullmatch(rf'\s*\[projections\."?{re.escape(name)}"?\]\s*(#.*)?', line):
                    header = number
            elif header is not None and key and re.match(rf"\s*{re.escape(key)}\s*=", line):
                return number
        return header

    def _line(self, key: str, column: int | None) -> int | None:
        """Return the line of a key: inside the given `[[columns]]` table, or before the first."""
        table = -1
        start = None
        for number, line in enumerate(self._lines, 1):
            if line.strip().startswith("[["):
                table += 1
                start = number if table == column else start
            inside = table == (-1 if column is None else column)
            if inside and re.match(rf"\s*{re.escape(key)}\s*=", line):
                return number
        return start


def read_folder(folder: Path) -> Dataset:
    """Read the dataset that a folder declares; its name is the folder's.

    Raises:
        DeclarationError: names file, line and key.
    """
    return parse_document(folder_document(folder), _toml_text(folder))


def with_line(error: DeclarationError, folder: Path) -> DeclarationError:
    """Return an error about a key of a folder's `dataset.toml` with its line."""
    if error.extra["file"] != "dataset.toml" or error.extra["line"] is not None:
        return error
    column = re.fullmatch(r"columns\[(\d+)\]\.(\w+)", key := str(error.extra["key"]))
    source = _Toml(_toml_text(folder))
    if column:
        return source.error(error.what, column[2], int(column[1]))
    return source.error(error.what, key)


def _toml_text(folder: Path) -> str:
    path = folder / "dataset.toml"
    if not path.is_file():
        raise DeclarationError("the folder has no dataset.toml", key=folder.name)
    return path.read_text("utf-8")


def folder_document(folder: Path) -> dict[str, Any]:
    """Return the JSON document of a dataset's folder.

    Raises:
        DeclarationError: `dataset.toml` is missing or not TOML.
    """
    try:
        document: dict[str, Any] = tomllib.loads(_toml_text(folder))
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise DeclarationError(str(error), line=int(line[1]) if line else None) from None
    table = folder / "table.sql"
    tables = document.get("projections", {})
    files = _sql_files(folder / "projections")
    if isinstance(tables, dict) and (twice := sorted({*tables} & {*files})):
        raise DeclarationError(
            f"projections/{twice[0]}.sql declares a projection of this name, too",
            key=f"projections.{twice[0]}",
        )
    if files and isinstance(tables, dict):
        document["projections"] = {**tables, **files}
    return {
        "name": folder.name,
        **document,
        "table": table.read_text("utf-8") if table.is_file() else "",
        "rollups": _sql_files(folder / "rollups"),
        "queries": _sql_files(folder / "queries"),
    }


def _sql_files(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text("utf-8") for path in sorted(folder.glob("*.sql"))}


def parse_document(document: Mapping[str, Any], toml: str = "") -> Dataset:
    """Check a JSON document and return the dataset it declares.

    Args:
        document: see the module's docstring.
        toml: text of the `dataset.toml` it came from, for line numbers in errors.

    Raises:
        DeclarationError: names file, line and key.
    """
    source = _Toml(toml)
    name = document.get("name", "")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise source.error(
            f"{name!r} is not a name: lowercase letters, digits and _, 48 at most", "name"
        )
    top = {key: value for key, value in document.items() if key not in NOT_TOML}
    for key, value in document.items():
        _check_storable(source, key, value)
    _check_sql(source, document)
    _check_keys(source, top, _DATASET_KEYS, None)
    columns = tuple(
        _column(source, number, each) for number, each in enumerate(top.get("columns", []))
    )
    _check_columns(source, columns)
    if top.get("rescue"):
        _check_rescue(source, top)
        # A cell of another header may have the same data as a column.
        has_pii = any(each.pii for each in columns)
        rescued = Column(
            RESCUED, ColumnType.TEXT, (RESCUED,), _RESCUED_MEANING, trim=False, pii=has_pii
        )
        columns += (rescued,)
    elif top.get("ragged") == "rescue":
        raise source.error(
            '"rescue" needs `rescue = true`, which adds the column of its cells', "ragged"
        )
    dataset = Dataset(
        name=name,
        description=top.get("description", ""),
        columns=columns,
        dialect=_dialect(source, top),
        key=tuple(top.get("key", ())),
        duplicates=Duplicates(top.get("duplicates", "ignore")),
        load=LoadPolicy(top.get("load", "partial")),
        max_rejects=_reject_limit(source, top.get("max_rejects")),
        reupload=Reupload(top.get("reupload", "append")),
        cluster=tuple(top.get("cluster", ())),
        detects_encoding="encoding" not in top,
        stray_quotes=top.get("stray_quotes", "reject"),
        ragged=top.get("ragged", "reject"),
        sheet=top.get("sheet", ""),
        rollups=tuple(parse_rollup(*each) for each in document.get("rollups", {}).items()),
        projections=tuple(_projections(source, document.get("projections", {}), columns)),
        queries=tuple(parse_query(*each) for each in document.get("queries", {}).items()),
        table_sql=document.get("table", ""),
        aliases=_aliases(source, top.get("aliases", {})),
        output=top.get("output", ""),
        version=document.get("version", 1),
        new_columns=NewColumns(top.get("new_columns", "ignore" if top.get("rescue") else "reject")),
        unfitting=Unfitting(top.get("unfitting", "reject")),
        rescues=top.get("rescue", False),
        detects_dialect=top.get("dialect") == "detect",
        given_dialect=tuple((each, top[each]) for each in _DIALECT_KEYS if each in top),
    )
    if len(dataset.fields) > MAX_COLUMNS:
        what = f"{len(dataset.fields):,} columns are more than a table has, {MAX_COLUMNS:,}"
        raise source.error(what, "columns")
    _check_key(source, dataset)
    _check_aliases(source, dataset)
    _check_staged(source, dataset)
    _check_projections(source, dataset)
    _check_output(source, dataset)
    _check_near(source, dataset)
    return dataset


def _reject_limit(source: _Toml, value: int | str | None) -> RejectLimit | None:
    if value is None:
        return None
    if isinstance(value, int):
        if value < 0:
            raise source.error(f"{value} is less than 0", "max_rejects")
        return RejectLimit(rows=value)
    share = _SHARE.fullmatch(value)
    if share is None or Fraction(share[1]) > 100:
        raise source.error(
            f'{value!r} is neither a whole number nor a share such as "1%" or "0.5%"', "max_rejects"
        )
    return RejectLimit(percent=Fraction(share[1]))


def _projections(
    source: _Toml, declared: Mapping[str, Any], columns: tuple[Column, ...]
) -> Iterator[Projection]:
    """Yield the projections of SQL texts and of tables."""
    for name, each in declared.items():
        if isinstance(each, str):
            yield parse_projection(name, each)
            continue
        try:
            yield from parse_box_counts(name, each, columns)
        except BoxCountsError as error:
            raise source.projection_error(str(error), name, error.key) from None


def _aliases(source: _Toml, tables: Mapping[str, object]) -> tuple[Alias, ...]:
    found: dict[str, Alias] = {}
    for route, table in tables.items():
        try:
            alias = parse_alias(route, table)
        except AliasError as error:
            raise source.alias_error(str(error), route, error.key) from None
        if other := found.get(alias.place):
            raise source.alias_error(f"is the same as {other.route}", route, "")
        found[alias.place] = alias
    return tuple(found.values())


def _check_aliases(source: _Toml, dataset: Dataset) -> None:
    for alias in dataset.aliases:
        try:
            check_alias(alias, dataset)
        except AliasError as error:
            raise source.alias_error(str(error), alias.route, error.key) from None


def _dialect(source: _Toml, top: Mapping[str, Any]) -> Dialect:
    given = {each: top[each] for each in _DIALECT_KEYS if each in top}
    try:
        return Dialect(**given)
    except DeclarationError as error:
        key = str(error.extra["key"]).removeprefix("dialect.")
        raise source.error(error.detail.partition(": ")[2], key) from None


def _check_storable(source: _Toml, path: str, value: object, depth: int = 1) -> None:
    """Refuse what JSON may contain and PostgreSQL cannot store."""
    if depth > _MAX_DEPTH:
        raise source.error("is nested too deep", path.partition("[")[0].partition(".")[0])
    if isinstance(value, dict):
        for key, each in value.items():
            _check_storable(source, path, key, depth + 1)
            _check_storable(source, f"{path}.{key}", each, depth + 1)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            _check_storable(source, f"{path}[{number}]", each, depth + 1)
    elif isinstance(value, str) and "\0" in value:
        raise source.error("contains a NUL character, which PostgreSQL cannot store", path)
    elif isinstance(value, str) and not is_storable_text(value):
        raise source.error("contains half of a surrogate pair", path)
    elif isinstance(value, float) and not math.isfinite(value):
        raise source.error(f"{value} is not finite", path)


def _check_sql(source: _Toml, document: Mapping[str, Any]) -> None:
    """Check that what is SQL is text."""
    if not isinstance(document.get("table", ""), str):
        raise source.error("is not a text", "table")
    for kind in ("rollups", "projections", "queries"):
        files = document.get(kind, {})
        if not isinstance(files, dict):
            raise source.error("is not a table of SQL texts", kind)
        for name, text in files.items():
            if kind == "projections" and isinstance(text, dict):
                continue
            if not isinstance(text, str):
                raise source.error("is not a text", f"{kind}.{name}")


def _check_keys(
    source: _Toml,
    table: Mapping[str, Any],
    known: Mapping[str, tuple[type | tuple[type, ...], str]],
    column: int | None,
) -> None:
    for key, value in table.items():
        if key not in known:
            raise source.error(f"no such key; known: {', '.join(known)}", key, column)
        kind, expected = known[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise source.error(f"{value!r} is not {expected}", key, column)
        if isinstance(value, list) and key not in _LISTS_OF_TABLES:
            _check_texts(source, value, key, column, expected)
        if key in _CHOICES and value not in _CHOICES[key]:
            raise source.error(f"{value!r} is not one of {', '.join(_CHOICES[key])}", key, column)


def _check_texts(
    source: _Toml, values: list[object], key: str, column: int | None, expected: str
) -> None:
    for each in values:
        if not isinstance(each, str):
            raise source.error(f"{each!r} is not a text; write {expected}", key, column)


def _column(source: _Toml, number: int, table: object) -> Column:
    if not isinstance(table, dict):
        raise source.error("is not a table", "columns", number)
    _check_keys(source, table, _COLUMN_KEYS, number)
    for key in ("name", "type"):
        if key not in table:
            raise source.error("is missing", key, number)
    if not NAME.fullmatch(table["name"]):
        raise source.error(
            f"{table['name']!r} is not a name: lowercase letters, digits and _, 48 at most",
            "name",
            number,
        )
    if table["name"] in RESERVED_COLUMNS:
        raise source.error(f"{table['name']!r} is reserved for the engine", "name", number)
    for stored in (table["name"] + suffix for suffix in TYPES[ColumnType(table["type"])].suffixes):
        if stored in SYSTEM_COLUMNS:
            raise source.error(
                f"PostgreSQL has a column {stored!r} of its own in each table; choose another name, such as"
                f' {stored + "_value"!r}, with header = "{stored}"',
                "name",
                number,
            )
    header: Any = table.get("header", table["name"])
    values = {key: value for key, value in table.items() if key not in ("header", "checks")}
    plural = {each.name for each in fields(Column) if each.default == ()}
    values = {k: tuple(v) if k in plural else v for k, v in values.items()}
    values["type"] = ColumnType(table["type"])
    values["dangling"] = Dangling(table.get("dangling", Dangling.REJECT))
    _check_kind(source, table, values["type"], number)
    return Column(
        headers=(header,) if isinstance(header, str) else tuple(header),
        checks=tuple(_check(source, number, each) for each in table.get("checks", ())),
        **values,
    )


def _check_kind(source: _Toml, table: Mapping[str, Any], kind: ColumnType, number: int) -> None:
    """Check what only columns of some types may have."""
    if table.get("dictionary") and kind is not ColumnType.TEXT:
        raise source.error("only a text column can be a dictionary", "dictionary", number)
    if table.get("references") and (TYPES[kind].is_compound or table.get("dictionary")):
        raise source.error(
            "a point or dictionary column cannot have references", "references", number
        )
    for key in _NOT_JSON_KEYS:
        if key in table and kind is ColumnType.JSON:
            raise source.error("does not go with json", key, number)
    if "dangling" in table and "references" not in table:
        raise source.error("needs references, which is missing", "dangling", number)
    if table.get("absent") and not TYPES[kind].is_whole:
        raise source.error(
            "only a column of whole numbers can have absent = next", "absent", number
        )
    _check_number(source, table, kind, number)
    _check_time(source, table, kind, number)


def _check_number(source: _Toml, table: Mapping[str, Any], kind: ColumnType, number: int) -> None:
    """Check how the numbers of a column are written."""
    for key in _NUMBER_KEYS:
        if key in table and not TYPES[kind].is_number:
            raise source.error(f"applies to numbers only, not to {kind}", key, number)
    _check_separators(source, table, number)
    for each in table.get("negatives", ()):
        if each not in _NEGATIVES:
            raise source.error(
                f"{each!r} is not one of {', '.join(_NEGATIVES)}", "negatives", number
            )
    if table.get("percent") and TYPES[kind].is_whole:
        raise source.error("a percentage is not a whole number; use numeric", "percent", number)
    _check_digits(source, table, kind, number)


def _check_separators(source: _Toml, table: Mapping[str, Any], number: int) -> None:
    point, mark = table.get("decimal_separator", "."), table.get("thousands_separator", "")
    for key, sign in (("decimal_separator", point), ("thousands_separator", mark)):
        if key in table and len(sign) != 1:
            raise source.error(f"{sign!r} is not one character", key, number)
        if sign.isalnum() or sign in ("+", "-"):
            raise source.error(f"{sign!r} is part of numbers; choose another", key, number)
    if point == mark:
        raise source.error("is the decimal separator too", "thousands_separator", number)


def _check_digits(source: _Toml, table: Mapping[str, Any], kind: ColumnType, number: int) -> None:
    precision, scale = table.get("precision"), table.get("scale")
    if precision is None and scale is None:
        return
    if kind is not ColumnType.NUMERIC or precision is None or scale is None:
        raise source.error("a numeric column has precision and scale, or neither", "type", number)
    if not 0 <= scale <= precision <= _MOST_DIGITS or not precision:
        limits = f"0 <= scale <= precision <= {_MOST_DIGITS} does not hold"
        raise source.error(limits, "scale", number)


def _check_time(source: _Toml, table: Mapping[str, Any], kind: ColumnType, number: int) -> None:
    """Check how the dates and times of a column are written."""
    for key in ("formats", "two_digit_years"):
        if table.get(key) and not TYPES[kind].is_time:
            raise source.error(f"goes with dates and times, not with {kind}", key, number)
    for each in table.get("formats", ()):
        if problem := format_problem(each, kind):
            raise source.error(problem, "formats", number)
    zone = table.get("time_zone", "")
    if zone and kind not in (ColumnType.INSTANT, ColumnType.TIMESTAMP):
        raise source.error(f"goes with instant and timestamp, not with {kind}", "time_zone", number)
    if zone and not (zone == "drop" and kind is ColumnType.TIMESTAMP) and not _is_zone(zone):
        raise source.error(
            f"{zone!r} is not a time zone; take a name such as Europe/Prague", "time_zone", number
        )
    has_zone = any("%z" in each for each in table.get("formats", ()))
    if has_zone and kind is ColumnType.TIMESTAMP and not zone:
        raise source.error(
            "'%z' reads a time zone, which a timestamp does not have: make the column an instant, or"
            " declare time_zone",
            "formats",
            number,
        )


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        return False
    return True


def _check(source: _Toml, number: int, table: object) -> Check:
    if not isinstance(table, dict) or set(table) != {"sql", "message"}:
        raise source.error('each is { sql = "...", message = "..." }', "checks", number)
    if not isinstance(table["sql"], str) or not isinstance(table["message"], str):
        raise source.error("sql and message are texts", "checks", number)
    return Check(table["sql"], table["message"])


def _check_columns(source: _Toml, columns: tuple[Column, ...]) -> None:
    if not columns:
        raise source.error("a dataset has at least one [[columns]] table", "columns")
    seen: set[str] = set()
    for number, column in enumerate(columns):
        for each in column.fields:
            if each.name in seen:
                raise source.error(f"{each.name!r} is stored twice", "name", number)
            seen.add(each.name)


def _check_rescue(source: _Toml, top: Mapping[str, Any]) -> None:
    """Check that a dataset that rescues unknown columns has them: a header, and no other policy."""
    if not top.get("header", True):
        raise source.error("needs a header that names the unknown columns", "rescue")
    if top.get("new_columns", "ignore") != "ignore":
        raise source.error('goes with new_columns = "ignore", which it implies', "rescue")


def _check_key(source: _Toml, dataset: Dataset) -> None:
    stored = {each.name: each for each in dataset.fields}
    for name in dataset.key:
        if name not in stored:
            raise source.error(
                f"{name!r} is not a stored column; known: {', '.join(stored)}", "key"
            )
        if not stored[name].stored.is_sortable:
            raise source.error(f"{name!r} is json, which identifies no row", "key")
        if stored[name].nullable:
            raise source.error(f"{name!r} is part of the key: declare it required = true", "key")
    for number, column in enumerate(dataset.columns):
        if column.absent and dataset.key != (column.name,):
            raise source.error("only the key column can have absent = next", "absent", number)


def _check_staged(source: _Toml, dataset: Dataset) -> None:
    """Check that a dataset whose rows are merged at publish has nothing that needs plain rows."""
    if not dataset.is_staged:
        return
    if dataset.rollups:
        raise source.error(
            "a dataset with a key or references has no roll-ups: they would count rows that publishing"
            " drops; ask the table, or declare no key",
            "key" if dataset.key else "references",
        )
    for each in dataset.dictionaries:
        if each.name in ("staging", "replaced"):
            raise source.error(f"{each.name!r} is reserved for a table of the engine", "dictionary")


def _check_projections(source: _Toml, dataset: Dataset) -> None:
    """Check names and slices of projections."""
    rollups = {each.name for each in dataset.rollups}
    required = {each.name for each in dataset.fields if not each.nullable}
    staged = "a dataset with a key or references has no projections: its rows may change later"
    for each in dataset.projections:
        if each.tree:
            declared = each.tree.counts.name
            if dataset.is_staged:
                raise source.projection_error(staged, declared, "")
            if each.name in rollups:
                raise source.projection_error(f"{each.name!r} is taken", declared, "points")
            continue
        file = f"projections/{each.name}.sql"
        if dataset.is_staged:
            raise DeclarationError(staged, file=file)
        if SEGMENT_COLUMN in each.columns:
            detail = f"{SEGMENT_COLUMN!r} is reserved for the engine"
            raise DeclarationError(detail, file=file, key="columns")
        if each.name in rollups or each.name == UNCOMPACTED:
            raise DeclarationError(f"{each.name!r} is taken", file=file, key="name")
        if each.slice and each.slice not in required:
            known = ", ".join(sorted(required))
            message = f"{each.slice!r} is not a required column; known: {known}"
            raise DeclarationError(message, file=file, key="slice")


def _check_output(source: _Toml, dataset: Dataset) -> None:
    """Check that the output query has the ingestion as its only required parameter."""
    if not dataset.output:
        return
    query = dataset.query(dataset.output)
    if query is None:
        known = ", ".join(each.name for each in dataset.queries) or "none"
        raise source.error(
            f"{dataset.output!r} is not a query of this dataset; known: {known}", "output"
        )
    required = [(each.name, each.type) for each in query.parameters if each.required]
    if required != [(INGESTION_COLUMN, "integer")]:
        raise source.error(
            f"the query {dataset.output} must need one parameter: `-- param ingestion integer!: ...`",
            "output",
        )
    if dataset.is_staged:
        message = "a dataset with a key or references merges its files; it has no output"
        raise source.error(message, "output")


def _check_near(source: _Toml, dataset: Dataset) -> None:
    """Check that the query of a verb's suggestions exists and has a parameter."""
    for each in dataset.queries:
        other = dataset.query(each.near.query) if each.near else None
        if each.near and (other is None or not other.parameters):
            known = ", ".join(q.name for q in dataset.queries if q.parameters and q != each)
            message = (
                f"{each.near.query!r} is not a query with a parameter; known: {known or 'none'}"
            )
            raise source.error(message, f"queries.{each.name}.near")


def read_folders(folder: Path) -> list[Dataset]:
    """Read every dataset below `sql/datasets/`.

    Raises:
        DeclarationError: names file, line and key.
    """
    return [read_folder(each) for each in sorted(folder.iterdir()) if each.is_dir()]
