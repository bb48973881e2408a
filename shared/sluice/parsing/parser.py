"""Parses one chunk: every record becomes a typed row or a reject, and the account must balance.

The number of records is counted on the bytes, independently of the reader. So any difference is an
error and never a loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sluice.csv.encodings import contradicts
from sluice.csv.records import NO_RECORDS, index_records, number_by_rows
from sluice.csv.rejects import (
    MAX_REJECTS,
    Finding,
    Reject,
    TooManyFindingsError,
    line_end_at,
    rejects_of,
)
from sluice.datasets.identifiers import literal
from sluice.datasets.model import Column, Dataset, Rollup
from sluice.datasets.types import stored_from_duckdb
from sluice.errors import EncodingMismatchError, TooManyRejectsError
from sluice.parsing.chunk import ParsedChunk, check_account, originals_of
from sluice.parsing.columnar import Columnar, NotWellFormedError
from sluice.parsing.duckdb_session import duckdb_error, open_cursor
from sluice.parsing.duckdb_sql import problem_of, refuse_unsafe_sql, rollup_error
from sluice.parsing.layout import Layout, lay_out
from sluice.parsing.plan import Plan, Rule, compile_dataset
from sluice.parsing.well_formed import find_well_formed, pick_well_formed

if TYPE_CHECKING:
    import pyarrow as pa

    from sluice.csv.records import RecordIndex
    from sluice.parsing.well_formed import WellFormed

#: Rejects of a chunk with too many of them that are kept.
_SHOWN_REJECTS = 1000


def rollup_types(dataset: Dataset, rollup: Rollup) -> dict[str, str]:
    """Return the PostgreSQL type of each column of a roll-up.

    Raises:
        DeclarationError: the query does not run over the dataset's stored columns.
        KeyError: a column of the result has a type that is not stored.
    """
    with parse_chunk(b"", dataset, lay_out(dataset, None), first_line=1, first_record=0) as empty:
        empty.encode({each.name: {} for each in dataset.dictionaries})
        try:
            described = empty.describe(rollup)
        except duckdb_error() as error:
            raise rollup_error(rollup, problem_of(error, lines_before=1)) from error
    return {name: stored_from_duckdb(kind).name for name, kind in described}


def try_rules(plan: Plan, rules: Iterable[Rule]) -> None:
    """Test rules with a row without values; one query for all of them, as each binds all columns.

    Raises:
        duckdb.Error: a rule cannot be tested.
    """
    import pyarrow as pa  # noqa: PLC0415

    names = [f"_{number}" for number in range(len(plan.columns))]
    with open_cursor() as cursor:
        cursor.register("cells", pa.table({name: pa.nulls(1, pa.string()) for name in names}))
        cursor.rows(plan.testing("cells", rules))


def try_cluster(dataset: Dataset) -> None:
    """Sort no rows by the keys of `cluster`.

    Raises:
        duckdb.Error: a key is no expression over the stored columns.
    """
    with parse_chunk(b"", dataset, lay_out(dataset, None), first_line=1, first_record=0) as empty:
        empty.encode({each.name: {} for each in dataset.dictionaries})
        empty.in_order()


def try_bound(column: Column, bound: object) -> None:
    """Read the minimum or maximum of a column.

    Raises:
        duckdb.Error: it is no value of the column's type.
    """
    with open_cursor() as cursor:
        cursor.rows(f"SELECT CAST({literal(str(bound))} AS {column.definition.duckdb})")


class ChunkRejectedError(TooManyRejectsError):
    """More records of a chunk are rejects than may be.

    Attributes:
        rejects: the first of them.
    """

    def __init__(self, rejects: Sequence[Reject], found: int, records: int) -> None:
        first = rejects[0]
        column = f", column {first.column}" if first.column else ""
        super().__init__(
            f"more than {found:,} of {records:,} rows of a chunk are rejects, the first on line"
            f" {first.line}{column}: {first.reason}. The rest is not loaded and nothing is published: fix"
            " the file or the declaration, or allow more with SLUICE_MAX_REJECTS",
            rejected=found,
            line=first.line,
            column=first.column,
        )
        self.rejects = rejects


@contextmanager
def parse_chunk(
    data: bytes,
    dataset: Dataset,
    layout: Layout,
    *,
    first_line: int,
    first_record: int,
    is_numbered: bool = False,
    max_rejects: int = MAX_REJECTS,
) -> Iterator[ParsedChunk]:
    """Parse the bytes of one chunk.

    Args:
        data: whole records.
        dataset: the declaration.
        layout: how the file is laid out.
        first_line: physical line of the file on which the chunk begins, from 1.
        first_record: number of the chunk's first record in the file, from 0.
        is_numbered: keep the number of each row's record, even where the dataset does not need it.
        max_rejects: how many records may be rejects.

    Raises:
        ChunkRejectedError: more records are rejects.
        TooManyCellsError: padded records would be too large.
        AccountImbalanceError: the reader gave another number of rows than the bytes hold.
        DeclarationError: the declaration contains SQL that is not allowed.
        EncodingMismatchError: the chunk is in another encoding than the file before it.
    """
    refuse_unsafe_sql(dataset)
    _check_encoding(data, layout, first_line)
    cursor = open_cursor()
    try:
        plan = compile_dataset(dataset, is_numbered=is_numbered)
        columnar = Columnar(dataset, layout, plan, cursor)
        place = first_line, first_record
        records, rows = _read(columnar, data, dataset, layout, place, max_rejects)
        findings = {**records.malformed, **columnar.findings}
        check_account(records.records, len(rows), len(findings), first_line)
        index = records.index
        if index is None:
            needs_index = findings or dataset.keeps_originals
            index = index_records(data, layout.dialect, layout.width) if needs_index else NO_RECORDS
        if layout.sheet:
            index = number_by_rows(index, data)
        parsed = ParsedChunk(
            dataset=dataset,
            records_read=records.records,
            rows=rows,
            rejects=rejects_of(data, index, findings, *place),
            recovered=records.recovered,
            originals=_originals(data, index, first_line, first_record)
            if dataset.keeps_originals
            else None,
            cursor=cursor,
        )
        del data, records  # their memory is free while the rows are written
        yield parsed
    finally:
        cursor.close()


def _read(
    columnar: Columnar,
    data: bytes,
    dataset: Dataset,
    layout: Layout,
    place: tuple[int, int],
    max_rejects: int,
) -> tuple[WellFormed, pa.Table]:
    """Return the well-formed records of a chunk, and the rows of those that break no rule.

    Raises:
        ChunkRejectedError: too many records are malformed or break a rule.
    """
    malformed: Mapping[int, Finding] = {}
    try:
        records = find_well_formed(data, dataset, layout, max_rejects)
        malformed = records.malformed
        try:
            return records, columnar.read(records, place[1], max_rejects)
        except NotWellFormedError:
            records = pick_well_formed(data, dataset, layout, max_rejects)
            malformed = records.malformed
            return records, columnar.read(records, place[1], max_rejects)
    except TooManyFindingsError as error:
        findings = {**malformed, **error.findings}
        first = dict(sorted(findings.items())[:_SHOWN_REJECTS])
        index = index_records(data, layout.dialect, layout.width)
        rejects = rejects_of(data, index, first, *place)
        raise ChunkRejectedError(rejects, len(findings), len(index)) from None


def _check_encoding(data: bytes, layout: Layout, first_line: int) -> None:
    """Refuse UTF-8 in a file whose earlier lines were found to be in another encoding."""
    encoding = layout.dialect.encoding
    if layout.is_detected and encoding != "utf-8" and contradicts(data):
        raise EncodingMismatchError(
            f"lines from {first_line} are UTF-8, earlier ones {encoding}; save the"
            " whole file in one encoding, or declare one, so that rows of another are rejects"
        )


def _originals(data: bytes, index: RecordIndex, first_line: int, first_record: int) -> pa.Table:
    places = zip(index.starts.tolist(), index.ends.tolist(), strict=True)
    return originals_of(
        range(first_record, first_record + len(index)),
        (index.lines + first_line).tolist(),
        [data[start:end] + line_end_at(data, end) for start, end in places],
    )
