"""Small files whose every byte can be trusted: one chunk of plain records; pure, does no I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from sluice.csv.encodings import EncodingWatch
from sluice.csv.records import count_plain_records
from sluice.csv.splitting import Cut, Splitter
from sluice.datasets.model import Dataset
from sluice.parsing.column_mapping import Layout, lay_out

_BLANK_LINE = re.compile(rb"\A\r?\n|\n\r?\n")


@dataclass(frozen=True)
class Whole:
    """A file that is one chunk, in which nothing is unusual but perhaps the values.

    Attributes:
        data: its records, the last one ended like the others.
        cut: the chunk as it lies in the file.
        layout: how it lays out the dataset's columns.
        header_end: first byte of the chunk.
    """

    data: bytes
    cut: Cut
    layout: Layout
    header_end: int

    @property
    def kind(self) -> tuple[Layout, bool]:
        """What files have in common that can be parsed as one: their layout and their line ends."""
        return replace(self.layout, is_detected=False), b"\r" in self.data

    def kept_layout(self) -> dict[str, Any]:
        """Return what is kept of the layout with the ingestion."""
        return {**self.layout.to_json(), "header_end": self.header_end}


def take_whole(data: bytes, dataset: Dataset) -> Whole | None:
    """Return a file as one chunk of plain records, or None where it is not that.

    Args:
        data: all of the file.
        dataset: its dataset.

    Raises:
        HeaderMismatchError: its header is not one of the dataset's.
        EncodingMismatchError: the same, for it is no text.
    """
    splitter = Splitter(dataset.dialect, max(len(data), 1))
    cuts = [*splitter.feed(data), *splitter.finish()]
    if len(cuts) != 1 or splitter.header_end is None:
        return None
    cut = cuts[0]
    layout = lay_out(dataset, splitter.header, _encoding_of(data, dataset))
    records = data[cut.first_byte : cut.end_byte]
    if not records.isascii() and layout.dialect.encoding != "utf-8":
        return None
    if not records.endswith(b"\n"):
        records += b"\r\n" if b"\r" in records else b"\n"
    if _BLANK_LINE.search(records):
        return None
    if count_plain_records(records, layout.dialect, layout.width) != cut.records:
        return None
    return Whole(records, cut, layout, splitter.header_end)


def _encoding_of(data: bytes, dataset: Dataset) -> str | None:
    watch = EncodingWatch(is_known=not dataset.detects_encoding)
    watch.feed(data)
    watch.finish()
    return watch.take()
