"""Random tables of mixed types, written in random dialects and read again without the dialect."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from dialect_files import write_records

from sluice.csv.dialects import Dialect
from sluice.csv.splitting import Splitter
from sluice.inference.dry_run import DryRun, Sample, dry_run
from sluice.inference.inferred import malformed_policies
from sluice.inference.names import number_columns
from sluice.inference.typing.columns import decide
from sluice.inference.typing.observations import merge_all
from sluice.inference.typing.records import observe_records
from sluice.parsing.layout import header_names, lay_out_names
from sluice.parsing.parser import parse_chunk
from sluice.parsing.texts import read_texts

WORDS = [
    "alpha", "beta", "gamma", "delta", "house", "river", "stone", "Prague", "Zürich", "naïve", "coffee",
    "tea", "long-term", "open",
]  # fmt: skip
FIRST = date(2001, 1, 1)


@dataclass(frozen=True)
class Kind:
    """A kind of values: how one is drawn, and how it is written."""

    draw: Callable[[random.Random], Any]
    write: Callable[[Any], str] = str


def _sentence(chance: random.Random) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randint(1, 6)))


def _awkward(chance: random.Random) -> str:
    """Return a text with delimiters, quotes and line ends in it."""
    inserts = [", ", "; ", "\t", "|", ": ", '"', "'", "\n", "\r\n", " \\ ", '""', "…", "日本", "#"]
    parts = chance.choices(WORDS, k=chance.randint(2, 4))
    return "".join(
        part + (chance.choice(inserts) if chance.random() < 0.4 else " ") for part in parts
    ).strip()


KINDS: dict[str, Kind] = {
    "whole": Kind(lambda chance: chance.randint(-5, 10 ** chance.randint(1, 9))),
    "serial": Kind(lambda chance: chance.randint(10**12, 10**13)),
    "decimal": Kind(lambda chance: Decimal(chance.randint(-(10**6), 10**6)).scaleb(-2)),
    "date": Kind(lambda chance: FIRST + timedelta(chance.randint(0, 9000))),
    "german date": Kind(
        lambda chance: FIRST + timedelta(chance.randint(0, 9000)),
        lambda day: f"{day:%d.%m.%Y}",
    ),
    "moment": Kind(
        lambda chance: (
            datetime.combine(FIRST, datetime.min.time())
            + timedelta(seconds=chance.randint(0, 10**8))
        ),
        lambda at: f"{at:%Y-%m-%d %H:%M:%S}",
    ),
    "boolean": Kind(
        lambda chance: chance.random() < 0.5, lambda value: "true" if value else "false"
    ),
    "code": Kind(lambda chance: f"{chance.randint(0, 9999):05}"),
    "word": Kind(lambda chance: chance.choice(WORDS)),
    "sentence": Kind(_sentence),
    "awkward": Kind(_awkward),
}
#: Kinds whose values inference may turn into another type than the kind's: compared as texts.
TEXTS = frozenset(("code", "word", "sentence", "awkward"))


@dataclass(frozen=True)
class Table:
    """Columns of values; None is an empty cell."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    @property
    def cells(self) -> list[list[str]]:
        """The values as they are written."""
        return [
            [
                "" if value is None else KINDS[kind].write(value)
                for kind, value in zip(self.kinds, row, strict=True)
            ]
            for row in self.rows
        ]


def random_table(chance: random.Random, *, has_nulls: bool = True) -> Table:
    """Return a table of 20 rows or more, with two columns or more."""
    kinds = tuple(chance.choices(sorted(KINDS), k=chance.randint(2, 7)))
    null_share = chance.choice((0.0, 0.1)) if has_nulls else 0.0
    rows = tuple(
        tuple(
            KINDS[kind].draw(chance) if not at or chance.random() >= null_share else None
            for at, kind in enumerate(kinds)
        )
        for _ in range(chance.randint(20, 60))
    )
    names = tuple(f"{chance.choice(WORDS)} {number}" for number in range(len(kinds)))
    return Table(names, kinds, rows)


@dataclass(frozen=True)
class Written:
    """How a table is written as a file."""

    dialect: Dialect
    line_end: str = "\n"
    quotes_all: bool = False
    preamble: tuple[str, ...] = ()
    has_mark: bool = False

    def write(self, table: Table) -> bytes:
        """Return the file."""
        records = [list(table.names)] * self.dialect.header + table.cells
        body = write_records(
            records, self.dialect, line_end=self.line_end, quotes_all=self.quotes_all
        )
        text = "".join(f"{line}{self.line_end}" for line in self.preamble) + body
        return (b"\xef\xbb\xbf" if self.has_mark else b"") + text.encode(
            self.dialect.encoding, "replace"
        )


def random_form(chance: random.Random) -> Written:
    """Return a form of a file."""
    delimiter = (
        chance.choice(",,;;\t|")
        if chance.random() < 0.85
        else chance.choice(("||", "::", "^", "~"))
    )
    quote, escape = chance.choice((('"', ""), ('"', ""), ('"', "\\"), ("'", ""), ("", "\\")))
    is_plain = chance.random() < 0.6
    encoding = "utf-8" if is_plain or chance.random() < 0.7 else "cp1252"
    dialect = Dialect(
        delimiter=delimiter,
        quote=quote,
        escape=escape,
        encoding=encoding,
        header=chance.random() < 0.7,
        trailing_delimiter=not is_plain and chance.random() < 0.2,
    )
    preamble = (
        () if is_plain or chance.random() < 0.6 else ("Report of all things", "made in May", "")
    )
    line_end = chance.choice(("\n", "\n", "\r\n", "\r"))
    has_mark = encoding == "utf-8" and chance.random() < 0.1
    return Written(dialect, line_end, chance.random() < 0.3, preamble, has_mark)


def infer(data: bytes, *, is_complete: bool = True, **given: str | int | bool) -> DryRun:
    """Infer a file, or its first bytes."""
    return dry_run(Sample(data, "file.csv", is_complete, len(data)), "things", None, given)


@dataclass(frozen=True)
class Read:
    """What the parser returns of a file.

    Attributes:
        cells: the cells of its well-formed records as texts.
        values: its rows, by column.
        lines: the physical line of each reject.
        records: how many records splitting counted, and how many parsing read and did not recover.
        inferred: the declaration of its columns, from the observations of all chunks.
    """

    cells: list[tuple[str, ...]]
    values: list[dict[str, Any]]
    lines: list[int]
    records: tuple[int, int]
    inferred: list[dict[str, Any]]


def read(data: bytes, found: DryRun, chunk_bytes: int = 1024**2) -> Read:
    """Read a file, as it was inferred, in chunks of a size."""
    splitter = Splitter(found.dialect, chunk_bytes)
    cuts = [*splitter.feed(data), *splitter.finish()]
    names = None if splitter.header is None else header_names(splitter.header, found.dialect)
    layout = lay_out_names(found.dataset, names, found.dialect, is_detected=False)
    malformed = malformed_policies(found.dataset)
    cells, values, lines, parts, records = [], [], [], [], 0
    for cut in cuts:
        chunk = data[cut.first_byte : cut.end_byte]
        form = (found.dialect, layout.width, cut.first_record, malformed)
        for _, arrays in read_texts(chunk, *form):
            texts = (each.fill_null("").to_pylist() for each in arrays)
            cells += list(zip(*texts, strict=True))
        parts.append(observe_records(chunk, *form))
        place: dict[str, Any] = {"first_line": cut.first_line, "first_record": cut.first_record}
        with parse_chunk(chunk, found.dataset, layout, **place) as parsed:
            assert parsed.records_read == len(parsed.rows) + len(parsed.rejects)
            values += parsed.rows.to_pylist()
            lines += [each.line for each in parsed.rejects]
            records += parsed.records_read - parsed.recovered
    counted = sum(each.records for each in cuts), records
    columns = decide(merge_all(parts), number_columns(layout.width))
    return Read(cells, values, lines, counted, [dict(each.document) for each in columns])


def as_read(table: Table, written: Written) -> list[tuple[str, ...]]:
    """Return the cells of a table as its file has them: what the encoding lacks is a question mark."""
    encoding = written.dialect.encoding
    return [
        tuple(cell.encode(encoding, "replace").decode(encoding) for cell in row)
        for row in table.cells
    ]
