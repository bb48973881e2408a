"""How one file is laid out: its dialect, and which of its columns is which of the dataset."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from sluice.csv.dialects import Dialect
from sluice.datasets.model import INGESTION_COLUMN, Dataset, NewColumns
from sluice.errors import EncodingMismatchError
from sluice.parsing.mismatches import Place, header_mismatch, match_names, names_of


@dataclass(frozen=True)
class Layout:
    """How a file lays out the columns of its dataset.

    Attributes:
        order: for each declared column its place in the file, None where it is absent.
        width: number of columns of the file.
        dialect: how the file is written.
        is_detected: whether its encoding was found in the file, and not declared.
        sheet: the name of the sheet where the file is a workbook; then its lines are the rows, whatever
            line ends cells have.
        rescued: places and names of the columns whose cells are rescued.
        header: the names in its header, if a record that repeats them is no row.
    """

    order: tuple[Place | None, ...]
    width: int
    dialect: Dialect
    is_detected: bool = False
    sheet: str = ""
    rescued: tuple[tuple[int, str], ...] = ()
    header: tuple[str, ...] = ()

    def rescued_text(self, cells: Sequence[str | None], extras: Sequence[str | None]) -> str | None:
        """Return the cells of a record that have no column, as a JSON object; None if all are empty.

        Args:
            cells: those in `rescued`, which have the names in the header.
            extras: those after the last column, which are named by their position: `column_4`.
        """
        found = {name: cell for (_, name), cell in zip(self.rescued, cells, strict=True) if cell}
        for position, cell in enumerate(extras, self.width + 1):
            name = f"column_{position}"
            while name in found:
                name += "_"
            found |= {name: cell} if cell else {}
        return json.dumps(found, ensure_ascii=False) if found else None

    def to_json(self) -> dict[str, Any]:
        """Return the layout as a JSON object."""
        document = {
            "order": list(self.order),
            "width": self.width,
            "dialect": self.dialect.to_json(),
            "is_detected": self.is_detected,
        }
        others = {
            "sheet": self.sheet,
            "rescued": [list(each) for each in self.rescued],
            "header": list(self.header),
        }
        return {**document, **{name: each for name, each in others.items() if each}}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read a layout from a JSON object."""
        dialect = Dialect.from_json(document["dialect"])
        is_detected = document.get("is_detected", False)
        order = (tuple(each) if isinstance(each, list) else each for each in document["order"])
        sheet = document.get("sheet", "")
        rescued = tuple((place, name) for place, name in document.get("rescued", ()))
        header = tuple(document.get("header", ()))
        return cls(tuple(order), document["width"], dialect, is_detected, sheet, rescued, header)


def sheet_json(
    sheet: str, letters: Sequence[str], dataset: Dataset | None, document: Mapping[str, Any]
) -> dict[str, Any]:
    """Return where a file is in a workbook, as members of its layout in the database.

    Args:
        sheet: its name.
        letters: of the columns of the table in the sheet.
        dataset: None until it is declared.
        document: the layout.
    """
    found: dict[str, Any] = {"sheet": sheet, "letters": list(letters)}
    if dataset is None or "order" not in document:
        return found
    places = zip(dataset.columns, document["order"], strict=True)
    cells = {
        column.name: letters[place if isinstance(place, int) else place[0]]
        for column, place in places
        if place is not None
    }
    return {**found, "cells": cells}


def lay_out(dataset: Dataset, header: bytes | None, encoding: str | None = None) -> Layout:
    """Find the dataset's columns in a file.

    Headers are compared without case and without white space around them; see `match_names`.

    Args:
        dataset: the declaration.
        header: the header record as written in the file, None for a headerless file.
        encoding: the one that was found in the file, where none is declared.

    Raises:
        HeaderMismatchError: a required column is missing, or a column is unknown or there twice.
        EncodingMismatchError: the header is not text in the file's encoding.
    """
    dialect = replace(dataset.dialect, encoding=encoding) if encoding else dataset.dialect
    names = None if header is None else header_names(header, dialect)
    return lay_out_names(dataset, names, dialect, is_detected=bool(encoding))


def lay_out_names(
    dataset: Dataset, names: Sequence[str] | None, dialect: Dialect, *, is_detected: bool
) -> Layout:
    """Find the dataset's columns by the names in a header; None for a headerless file.

    Raises:
        HeaderMismatchError: a required column is missing, or a column is unknown or there twice.
    """
    if names is None:
        width = len(dataset.columns)
        return Layout(tuple(range(width)), width, dialect, is_detected)
    check_header(dataset, names, dialect)
    match = match_names(dataset, names)
    order, rescued = match.order, _rescued(match.order, names) if dataset.rescues else ()
    if (
        rescued and order[-1] is not None
    ):  # it would need both the column of the file and the others
        raise header_mismatch(dataset, match, dialect.delimiter.join(names))
    header = repeatable_header(names, dialect)
    return Layout(order, len(names), dialect, is_detected, rescued=rescued, header=header)


def repeatable_header(names: Sequence[str], dialect: Dialect) -> tuple[str, ...]:
    """Return the names in a header if a record that repeats them is no row, as in joined files.

    A single name may be a value, and the names of two lines are in no record.
    """
    is_told_apart = sum(map(bool, names)) > 1
    return tuple(names) if is_told_apart and dialect.header_records == 1 else ()


def _rescued(order: Sequence[Place | None], names: Sequence[str]) -> tuple[tuple[int, str], ...]:
    """Return places and names of the columns of a file that are not in the order of its dataset."""
    taken = set(places_of(order))
    return tuple(
        (place, name)
        for place, name in enumerate(names)
        if place not in taken and name.casefold() != INGESTION_COLUMN
    )


def places_of(order: Sequence[Place | None]) -> Iterator[int]:
    """Yield the places of the columns of a file that are columns of its dataset."""
    for place in order:
        yield from () if place is None else (place,) if isinstance(place, int) else place


def check_header(dataset: Dataset, names: Sequence[str], dialect: Dialect) -> None:
    """Check that a header fits a dataset, which may take further columns.

    Raises:
        HeaderMismatchError: a required column is missing, or a column is there twice, or unknown where the
            dataset takes no others, or all are unknown.
    """
    match = match_names(dataset, names)
    is_lenient = dataset.new_columns is not NewColumns.REJECT and match.found > 0
    if not (replace(match, unknown=[]) if is_lenient else match).fits:
        raise header_mismatch(dataset, match, dialect.delimiter.join(names))


def header_names(header: bytes, dialect: Dialect) -> list[str]:
    """Return the names in a header.

    Raises:
        EncodingMismatchError: the header is not text in the file's encoding.
    """
    return names_of(_decoded(header, dialect), dialect)


def _decoded(header: bytes, dialect: Dialect) -> str:
    try:
        return header.decode(dialect.encoding).lstrip("\ufeff")
    except UnicodeDecodeError as error:
        raise EncodingMismatchError(
            f"line 1: byte {error.start} of the header is not {dialect.encoding}; "
            "save the file in that encoding, or declare another"
        ) from None
