"""The rows of a request in hand: typed by the parser, the refused ones kept as they were sent."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sluice.csv.rejects import Reject
from sluice.datasets.json_numbers import write_json
from sluice.datasets.model import Duplicates
from sluice.parsing.chunk import originals_of
from sluice.parsing.json_rows import CellError, CellReader, row_layout
from sluice.parsing.parser import parse_chunk

if TYPE_CHECKING:
    from sluice.datasets.model import Dataset
    from sluice.parsing.chunk import ParsedChunk


@dataclass(frozen=True)
class Group:
    """The rows of a request that go to one dataset, as JSON values.

    Attributes:
        next_key: column that is given the next free number where a row has none.
    """

    dataset: Dataset
    rows: Sequence[Any]
    next_key: str = ""

    def numbered(self, last: int) -> Group:
        """Return the group with keys behind `last` for the rows that have none."""
        reader = CellReader(self.dataset)
        free = itertools.count(last + 1)
        return replace(
            self, rows=[reader.with_key(each, self.next_key, free) for each in self.rows]
        )


@contextmanager
def parsed(group: Group) -> Iterator[Submission]:
    """Parse the rows of a group."""
    submission = Submission(group)
    dataset, data = group.dataset, submission.data
    with parse_chunk(data, dataset, row_layout(dataset), first_line=1, first_record=0) as chunk:
        submission.take(chunk)
        yield submission


class Submission:
    """Rows of one dataset, in the order in which they were sent.

    Attributes:
        data: those that have cells, as records for the parser.
        parsed: what the parser made of them, with the rejects of all; there once they are parsed.
    """

    parsed: ParsedChunk

    def __init__(self, group: Group) -> None:
        self.dataset = group.dataset
        self.rows = group.rows
        self._texts = [_text(each) for each in group.rows]
        self._refused: list[Reject] = []
        self._sound: list[int] = []
        self.data = b"".join(self._records())

    @property
    def size_bytes(self) -> int:
        """Size of the rows as lines of JSON."""
        return sum(len(each) + 1 for each in self._texts)

    def _records(self) -> list[bytes]:
        reader = CellReader(self.dataset)
        records = []
        for number, row in enumerate(self.rows):
            try:
                records.append(reader.record(row))
                self._sound.append(number)
            except CellError as error:
                self._refused.append(self._reject(number, error))
        return records

    def _reject(self, number: int, error: CellError) -> Reject:
        found = (error.column, error.rule, error.value, error.reason)
        return Reject(number, number + 1, *found, original=self._texts[number])

    def take(self, parsed: ParsedChunk) -> None:
        """Take what the parser made of `data`; the line of a row is its number in the request."""
        for each in parsed.rejects:
            number = self._sound[each.record]
            whole = self._texts[number]
            self._refused.append(replace(each, record=number, line=number + 1, original=whole))
        parsed.rejects = sorted(self._refused, key=lambda each: each.record)
        parsed.records_read = len(self.rows)
        parsed.renumber(self._sound)
        if parsed.originals is not None:
            lines = [number + 1 for number in self._sound]
            texts = [self._texts[number] for number in self._sound]
            parsed.originals = originals_of(self._sound, lines, texts)
        self.parsed = parsed

    def outcomes(
        self, rejects: Iterable[Any], keyed: Iterable[Any], *, is_loaded: bool
    ) -> list[dict[str, Any]]:
        """Return what became of each row.

        Args:
            rejects: the refused rows, as rows of `sluice.rejects`.
            keyed: the others that have a key, see `sluice.ingestion.merge.keyed_rows`.
            is_loaded: whether the rows that break no rule were published.
        """
        refused = {each.record: each for each in rejects}
        rest = [each for each in keyed if each.record not in refused]
        doubles = _duplicates(rest, self.dataset.duplicates) if is_loaded else set()
        good = "loaded" if is_loaded else "not_loaded"
        return [
            _rejected(refused[number])
            if number in refused
            else {"row": number + 1, "outcome": "duplicate" if number in doubles else good}
            for number in range(len(self.rows))
        ]


def _duplicates(keyed: Iterable[Any], policy: Duplicates) -> set[int]:
    """Return the records whose key another row has: one before them, or the last of the request."""
    records: dict[str, list[int]] = {}
    known: set[str] = set()
    for each in keyed:
        records.setdefault(each.key, []).append(each.record)
        if each.was_there:
            known.add(each.key)
    doubles: set[int] = set()
    for key, numbers in records.items():
        if policy is Duplicates.UPDATE:
            doubles.update(numbers[:-1])
        else:
            doubles.update(numbers if key in known else numbers[1:])
    return doubles


def _rejected(reject: Any) -> dict[str, Any]:  # a row of sluice.rejects
    return {
        "row": reject.record + 1,
        "outcome": "rejected",
        "column": reject.column_name,
        "rule": reject.rule,
        "value": reject.value,
        "reason": reject.reason,
    }


def _text(row: object) -> bytes:
    """Return a row as the JSON it came as."""
    text = write_json(row)
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return text.encode("ascii", "backslashreplace")
