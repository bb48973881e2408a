"""Reads the rows of a file as the bucket does: dialect, encoding, compression, headers, malformed records."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.client.errors import FileUnreadableError
from sluice.client.rows import Line
from sluice.datasets.grammars import WHITE_SPACE
from sluice.errors import EmptyFileError, EncodingMismatchError, RecordTooLongError

if TYPE_CHECKING:
    from sluice.csv.cuts import Cut
    from sluice.csv.decompression import Content
    from sluice.datasets.model import Dataset
    from sluice.parsing.layout import Layout
    from sluice.parsing.mismatches import Place
    from sluice.parsing.well_formed import WellFormed

JSON_SUFFIXES = (".ndjson", ".jsonl")
_BLOCK_BYTES = 1024 * 1024
#: What of a column decides how a file is read; the API checks the values.
_COLUMN_KEYS = ("name", "type", "header", "required")


def read_lines(path: Path, declaration: Mapping[str, Any]) -> Iterator[Line]:
    """Yield the rows of a CSV file by its declaration, or of a file with a JSON object in each line.

    The rows of a CSV file are lists of cells, in the order of the declared columns.

    Raises:
        FileUnreadableError: a line is not JSON.
        FileError: the file does not fit the declaration.
    """
    if path.suffix.lower() in JSON_SUFFIXES:
        yield from _json_lines(path)
        return
    dataset = _dataset_of(declaration)
    with path.open("rb") as file:
        blocks = iter(partial(file.read, _BLOCK_BYTES), b"")
        for data, cut, layout in _chunks(path, blocks, dataset):
            yield from _records(data, cut, layout, dataset)


def _json_lines(path: Path) -> Iterator[Line]:
    from sluice.parsing.json_rows import read_json  # noqa: PLC0415  # only for files of JSON

    number = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, text in enumerate(file, 1):  # named in the error
                if text.strip():
                    yield Line(number, read_json(text))
    except ValueError as error:
        raise FileUnreadableError(str(path), f"line {number}: {error}") from error


def _dataset_of(declaration: Mapping[str, Any]) -> Dataset:
    from sluice.datasets.declarations import (  # noqa: PLC0415  # only for CSV files
        FILE_KEYS,
        parse_document,
    )

    columns = [
        {key: each[key] for key in _COLUMN_KEYS if key in each} for each in declaration["columns"]
    ]
    keys = (*FILE_KEYS, "rescue")
    given = {key: declaration[key] for key in keys if key in declaration}
    return parse_document({"name": declaration.get("name", "file"), "columns": columns, **given})


def _chunks(
    path: Path, blocks: Iterator[bytes], dataset: Dataset
) -> Iterator[tuple[bytes, Cut, Layout]]:
    """Yield the chunks of a file, each with its bytes and the layout of the file."""
    from sluice.csv.contents import foreign_kind_of  # noqa: PLC0415  # only for CSV files
    from sluice.csv.decompression import Expansion, read_content  # noqa: PLC0415

    content = read_content(blocks, str(path), path.stat().st_size, Expansion())
    foreign = None if content.encoding else foreign_kind_of(content.head, dataset.dialect)
    if foreign:
        raise foreign.refuse(str(path))
    layout: Layout | None = None
    buffer, begin = bytearray(), 0
    for block, cuts, header, encoding in _scanned(content, dataset):
        buffer += block or b""
        if layout is None and (header is not None or not dataset.dialect.header):
            layout = _layout(dataset, header, content.encoding or encoding, bytes(buffer))
        elif layout is not None and encoding:
            dialect = replace(layout.dialect, encoding=encoding)
            layout = replace(layout, dialect=dialect, is_detected=True)
        if block is None and layout is None:
            raise EmptyFileError(f"{path} has no header; add one, or declare header = false")
        for cut in cuts:
            assert layout is not None  # noqa: S101  # there is a header before each chunk
            yield bytes(buffer[cut.first_byte - begin : cut.end_byte - begin]), cut, layout
            del buffer[: cut.end_byte - begin]
            begin = cut.end_byte


def _scanned(
    content: Content, dataset: Dataset
) -> Iterator[tuple[bytes | None, list[Cut], bytes | None, str | None]]:
    """Yield each block, None at the end, with the chunks that end in it, the header and what it shows."""
    from sluice.csv.encodings import EncodingWatch  # noqa: PLC0415  # only for CSV files
    from sluice.csv.splitting import (  # noqa: PLC0415  # imports NumPy
        MAX_RECORD_BYTES,
        Splitter,
    )

    dialect = dataset.dialect
    if content.encoding:
        dialect = replace(dialect, encoding=content.encoding)
    splitter = Splitter(dialect, _BLOCK_BYTES)
    watch = EncodingWatch(is_known=bool(content.encoding) or not dataset.detects_encoding)
    for block in content.blocks:
        watch.feed(block)
        cuts = splitter.feed(block)
        if splitter.open_bytes > MAX_RECORD_BYTES:
            raise RecordTooLongError(
                f"the record on line {splitter.open_line} does not end within"
                f" {MAX_RECORD_BYTES // 1024**2} MiB; look for data there that has no line ends"
            )
        yield block, cuts, splitter.header, watch.take()
    watch.finish()
    cuts = splitter.finish()
    yield None, cuts, splitter.header, watch.take()


def _layout(dataset: Dataset, header: bytes | None, encoding: str | None, begin: bytes) -> Layout:
    from sluice.parsing.layout import lay_out  # noqa: PLC0415  # only for CSV files
    from sluice.parsing.mismatches import check_first_records  # noqa: PLC0415

    layout = lay_out(dataset, header, encoding)
    check_first_records(dataset, layout.dialect.encoding, begin)
    return layout


def _records(data: bytes, cut: Cut, layout: Layout, dataset: Dataset) -> Iterator[Line]:
    """Yield the records of a chunk: well-formed ones as cells, malformed ones with their flaw."""
    from sluice.csv.encodings import contradicts  # noqa: PLC0415  # only for CSV files
    from sluice.parsing.well_formed import pick_well_formed  # noqa: PLC0415

    encoding = layout.dialect.encoding
    if layout.is_detected and encoding != "utf-8" and contradicts(data):
        raise EncodingMismatchError(
            f"lines from {cut.first_line} are UTF-8, earlier ones {encoding}; save the whole file in"
            " one encoding, or declare one"
        )
    found = pick_well_formed(data, dataset, layout)
    index = found.index
    assert index is not None  # noqa: S101  # each record was checked
    rows = _cells(found, layout)
    for number, line in enumerate(index.lines.tolist()):
        if flaw := found.malformed.get(number):
            original = data[index.starts[number] : index.ends[number]].decode(encoding, "replace")
            yield Line(cut.first_line + line, _unreadable(original, dataset), (flaw[1], flaw[3]))
        else:
            yield Line(cut.first_line + line, next(rows))


def _cells(found: WellFormed, layout: Layout) -> Iterator[list[str | None]]:
    """Yield the cells of well-formed records, in the order of the declared columns."""
    csv.field_size_limit(max(len(found.data), csv.field_size_limit()))
    reader = csv.reader(
        io.StringIO(found.data.decode(), newline=""),
        delimiter=found.delimiter,
        quotechar=found.quote or None,
        escapechar=found.escape or None,
        quoting=csv.QUOTE_MINIMAL if found.quote else csv.QUOTE_NONE,
    )
    positions = range(found.count) if found.numbers is None else found.numbers.tolist()
    for number, cells in enumerate(filter(None, reader)):
        row = [_cell(cells, place) for place in layout.order]
        extras = found.extras.get(positions[number], ()) if found.extras else ()
        if layout.rescued or extras:
            row[-1] = layout.rescued_text([cells[place] for place, _ in layout.rescued], extras)
        yield row


def _cell(cells: Sequence[str], place: Place | None) -> str | None:
    """Return the cell of a column; that of a point may be in its two halves."""
    if place is None or isinstance(place, int):
        return None if place is None else cells[place]
    lon, lat = (cells[at].strip(WHITE_SPACE) or "null" for at in place)
    return None if lon == lat == "null" else f"POINT ({lon} {lat})"


def _unreadable(text: str, dataset: Dataset) -> Sequence[str]:
    """Return a row that the API rejects whatever the text is: its number of cells is wrong."""
    text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return [text] if len(dataset.columns) > 1 else [text, ""]
