"""The rows of a request for one dataset: parsed like a file, each with its outcome."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
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


@contextmanager
def parse_group(group: RowGroup) -> Iterator[ParsedGroup]:
    """Parse the rows of a group."""
    texts = [_text(each) for each in group.rows]
    records, accepted, rejects = _records(group, texts)
    dataset, data = group.dataset, b"".join(records)
    with parse_chunk(data, dataset, row_layout(dataset), first_line=1, first_record=0) as chunk:
        for each in chunk.rejects:
            number = accepted[each.record]
            rejects.append(
                replace(each, record=number, line=number + 1, original=texts[number], line_end=b"")
            )
        chunk.rejects = sorted(rejects, key=lambda each: each.record)
        chunk.records_read = len(group.rows)
        chunk.renumber(accepted)
        if chunk.originals is not None:
            lines = [number + 1 for number in accepted]
            chunk.originals = originals_of(accepted, lines, [texts[n] for n in accepted])
        yield ParsedGroup(dataset, chunk, sum(len(each) + 1 for each in texts))


def _records(
    group: RowGroup, texts: Sequence[bytes]
) -> tuple[list[bytes], list[int], list[Reject]]:
    """Return the rows as CSV records, the number of each in the request, and rejects of the others."""
    reader = CellReader(group.dataset)
    records: list[bytes] = []
    accepted: list[int] = []
    rejects: list[Reject] = []
    for number, row in enumerate(group.rows):
        try:
            records.append(reader.record(row))
            accepted.append(number)
        except CellError as error:
            found = (error.column, error.rule, error.value, error.reason)
            rejects.append(Reject(number, number + 1, *found, original=texts[number]))
    return records, accepted, rejects


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

    def outcomes(
        self, rejects: Mapping[int, Reject], keyed: Iterable[KeyedRow], *, is_loaded: bool
    ) -> list[RowOutcome]:
        """Return the outcome of each row.

        Args:
            rejects: the rejected rows, by record.
            keyed: the other rows that have a key, see `sluice.ingestion.merge.keyed_rows`.
            is_loaded: whether the valid rows were published.
        """
        rest = [each for each in keyed if each.record not in rejects]
        duplicates = _duplicates(rest, self.dataset.duplicates) if is_loaded else set()
        valid = "loaded" if is_loaded else "not_loaded"
        return [
            _rejected(rejects[number])
            if number in rejects
            else RowOutcome(number + 1, "duplicate" if number in duplicates else valid)
            for number in range(self.chunk.records_read)
        ]


def _duplicates(keyed: Iterable[KeyedRow], policy: Duplicates) -> set[int]:
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
