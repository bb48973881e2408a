"""The datasets of the rounds: their declarations, and which records of a file they take, in plain Python.

Knows nothing of the product's readers: it is what their results are compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

Cell = str | int | Decimal | None
Row = tuple[Cell, ...]

_COLUMNS = (
    {"name": "file", "type": "text", "required": True},
    {"name": "n", "type": "integer", "required": True, "minimum": 0},
    {"name": "amount", "type": "numeric", "required": True},
    {"name": "note", "type": "text"},
    {"name": "kind", "type": "text", "dictionary": True},
)
_KEYED = (
    {"name": "key", "type": "text", "required": True},
    {"name": "n", "type": "integer", "required": True, "minimum": 0},
    {"name": "note", "type": "text"},
)
_KINDS = (
    "-- Readings of each kind of each file.\n-- key: file, kind\n-- measure readings: sum\n"
    "-- measure total: sum\nSELECT file, kind, count(*) AS readings, sum(n) AS total FROM rows GROUP BY ALL"
)
_SORTED = (
    "-- The numbers of each kind, sorted.\n-- columns: kind, numbers\n-- slice: n\n"
    "SELECT kind, array_agg(n ORDER BY n) AS numbers FROM rows GROUP BY kind"
)
_EXTRACT = (
    "-- The rows of a file of even numbers, as its output.\n-- param ingestion integer!: Of the file.\n"
    "SELECT file, n FROM extracts WHERE ingestion = :ingestion AND n % 2 = 0 ORDER BY n, file"
)


@dataclass(frozen=True)
class Dataset:
    """A dataset.

    Attributes:
        name: of its folder.
        document: its declaration; None for one that is inferred.
        cells: how the cells of a record become values, in the order of the columns; each may raise
            `ValueError`, for which the record is a reject.
        key: number of the key's column; None without a key.
        duplicates: the policy of the key.
        is_replaced: whether a newer generation of an object replaces the rows of the one before it.
        is_strict: whether a reject fails the file.
    """

    name: str
    document: Mapping[str, Any] | None
    columns: Sequence[str]
    cells: Sequence[Callable[[str], Cell]]
    key: int | None = None
    duplicates: str = ""
    is_replaced: bool = False
    is_strict: bool = False

    def row(self, record: Sequence[str]) -> Row | None:
        """Return the row of a record; None if it is a reject."""
        if len(record) != len(self.cells):
            return None
        try:
            return tuple(read(cell) for read, cell in zip(self.cells, record, strict=True))
        except ValueError:
            return None


def _text(cell: str) -> str:
    if not cell:
        raise ValueError("a text is required")
    return cell


def _optional(cell: str) -> str | None:
    return cell or None


def _whole(cell: str) -> int:
    number = int(cell)
    if number < 0:
        raise ValueError("below the minimum")
    return number


def _decimal(cell: str) -> Decimal:
    if not cell.replace(".", "", 1).isdecimal():
        raise ValueError("no number")
    return Decimal(cell)


def _plain(name: str, **options: Any) -> Dataset:
    document = {"name": name, "description": "Chaos.", "columns": _COLUMNS, **options}
    return Dataset(
        name,
        document,
        [each["name"] for each in _COLUMNS],
        (_text, _whole, _decimal, _optional, _optional),
        is_replaced=options.get("reupload") == "replace",
        is_strict=options.get("load") == "all_or_nothing",
    )


def _keyed(name: str, duplicates: str) -> Dataset:
    document = {
        "name": name,
        "description": "Chaos.",
        "columns": _KEYED,
        "key": ["key"],
        "duplicates": duplicates,
    }
    columns = [str(each["name"]) for each in _KEYED]
    return Dataset(name, document, columns, (_text, _whole, _optional), 0, duplicates)


def undeclared(name: str) -> Dataset:
    """Return the dataset that is inferred from a file with two numbers and a text."""
    return Dataset(name, None, ("n", "amount", "note"), (_whole, _decimal, _optional))


READINGS = _plain("readings", rollups={"kinds": _KINDS}, projections={"sorted": _SORTED})
STRICT = _plain("strict", load="all_or_nothing")
LISTS = _plain("lists", reupload="replace")
EXTRACTS = _plain("extracts", output="even", queries={"even": _EXTRACT})
STOCK = _keyed("stock", "update")
MEMBERS = _keyed("members", "ignore")
ENTRIES = _keyed("entries", "error")
DECLARED = (READINGS, STRICT, LISTS, EXTRACTS, STOCK, MEMBERS, ENTRIES)
