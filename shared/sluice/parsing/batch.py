"""Small files parsed as if they were one chunk, and distinguished by the numbers of their records.

Each statement of DuckDB and each pass of Arrow costs a fixed time, which many small files share.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from sluice.csv.rejects import MAX_REJECTS, Reject
from sluice.datasets.identifiers import quote
from sluice.datasets.model import INGESTION_COLUMN, RECORD_COLUMN, Dataset, Rollup
from sluice.parsing.chunk import ParsedChunk, check_account, copied_columns
from sluice.parsing.copy_stream import CopyStream, stream
from sluice.parsing.parser import parse_chunk

if TYPE_CHECKING:
    import pyarrow as pa

    from sluice.parsing.small_file import SmallFile

_FILE = "_file"


@dataclass(frozen=True)
class FileOutcome:
    """How many records of one file became rows, and its rejects."""

    rows: int
    rejects: Sequence[Reject]


@contextmanager
def parse_files(
    files: Sequence[SmallFile], dataset: Dataset, max_rejects: int = MAX_REJECTS
) -> Iterator[ParsedFiles]:
    """Parse files that can be parsed together.

    Args:
        files: files of the same `kind`.
        dataset: the dataset of all of them.
        max_rejects: how many records of all of them may be rejects.

    Raises:
        ChunkRejectedError: more records are rejects.
        AccountImbalanceError: the reader gave another number of rows than the bytes hold.
    """
    data = b"".join(each.data for each in files)
    with parse_chunk(
        data,
        dataset,
        files[0].kind,
        first_line=1,
        first_record=0,
        is_numbered=True,
        max_rejects=max_rejects,
    ) as chunk:
        yield ParsedFiles(dataset, files, chunk)


class ParsedFiles:
    """The rows of several files, each with the number of its file, and their rejects.

    Attributes:
        chunk: all of them, as the parser sees them.
    """

    def __init__(self, dataset: Dataset, files: Sequence[SmallFile], chunk: ParsedChunk) -> None:
        self.chunk = chunk
        self._dataset = dataset
        self._files = files
        self._firsts = [0, *accumulate(each.cut.records for each in files)]
        self._first_lines = [0, *accumulate(each.cut.lines for each in files)]
        self._ingestions: Sequence[int | None] = ()

    def encode(self, codes: Mapping[str, Mapping[str, int]]) -> list[FileOutcome]:
        """Replace texts of dictionary columns by their codes; return the outcome of each file.

        Args:
            codes: the codes of each dictionary column's texts.

        Raises:
            AccountImbalanceError: a file has another number of rows than its bytes hold.
        """
        import pyarrow as pa  # noqa: PLC0415

        self.chunk.encode(codes)
        rows = self.chunk.rows
        records = np.asarray(rows[RECORD_COLUMN])
        files = np.searchsorted(self._firsts, records, side="right") - 1
        own = self._numbers()[records]
        place = rows.column_names.index(RECORD_COLUMN)
        rows = rows.set_column(place, RECORD_COLUMN, pa.array(own))
        rows = rows.append_column(_FILE, pa.array(files.astype(np.int32)))
        order = (_FILE, *self._dataset.cluster, RECORD_COLUMN)
        self.chunk.rows = rows
        self.chunk.rows = self.chunk.in_order(order)
        return self._outcomes(np.bincount(files, minlength=len(self._files)).tolist())

    def _numbers(self) -> np.ndarray:
        """Return the number of each record in its file."""
        numbers = [
            np.arange(each.cut.records) if each.numbers is None else np.array(each.numbers, int)
            for each in self._files
        ]
        return np.concatenate(numbers)

    def _outcomes(self, rows: Sequence[int]) -> list[FileOutcome]:
        rejects: list[list[Reject]] = [[] for _ in self._files]
        for each in self.chunk.rejects:
            number = bisect_right(self._firsts, each.record) - 1
            rejects[number].append(self._in_its_file(number, each))
        found = [FileOutcome(*each) for each in zip(rows, rejects, strict=True)]
        for file, outcome in zip(self._files, found, strict=True):
            cut = file.cut
            check_account(cut.records, outcome.rows, len(outcome.rejects), cut.first_line)
        return found

    def _in_its_file(self, number: int, reject: Reject) -> Reject:
        line = reject.line - 1 - self._first_lines[number] + self._files[number].cut.first_line
        file, record = self._files[number], reject.record - self._firsts[number]
        is_last = record == file.cut.records - 1
        line_end = reject.line_end if file.is_ended or not is_last else b""
        return replace(reject, record=record, line=line, line_end=line_end)

    def assign(self, ingestions: Sequence[int | None]) -> None:
        """Give each file its ingestion; the rows of a file without one are not copied."""
        self._ingestions = ingestions

    def copy_rows(self, block_bytes: int) -> CopyStream:
        """Return the rows in the order of `cluster`; see `ParsedChunk.copy_rows`."""
        from pyarrow import compute  # noqa: PLC0415

        rows = self.chunk.rows
        owners = self._owners().take(rows[_FILE].combine_chunks())
        rows = rows.append_column(INGESTION_COLUMN, owners).filter(compute.is_valid(owners))
        return stream(rows.select(copied_columns(self._dataset)), self._dataset, block_bytes)

    def _owners(self) -> pa.Array:
        import pyarrow as pa  # noqa: PLC0415

        return pa.array(self._ingestions, pa.int32())

    def copy_rollup(self, rollup: Rollup, block_bytes: int) -> CopyStream:
        """Return the roll-up of each file.

        A file is one chunk, so its parts are merged here: one row for each group.
        """
        import pyarrow as pa  # noqa: PLC0415

        cursor = self.chunk.cursor
        numbers = pa.array(range(len(self._files)), pa.int32())
        cursor.register("owners", pa.table({"file": numbers, "ingestion": self._owners()}))
        coded = self.chunk.relation()
        types = self._types(rollup, coded)
        keys = [(name, f"part.{quote(name)}") for name in rollup.keys]
        merged = [(name, f"{how}(part.{quote(name)})") for name, how in rollup.measures]
        selected = ", ".join(f"CAST({sql} AS {types[name]})" for name, sql in (*keys, *merged))
        groups = ", ".join((*(sql for _, sql in keys), "owners.ingestion"))
        sql = (
            f"SELECT {selected}, owners.ingestion FROM owners, LATERAL ("
            f"WITH rows AS (SELECT * EXCLUDE ({_FILE}) FROM ({coded}) WHERE {_FILE} = owners.file)"
            f" SELECT * FROM (\n{rollup.sql}\n)) AS part WHERE owners.ingestion IS NOT NULL"
            f" GROUP BY {groups} ORDER BY owners.ingestion"
        )
        return stream(cursor.table(sql), None, block_bytes)

    def _types(self, rollup: Rollup, coded: str) -> dict[str, str]:
        """Return the types that the columns of a roll-up have in each file."""
        rows = f"rows AS (SELECT * EXCLUDE ({_FILE}) FROM ({coded}))"
        sql = f"DESCRIBE WITH {rows} SELECT * FROM (\n{rollup.sql}\n)"
        types = [(name, kind) for name, kind, *_ in self.chunk.cursor.rows(sql)]
        # PostgreSQL has no integers of 16 bytes.
        return {name: "BIGINT" if kind == "HUGEINT" else kind for name, kind in types}
