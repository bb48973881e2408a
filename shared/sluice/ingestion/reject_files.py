"""The rejects of a file as files: the rejected lines as they came, and the reason of each.

The lines are a file in the dialect of the one that they came from, which can be fixed and loaded. Both are
read page by page, so memory holds one page whatever the number of rejects and their size.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from sluice.csv.rejects import file_of_rejects
from sluice.csv.surroundings import footer_of, preamble_of
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from sluice.ingestion.model import Ingestion

#: Columns of the reasons; `record` counts from 1, without the header.
REASON_COLUMNS = ("line", "record", "column", "rule", "value", "reason")
_BLOCK_BYTES = 256 * 1024


def reject_lines(
    connection: Connection, ingestion: Ingestion, after: int = -1, limit: int | None = None
) -> Iterator[bytes]:
    """Yield the rejected lines of a file as the bytes of a file: under its header, in its encoding.

    Args:
        connection: a transaction.
        ingestion: the ingestion of the file.
        after: number of the record after which they begin, from 0.
        limit: how many at most.
    """
    layout = ingestion.layout or {}
    rows = islice(_pages(connection, "page_of_reject_lines", ingestion.id, after), limit)
    records = ((_pieces(connection, ingestion.id, row), bytes(row.line_end)) for row in rows)
    pieces = file_of_rejects(preamble_of(layout), records, footer_of(layout))
    written_in = layout.get("written_in")
    if not written_in:
        return _joined(pieces)
    mark = "\ufeff" if layout.get("has_mark") else ""
    texts = codecs.iterdecode(pieces, "utf-8", "replace")
    return _joined(each.encode(written_in) for each in _preceded(mark, texts))


def _pieces(connection: Connection, ingestion: int, row: Row[Any]) -> Iterator[bytes]:
    """Yield a rejected record in pieces: of a long one the driver takes many times the memory."""
    piece, done = bytes(row.original), 0
    while piece:
        yield piece
        done += len(piece)
        key = {"ingestion": ingestion, "line": row.line, "after": done}
        is_whole = done >= row.size_bytes
        piece = (
            b""
            if is_whole
            else bytes(connection.scalar(statement("piece_of_reject_line"), key) or b"")
        )


def _preceded(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def reject_reasons(
    connection: Connection, ingestion: Ingestion, after: int = -1, limit: int | None = None
) -> Iterator[bytes]:
    """Yield why each line is rejected, as CSV with the columns `REASON_COLUMNS`; see `reject_lines`."""
    rows = islice(_pages(connection, "page_of_reject_reasons", ingestion.id, after), limit)
    return _joined(_csv_lines(rows))


def _csv_lines(rows: Iterator[Row[Any]]) -> Iterator[bytes]:
    yield _csv_line(REASON_COLUMNS)
    for row in rows:
        cells = (row.line, row.record + 1, row.column_name, row.rule, row.value, row.reason)
        yield _csv_line(cells)


def _csv_line(cells: tuple[object, ...]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _pages(connection: Connection, name: str, ingestion: int, after: int) -> Iterator[Row[Any]]:
    while True:
        key = {"ingestion": ingestion, "after": after}
        page = connection.execute(statement(name), key).all()
        if not page:
            return
        yield from page
        after = page[-1].line


def _joined(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield pieces in larger blocks."""
    block = bytearray()
    for each in pieces:
        block += each
        if len(block) >= _BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)
