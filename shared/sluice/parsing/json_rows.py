"""Rows of JSON as CSV records, so that the same readers type and check both; does no I/O."""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from sluice.csv.dialects import Dialect
from sluice.csv.rejects import MASK, RECORD_REASONS
from sluice.datasets.cells import reads_as_other, write_number, write_time
from sluice.datasets.json_grammar import MAX_DEPTH
from sluice.datasets.model import INGESTION_COLUMN, Column, Dataset
from sluice.datasets.types import ColumnType
from sluice.documents.document import MAX_DEPTH as MAX_JSON_DEPTH
from sluice.documents.document import is_deeper
from sluice.parsing.layout import Layout

_SHOWN_CHARACTERS = 200
#: Lists and objects in each other in a row of ours, which may hold a cell of JSON.
MAX_ROW_DEPTH = MAX_DEPTH + 1
#: Strings and marks of a large text: memory holds an object for each value.
_MAX_TOKENS = 2_000_000
_LARGE_BYTES = 1024 * 1024
_TOO_DEEP = "it is nested too deep"
#: A string, or a mark that precedes a value.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\Z)|[,:\[{]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


class Numeral(str):
    """A number as a JSON document writes it."""

    __slots__ = ()


class Repeating(dict[str, Any]):
    """An object with a member name that occurs several times; the last counts.

    Attributes:
        members: all members.
    """

    def __init__(self, members: list[tuple[str, Any]]) -> None:
        super().__init__(members)
        self.members = members


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    return found if len(found) == len(members) else Repeating(members)


def read_json(text: str | bytes, max_depth: int = MAX_JSON_DEPTH) -> Any:  # any JSON value
    """Return the value of a JSON text, its numbers as numerals.

    Args:
        text: of a client, or of a row.
        max_depth: lists and objects that it may have in each other.

    Raises:
        ValueError: it is no JSON, nested too deep, or has too many values.
    """
    if len(text) > _LARGE_BYTES and _has_many_values(text):
        raise ValueError("it has too many values for one request")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_float=Numeral,
            parse_int=Numeral,
            parse_constant=_refuse,
        )
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if is_deeper(value, max_depth):
        raise ValueError(_TOO_DEEP)
    return value


def _has_many_values(text: str | bytes) -> bool:
    """Whether a text that is JSON may have too many values."""
    tokens = _TOKEN.finditer(text.encode() if isinstance(text, str) else text)
    return next(itertools.islice(tokens, _MAX_TOKENS, None), None) is not None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def write_json(value: object) -> str:
    """Return a value as JSON text, its numerals and all its members as they were written."""
    if isinstance(value, Numeral):
        return str(value)
    if isinstance(value, dict):
        found = value.members if isinstance(value, Repeating) else value.items()
        members = (f"{write_json(name)}: {write_json(each)}" for name, each in found)
        return f"{{{', '.join(members)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(write_json, value))}]"
    return json.dumps(value, ensure_ascii=False)


class CellError(ValueError):
    """A JSON row cannot be written as cells.

    Attributes:
        column, rule, value, reason: as of a reject.
    """

    def __init__(self, column: str | None, rule: str, value: str | None, reason: str) -> None:
        super().__init__(reason)
        self.column = column
        self.rule = rule
        self.value = value
        self.reason = reason


def row_layout(dataset: Dataset) -> Layout:
    """Return the layout of the records of `CellReader`: every declared column, in order, without a header."""
    return _layout_of(len(dataset.columns))


@functools.lru_cache(maxsize=64)
def _layout_of(width: int) -> Layout:
    return Layout(tuple(range(width)), width, Dialect(header=False))


class CellReader:
    """Reads JSON rows of one dataset: objects by column or header names, or lists of all cells.

    A text is the text of a cell, and an object or array for a column of JSON is its JSON text. Rows that the
    API answered have the member `ingestion`; it is ignored, their dates and times are understood also where
    the column declares formats, and a text of a column of JSON is a JSON string.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._columns = dataset.columns
        self._places = dict(_places(dataset.columns))

    def record(self, row: object) -> bytes:
        """Return a row as a CSV record with its line end.

        Raises:
            CellError: it is no row, names a column that is none, or holds what no cell can.
        """
        cells = [_cell(*each) for each in zip(self._columns, self._values(row), strict=True)]
        return (
            ",".join(f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in cells) + "\n"
        ).encode()

    def with_key(self, row: object, column: str, free: Iterator[int]) -> object:
        """Return a row with the next free number in a column that it leaves empty.

        Args:
            row: a JSON value; one that is no object stays as it is.
            column: name of the column.
            free: the numbers to take.
        """
        if not isinstance(row, dict):
            return row
        place = self._places[column]
        given = {
            name: value for name, value in row.items() if self._places.get(_folded(name)) == place
        }
        if any(value is not None and str(value).strip() for value in given.values()):
            return row
        others = {name: value for name, value in row.items() if name not in given}
        return {column: Numeral(next(free)), **others}

    def _values(self, row: object) -> list[object]:
        if isinstance(row, list):
            if len(row) == len(self._columns):
                return row
            sizes = {"found": len(row), "expected": len(self._columns)}
            raise CellError(None, "columns", None, RECORD_REASONS["columns"].format(**sizes))
        if not isinstance(row, dict):
            raise CellError(None, "type", None, f"{_kind(row)} is no row: send an object or a list")
        return self._named(row)

    def _named(self, row: Mapping[str, object]) -> list[object]:
        given: dict[tuple[int, int], object] = {}
        for name, value in row.items():
            place = self._places.get(_folded(name))
            if place is None and name == INGESTION_COLUMN:
                continue
            if place is None:
                known = ", ".join(each.name for each in self._columns)
                raise CellError(name, "columns", None, f"no such column; known: {known}")
            if place in given:
                column = self._columns[place[0]].name
                raise CellError(column, "columns", None, f'"{name}" gives it a second time')
            form = self._columns[place[0]]
            is_answered = INGESTION_COLUMN in row
            given[place] = _as_answered(form, value) if is_answered else value
        return [self._whole(number, given) for number in range(len(self._columns))]

    def _whole(self, number: int, given: Mapping[tuple[int, int], object]) -> object:
        """Return the value of a column; that of a point may come in its two halves."""
        halves = [given.get((number, half)) for half in (1, 2)]
        if halves == [None, None]:
            return given.get((number, 0))
        column = self._columns[number]
        if given.get((number, 0)) is not None:
            raise CellError(column.name, "columns", None, "is given whole and by its halves")
        lon, lat = (_cell(column, each) or "null" for each in halves)
        return f"POINT ({lon} {lat})"


def _places(columns: tuple[Column, ...]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield every name under which a value may come: its column, and which half of it, 0 for all."""
    uses = Counter(header for each in columns for header in {*map(_folded, each.headers)})
    for number, column in enumerate(columns):
        if column.type is ColumnType.POINT:
            for half, each in enumerate(column.fields, 1):
                yield each.name, (number, half)
        headers = (_folded(each) for each in column.headers)
        yield from ((each, (number, 0)) for each in headers if uses[each] == 1)
    for number, column in enumerate(columns):  # a column's own name goes before another's header
        yield column.name, (number, 0)


def _as_answered(column: Column, value: object) -> object:
    """Return a value of an answer as one that a client sends."""
    if column.type is ColumnType.JSON:
        return None if value is None else _json_text(value)
    return _in_its_form(column, value) if column.formats and isinstance(value, str) else value


def _json_text(value: object) -> str:
    """Return the JSON text of a value; half of a surrogate pair is escaped, as no cell can contain it."""
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", write_json(value))


def _in_its_form(column: Column, text: str) -> str:
    """Return a date or time of an answer, in ISO 8601, as the cells of its column have it.

    Raises:
        CellError: the column's formats read the text as another value.
    """
    try:
        value = column.definition.stored.parse(text)
    except ValueError:
        return text
    if reads_as_other(column, text, value):
        text = MASK if column.pii else text
        reason = f'"{text}" is ambiguous: ISO 8601 or {" or ".join(column.formats)}'
        raise CellError(column.name, "type", text, reason)
    return write_time(column, value)


def _folded(name: str) -> str:
    return name.strip().casefold()


def _cell(column: Column, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if column.type is ColumnType.JSON and isinstance(value, dict | list):
        return _json_text(value)
    if isinstance(value, Numeral):
        is_number = column.definition.is_number
        return write_number(column, Decimal(value)) if is_number else str(value)
    if not isinstance(value, str):
        raise CellError(column.name, "type", None, f"{_kind(value)} is no value of a column")
    if "\0" in value:
        shown = MASK if column.pii else value.replace("\0", "\\0")[:_SHOWN_CHARACTERS]
        raise CellError(column.name, "nul", shown, RECORD_REASONS["nul"])
    if any("\ud800" <= sign <= "\udfff" for sign in value):
        reason = RECORD_REASONS["encoding"].format(encoding="Unicode: half of a surrogate pair")
        raise CellError(column.name, "encoding", None, reason)
    return value


def _kind(value: Any) -> str:  # any JSON value
    kinds = {dict: "an object", list: "a list", bool: "true or false", type(None): "null"}
    return "a number" if isinstance(value, Numeral) else kinds.get(type(value), "a text")
