"""The quick way through a usual chunk that has quotes: read, typed and encoded in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from sluice.csv.records import RecordIndex, index_records
from sluice.csv.rejects import Finding, Reject, rejects_of
from sluice.datasets.identifiers import quote
from sluice.datasets.model import RECORD_COLUMN
from sluice.parsing.chunk import ParsedChunk, check_account, encoded
from sluice.parsing.duckdb_session import count_rows, memory_file, new_line_of

if TYPE_CHECKING:
    from sluice.parsing.parser import Parser


class AtOnce:
    """Reads, types and encodes a usual chunk in one pass, into the table `coded`.

    That needs every text of the dictionary columns to be known; and what an unusual record comes to is
    looked up afterwards. Where it does not work out, the chunk is read as if it had not been tried.
    """

    def __init__(self, parser: Parser, codes: Mapping[str, Mapping[str, int]]) -> None:
        self._parser = parser
        self._cursor = parser.cursor
        self._dataset = parser.dataset
        self._codes = codes
        self._index: RecordIndex | None = None

    def parse(self, data: bytes, plain: bytes, records: int, first_line: int) -> ParsedChunk | None:
        """Parse well-formed records; None where that must be done in steps."""
        parser, plan = self._parser, self._parser.plan
        if plan.numbered or not all(self._codes.values()):
            return None
        # A record that is not good must be found in the chunk again.
        parser.plan = replace(plan, numbered=True)
        found = self._read(data, plain, records)
        if found is not None:
            return self._parsed(data, records, found, first_line)
        parser.plan, parser.has_numbers = plan, False
        self._cursor.execute("DROP TABLE IF EXISTS coded")
        return None

    def _read(self, data: bytes, plain: bytes, records: int) -> dict[int, Finding] | None:
        """Fill the table; return what is wrong with records, None where the table is of no use."""
        import duckdb  # noqa: PLC0415

        new_line = new_line_of(plain)
        try:
            if not self._parser.is_usual(plain, new_line):
                return None
            with memory_file(plain) as path:
                source = self._parser.source(path, new_line)
                typing = self._select(self._parser.plan.typing(source, thorough=False))
                self._cursor.execute(f"CREATE TEMP TABLE coded AS {typing}")
        except duckdb.InvalidInputException:
            return None
        if count_rows(self._cursor, "coded") != records:
            return None
        found = self._look_again(data)
        return None if count_rows(self._cursor, "coded", "_ok AND NOT _known") else found

    def _look_again(self, data: bytes) -> dict[int, Finding]:
        first = self._parser.first_record
        sql = f"SELECT {RECORD_COLUMN} - {first} FROM coded WHERE NOT _ok ORDER BY 1"
        refused = [int(number) for (number,) in self._cursor.execute(sql).fetchall()]
        if not refused:
            return {}
        self._index = index_records(data, self._parser.dialect)
        return self._parser.look_again(
            data, self._index, refused, "INSERT INTO coded", self._select
        )

    def _select(self, typing: str) -> str:
        return encoded(self._cursor, self._dataset, self._codes, typing)

    def _parsed(
        self, data: bytes, records: int, found: dict[int, Finding], first_line: int
    ) -> ParsedChunk:
        parser = self._parser
        rejects: list[Reject] = []
        if self._index is not None:
            rejects = rejects_of(data, self._index, found, first_line, parser.first_record)
        names = ", ".join(quote(each.name) for each in self._dataset.fields)
        self._cursor.execute(f"CREATE TEMP VIEW rows AS SELECT {names} FROM coded WHERE _ok")
        rows = count_rows(self._cursor, "coded", "_ok")
        check_account(records, rows, len(rejects), first_line)
        return ParsedChunk(self._dataset, records, rows, rejects, 0, None, True, self._cursor, {})
