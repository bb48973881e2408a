"""Small files in the loader's hands: parsed as if they were one chunk, told apart by their records.

A statement of DuckDB costs milliseconds, however few its rows: many files share those of one chunk.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING

from sluice.csv.rejects import Reject
from sluice.datasets.identifiers import quote
from sluice.datasets.model import RECORD_COLUMN, Dataset, Rollup
from sluice.parsing.chunk import ParsedChunk, check_account, coded_columns
from sluice.parsing.duckdb_session import scratch
from sluice.parsing.parser import Parser

if TYPE_CHECKING:
    import duckdb

    from sluice.parsing.small_file import Whole

_FILE = "_file"


@dataclass(frozen=True)
class Counted:
    """What became of the records of one file."""

    rows: int
    rejects: Sequence[Reject]


@contextmanager
def parse_together(files: Sequence[Whole], dataset: Dataset) -> Iterator[ParsedFiles]:
    """Parse files of one kind.

    Args:
        files: whole files of the same `kind`.
        dataset: the dataset of all of them.

    Raises:
        AccountImbalanceError: the parser gave another number of rows than the bytes hold.
    """
    cursor = scratch().cursor()
    try:
        layout, _ = files[0].kind
        parser = Parser(dataset, layout, cursor)
        parser.plan = replace(parser.plan, numbered=True)
        chunk = parser.parse(b"".join(each.data for each in files), 1, 0)
        yield ParsedFiles(dataset, files, chunk, cursor)
    finally:
        cursor.close()


class ParsedFiles:
    """The rows of several files, each with the number of its file, and their rejects.

    Attributes:
        chunk: all of them, as the parser sees them.
    """

    def __init__(
        self,
        dataset: Dataset,
        files: Sequence[Whole],
        chunk: ParsedChunk,
        cursor: duckdb.DuckDBPyConnection,
    ) -> None:
        self.chunk = chunk
        self._dataset = dataset
        self._files = files
        self._cursor = cursor
        self._firsts = [0, *accumulate(each.cut.records for each in files)]
        self._first_lines = [0, *accumulate(each.cut.lines for each in files)]

    def encode(self, codes: Mapping[str, Mapping[str, int]]) -> list[Counted]:
        """Make the relation `coded`: stored columns, texts replaced by codes; return each file's account.

        Args:
            codes: the codes of each dictionary column's texts.

        Raises:
            AccountImbalanceError: a file has another number of rows than its bytes.
        """
        self._register("files", range(len(self._files)))
        selected, joins = coded_columns(self._cursor, self._dataset, codes)
        number = f"typed.{RECORD_COLUMN}"
        selected.append(f"{number} - files.first AS {RECORD_COLUMN}")
        typed = "rows AS typed" if self.chunk.is_encoded else "(FROM typed WHERE _ok) AS typed"
        order = ", ".join((_FILE, *self._dataset.cluster, RECORD_COLUMN))
        coded = (
            f"SELECT {', '.join(selected)}, files.file AS {_FILE}"
            f" FROM {typed} {joins} JOIN files ON {number} >= files.first AND {number} < files.end"
        )
        self._cursor.execute(f"CREATE TEMP TABLE coded AS SELECT * FROM ({coded}) ORDER BY {order}")
        return self._counted()

    def _register(self, name: str, values: Sequence[int | None]) -> None:
        """Make a relation of the files: their places among the records, and a number for each."""
        import pyarrow as pa  # noqa: PLC0415

        columns = {
            "file": pa.array(range(len(self._files)), pa.int32()),
            "first": pa.array(self._firsts[:-1], pa.int64()),
            "end": pa.array(self._firsts[1:], pa.int64()),
            "value": pa.array(values, pa.int32()),
        }
        self._cursor.register(name, pa.table(columns))

    def _counted(self) -> list[Counted]:
        sql = f"SELECT {_FILE}, count(*) FROM coded GROUP BY ALL"
        rows = dict(self._cursor.execute(sql).fetchall())
        rejects: list[list[Reject]] = [[] for _ in self._files]
        for each in self.chunk.rejects:
            number = bisect_right(self._firsts, each.record) - 1
            rejects[number].append(self._in_its_file(number, each))
        found = [Counted(rows.get(n, 0), rejects[n]) for n in range(len(self._files))]
        for file, counted in zip(self._files, found, strict=True):
            cut = file.cut
            check_account(cut.records, counted.rows, len(counted.rejects), cut.first_line)
        return found

    def _in_its_file(self, number: int, reject: Reject) -> Reject:
        line = reject.line - 1 - self._first_lines[number] + self._files[number].cut.first_line
        return replace(reject, record=reject.record - self._firsts[number], line=line)

    def name(self, ingestions: Sequence[int | None]) -> None:
        """Give each file its ingestion; what has none is not copied."""
        self._register("named", ingestions)

    def copy_rows(self, block_bytes: int) -> tuple[str, Iterator[bytes]]:
        """Return the options of a COPY of the rows, and its stream; see `ParsedChunk.copy_rows`."""
        names = ", ".join(f"coded.{quote(each.name)}" for each in self._dataset.fields)
        sql = (
            f"SELECT {names}, named.value FROM coded JOIN named ON named.file = coded.{_FILE}"
            " WHERE named.value IS NOT NULL ORDER BY coded.rowid"
        )
        return self.chunk.stream_rows(sql, block_bytes)

    def copy_rollup(self, rollup: Rollup, block_bytes: int) -> tuple[str, Iterator[bytes]]:
        """Return the options of a COPY of a roll-up of each file, and its stream.

        A file is one chunk, so its parts are merged here: one row for each group.
        """
        types = self._types(rollup)
        keys = [(name, f"part.{quote(name)}") for name in rollup.keys]
        merged = [(name, f"{how}(part.{quote(name)})") for name, how in rollup.measures]
        selected = ", ".join(f"CAST({sql} AS {types[name]})" for name, sql in (*keys, *merged))
        groups = ", ".join((*(sql for _, sql in keys), "named.value"))
        sql = (
            f"SELECT {selected}, named.value FROM named, LATERAL ("
            f"WITH rows AS (SELECT * EXCLUDE ({_FILE}) FROM coded WHERE {_FILE} = named.file)"
            f" SELECT * FROM ({rollup.sql})) AS part WHERE named.value IS NOT NULL GROUP BY {groups}"
            " ORDER BY named.value"
        )
        return "(FORMAT binary)", self.chunk.stream(sql, block_bytes)

    def _types(self, rollup: Rollup) -> dict[str, str]:
        """Return the types that the columns of a roll-up have in each file."""
        rows = f"rows AS (SELECT * EXCLUDE ({_FILE}) FROM coded)"
        described = self._cursor.execute(f"DESCRIBE WITH {rows} SELECT * FROM ({rollup.sql})")
        types = [(name, kind) for name, kind, *_ in described.fetchall()]
        # PostgreSQL has no integers of 16 bytes.
        return {name: "BIGINT" if kind == "HUGEINT" else kind for name, kind in types}
