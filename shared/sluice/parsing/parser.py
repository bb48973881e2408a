"""Types, checks and transforms one chunk in bulk.

DuckDB sees well-formed records alone. What it must not judge is judged before, on the bytes: quoting,
encoding, NUL bytes, the number of records. In the usual chunk nothing is wrong and the bytes go to
DuckDB as they are; otherwise the malformed records are set aside and the rest is laid out anew. So the
number of rows is known before parsing, and any difference is an error and never a loss.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sluice.csv.encodings import contradicts
from sluice.csv.field_counts import count_fields, quote_strays
from sluice.csv.records import (
    Flaw,
    Malformed,
    RecordIndex,
    count_plain_records,
    index_records,
    is_utf8,
)
from sluice.csv.rejects import RECORD_REASONS, Finding, Reject, rejects_of
from sluice.datasets.identifiers import literal
from sluice.datasets.model import RECORD_COLUMN, Dataset, Rollup
from sluice.errors import AccountImbalanceError, EncodingMismatchError
from sluice.parsing.chunk import ParsedChunk, check_account, origins_of
from sluice.parsing.column_mapping import Layout, lay_out
from sluice.parsing.columnar import ByColumns
from sluice.parsing.duckdb_session import (
    count_rows,
    distinct_texts,
    memory_file,
    new_line_of,
    scratch,
)
from sluice.parsing.parsing_at_once import AtOnce
from sluice.parsing.parsing_on_grid import OnGrid
from sluice.parsing.plan import VISIBLE_ENDS, Plan, compile_dataset

if TYPE_CHECKING:
    import duckdb

#: DuckDB types that have a binary encoding here, and their PostgreSQL types, for roll-ups.
_ROLLUP_TYPES = {
    "SMALLINT": "smallint",
    "INTEGER": "integer",
    "BIGINT": "bigint",
    "HUGEINT": "bigint",
    "FLOAT": "real",
    "DOUBLE": "double precision",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "VARCHAR": "text",
}
_PROBED_BYTES = 64 * 1024
_USUAL_SHARE = 0.99
_SHOWN_CHARACTERS = 200
_MIB = 1024 * 1024
#: Longest record that a first reading takes; a second one knows how long they are.
_RECORD_LIMIT = 2 * _MIB
_BUFFER_BYTES = 32 * _MIB


def rollup_types(dataset: Dataset, rollup: Rollup) -> dict[str, str]:
    """Return the PostgreSQL type of each column of a roll-up.

    Raises:
        duckdb.Error: the query does not run over the dataset's stored columns.
        KeyError: a column of the result has a type that is not stored.
    """
    with parse_chunk(b"", dataset, lay_out(dataset, None), first_line=1, first_record=0) as empty:
        empty.encode({each.name: {} for each in dataset.dictionaries})
        described = empty.describe(rollup)
    return {name: _ROLLUP_TYPES[kind.partition("(")[0]] for name, kind in described}


@contextmanager
def parse_chunk(
    data: bytes,
    dataset: Dataset,
    layout: Layout,
    *,
    first_line: int,
    first_record: int,
    codes: Mapping[str, Mapping[str, int]] | None = None,
) -> Iterator[ParsedChunk]:
    """Parse the bytes of one chunk.

    Args:
        data: whole records.
        dataset: the declaration.
        layout: how the file lays out the dataset's columns.
        first_line: physical line of the file on which the chunk begins, from 1.
        first_record: number of the chunk's first record in the file, from 0.
        codes: known codes of texts, by dictionary column: if no text is new, one pass does it all.

    Raises:
        AccountImbalanceError: the parser gave another number of rows than the bytes hold.
    """
    cursor = scratch().cursor()
    try:
        parsed = Parser(dataset, layout, cursor, codes).parse(data, first_line, first_record)
        del data  # its memory is free for what becomes of the rows
        yield parsed
    finally:
        cursor.close()


class Parser:
    """One parse of one chunk on one DuckDB cursor."""

    def __init__(
        self,
        dataset: Dataset,
        layout: Layout,
        cursor: duckdb.DuckDBPyConnection,
        codes: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        self.dataset = dataset
        self.codes = codes
        self.dialect = layout.dialect
        self.plan: Plan = compile_dataset(dataset)
        self.order = layout.order
        self.width = layout.width
        self.cursor = cursor
        self.record_limit = _RECORD_LIMIT
        self.first_record = 0
        self.has_numbers = False
        self.is_detected = layout.is_detected
        self.rewritten: dict[int, bytes] = {}
        self.texts: dict[str, list[str]] = {}

    def parse(self, data: bytes, first_line: int, first_record: int) -> ParsedChunk:
        """Parse the bytes; see `parse_chunk`."""
        self.first_record = first_record
        self._check_encoding(data, first_line)
        plain = self._in_utf8(data)
        if plain is data and self.codes is not None and is_utf8(data):
            parsed = OnGrid(self, self.codes).parse(data, first_line)
            if parsed is not None:
                return parsed
        records = None if plain is None else self._count_if_plain(plain)
        if plain is not None and records is not None:
            parsed = ByColumns(self).parse(data, plain, records, first_line)
            if parsed is None and self.codes is not None:
                parsed = AtOnce(self, self.codes).parse(data, plain, records, first_line)
            if parsed is not None:
                return parsed
        damaged: dict[int, tuple[str, str]] = {}
        kept: list[int] | None = None
        index: RecordIndex | None = None
        if plain is None or records is None or not self._read(plain, records):
            index = index_records(data, self.dialect)
            records = len(index)
            self.record_limit = max(
                _RECORD_LIMIT, int((index.ends - index.starts).max(initial=0)) + 2
            )
            damaged = self._damaged(data, index)
            kept = self._read_sound(data, index, damaged)
        rejects: list[Reject] = []
        if self._count_rows() < records:
            index = index or index_records(data, self.dialect)
            found: dict[int, Finding] = {
                n: (None, rule, None, reason) for n, (rule, reason) in damaged.items()
            }
            self.texts = {}
            found |= self._second_reading(data, index, kept)
            rejects = rejects_of(data, index, found, first_line, first_record)
        rows = self._count_rows()
        check_account(records, rows, len(rejects), first_line)
        recovered = index.recovered if index else 0
        origins = self.origins(data, index, first_line)
        return ParsedChunk(
            self.dataset, records, rows, rejects, recovered, origins, False, self.cursor, self.texts
        )

    def _check_encoding(self, data: bytes, first_line: int) -> None:
        """Refuse UTF-8 in a file whose earlier lines were found to be in another encoding."""
        if self.is_detected and self.dialect.encoding != "utf-8" and contradicts(data):
            raise EncodingMismatchError(
                f"lines from {first_line} are UTF-8, earlier ones {self.dialect.encoding}; save the"
                " whole file in one encoding, or declare one, so that rows of another are rejects"
            )

    def _in_utf8(self, data: bytes) -> bytes | None:
        """Return the bytes as UTF-8, or None where some are not text in the file's encoding."""
        encoding = self.dialect.encoding
        if encoding == "utf-8" or data.isascii():
            return data
        return data.decode(encoding).encode() if _decodes(data, encoding) else None

    def origins(self, data: bytes, index: RecordIndex | None, first_line: int) -> Any:
        """Return what each record was, where a row may yet be refused; see `ParsedChunk`."""
        if not self.dataset.keeps_originals:
            return None
        index = index or index_records(data, self.dialect)
        numbers = range(self.first_record, self.first_record + len(index))
        lines = (index.lines + first_line).tolist()
        places = zip(index.starts.tolist(), index.ends.tolist(), strict=True)
        return origins_of(
            numbers, numbers, lines, [bytes(data[start:end]) for start, end in places]
        )

    def _count_rows(self) -> int:
        return count_rows(self.cursor, "typed", "_ok")

    def _count_if_plain(self, data: bytes) -> int | None:
        """Return the number of records where DuckDB can be trusted with the bytes as they are."""
        return count_plain_records(data, self.dialect, self.width)

    def _read(self, data: bytes, records: int, new_line: str = "") -> bool:
        """Read the bytes into the table `typed`; tell whether every record became a row there."""
        import duckdb  # noqa: PLC0415

        new_line = new_line or new_line_of(data)
        try:
            with memory_file(data) as path:
                self._type(self.source(path, new_line), self.is_usual(data, new_line))
        except duckdb.InvalidInputException:
            return False
        return count_rows(self.cursor, "typed") == records

    def _type(self, source: str, is_usual: bool) -> None:
        for thorough in (False, True) if is_usual else (True,):
            sql = self.plan.typing(source, thorough=thorough)
            self.cursor.execute(f"CREATE OR REPLACE TEMP TABLE typed AS {sql}")
            if thorough or self._has_usual_texts():
                break

    def _has_usual_texts(self) -> bool:
        """Whether no text of a dictionary column needs a trim; keeps the texts."""
        visible = re.compile(VISIBLE_ENDS)
        self.texts = {name: distinct_texts(self.cursor, name) for name in self.plan.unseen}
        return all(visible.match(text) for texts in self.texts.values() for text in texts)

    def is_usual(self, data: bytes, new_line: str) -> bool:
        """Whether the first rows are written in the usual way, so that the quick reading pays."""
        head = data[: data.rfind(b"\n", 0, _PROBED_BYTES) + 1]
        with memory_file(head) as path:
            source = self.source(path, new_line, record_limit=_PROBED_BYTES)
            sql = self.plan.typing(source, thorough=False)
            found = f"SELECT avg(CAST(_ok AS INTEGER)) FROM ({sql})"
            ((share,),) = self.cursor.execute(found).fetchall()
        return share is None or share >= _USUAL_SHARE

    def source(self, path: Path, new_line: str, record_limit: int | None = None) -> str:
        """Return the relation of raw cells `_0`, `_1`, ... in the order of the declaration."""
        limit = record_limit or self.record_limit
        buffer_bytes = min(_BUFFER_BYTES, path.stat().st_size)
        cells = ", ".join(
            f"CAST(NULL AS VARCHAR) AS _{n}" if at is None else f"f{at} AS _{n}"
            for n, at in enumerate(self.order)
        )
        columns = ", ".join(f"'f{at}': 'VARCHAR'" for at in range(self.width))
        if self.plan.numbered:
            number = "number" if self.has_numbers else "row_number() OVER () - 1"
            cells += f", {number} + CAST({self.first_record} AS BIGINT) AS {RECORD_COLUMN}"
        if self.has_numbers:
            columns = f"'number': 'BIGINT', {columns}"
        mark = literal(self.dialect.quote)
        padding = "true" if self.dataset.ragged == "pad" else "false"
        return (
            f"(SELECT {cells} FROM read_csv({literal(str(path))}, auto_detect=false, header=false,"
            f" columns={{{columns}}}, delim={literal(self.dialect.delimiter)}, quote={mark},"
            f" escape={mark}, new_line='{new_line}', parallel=false, null_padding={padding},"
            f" max_line_size={limit}, buffer_size={max(buffer_bytes, 2 * limit)}))"
        )

    def _damaged(self, data: bytes, index: RecordIndex) -> dict[int, tuple[str, str]]:
        """Return (rule, reason) of each record that is not to reach DuckDB."""
        damaged = {
            each.record: (each.kind.value, RECORD_REASONS[each.kind])
            for each in index.malformed
            if not self._takes_literally(data, index, each)
        }
        suspicious = b"\0" in data or not is_utf8(data) or self.dialect.encoding != "utf-8"
        for record in range(len(index.starts)) if suspicious else ():
            if record in damaged:
                continue
            text = data[index.starts[record] : index.ends[record]]
            if b"\0" in text:
                damaged[record] = ("nul", RECORD_REASONS["nul"])
            elif not _decodes(text, self.dialect.encoding):
                reason = RECORD_REASONS["encoding"].format(encoding=self.dialect.encoding)
                damaged[record] = ("encoding", reason)
        return damaged

    def _takes_literally(self, data: bytes, index: RecordIndex, flaw: Malformed) -> bool:
        """Whether a record's stray quotes are part of its text; keeps the record with them quoted."""
        if self.dataset.stray_quotes != "literal" or flaw.kind is not Flaw.STRAY_QUOTE:
            return False
        record = data[index.starts[flaw.record] : index.ends[flaw.record]]
        rewritten = quote_strays(record, self.dialect)
        if rewritten is not None:
            self.rewritten[flaw.record] = rewritten
        return rewritten is not None

    def _read_sound(
        self, data: bytes, index: RecordIndex, damaged: dict[int, tuple[str, str]]
    ) -> list[int]:
        """Read all but the damaged records, laid out anew; return the numbers of those that remain.

        Records with too few or too many fields join the damaged.

        Raises:
            AccountImbalanceError: the parser lost a well-formed record.
        """
        kept = [n for n in range(len(index)) if n not in damaged]
        sound = self._lay_out(data, index, kept)
        ragged = self._ragged(sound)
        for number, found in ragged.items():
            reason = RECORD_REASONS["columns"].format(found=found, expected=self.width)
            damaged[kept[number]] = ("columns", reason)
        sound = [line for number, line in enumerate(sound) if number not in ragged]
        sound = self._number(sound, [n for n in kept if n not in damaged])
        if not self._read(b"".join(sound), len(sound), "\\n"):
            raise AccountImbalanceError(
                "well-formed records vanished in the parser; nothing of the chunk is loaded"
            )
        return [n for n in kept if n not in damaged]

    def _ragged(self, sound: list[bytes]) -> dict[int, int]:
        """Return the number of fields of each record that has not as many as the file has columns."""
        starts = np.cumsum([0, *map(len, sound)])[:-1]
        counts = count_fields(b"".join(sound), starts, self.dialect)
        wrong = counts > self.width if self.dataset.ragged == "pad" else counts != self.width
        return {int(number): int(counts[number]) for number in np.flatnonzero(wrong)}

    def _lay_out(self, data: bytes, index: RecordIndex, records: list[int]) -> list[bytes]:
        encoding = self.dialect.encoding
        lines = [
            self.rewritten.get(n) or bytes(data[index.starts[n] : index.ends[n]]) for n in records
        ]
        if encoding == "utf-8":
            return [line + b"\n" for line in lines]
        return [line.decode(encoding).encode("utf-8") + b"\n" for line in lines]

    def _number(self, sound: list[bytes], records: list[int]) -> list[bytes]:
        """Put the number of its record before each, where rows must know theirs."""
        self.has_numbers = self.plan.numbered
        if not self.has_numbers:
            return sound
        mark = self.dialect.delimiter.encode()
        return [b"%d%b%b" % (n, mark, line) for n, line in zip(records, sound, strict=True)]

    def _second_reading(
        self, data: bytes, index: RecordIndex, kept: list[int] | None
    ) -> dict[int, Finding]:
        """Read the refused rows again, thoroughly: add the good to `typed`, explain the others."""
        sql = "SELECT rowid FROM typed WHERE NOT _ok ORDER BY 1"
        refused = [n if kept is None else kept[n] for (n,) in self.cursor.execute(sql).fetchall()]
        if not refused:
            return {}
        return self.look_again(data, index, refused, "INSERT INTO typed", lambda typing: typing)

    def look_again(
        self,
        data: bytes,
        index: RecordIndex,
        refused: list[int],
        into: str,
        select: Callable[[str], str],
    ) -> dict[int, Finding]:
        """Read records thoroughly: put the good where `into` says, explain the others."""
        sound = self._number(self._lay_out(data, index, refused), refused)
        longest = max(map(len, sound)) + 1
        with memory_file(b"".join(sound)) as path:
            source = self.source(path, "\\n", max(self.record_limit, longest))
            answers = self.cursor.execute(self.plan.explaining(source)).fetchall()
            typing = select(self.plan.typing(source, thorough=True))
            self.cursor.execute(f"{into} SELECT * FROM ({typing}) WHERE _ok")
        return {
            number: self._finding(which, value)
            for number, (which, value) in zip(refused, answers, strict=True)
            if which is not None
        }

    def _finding(self, which: int, value: str | None) -> Finding:
        rule = self.plan.rules[which]
        shown = "" if value is None else value[:_SHOWN_CHARACTERS]
        return rule.column, rule.name, value, rule.reason.replace("{value}", shown)


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
