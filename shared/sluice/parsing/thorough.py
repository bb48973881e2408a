"""The thorough reader: DuckDB types cells however they are written, tests rules and explains rejects."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from sluice.csv.rejects import MASK, MAX_REJECTS, Findings, visible
from sluice.datasets.model import RECORD_COLUMN, Dataset
from sluice.datasets.types import TypeDefinition
from sluice.parsing.plan import IS_OK

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from sluice.csv.rejects import Finding
    from sluice.parsing.duckdb_session import Cursor
    from sluice.parsing.plan import Plan

_SHOWN_CHARACTERS = 200


class Thorough:
    """Reads the cells that the columnar reader cannot cast.

    Args:
        plan: of the dataset.
        cursor: a cursor of DuckDB.
        schema: Arrow's, of the typed rows.
    """

    def __init__(self, plan: Plan, cursor: Cursor, schema: pa.Schema) -> None:
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

        queries = list(self._plan.completing("cells", done, full))
        if not queries:
            return None
        sent = {each.sent: typed[each.name] for each in self._plan.fields if each.name in typed}
        cells = pa.table({**sent, **raw})
        is_ok: NDArray[np.bool_] | None = None
        for sql in queries:
            found = self._select(sql, cells).combine_chunks()
            for name in found.column_names:
                if name != IS_OK:
                    typed[name] = _converted(found[name], self._schema.field(name))
            which = np.asarray(found[IS_OK])
            is_ok = which if is_ok is None else is_ok & which
        return is_ok

    def check(self, raw: pa.Table, most: int = MAX_REJECTS) -> tuple[pa.Table, Findings]:
        """Type records cell by cell; return the good rows, and what is wrong with each other record.

        Args:
            raw: the cells, by the name that the plan has for them.
            most: how many may be wrong.

        Raises:
            TooManyFindingsError: more are.
        """
        import pyarrow as pa  # noqa: PLC0415

        none = len(self._plan.rules)
        broken = np.full(raw.num_rows, none)
        typed = {RECORD_COLUMN: raw[RECORD_COLUMN]} if self._plan.numbered else {}
        for sql in self._plan.checking("cells"):
            found = self._select(sql, raw)
            which = found["_broken"].combine_chunks().fill_null(none)
            broken = np.minimum(broken, np.asarray(which))
            typed |= {name: found[name] for name in found.column_names}
        columns = [_converted(typed[field.name], field) for field in self._schema]
        rows = pa.table(columns, schema=self._schema).filter(pa.array(broken == none))
        findings = Findings(most)
        for place in np.flatnonzero(broken != none).tolist():
            number = int(broken[place])
            value = raw[self._plan.rules[number].cell][place].as_py()
            findings.add(place, self._finding(number, value))
        return rows, findings

    def _select(self, sql: str, cells: pa.Table) -> pa.Table:
        self._cursor.register("cells", cells)
        found = self._cursor.table(sql)
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
