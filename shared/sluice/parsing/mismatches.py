"""Explains why a file does not fit its dataset: names of columns, delimiter, header; does no I/O."""

from __future__ import annotations

import csv
import difflib
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from sluice.csv.dialects import Dialect, dialect_option
from sluice.csv.field_counts import cells_of
from sluice.csv.preambles import Preamble
from sluice.csv.records import index_records
from sluice.csv.rejects import visible
from sluice.csv.scanning import BOM
from sluice.datasets.grammars import WHITE_SPACE
from sluice.datasets.model import INGESTION_COLUMN, Column, Dataset
from sluice.errors import HeaderMismatchError

_DELIMITERS = (",", ";", "\t", "|")
_DELIMITER_NAMES = {"\t": "tabs", " ": "spaces"}
#: Similarity from which a name is suggested for another one, see `difflib.get_close_matches`.
_SIMILARITY = 0.6
#: What is examined of a file without header.
_SAMPLE_BYTES = 64 * 1024
_SAMPLE_RECORDS = 50
_BOM = "\ufeff"
#: A cell of a line drawn below names, as `-----`.
_RULE = re.compile(r"[ \t]*:?[-=+]{2,}:?[ \t]*")
_RULE_LENGTH = 3
#: Names that an error lists.
_MOST_LISTED = 20


#: 0-based position of a column in the record; of a point also the positions of longitude and latitude.
Place = int | tuple[int, int]


@dataclass(frozen=True)
class Match:
    """Which names of a record are which columns of a dataset.

    Attributes:
        order: for each declared column its place in the record, None where it is absent.
        missing: the first header of each required column that is absent, and each header that fewer
            names have than columns.
        absent: the headers of all columns that are absent.
        unknown: names that are no column's.
        repeated: names that occur more often than columns have them.
        nameless: 1-based positions of the unknown names that are empty.
    """

    order: tuple[Place | None, ...]
    missing: list[str]
    absent: list[str]
    unknown: list[str]
    repeated: list[str]
    nameless: list[int]

    @property
    def fits(self) -> bool:
        """Whether the record is a header of the dataset."""
        return not (self.missing or self.unknown or self.repeated)

    @property
    def found(self) -> int:
        """How many columns have a name in the record."""
        return sum(position is not None for position in self.order)


def match_names(dataset: Dataset, names: Sequence[str]) -> Match:
    """Find the columns of a dataset by their headers, in any case, or else by their stored names.

    The names that an answer of the API has are understood: `<name>_lon` and `<name>_lat` of a point,
    and `ingestion`, which is ignored. Columns with the same header have it in the order declared.
    """
    keys = [name.casefold() for name in names]
    positions: dict[str, list[int]] = {}
    for position, key in enumerate(keys):
        positions.setdefault(key, []).append(position)
    by_header = [_take(positions, map(str.casefold, column.headers)) for column in dataset.columns]
    order = tuple(
        _by_name(column, positions) if place is None else place
        for column, place in zip(dataset.columns, by_header, strict=True)
    )
    positions.pop(INGESTION_COLUMN, None)
    wanted = Counter(h for c in dataset.columns for h in {*map(str.casefold, c.headers)})
    found = Counter(keys)
    too_few = [name for name, key in zip(names, keys, strict=True) if found[key] < wanted[key]]
    unknown = sorted(itertools.chain(*positions.values()))
    absent = [column for column, place in zip(dataset.columns, order, strict=True) if place is None]
    return Match(
        order=order,
        missing=[column.headers[0] for column in absent if column.required]
        + [f"another {name!r}" for name in too_few],
        absent=[header for column in absent for header in column.headers],
        unknown=[names[position] for position in unknown],
        repeated=[
            name
            for key, name in dict(zip(keys, names, strict=True)).items()
            if found[key] > max(1, wanted[key])
        ],
        nameless=[position + 1 for position in unknown if not keys[position]],
    )


def _take(positions: dict[str, list[int]], keys: Iterable[str]) -> int | None:
    """Take and return the first position of the first key that has one."""
    return next((positions[key].pop(0) for key in keys if positions.get(key)), None)


def _by_name(column: Column, positions: dict[str, list[int]]) -> Place | None:
    """Take and return the place of a column that has its stored names in the record."""
    if (place := _take(positions, [column.name])) is not None or not column.definition.is_compound:
        return place
    lon, lat = (each.name for each in column.fields)
    if not (positions.get(lon) and positions.get(lat)):
        return None
    return positions[lon].pop(0), positions[lat].pop(0)


def records_of(text: str, dialect: Dialect) -> Iterator[list[str]]:
    """Yield the records of a text that are not blank, malformed ones as far as they can be read."""
    if not dialect.is_plain:
        yield from _records_of_bytes(text.encode(), replace(dialect, encoding="utf-8"))
        return
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=dialect.delimiter,
        quotechar=dialect.quote or None,
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
    )
    try:
        yield from filter(None, reader)
    except csv.Error:  # a field is longer than the module allows
        return


def _records_of_bytes(data: bytes, dialect: Dialect) -> Iterator[list[str]]:
    index = index_records(data, dialect)
    for start, end in zip(index.starts.tolist(), index.ends.tolist(), strict=True):
        yield [(each or b"").decode() for each in cells_of(data[start:end], dialect)]


def names_of(header: str, dialect: Dialect) -> list[str]:
    """Return the names in a header; those of several records are joined with a space."""
    records = [
        [name.strip(WHITE_SPACE) for name in record]
        for record in itertools.islice(records_of(header, dialect), dialect.header_lines)
    ]
    if dialect.trailing_delimiter:
        records = [each[:-1] if each[-1:] == [""] else each for each in records]
    return joined_names(records)


def joined_names(records: Sequence[Sequence[str]]) -> list[str]:
    """Join the names of the records of a header with spaces; a rule below names is none."""
    named = [each for number, each in enumerate(records) if not (number and is_rule(each))]
    columns = itertools.zip_longest(*named, fillvalue="")
    return [" ".join(filter(None, parts)) for parts in columns]


def is_rule(cells: Sequence[str]) -> bool:
    """Whether a record is a line drawn below names, as clients of databases print it."""
    is_long = any(len(each) >= _RULE_LENGTH for each in cells)
    return is_long and all(_RULE.fullmatch(each) for each in cells)


def header_mismatch(dataset: Dataset, match: Match, header: str) -> HeaderMismatchError:
    """Return the error of a header that does not fit, with all that is wrong with it."""
    delimiter = _delimiter_of_header(dataset, match, header)
    line = dataset.dialect.skip_lines + 1
    if delimiter is None:
        what = f"line {line}: {_differences(dataset, match)}. {_advice(dataset, match)}"
    else:
        match = match_names(dataset, names_of(header, _with_delimiter(dataset, delimiter)))
        what = f"line {line}: {_other_delimiter(dataset, delimiter)}"
        if not match.fits:
            what += f". Also, {_differences(dataset, match)}"
    return HeaderMismatchError(
        what, missing=match.missing[:_MOST_LISTED], unknown=match.unknown[:_MOST_LISTED]
    )


def check_first_records(dataset: Dataset, encoding: str, data: bytes) -> None:
    """Refuse a file for a dataset without header if its first records show that it is another kind.

    Args:
        dataset: the declaration.
        encoding: of the file.
        data: the beginning of the file.

    Raises:
        HeaderMismatchError: the first record is a header, or all records have another delimiter.
    """
    declared, width = dataset.dialect, len(dataset.columns)
    if declared.header:
        return
    data = data.removeprefix(BOM)
    data = data[Preamble(declared).skip(data) :]
    text = data[:_SAMPLE_BYTES].decode(encoding, "replace").lstrip(_BOM)
    first = next(records_of(text, declared), [])
    is_answer = INGESTION_COLUMN in first and len(first) > width
    if _is_header(dataset, first):
        raise HeaderMismatchError(
            f"line 1 is a header, and dataset {dataset.name} declares header = false; remove the"
            " line from the file, or declare header = true"
            + (f"; also remove the column {INGESTION_COLUMN}" if is_answer else "")
        )
    is_complete = len(data) <= _SAMPLE_BYTES
    if len(first) == width or width in _widths(text, declared, is_complete):
        return
    for delimiter in _other_delimiters(dataset):
        if _widths(text, _with_delimiter(dataset, delimiter), is_complete) == {width}:
            raise HeaderMismatchError(
                f"line 1: {_other_delimiter(dataset, delimiter)}. Then each of the first records has"
                f" {width} columns, as declared; now line 1 has {len(first)}"
            )


def _widths(text: str, dialect: Dialect, is_complete: bool) -> set[int]:
    """Return the numbers of fields of the first records, without one that the sample may cut."""
    found = records_of(text, dialect)
    records = list(itertools.islice(found, _SAMPLE_RECORDS))
    is_cut = not is_complete and 1 < len(records) < _SAMPLE_RECORDS
    return {len(each) for each in (records[:-1] if is_cut else records)}


def _is_header(dataset: Dataset, record: Sequence[str]) -> bool:
    """Whether a record consists of names of columns."""
    columns = tuple(replace(each, headers=(*each.headers, each.name)) for each in dataset.columns)
    names = [cell.strip(WHITE_SPACE) for cell in record]
    match = match_names(replace(dataset, columns=columns), names)
    return match.fits and match.found == len(columns)


def _other_delimiters(dataset: Dataset) -> list[str]:
    marks = dataset.dialect.quote + dataset.dialect.escape + dataset.dialect.comment
    taken = (dataset.dialect.delimiter, *marks)
    return [each for each in _DELIMITERS if each not in taken]


def _with_delimiter(dataset: Dataset, delimiter: str) -> Dialect:
    return replace(dataset.dialect, delimiter=delimiter, encoding="utf-8")


def _delimiter_of_header(dataset: Dataset, match: Match, header: str) -> str | None:
    """Return the delimiter by which the header has more of the columns, if there is one."""
    best, most = None, match.found
    for each in _other_delimiters(dataset):
        found = match_names(dataset, names_of(header, _with_delimiter(dataset, each))).found
        if found > most:
            best, most = each, found
    return best


def _other_delimiter(dataset: Dataset, delimiter: str) -> str:
    declared = dataset.dialect.delimiter
    return (
        f"the file seems to use the delimiter {_shown(delimiter)}, and dataset {dataset.name} declares"
        f" {_shown(declared)}; load this file with {dialect_option('delimiter', delimiter)}; or declare"
        f' delimiter = {_toml(delimiter)}, or dialect = "detect" for files of both kinds, with'
        f" `sluice datasets declare {dataset.name}`"
    )


def _shown(delimiter: str) -> str:
    return _DELIMITER_NAMES.get(delimiter, f"'{delimiter}'")


def _toml(delimiter: str) -> str:
    return '"\\t"' if delimiter == "\t" else f'"{delimiter}"'


def _differences(dataset: Dataset, match: Match) -> str:
    """Return all differences of a header, with the nearest name of each unknown one."""
    found = []
    if match.missing:
        found.append(f"the header lacks {_listed(match.missing)}")
    if match.repeated:
        repeated = [repr(visible(name)) for name in match.repeated[: _MOST_LISTED + 1]]
        found.append(f"the header lists {_listed(repeated, len(match.repeated))} twice")
    if match.nameless:
        places = f"{_listed(list(map(str, match.nameless)))} of the header"
        found.append(
            f"column {places} has no name"
            if len(match.nameless) == 1
            else f"columns {places} have no name"
        )
    if unknown := [name for name in match.unknown if name]:
        headers = [header for column in dataset.columns for header in column.headers]
        names = [_with_nearest(name, match.absent or headers) for name in unknown[:_MOST_LISTED]]
        found.append(f"dataset {dataset.name} has no column for {_listed(names, len(unknown))}")
    return "; ".join(found)


def _listed(names: Sequence[str], count: int | None = None) -> str:
    """Return names in a row, the first of them where they are many."""
    count = count or len(names)
    more = f" and {count - _MOST_LISTED:,} more" if count > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more


def _with_nearest(name: str, headers: Sequence[str]) -> str:
    nearest, shown = _nearest(name, headers), visible(name)
    return f"{shown} (nearest: {nearest})" if nearest else shown


def _nearest(name: str, headers: Sequence[str]) -> str | None:
    keys = {header.casefold(): header for header in headers}
    found = difflib.get_close_matches(name.casefold(), keys, n=1, cutoff=_SIMILARITY)
    return keys[found[0]] if found else None


def _advice(dataset: Dataset, match: Match) -> str:
    if match.nameless == [len(match.unknown) + match.found]:
        return "If each line ends with a delimiter, declare trailing_delimiter = true"
    likely = match.unknown[:_MOST_LISTED]
    if not match.found and not any(_nearest(name, match.absent) for name in likely):
        expected = ", ".join(column.headers[0] for column in dataset.columns)
        return (
            f"If the file has no header, add one ({expected}), or load the file with"
            f" {dialect_option('header', 'false')}, or declare header = false. If other lines precede the"
            f" header, load it with --dialect skip_lines=1"
        )
    if match.repeated:
        return "Name each column once"
    if match.unknown and not match.missing:
        return (
            "Rename these columns in the header, or declare them; or declare new_columns ="
            f' "add" or "ignore" with `sluice datasets declare {dataset.name}`'
        )
    if match.unknown:
        return "Rename these columns in the header, or declare them"
    return "Add the missing columns to the file, or declare that they are not required"
