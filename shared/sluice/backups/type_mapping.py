"""How a backup represents each column of a stored table: as numbers or texts, and its type in Avro."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sluice.datasets.types import STORED_TYPES, FixedWidth, StoredType


@dataclass(frozen=True)
class Field:
    """A field of an Avro record.

    Attributes:
        type: `int`, `long`, `float`, `double`, `boolean` or `string`.
        logical: the logical type, or empty.
        nullable: a union of null and the type.
    """

    name: str
    type: str
    logical: str = ""
    nullable: bool = False

    @property
    def schema(self) -> dict[str, Any]:
        """The field in an Avro schema."""
        kind: Any = {"type": self.type, "logicalType": self.logical} if self.logical else self.type
        if self.nullable:
            return {"name": self.name, "type": ["null", kind], "default": None}
        return {"name": self.name, "type": kind}


@dataclass(frozen=True)
class TableColumn:
    """A column of a stored table.

    Attributes:
        type: PostgreSQL's full name of the type.
        dictionary: the column whose dictionary decodes it, or empty; backups hold the texts.
    """

    name: str
    type: str
    nullable: bool
    dictionary: str = ""

    @property
    def stored(self) -> StoredType | None:
        """The definition of its type; None for a type that cannot be declared."""
        return STORED_TYPES.get(self.type)

    @property
    def fixed_width(self) -> FixedWidth | None:
        """How its values are stored as numbers; None for texts."""
        return None if self.dictionary or self.stored is None else self.stored.fixed_width

    @property
    def is_cast(self) -> bool:
        """Whether backups hold its values as PostgreSQL writes them as text."""
        return self.fixed_width is None and not self.dictionary and self.type != "text"

    @property
    def field(self) -> Field:
        """The column as an Avro field."""
        if self.fixed_width is None:
            logical = self.stored.avro_logical if self.stored else ""
            return Field(self.name, "string", logical, self.nullable)
        fixed = self.fixed_width
        return Field(self.name, fixed.avro, fixed.avro_logical, self.nullable)


def shifted(values: Any, by: int) -> Any:  # numpy arrays
    """Return values plus a constant; the limits of the type represent infinities and are kept."""
    if not by:
        return values
    limits = np.iinfo(values.dtype)
    is_finite = (values != limits.max) & (values != limits.min)
    return np.where(is_finite, values, 0) + np.where(
        is_finite, values.dtype.type(by), np.where(values < 0, limits.min, limits.max)
    ).astype(values.dtype)
