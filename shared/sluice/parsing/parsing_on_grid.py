"""The way on the grid, for points and dictionaries: the bytes are the cells, and Arrow types them.

It is open to chunks that are regular, as `sluice.parsing.grids` says, and datasets whose columns are of
plain kinds. DuckDB judges the rules and looks at the odd records again, thoroughly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sluice.csv.rejects import Reject, rejects_of
from sluice.datasets.identifiers import quote
from sluice.parsing.casts import TooOddError, absent_column, has_casts, type_column
from sluice.parsing.chunk import ParsedChunk, check_account, encoded
from sluice.parsing.duckdb_session import count_rows
from sluice.parsing.grids import Grid, find_grid
from sluice.parsing.sort_keys import key_expressions, order_of

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from sluice.datasets.model import Dataset
    from sluice.parsing.casts import Flags
    from sluice.parsing.parser import Parser

#: So many records tell whether the others are worth a try.
_PROBED_RECORDS = 500
_ODD_SHARE = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """Records as the casts left them.

    Attributes:
        rows: their values.
        good: which are good; the others are odd or break a rule.
        order: their places in the order of `cluster`, or None if that is left to do.
    """

    rows: pa.Table
    good: Flags
    order: NDArray[np.int64] | None

    @property
    def doubtful(self) -> list[int]:
        """The places of records that are not good."""
        return [int(place) for place in np.flatnonzero(~self.good)]

    def good_rows(self) -> pa.Table:
        """Return the good rows, in order if it is known."""
        if self.order is None:
            return self.rows.filter(self.good)
        return self.rows.take(self.order[self.good[self.order]])


class OnGrid:
    """Types a regular chunk column by column, into the relation `rows`."""

    def __init__(self, parser: Parser, codes: Mapping[str, Mapping[str, int]]) -> None:
        self._parser = parser
        self._cursor = parser.cursor
        self._dataset = parser.dataset
        self._codes = codes

    def parse(self, data: bytes, first_line: int) -> ParsedChunk | None:
        """Parse a chunk; None where that must be done another way."""
        plan = self._parser.plan
        if plan.numbered or plan.by_columns or not _is_open_to(self._dataset):
            return None
        if not all(self._codes.values()):
            return None
        grid = find_grid(data, self._parser.dialect, self._parser.width)
        if grid is None:
            return None
        try:
            self._type(grid, _PROBED_RECORDS)
            seen = self._judged(*self._type(grid, len(grid)))
            return self._parsed(data, grid, seen, first_line)
        except TooOddError:
            return None

    def _type(self, grid: Grid, records: int) -> tuple[pa.Table, Flags]:
        """Type the first records; return them and which are odd."""
        import pyarrow as pa  # noqa: PLC0415

        columns: list[Any] = []
        odd = np.zeros(len(grid.starts[:records]), bool)
        for column, at in zip(self._dataset.columns, self._parser.order, strict=True):
            texts = self._codes.get(column.name)
            if at is None:
                typed = absent_column(column, len(odd))
            else:
                starts, ends = grid.starts[:records, at], grid.ends[:records, at]
                typed = type_column(column, grid.codes, starts, ends, texts)
            columns += typed[0]
            odd |= typed[1]
        if np.count_nonzero(odd) > len(odd) * _ODD_SHARE:
            raise TooOddError
        return pa.table(columns, names=[each.name for each in self._dataset.fields]), odd

    def _judged(self, rows: pa.Table, odd: Flags) -> _Seen:
        """Hold rows against the rules, and put them in order if that is easily done."""
        rules = [f"NOT ({each.broken})" for each in self._parser.plan.rules if each.name != "type"]
        selected = (" AND ".join(rules) or "true", *key_expressions(self._dataset.cluster))
        self._cursor.register("seen", rows)
        found = self._cursor.sql(f"SELECT {', '.join(selected)} FROM seen").to_arrow_table()
        good = ~odd & np.asarray(found.column(0))
        seen = _Seen(rows, good, order_of(found.columns[1:]))
        if len(seen.doubtful) > len(odd) * _ODD_SHARE:
            raise TooOddError
        return seen

    def _parsed(self, data: bytes, grid: Grid, seen: _Seen, first_line: int) -> ParsedChunk | None:
        rejects: list[Reject] = []
        rows = seen.good_rows()
        if len(seen.doubtful):
            index, parser = grid.index(), self._parser
            found = parser.look_again(
                data, index, seen.doubtful, "CREATE TEMP TABLE again AS", self._encoded
            )
            if count_rows(self._cursor, "again", "NOT _known"):
                return None
            rows = self._joined(rows)
            rejects = rejects_of(data, index, found, first_line, parser.first_record)
        self._cursor.register("rows", rows)
        check_account(len(grid), len(rows), len(rejects), first_line)
        return ParsedChunk(
            dataset=self._dataset,
            records_read=len(grid),
            rows=len(rows),
            rejects=rejects,
            recovered=0,
            origins=None,
            is_encoded=True,
            ordered=None if seen.order is None and self._dataset.cluster else rows,
            _cursor=self._cursor,
            _texts={},
        )

    def _encoded(self, typing: str) -> str:
        return encoded(self._cursor, self._dataset, self._codes, typing)

    def _joined(self, rows: pa.Table) -> pa.Table:
        """Return the rows and, behind them, those that were good when they were looked at again."""
        import pyarrow as pa  # noqa: PLC0415

        names = ", ".join(quote(each.name) for each in self._dataset.fields)
        again = self._cursor.sql(f"SELECT {names} FROM again").to_arrow_table()
        return pa.concat_tables([rows, again.cast(rows.schema)])


def _is_open_to(dataset: Dataset) -> bool:
    """Whether rows can be typed and judged by columns alone: rules do not see texts behind codes."""
    judged = any(
        each.checks or each.pattern or each.one_of or each.max_length is not None
        for each in dataset.columns
    )
    return has_casts(dataset) and not (judged and dataset.dictionaries)
