"""The thorough reader: DuckDB types cells however they are written, tests rules and explains rejects."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from sluice.csv.rejects import MASK, visible
from sluice.datasets.model import RECORD_COLUMN, Dataset
from sluice.datasets.types import TypeDefinition

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from numpy.typing import NDArray

    from sluice.csv.rejects import Finding
    from sluice.parsing.plan import Plan

_SHOWN_CHARACTERS = 200


class Thorough:
    """Reads the cells that the columnar reader cannot cast.

    Args:
        plan: of the dataset.
        cursor: a cursor of DuckDB.
        schema: Arrow's, of the typed rows.
    """

    def __init__(self, plan: Plan, cursor: duckdb.DuckDBPyConnection, schema: pa.Schema) -> None:
        self._plan = plan
        self._cursor = cursor
        self._schema = schema

    def complete(
        self,
        typed: dict[str, pa.Array],
        raw: dict[str, pa.Array],
        done: Collection[str],
        full: Collection[str],
    ) -> NDArray[np.bool_] | None:
        """Add the columns that are not typed yet; return which rows break no rule, None for all.

        Args:
            typed: the typed columns, by stored name; what PostgreSQL is sent.
            raw: the cells of every column, by the name that the plan has for them.
            done: names of the declared columns that are typed.
            full: those of them that contain no null.
        """
        import pyarrow as pa  # noqa: PLC0415

        sql = self._plan.completing("cells", done, full)
        if sql is None:
            return None
        sent = {each.sent: typed[each.name] for each in self._plan.fields if each.name in typed}
        found = self._select(sql, pa.table({**sent, **raw})).combine_chunks()
        for field in self._schema:
            if field.name not in typed:
                typed[field.name] = _converted(found[field.name], field)
        return np.asarray(found["_ok"])

    def check(self, raw: pa.Table) -> tuple[pa.Table, dict[int, Finding]]:
        """Type records cell by cell; return the good rows, and what is wrong with each other record."""
        import pyarrow as pa  # noqa: PLC0415

        found = self._select(self._plan.checking("cells"), raw)
        broken = found["_broken"].combine_chunks()
        columns = [_converted(found[field.name], field) for field in self._schema]
        rows = pa.table(columns, schema=self._schema).filter(broken.is_null())
        findings = {
            place: self._finding(which, raw[self._plan.rules[which].cell][place].as_py())
            for place, which in enumerate(broken.to_pylist())
            if which is not None
        }
        return rows, findings

    def _select(self, sql: str, cells: pa.Table) -> pa.Table:
        self._cursor.register("cells", cells)
        found = self._cursor.sql(sql).to_arrow_table()
        self._cursor.unregister("cells")
        return found

    def _finding(self, which: int, value: str | None) -> Finding:
        rule = self._plan.rules[which]
        problem = rule.find_problem(value or "") if rule.find_problem else ""
        if rule.is_masked and value is not None:
            value = MASK
        shown = "" if value is None else visible(value[:_SHOWN_CHARACTERS])
        reason = rule.reason.replace("{problem}", problem).replace("{value}", shown)
        return rule.column, rule.name, value, reason


def _arrow_type(kind: TypeDefinition, *, is_dictionary: bool) -> pa.DataType:
    import pyarrow as pa  # noqa: PLC0415

    if is_dictionary:
        return pa.dictionary(pa.int32(), pa.string())
    if kind.is_stored_from_text:
        return pa.string()
    if kind.stored.time_zone:
        return pa.timestamp("us", kind.stored.time_zone)
    return pa.type_for_alias(kind.stored.arrow)


def _converted(values: pa.ChunkedArray, field: pa.Field) -> pa.Array:
    """Return what DuckDB answered as one array of a field's type."""
    import pyarrow as pa  # noqa: PLC0415

    array = values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)
    if pa.types.is_dictionary(field.type):
        return array.cast(pa.string()).dictionary_encode()
    return array if array.type == field.type else array.cast(field.type)


def schema_of(dataset: Dataset, plan: Plan) -> pa.Schema:
    """Return Arrow's schema of the typed rows: stored columns, and the record number where it counts."""
    import pyarrow as pa  # noqa: PLC0415

    fields = [
        (field.name, _arrow_type(column.definition, is_dictionary=column.dictionary))
        for column in dataset.columns
        for field in column.fields
    ]
    if plan.numbered:
        fields.append((RECORD_COLUMN, pa.int64()))
    return pa.schema(fields)
