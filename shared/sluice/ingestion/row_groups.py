"""The rows of a request for one dataset: parsed like a file, each with its outcome."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sluice.csv.rejects import Reject
from sluice.datasets.model import Duplicates
from sluice.documents.ingestions import RejectedRow, RowOutcome
from sluice.parsing.chunk import originals_of
from sluice.parsing.json_rows import CellError, CellReader, row_layout, write_json
from sluice.parsing.parser import parse_chunk

if TYPE_CHECKING:
    from sluice.datasets.model import Dataset
    from sluice.ingestion.merge import KeyedRow
    from sluice.parsing.chunk import ParsedChunk


@dataclass(frozen=True)
class RowGroup:
    """The rows of a request for one dataset, as JSON values.

    Attributes:
        next_key: column that gets the next free number where a row has none.
    """

    dataset: Dataset
    rows: Sequence[object]
    next_key: str = ""

    def numbered(self, last: int) -> RowGroup:
        """Return the group with keys after `last` for the rows that have none."""
        reader = CellReader(self.dataset)
        free = itertools.count(last + 1)
        return replace(
            self, rows=[reader.with_key(each, self.next_key, free) for each in self.rows]
        )


@dataclass(frozen=True)
class WrittenGroup:
    """The rows of a group as CSV records.

    Attributes:
        texts: each row as the JSON text that was sent.
        data: the records.
        accepted: the number of each record's row in the request, from 0.
        refused: rejects of the other rows, which cannot be written as records.
    """

    dataset: Dataset
    texts: Sequence[bytes]
    data: bytes
    accepted: Sequence[int]
    refused: Sequence[Reject]

    @property
    def size_bytes(self) -> int:
        """Size of the rows as lines of JSON."""
        return sum(len(each) + 1 for each in self.texts)

    def rejects(self, found: Iterable[Reject]) -> list[Reject]:
        """Return all rejects by their rows in the request, given those among the records."""
        placed = [self._in_request(each) for each in found]
        return sorted([*self.refused, *placed], key=lambda each: each.record)

    def _in_request(self, reject: Reject) -> Reject:
        number = self.accepted[reject.record]
        original = self.texts[number]
        return replace(reject, record=number, line=number + 1, original=original, line_end=b"")


def write_group(group: RowGroup) -> WrittenGroup:
    """Write the rows of a group as CSV records."""
    reader = CellReader(group.dataset)
    texts = [_text(each) for each in group.rows]
    records: list[bytes] = []
    accepted: list[int] = []
    refused: list[Reject] = []
    for number, row in enumerate(group.rows):
        try:
            records.append(reader.record(row))
            accepted.append(number)
        except CellError as error:
            found = (error.column, error.rule, error.value, error.reason)
            refused.append(Reject(number, number + 1, *found, original=texts[number]))
    return WrittenGroup(group.dataset, texts, b"".join(records), accepted, refused)


@contextmanager
def parse_group(group: RowGroup) -> Iterator[ParsedGroup]:
    """Parse the rows of a group."""
    written, dataset = write_group(group), group.dataset
    layout = row_layout(dataset)
    with parse_chunk(written.data, dataset, layout, first_line=1, first_record=0) as chunk:
        chunk.rejects = written.rejects(chunk.rejects)
        chunk.records_read = len(group.rows)
        chunk.renumber(written.accepted)
        if chunk.originals is not None:
            lines = [number + 1 for number in written.accepted]
            originals = [written.texts[number] for number in written.accepted]
            chunk.originals = originals_of(written.accepted, lines, originals)
        yield ParsedGroup(dataset, chunk, written.size_bytes)


def _text(row: object) -> bytes:
    """Return a row as the JSON text that was sent."""
    text = write_json(row)
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return text.encode("ascii", "backslashreplace")


@dataclass(frozen=True)
class ParsedGroup:
    """The parsed rows of a group; the record of a row is its number in the request, from 0.

    Attributes:
        size_bytes: size of the rows as lines of JSON.
    """

    dataset: Dataset
    chunk: ParsedChunk
    size_bytes: int


def row_outcomes(
    rows: int,
    rejects: Mapping[int, Reject],
    duplicates: Container[int] = (),
    *,
    is_loaded: bool = True,
) -> list[RowOutcome]:
    """Return the outcome of each row of a request.

    Args:
        rows: how many there are.
        rejects: the rejected rows, by record.
        duplicates: records of duplicates.
        is_loaded: whether the valid rows were published.
    """
    valid = "loaded" if is_loaded else "not_loaded"
    return [
        _rejected(rejects[number])
        if number in rejects
        else RowOutcome(number + 1, "duplicate" if number in duplicates else valid)
        for number in range(rows)
    ]


def find_duplicates(keyed: Iterable[KeyedRow], policy: Duplicates) -> set[int]:
    """Return the records that are duplicates: of the dataset, or of other rows of the request."""
    records: dict[str, list[int]] = {}
    known: set[str] = set()
    for each in keyed:
        records.setdefault(each.key, []).append(each.record)
        if each.is_known:
            known.add(each.key)
    duplicates: set[int] = set()
    for key, numbers in records.items():
        if policy is Duplicates.UPDATE:
            duplicates.update(numbers[:-1])
        else:
            duplicates.update(numbers if key in known else numbers[1:])
    return duplicates


def _rejected(reject: Reject) -> RowOutcome:
    return RejectedRow(
        reject.record + 1, "rejected", reject.column, reject.rule, reject.value, reject.reason
    )
