"""Rows for the API: read from a file, and sent in requests of at most 1000 that take effect once."""

from __future__ import annotations

import csv
import itertools
import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sluice.client.errors import FileUnreadableError
from sluice.documents.ingestions import Account, InsertedRows, State
from sluice.errors import TransientError

if TYPE_CHECKING:
    from sluice.client.transport import Transport

MAX_ROWS = 1000
ATTEMPTS = 6
FIRST_PAUSE_S = 0.25
JSON_SUFFIXES = (".ndjson", ".jsonl")


@dataclass(frozen=True)
class Line:
    """A row and the line of its file on which it starts, or its number if there is no file."""

    number: int
    row: Mapping[str, Any] | Sequence[Any]


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
            RowReject(lines[each.row - 1].number, each.column, each.rule, each.value, each.reason)
            for each in answer.rows
            if each.outcome == "rejected"
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
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    for attempt in itertools.count(1):
        try:
            return transport.read(InsertedRows, "POST", path, body=body, headers=headers)
        except TransientError:
            if attempt == ATTEMPTS:
                raise
            time.sleep(FIRST_PAUSE_S * 2**attempt)
    raise AssertionError  # not reached: `count` has no end


def read_lines(path: Path, declaration: Mapping[str, Any]) -> Iterator[Line]:
    """Yield the rows of a CSV file by its declaration, or of a file with a JSON object in each line.

    Raises:
        FileUnreadableError: the file is not text in its encoding, or a line is not JSON.
    """
    try:
        if path.suffix.lower() in JSON_SUFFIXES:
            yield from _json_lines(path)
        else:
            yield from _csv_lines(path, declaration)
    except (ValueError, csv.Error) as error:
        raise FileUnreadableError(str(path), str(error)) from error


def _json_lines(path: Path) -> Iterator[Line]:
    with path.open(encoding="utf-8-sig") as file:
        for number, text in enumerate(file, 1):
            if text.strip():
                yield Line(number, json.loads(text))


def _csv_lines(path: Path, declaration: Mapping[str, Any]) -> Iterator[Line]:
    encoding = str(declaration.get("encoding", "utf-8"))
    encoding = "utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding
    with path.open(encoding=encoding, newline="") as file:
        reader = csv.reader(
            file,
            delimiter=declaration.get("delimiter", ","),
            quotechar=declaration.get("quote", '"'),
            strict=True,
        )
        header = next(reader, []) if declaration.get("header", True) else []
        first_line = reader.line_num + 1
        for cells in reader:
            if cells:
                yield Line(first_line, _row(header, cells))
            first_line = reader.line_num + 1


def _row(header: Sequence[str], cells: Sequence[str]) -> Mapping[str, str] | Sequence[str]:
    """Return a row by its headers; one with another number of cells as it is, to be rejected."""
    return dict(zip(header, cells, strict=True)) if len(header) == len(cells) else cells
