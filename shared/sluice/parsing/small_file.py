"""Small files that can be parsed together with others: one chunk of well-formed records; does no I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sluice.csv.contents import is_csv
from sluice.csv.cuts import Cut
from sluice.csv.dialects import Dialect
from sluice.csv.encodings import EncodingWatch
from sluice.csv.records import count_plain_records
from sluice.csv.splitting import Splitter
from sluice.csv.surroundings import footer_json, preamble_json
from sluice.datasets.model import Dataset, NewColumns
from sluice.parsing.layout import Layout, lay_out, places_of
from sluice.parsing.mismatches import check_first_records

_BLANK_LINE = re.compile(rb"\A\r?\n|\n\r?\n")


@dataclass(frozen=True)
class SmallFile:
    """A file that is one chunk without a malformed record.

    Attributes:
        data: its records; the last one has a line end too.
        cut: the chunk's place in the file.
        layout: how the file is laid out.
        preamble: what precedes the chunk: a byte order mark and the header.
        footer: what follows it.
        numbers: the number of each record, where they are not 0, 1, 2, and so on.
    """

    data: bytes
    cut: Cut
    layout: Layout
    preamble: bytes
    footer: bytes = b""
    numbers: Sequence[int] | None = None

    @property
    def kind(self) -> Layout:
        """The layout that files must share to be parsed together."""
        return replace(self.layout, is_detected=False)

    def to_json(self) -> dict[str, Any]:
        """Return the layout as it is recorded with the ingestion."""
        return {**self.layout.to_json(), **preamble_json(self.preamble), **footer_json(self.footer)}

    @property
    def is_ended(self) -> bool:
        """Whether its last record has a line end in the file."""
        return len(self.data) == self.cut.end_byte - self.cut.first_byte


def read_small_file(data: bytes, dataset: Dataset) -> SmallFile | None:
    """Return a file as one chunk, or None where it has to be converted, split or partly rejected.

    Args:
        data: all of the file.
        dataset: its dataset.

    Raises:
        HeaderMismatchError: its header or its first records do not fit the dataset.
        EncodingMismatchError: its header is not text.
    """
    if not is_csv(data, dataset.dialect) or _has_escaped_line_end(data, dataset.dialect):
        return None
    splitter = Splitter(dataset.dialect, max(len(data), 1))
    cuts = [*splitter.feed(data), *splitter.finish()]
    if len(cuts) != 1 or splitter.header_end is None:
        return None
    cut = cuts[0]
    layout = lay_out(dataset, splitter.header, _encoding_of(data, dataset))
    check_first_records(dataset, layout.dialect.encoding, data)
    records = data[cut.first_byte : cut.end_byte]
    if _adds_columns(dataset, layout) or not _is_utf8(records, layout.dialect.encoding):
        return None
    if not records.endswith(b"\n"):
        records += b"\n"
    if records.count(b"\r") != records.count(b"\r\n") or _BLANK_LINE.search(records):
        return None
    if count_plain_records(records, layout.dialect, layout.width) != cut.records:
        return None
    return SmallFile(records, cut, layout, data[: splitter.header_end], splitter.footer)


def _adds_columns(dataset: Dataset, layout: Layout) -> bool:
    """Whether the file changes the declaration."""
    is_wider = layout.width > len(set(places_of(layout.order)))
    return dataset.new_columns is NewColumns.ADD and is_wider


def _has_escaped_line_end(data: bytes, dialect: Dialect) -> bool:
    """Whether a line end may be escaped, so that the next file would be joined to it."""
    escape = dialect.escape_byte
    return bool(escape) and (escape + b"\n" in data or escape + b"\r" in data)


def _is_utf8(data: bytes, encoding: str) -> bool:
    """Whether bytes in an encoding are the same text in UTF-8."""
    if data.isascii():
        return True
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return encoding == "utf-8"


def _encoding_of(data: bytes, dataset: Dataset) -> str | None:
    watch = EncodingWatch(is_known=not dataset.detects_encoding)
    watch.feed(data)
    watch.finish()
    return watch.take()
