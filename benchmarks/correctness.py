"""Compares how readers understand broken CSV files, with the dialect given and without.

Run `python benchmarks/correctness.py [--every 1] [--json FILE]`. A table is written correctly, in each usual
way, and then with one fault in one place: a delimiter or quote too many, a title, another line end, and
others. For each reader are counted, in all files: the rows that are right; the rows that it reports as
refused; the rows that are missing and not reported; the rows that are in no file. A row that nobody can
restore, such as one with a field too many, counts as right nowhere.

Compared are the sniffer and reader of DuckDB (`store_rejects`), pyarrow (with a handler of invalid rows),
PostgreSQL's COPY, Python's csv, and CleverCSV if it is installed (`pip install clevercsv`). All of them store
text here; Sluice infers types, so a value that its type would change counts against it.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import psycopg2
import pyarrow as pa
import pyarrow.csv

from sluice.csv.decompression import Expansion, read_content
from sluice.csv.splitting import Splitter
from sluice.datasets.model import RECORD_COLUMN
from sluice.errors import FileError
from sluice.inference.dry_run import Sample, dry_run
from sluice.local import parts, postgres
from sluice.local.state import Ports, State
from sluice.parsing.layout import header_names, lay_out_names
from sluice.parsing.parser import parse_chunk

if TYPE_CHECKING:
    from collections.abc import Mapping

Row = Sequence[str]
HEADER = ("id", "day", "name", "note", "price", "city")
CITIES = ("Gent", "Lyon", "Łódź", "Málaga", "Kraków", "São Paulo")
NOTES = (
    "light, quick and dry",
    "the best for cold, wet days",
    "made of wool",
    'a table of 48" width, round',
    "won't shrink, stretch or fade",
)
ROWS = tuple(
    (
        str(number),
        f"2024-{1 + number % 12:02}-{1 + number % 28:02}",
        f"Item {number}" if number % 4 else f"Men's vest {number}",
        f"{NOTES[number % len(NOTES)]} ({number})",
        f"{number * 7 % 90}.{10 + number}",
        CITIES[number % len(CITIES)],
    )
    for number in range(1, 41)
)
#: Where a row is broken: the header, the first rows, one in the middle and the last.
PLACES = (0, 1, 2, 20, 40)
ALL = "all"


@dataclass(frozen=True)
class Way:
    """How a file is written."""

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    line_end: str = "\n"
    encoding: str = "utf-8"
    header: bool = True
    skip_lines: int = 0

    def cells(self, row: Row) -> list[str]:
        """Return the cells of a row as they are written."""
        return [self._cell(each) for each in row]

    def line(self, row: Row) -> str:
        """Return a row as it is written, without line end."""
        return self.delimiter.join(self.cells(row))

    def _cell(self, text: str) -> str:
        marks = (*self.delimiter, self.quote, self.escape or self.quote)
        if not any(mark in text for mark in marks):
            return text
        before = self.escape or self.quote
        return self.quote + text.replace(self.quote, before + self.quote) + self.quote


@dataclass(frozen=True)
class Broken:
    """A file, the rows that it has, and how many of its rows nobody can restore."""

    name: str
    way: Way
    data: bytes
    rows: Sequence[Row]
    lost: int = 0


@dataclass
class Count:
    """What a reader made of all files."""

    right: int = 0
    reported: int = 0
    missing: int = 0
    wrong: int = 0


@dataclass(frozen=True)
class Answer:
    """What a reader made of a file."""

    rows: Sequence[Sequence[object]] = ()
    reported: int | str = field(default=ALL)


def files() -> Iterator[Broken]:
    yield from _written_in_each_way()
    yield from _with_other_lines()
    for place in PLACES:
        yield from _with_a_broken_line(place)


def _file(name: str, way: Way, lines: Sequence[str], rows: Sequence[Row] = ROWS) -> Broken:
    text = way.line_end.join(lines) + way.line_end
    return Broken(name, way, text.encode(way.encoding), rows, len(ROWS) - len(rows))


def _written_in_each_way() -> Iterator[Broken]:
    ways = [Way(delimiter) for delimiter in (",", ";", "\t", "|", ", ", "~")]
    ways += [Way(line_end=each) for each in ("\r\n", "\r")]
    ways += [Way(quote="'"), Way(quote="'", delimiter=";"), Way(escape="\\"), Way(header=False)]
    ways += [Way(encoding=each) for each in ("utf-8-sig", "utf-16")]
    for way in ways:
        yield _file(f"{way}", way, [way.line(each) for each in _records(way)])


def _records(way: Way) -> list[Row]:
    return [HEADER, *ROWS] if way.header else list(ROWS)


def _with_other_lines() -> Iterator[Broken]:
    way = Way()
    lines = [way.line(each) for each in _records(way)]
    titled = replace(way, skip_lines=2)
    yield _file("title", titled, ["Items of the spring, by day", "", *lines])
    yield _file("title of full width", titled, ["Items,,,,,", ",,,,,", *lines])
    yield _file("header twice", way, [lines[0], *lines])
    yield _file("header in the middle", way, [*lines[:20], lines[0], *lines[20:]])
    yield _file("blank lines", way, [*lines[:9], "", *lines[9:30], "", "", *lines[30:], "", ""])
    yield _file("note at the end", way, [*lines, "", "Source: the shop"])
    yield Broken("no last line end", way, "\n".join(lines).encode(), ROWS)
    mixed = "\r\n".join(lines[:20]) + "\r\n" + "\n".join(lines[20:]) + "\n"
    yield Broken("mixed line ends", way, mixed.encode(), ROWS)


def _with_a_broken_line(place: int) -> Iterator[Broken]:
    way = Way()
    lines = [way.line(each) for each in _records(way)]
    cells = way.cells(_records(way)[place])
    others = [row for number, row in enumerate(ROWS, 1) if number != place]

    def broken(name: str, line: str, rows: Sequence[Row] = others) -> Broken:
        return _file(
            f"{name} in line {place}", way, [*lines[:place], line, *lines[place + 1 :]], rows
        )

    for at in range(len(cells)):
        yield broken(f"delimiter before {at}", ",".join([*cells[:at], "", *cells[at:]]))
        quoted = [*cells[:at], '"' + cells[at], *cells[at + 1 :]]
        yield broken(f"quote before {at}", ",".join(quoted))
    for at in range(1, len(cells)):
        joined = [*cells[: at - 1], cells[at - 1] + cells[at], *cells[at + 1 :]]
        yield broken(f"no delimiter before {at}", ",".join(joined))
    yield broken("semicolons", ";".join(cells))
    yield broken("spaces", " ".join(cells))
    yield broken("a line end", lines[place][:9] + "\n" + lines[place][9:])
    yield broken("cut", lines[place][:12])
    yield broken("nul", lines[place].replace("a", "\0", 1) if "a" in lines[place] else "\0")


def sluice(broken: Broken, *, is_given: bool) -> Answer:
    way = broken.way
    given: dict[str, str | int | bool] = (
        {"delimiter": way.delimiter, "quote": way.quote, "escape": way.escape, "header": way.header}
        if is_given
        else {}
    )
    sample = Sample(broken.data, "a.csv", is_complete=True, size_bytes=len(broken.data))
    try:
        ran = dry_run(sample, "files", None, given)
    except FileError:
        return Answer()
    opened = read_content(iter([broken.data]), sample.name, sample.size_bytes, Expansion())
    content = b"".join(opened.blocks)
    splitter = Splitter(ran.dialect, len(content) + 1)
    cuts = [*splitter.feed(content), *splitter.finish()]
    names = None if splitter.header is None else header_names(splitter.header, ran.dialect)
    layout = lay_out_names(ran.dataset, names, ran.dialect, is_detected=True)
    rows: list[Sequence[object]] = []
    for cut in cuts:
        chunk = content[cut.first_byte : cut.end_byte]
        place: dict[str, Any] = {"first_line": cut.first_line, "first_record": cut.first_record}
        with parse_chunk(chunk, ran.dataset, layout, **place, is_numbered=True) as parsed:
            found = parsed.rows.drop_columns([RECORD_COLUMN])
            rows += [list(each.values()) for each in found.to_pylist()]
    return Answer(rows, ran.rejected)


def of_duckdb(broken: Broken, *, is_given: bool) -> Answer:
    way = broken.way
    options: dict[str, Any] = {"all_varchar": True, "store_rejects": True}
    if is_given:
        marks = {"delimiter": way.delimiter, "quotechar": way.quote}
        options |= {**marks, "escapechar": way.escape or way.quote, "header": way.header}
        options |= {"skiprows": way.skip_lines} if way.skip_lines else {}
    with tempfile.NamedTemporaryFile(suffix=".csv") as file, duckdb.connect() as connection:
        Path(file.name).write_bytes(broken.data)
        try:
            rows = connection.read_csv(file.name, **options).fetchall()
            counted = connection.sql("SELECT count(DISTINCT line) FROM reject_errors").fetchall()
        except duckdb.Error:
            return Answer()
    return Answer(rows, counted[0][0])


def of_pyarrow(broken: Broken, *, is_given: bool) -> Answer:
    way, refused = broken.way, 0

    def refuse(_: object) -> str:
        nonlocal refused
        refused += 1
        return "skip"

    parse: dict[str, Any] = {"newlines_in_values": True, "invalid_row_handler": refuse}
    read: dict[str, Any] = {}
    if is_given:
        parse |= {"delimiter": way.delimiter, "quote_char": way.quote}
        parse |= {"escape_char": way.escape or False}
        read = {"skip_rows": way.skip_lines, "autogenerate_column_names": not way.header}
        read |= {"encoding": way.encoding.removesuffix("-sig")}

    def parsed(convert: pa.csv.ConvertOptions) -> pa.Table:
        nonlocal refused
        refused = 0
        options = pa.csv.ReadOptions(**read), pa.csv.ParseOptions(**parse)
        return pa.csv.read_csv(io.BytesIO(broken.data), *options, convert)

    try:
        names = parsed(pa.csv.ConvertOptions()).column_names
        types = dict.fromkeys(names, pa.string())
        found = parsed(pa.csv.ConvertOptions(column_types=types, strings_can_be_null=False))
    except (pa.ArrowInvalid, TypeError, ValueError, KeyError):
        return Answer()
    columns = [each.to_pylist() for each in found.columns]
    return Answer(list(zip(*columns, strict=True)), refused)


def of_python(broken: Broken, *, is_given: bool) -> Answer:
    way = broken.way
    encoding = way.encoding if is_given else "utf-8-sig"
    try:
        text = broken.data.decode(encoding)
        dialect: Any = (
            {"delimiter": way.delimiter, "quotechar": way.quote}
            | ({"escapechar": way.escape, "doublequote": False} if way.escape else {})
            if is_given
            else {"dialect": csv.Sniffer().sniff(text)}
        )
        rows = list(csv.reader(io.StringIO(text, newline=""), **dialect))
    except (csv.Error, TypeError, UnicodeError):
        return Answer()
    has_header = way.header if is_given else True
    return Answer([each for each in rows[way.skip_lines * is_given + has_header :] if each], 0)


def of_clevercsv(broken: Broken, *, is_given: bool) -> Answer:
    import clevercsv  # noqa: PLC0415  # no dependency
    from clevercsv.dialect import SimpleDialect  # noqa: PLC0415

    way = broken.way
    try:
        text = broken.data.decode(way.encoding if is_given else "utf-8-sig")
        detector = clevercsv.Detector()
        dialect = (
            SimpleDialect(way.delimiter, way.quote, way.escape)
            if is_given
            else detector.detect(text)
        )
        rows = list(clevercsv.reader(io.StringIO(text, newline=""), dialect))
        has_header = way.header if is_given else detector.has_header(text)
    except Exception:  # noqa: BLE001  # whatever it raises, it reads nothing
        return Answer()
    return Answer([each for each in rows[way.skip_lines * is_given + has_header :] if each], 0)


def of_postgres(cursor: Any) -> Callable[..., Answer]:
    def read(broken: Broken, *, is_given: bool) -> Answer:
        way = broken.way if is_given else Way()
        encoding = {"utf-16": "", "utf-8-sig": "utf-8"}.get(way.encoding, way.encoding)
        data, header = broken.data, "HEADER" if way.header else ""
        columns = ", ".join(f"c{number} text" for number in range(len(HEADER)))
        if not encoding or way.skip_lines or len(way.delimiter) > 1:
            return Answer()
        cursor.execute(f"DROP TABLE IF EXISTS files; CREATE TABLE files ({columns})")
        try:
            cursor.copy_expert(
                f"COPY files FROM STDIN (FORMAT csv, {header + ',' if header else ''}"
                f" DELIMITER {_quoted(way.delimiter)}, QUOTE {_quoted(way.quote)},"
                f" ESCAPE {_quoted(way.escape or way.quote)}, ENCODING '{encoding}')",
                io.BytesIO(data),
            )
        except psycopg2.Error:
            return Answer()
        cursor.execute("SELECT * FROM files")
        return Answer(cursor.fetchall(), 0)

    return read


def _quoted(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _count(count: Count, broken: Broken, answer: Answer) -> None:
    expected = Counter(tuple(map(_canonical, row)) for row in broken.rows)
    got = Counter(tuple(map(_canonical, row)) for row in answer.rows)
    right = (expected & got).total()
    total = len(broken.rows) + broken.lost
    reported = total if isinstance(answer.reported, str) else min(answer.reported, total)
    count.right += right
    count.reported += reported
    count.wrong += len(answer.rows) - right
    count.missing += max(0, total - len(answer.rows) - reported)


def _canonical(value: object) -> str:
    text = "" if value is None else str(value).strip(" ")
    try:
        return str(Decimal(text).normalize())
    except InvalidOperation:
        return text


@contextmanager
def _readers() -> Iterator[Mapping[str, Callable[..., Answer]]]:
    readers: dict[str, Callable[..., Answer]] = {
        "Sluice": sluice,
        "DuckDB": of_duckdb,
        "pyarrow": of_pyarrow,
        "Python csv": of_python,
    }
    if find_spec("clevercsv"):
        readers["CleverCSV"] = of_clevercsv
    else:
        print("CleverCSV is not installed, and left out: pip install clevercsv")
    with tempfile.TemporaryDirectory(prefix="sluice-correctness-") as folder:
        state, ports = State(Path(folder)), Ports.free()
        server = postgres.Server(Path(folder) / "postgres", ports.postgres)
        part = postgres.part(server, postgres.TEST_FLAGS)
        with state.lock():
            parts.start(state, part)
        try:
            url = server.url("postgres").replace("+pg8000", "")
            connection = psycopg2.connect(url)
            connection.autocommit = True
            with connection.cursor() as cursor:
                yield {**readers, "PostgreSQL COPY": of_postgres(cursor)}
            connection.close()
        finally:
            parts.stop(state, part.name, part.stop_signal)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--every", type=int, default=1, help="read every n-th file only")
    parser.add_argument("--json", type=Path, help="write the counts to a file")
    options = parser.parse_args()
    chosen = list(files())[:: options.every]
    counts: dict[str, dict[str, Count]] = {"given": {}, "detected": {}}
    with _readers() as readers:
        for broken in chosen:
            for how, found in counts.items():
                for name, reader in readers.items():
                    answer = reader(broken, is_given=how == "given")
                    _count(found.setdefault(name, Count()), broken, answer)
    total = sum(len(each.rows) for each in chosen)
    print(f"{len(chosen)} files, {total:,} rows that can be read")
    for how, found in counts.items():
        print(f"\n{'dialect ' + how:20}{'right':>9}{'reported':>9}{'missing':>9}{'wrong':>9}")
        for name, each in found.items():
            print(f"{name:20}{each.right:9,}{each.reported:9,}{each.missing:9,}{each.wrong:9,}")
    if options.json:
        documents = {
            how: {name: vars(each) for name, each in found.items()} for how, found in counts.items()
        }
        options.json.write_text(json.dumps(documents, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
