"""Parses aggregates, `group=a,b` and `measure=count,sum(x)`, and compiles them to SQL."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sluice.datasets.identifiers import quote
from sluice.datasets.model import Field
from sluice.datasets.types import StoredType
from sluice.errors import ParameterError

FUNCTIONS = ("count", "sum", "avg", "min", "max", "count_distinct")
_MEASURE = re.compile(r"(?P<function>[a-z_]+)(?:\((?P<column>[a-z0-9_]+)\))?")


@dataclass(frozen=True)
class Measure:
    """One aggregate: a function of `FUNCTIONS`, of a column or, for `count`, of the rows."""

    function: str
    column: Field | None = None

    @property
    def field(self) -> Field:
        """The column of the result: `count`, `sum_x`, `count_distinct_x`."""
        name = f"{self.function}_{self.column.name}" if self.column else self.function
        return Field(name, self._type, nullable=not self.function.startswith("count"))

    @property
    def _type(self) -> str:
        if self.column is None or self.function.startswith("count"):
            return "bigint"
        if self.function == "avg":
            return "double precision"
        if self.function == "sum":
            return self.column.stored.sum_type
        return self.column.postgres_type

    @property
    def sql(self) -> str:
        """The aggregate as SELECT lists it."""
        name = quote(self.column.name) if self.column else "*"
        call = (
            f"count(DISTINCT {name})"
            if self.function == "count_distinct"
            else f"{self.function}({name})"
        )
        return f"CAST({call} AS {self._type}) AS {quote(self.field.name)}"


@dataclass(frozen=True)
class Grouping:
    """Groups of rows: the columns to group by, and the measures of each group."""

    columns: tuple[Field, ...]
    measures: tuple[Measure, ...]

    @property
    def fields(self) -> tuple[Field, ...]:
        """The columns of the result."""
        return (*self.columns, *(each.field for each in self.measures))

    def sql(self, view: str, condition: str) -> str:
        """Return the SELECT over a view."""
        names = [quote(each.name) for each in self.columns]
        listed = ", ".join([*names, *(each.sql for each in self.measures)])
        grouped = f" GROUP BY {', '.join(names)}" if names else ""
        return f"SELECT {listed} FROM {view} WHERE {condition}{grouped}"


def measures_of(columns: Iterable[Field]) -> list[str]:
    """Return all measures of some columns, as the parameter `measure` has them."""
    listed = [(function, each) for each in columns for function in FUNCTIONS]
    return ["count", *(f"{f}({each.name})" for f, each in listed if _is_for(f, each.stored))]


def parse_grouping(group: str, measure: str, columns: Mapping[str, Field]) -> Grouping | None:
    """Parse the parameters `group` and `measure`; None when both are empty.

    Raises:
        ParameterError: an unknown column or function, or a function that is not for the column's type.
    """
    if not group and not measure:
        return None
    grouped = tuple(_column(name, columns, "group") for name in _names(group))
    for each in grouped:
        if not each.stored.is_sortable:
            raise ParameterError(
                f"group: {each.name}: the column is {each.postgres_type}, which cannot be grouped by",
                parameter="group",
            )
    measures = tuple(_measure(each, columns) for each in _names(measure or "count"))
    names = [each.name for each in Grouping(grouped, measures).fields]
    if len(set(names)) < len(names):
        raise ParameterError("group and measure: the result would have a column twice")
    return Grouping(grouped, measures)


def _names(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


def _column(name: str, columns: Mapping[str, Field], parameter: str) -> Field:
    if name not in columns:
        raise ParameterError(
            f"{parameter}: {name}: no such column; columns are {', '.join(columns)}",
            parameter=parameter,
        )
    return columns[name]


def _measure(text: str, columns: Mapping[str, Field]) -> Measure:
    match = _MEASURE.fullmatch(text)
    if not match or match["function"] not in FUNCTIONS:
        raise ParameterError(
            f"measure: {text}: write count or one of "
            + ", ".join(f"{each}(column)" for each in FUNCTIONS[1:]),
            parameter="measure",
        )
    if match["column"] is None:
        if match["function"] != "count":
            raise ParameterError(
                f"measure: {text}: name a column: write {text}(column)", parameter="measure"
            )
        return Measure("count")
    measure = Measure(match["function"], _column(match["column"], columns, "measure"))
    _check_type(measure, text)
    return measure


def _check_type(measure: Measure, text: str) -> None:
    if measure.column is None:
        return
    kind = measure.column.stored
    if not _is_for(measure.function, kind):
        raise ParameterError(
            f"measure: {text}: the column is {kind.name}, which has no {measure.function}",
            parameter="measure",
        )


def _is_for(function: str, kind: StoredType) -> bool:
    """Return whether a function takes values of a type."""
    is_sum = function in ("sum", "avg")
    is_extreme = function in ("min", "max")
    return not ((is_sum and not kind.is_number) or (is_extreme and not kind.is_ordered))
