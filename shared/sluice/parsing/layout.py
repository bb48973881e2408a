"""How one file is laid out: its dialect, and which of its columns is which of the dataset."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from sluice.csv.dialects import Dialect
from sluice.datasets.grammars import WHITE_SPACE
from sluice.datasets.model import Dataset
from sluice.errors import EncodingMismatchError, HeaderMismatchError


@dataclass(frozen=True)
class Layout:
    """How a file lays out the columns of its dataset.

    Attributes:
        order: for each declared column its 0-based position in the file, None where it is absent.
        width: number of columns of the file.
        dialect: how the file is written.
        is_detected: whether its encoding was found in the file, and not declared.
    """

    order: tuple[int | None, ...]
    width: int
    dialect: Dialect
    is_detected: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the layout as a JSON object."""
        return {
            "order": list(self.order),
            "width": self.width,
            "dialect": self.dialect.to_json(),
            "is_detected": self.is_detected,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read a layout from a JSON object."""
        dialect = Dialect.from_json(document["dialect"])
        is_detected = document.get("is_detected", False)
        return cls(tuple(document["order"]), document["width"], dialect, is_detected)


def lay_out(dataset: Dataset, header: bytes | None, encoding: str | None = None) -> Layout:
    """Find the dataset's columns in a file.

    Headers are compared without case and without white space around them.

    Args:
        dataset: the declaration.
        header: the header record as it stands in the file, None for a headerless file.
        encoding: the one that was found in the file, where none is declared.

    Raises:
        HeaderMismatchError: a required column is missing, or a column is unknown or there twice.
        EncodingMismatchError: the header is not text in the file's encoding.
    """
    dialect = replace(dataset.dialect, encoding=encoding) if encoding else dataset.dialect
    if header is None:
        width = len(dataset.columns)
        return Layout(tuple(range(width)), width, dialect, bool(encoding))
    names = _names(header, dialect)
    positions: dict[str, int] = {}
    for position, name in enumerate(names):
        if name.casefold() in positions:
            raise HeaderMismatchError(
                f"line 1: the header lists {name!r} twice; name each column once"
            )
        positions[name.casefold()] = position
    order = tuple(
        next(
            (positions.pop(key) for h in column.headers if (key := h.casefold()) in positions), None
        )
        for column in dataset.columns
    )
    _refuse(dataset, names, order, set(positions.values()))
    return Layout(order, len(names), dialect, bool(encoding))


def _names(header: bytes, dialect: Dialect) -> list[str]:
    try:
        text = header.decode(dialect.encoding).lstrip("\ufeff")
    except UnicodeDecodeError as error:
        raise EncodingMismatchError(
            f"line 1: byte {error.start} of the header is not {dialect.encoding}; "
            "save the file in that encoding, or declare another"
        ) from None
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=dialect.delimiter, quotechar=dialect.quote
    )
    return [name.strip(WHITE_SPACE) for name in next(reader, [])]


def _refuse(
    dataset: Dataset, names: list[str], order: tuple[int | None, ...], unknown: set[int]
) -> None:
    missing = [
        column.headers[0]
        for column, position in zip(dataset.columns, order, strict=True)
        if position is None and column.required
    ]
    found = ", ".join(names)
    if missing:
        raise HeaderMismatchError(
            f"line 1: the header lacks {', '.join(missing)}; it has {found}", missing=missing
        )
    if unknown:
        extra = [names[position] for position in sorted(unknown)]
        raise HeaderMismatchError(
            f"line 1: dataset {dataset.name} has no column for {', '.join(extra)}; "
            "take the column out of the file or declare it",
            unknown=extra,
        )
