"""Rows for the API, sent in requests of at most 1000 that take effect once."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from sluice.documents.ingestions import Account, InsertedRows, RowOutcome, State
from sluice.errors import TransientError

if TYPE_CHECKING:
    from sluice.client.transport import Transport

MAX_ROWS = 1000
ATTEMPTS = 6
FIRST_PAUSE_S = 0.25


@dataclass(frozen=True)
class Line:
    """A row and the line of its file on which it starts, or its number if there is no file.

    Attributes:
        flaw: rule and reason of a record that the API cannot read as a row, and so rejects.
    """

    number: int
    row: Mapping[str, Any] | Sequence[Any]
    flaw: tuple[str, str] | None = None

    def reject(self, found: RowOutcome) -> RowReject:
        """Return the reject of the row."""
        if self.flaw:
            return RowReject(self.number, None, self.flaw[0], None, self.flaw[1])
        return RowReject(self.number, found.column, found.rule, found.value, found.reason)


@dataclass(frozen=True)
class RowReject:
    """A rejected row; `line` is where it starts in its file, or its number."""

    line: int
    column: str | None
    rule: str
    value: str | None
    reason: str


@dataclass(frozen=True)
class SentRows:
    """The outcome of the rows of one request; `ingestion` is the ingestion that they are."""

    ingestion: int
    dataset: str
    state: State
    account: Account
    rejects: tuple[RowReject, ...]

    @classmethod
    def of(cls, answer: InsertedRows, lines: Sequence[Line]) -> Self:
        """Return the outcome of some lines."""
        rejects = tuple(
            lines[each.row - 1].reject(each) for each in answer.rows if each.outcome == "rejected"
        )
        return cls(answer.ingestion, answer.dataset, answer.state, answer.account, rejects)


def numbered(rows: Iterable[Mapping[str, Any] | Sequence[Any]]) -> Iterator[Line]:
    """Yield rows with their numbers, from 1."""
    return (Line(number, row) for number, row in enumerate(rows, 1))


def send_lines(transport: Transport, path: str, lines: Iterable[Line]) -> Iterator[SentRows]:
    """Send lines, as many at a time as a request may have, and yield their outcome.

    A request that fails in transit is sent again under the same `Idempotency-Key`.

    Raises:
        RefusedError: the API refused a request; those before it are loaded.
    """
    source = iter(lines)
    while batch := list(itertools.islice(source, MAX_ROWS)):
        body = [each.row for each in batch]
        yield SentRows.of(_send(transport, path, body), batch)


def _send(transport: Transport, path: str, body: object) -> InsertedRows:
    from sluice.parsing.json_rows import write_json  # noqa: PLC0415  # keeps numbers as written

    headers = {"Idempotency-Key": str(uuid.uuid4()), "Content-Type": "application/json"}
    content = write_json(body).encode()
    for attempt in itertools.count(1):
        try:
            return transport.read(InsertedRows, "POST", path, body=content, headers=headers)
        except TransientError:
            if attempt == ATTEMPTS:
                raise
            time.sleep(FIRST_PAUSE_S * 2**attempt)
    raise AssertionError  # not reached: `count` has no end
