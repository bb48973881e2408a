"""The decision for a type, and how reasons name the cells that led to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sluice.datasets.types import ColumnType
from sluice.inference.typing.observations import Witness

Forms = Mapping[str, Witness]


@dataclass(frozen=True)
class Habits:
    """How a file writes what can be written in several ways; empty where it is not known.

    Attributes:
        order: of day, month and year: `dmy`, `mdy` or `ymd`.
        decimal: the decimal separator.
    """

    order: str = ""
    decimal: str = ""


@dataclass(frozen=True)
class Decision:
    """The type of a column.

    Attributes:
        keys: further keys of its declaration.
        reasons: why it is this type.
        fits_double: whether a float would have the same values.
        proven: the habits that the cells prove.
        is_open: whether a habit of the file may decide otherwise.
    """

    type: ColumnType
    keys: Mapping[str, Any] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    fits_double: bool = False
    proven: Habits = field(default_factory=Habits)
    is_open: bool = False


def text_because(*reasons: str) -> Decision:
    """Return the decision for text."""
    return Decision(ColumnType.TEXT, {}, reasons)


def show(witness: Witness) -> str:
    """Return a cell and its record for people, who count from 1."""
    return f'record {witness.record + 1:,} is "{witness.value}"'


def contrast(why: str, *witnesses: Witness) -> Decision:
    """Return the decision for text because of cells that no other type has together."""
    cells = [show(each) for each in sorted(witnesses)]
    return text_because(f"{', '.join(cells)}: {why}")


def first_of(forms: Forms) -> Witness:
    """Return the first cell of some forms."""
    return min(forms.values())
