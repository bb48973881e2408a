"""How one file is laid out: its dialect, and which of its columns is which of the dataset."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from sluice.csv.dialects import Dialect
from sluice.datasets.model import Dataset
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
    """

    order: tuple[Place | None, ...]
    width: int
    dialect: Dialect
    is_detected: bool = False
    sheet: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the layout as a JSON object."""
        document = {
            "order": list(self.order),
            "width": self.width,
            "dialect": self.dialect.to_json(),
            "is_detected": self.is_detected,
        }
        return {**document, "sheet": self.sheet} if self.sheet else document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read a layout from a JSON object."""
        dialect = Dialect.from_json(document["dialect"])
        is_detected = document.get("is_detected", False)
        order = (tuple(each) if isinstance(each, list) else each for each in document["order"])
        sheet = document.get("sheet", "")
        return cls(tuple(order), document["width"], dialect, is_detected, sheet)


def preamble_json(preamble: bytes) -> dict[str, Any]:
    """Return what precedes the first chunk of a file, as members of its layout in the database."""
    return {"header_end": len(preamble), "preamble": b64encode(preamble).decode()}


def footer_json(footer: bytes) -> dict[str, Any]:
    """Return what follows the last chunk of a file, as members of its layout in the database."""
    return {"footer": b64encode(footer).decode()} if footer else {}


def footer_of(document: Mapping[str, Any]) -> bytes:
    """Return what follows the last chunk of a file."""
    return b64decode(document.get("footer", ""))


def preamble_of(document: Mapping[str, Any]) -> bytes:
    """Return what precedes the first chunk of a file; empty where that was not recorded."""
    return b64decode(document.get("preamble", ""))


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
    if header is None:
        width = len(dataset.columns)
        return Layout(tuple(range(width)), width, dialect, bool(encoding))
    text = _decoded(header, dialect)
    names = names_of(text, dialect)
    match = match_names(dataset, names)
    if not match.fits:
        raise header_mismatch(dataset, match, text)
    return Layout(match.order, len(names), dialect, bool(encoding))


def _decoded(header: bytes, dialect: Dialect) -> str:
    try:
        return header.decode(dialect.encoding).lstrip("\ufeff")
    except UnicodeDecodeError as error:
        raise EncodingMismatchError(
            f"line 1: byte {error.start} of the header is not {dialect.encoding}; "
            "save the file in that encoding, or declare another"
        ) from None
