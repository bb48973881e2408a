"""How each column of a stored table travels: as numbers or texts, and what files call its type; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sluice.backups.avro import Field

#: PostgreSQL counts days and microseconds from 2000-01-01, files from 1970-01-01.
_DAYS = 10_957
_MICROSECONDS = _DAYS * 86_400_000_000


@dataclass(frozen=True)
class Carrier:
    """How values of a PostgreSQL type of a fixed width travel.

    Attributes:
        dtype: numpy's, of the value in memory; PostgreSQL sends it with the high byte first.
        avro: type in Avro.
        logical: logical type in Avro.
        zero: an SQL literal that stands in where there is no value.
        shift: what a file's value has more than PostgreSQL's.
    """

    dtype: str
    avro: str
    logical: str = ""
    zero: str = "0"
    shift: int = 0


CARRIERS = {
    "smallint": Carrier("i2", "int"),
    "integer": Carrier("i4", "int"),
    "bigint": Carrier("i8", "long"),
    "real": Carrier("f4", "float"),
    "double precision": Carrier("f8", "double"),
    "boolean": Carrier("u1", "boolean", zero="false"),
    "date": Carrier("i4", "int", "date", "'epoch'", _DAYS),
    "timestamp without time zone": Carrier(
        "i8", "long", "local-timestamp-micros", "'epoch'", _MICROSECONDS
    ),
    "timestamp with time zone": Carrier("i8", "long", "timestamp-micros", "'epoch'", _MICROSECONDS),
    "time without time zone": Carrier("i8", "long", "time-micros", "'00:00'"),
}


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
    def carrier(self) -> Carrier | None:
        """How its values travel; None for texts."""
        return None if self.dictionary else CARRIERS.get(self.type)

    @property
    def is_cast(self) -> bool:
        """Tell whether its values travel as the texts that PostgreSQL writes them as."""
        return self.carrier is None and not self.dictionary and self.type != "text"

    @property
    def field(self) -> Field:
        """The column as a field of Avro."""
        if self.carrier is None:
            logical = "uuid" if self.type == "uuid" else ""
            return Field(self.name, "string", logical, self.nullable)
        return Field(self.name, self.carrier.avro, self.carrier.logical, self.nullable)


def shifted(values: Any, by: int) -> Any:  # numpy arrays
    """Return values moved by a number; the ends of the range stand for infinities and stay."""
    if not by:
        return values
    limits = np.iinfo(values.dtype)
    is_finite = (values != limits.max) & (values != limits.min)
    return np.where(is_finite, values, 0) + np.where(
        is_finite, values.dtype.type(by), np.where(values < 0, limits.min, limits.max)
    ).astype(values.dtype)
