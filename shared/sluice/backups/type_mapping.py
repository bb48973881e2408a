"""How each column of a stored table travels: as numbers or texts, and what files call its type; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sluice.backups.avro import Field
from sluice.datasets.types import STORED_TYPES, FixedWidth, StoredType


@dataclass(frozen=True)
class TableColumn:
    """A column of a stored table.

    Attributes:
        type: PostgreSQL's full name of it.
        dictionary: the table that spells its codes out, or empty; then the texts travel.
    """

    name: str
    type: str
    nullable: bool
    dictionary: str = ""

    @property
    def stored(self) -> StoredType | None:
        """The definition of its type; None for a type that no column is declared with."""
        return STORED_TYPES.get(self.type)

    @property
    def fixed_width(self) -> FixedWidth | None:
        """How its values travel; None for texts."""
        return None if self.dictionary or self.stored is None else self.stored.fixed_width

    @property
    def is_cast(self) -> bool:
        """Tell whether its values travel as the texts that PostgreSQL writes them as."""
        return self.fixed_width is None and not self.dictionary and self.type != "text"

    @property
    def field(self) -> Field:
        """The column as a field of Avro."""
        if self.fixed_width is None:
            logical = self.stored.avro_logical if self.stored else ""
            return Field(self.name, "string", logical, self.nullable)
        fixed = self.fixed_width
        return Field(self.name, fixed.avro, fixed.avro_logical, self.nullable)


def shifted(values: Any, by: int) -> Any:  # numpy arrays
    """Return values moved by a number; the ends of the range stand for infinities and stay."""
    if not by:
        return values
    limits = np.iinfo(values.dtype)
    is_finite = (values != limits.max) & (values != limits.min)
    return np.where(is_finite, values, 0) + np.where(
        is_finite, values.dtype.type(by), np.where(values < 0, limits.min, limits.max)
    ).astype(values.dtype)
