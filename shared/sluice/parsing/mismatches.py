"""Explains why a file does not fit its dataset: names of columns, delimiter, header; does no I/O."""

from __future__ import annotations

import csv
import difflib
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sluice.datasets.grammars import WHITE_SPACE
from sluice.datasets.model import Dataset
from sluice.errors import HeaderMismatchError

_DELIMITERS = (",", ";", "\t", "|")
_DELIMITER_NAMES = {"\t": "tabs", " ": "spaces"}
#: Similarity from which a name is suggested for another one, see `difflib.get_close_matches`.
_SIMILARITY = 0.6
#: What is examined of a file without header.
_SAMPLE_BYTES = 64 * 1024
_SAMPLE_RECORDS = 50
_BOM = "\ufeff"


@dataclass(frozen=True)
class Match:
    """Which names of a record are which columns of a dataset.

    Attributes:
        order: for each declared column its 0-based position in the record, None where it is absent.
        missing: the first header of each required column that is absent.
        absent: the headers of all columns that are absent.
        unknown: names that are no column's.
        repeated: names that occur more than once.
    """

    order: tuple[int | None, ...]
    missing: list[str]
    absent: list[str]
    unknown: list[str]
    repeated: list[str]

    @property
    def fits(self) -> bool:
        """Whether the record is a header of the dataset."""
        return not (self.missing or self.unknown or self.repeated)

    @property
    def found(self) -> int:
        """How many columns have a name in the record."""
        return sum(position is not None for position in self.order)


def match_names(dataset: Dataset, names: Sequence[str]) -> Match:
    """Find the columns of a dataset by their headers, in any case."""
    keys = [name.casefold() for name in names]
    positions = {key: position for position, key in reversed([*enumerate(keys)])}
    order = tuple(
        next((positions.pop(h) for h in map(str.casefold, column.headers) if h in positions), None)
        for column in dataset.columns
    )
    absent = [column for column, place in zip(dataset.columns, order, strict=True) if place is None]
    return Match(
        order=order,
        missing=[column.headers[0] for column in absent if column.required],
        absent=[header for column in absent for header in column.headers],
        unknown=[names[position] for position in sorted(positions.values())],
        repeated=[name for name in dict.fromkeys(names) if keys.count(name.casefold()) > 1],
    )


def records_of(text: str, delimiter: str, quote: str) -> Iterator[list[str]]:
    """Yield the records of a text that are not blank."""
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quotechar=quote or None,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
    )
    try:
        yield from filter(None, reader)
    except csv.Error:  # a field is longer than the module allows
        return


def names_of(header: str, delimiter: str, quote: str) -> list[str]:
    """Return the names in a header."""
    return [name.strip(WHITE_SPACE) for name in next(records_of(header, delimiter, quote), [])]


def header_mismatch(dataset: Dataset, match: Match, header: str) -> HeaderMismatchError:
    """Return the error of a header that does not fit, with all that is wrong with it."""
    delimiter = _delimiter_of_header(dataset, match, header)
    if delimiter is None:
        what = f"line 1: {_differences(dataset, match)}. {_advice(dataset, match)}"
    else:
        match = match_names(dataset, names_of(header, delimiter, dataset.dialect.quote))
        what = f"line 1: {_other_delimiter(dataset, delimiter)}"
        if not match.fits:
            what += f". Also, {_differences(dataset, match)}"
    return HeaderMismatchError(what, missing=match.missing, unknown=match.unknown)


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
    text = data[:_SAMPLE_BYTES].decode(encoding, "replace").lstrip(_BOM)
    first = next(records_of(text, declared.delimiter, declared.quote), [])
    if _is_header(dataset, first):
        raise HeaderMismatchError(
            f"line 1 is a header, and dataset {dataset.name} declares header = false; remove the"
            " line from the file, or declare header = true"
        )
    is_complete = len(data) <= _SAMPLE_BYTES
    if len(first) == width or width in _widths(text, dataset, declared.delimiter, is_complete):
        return
    for delimiter in _other_delimiters(dataset):
        if _widths(text, dataset, delimiter, is_complete) == {width}:
            raise HeaderMismatchError(
                f"line 1: {_other_delimiter(dataset, delimiter)}. Then each of the first records has"
                f" {width} columns, as declared; now line 1 has {len(first)}"
            )


def _widths(text: str, dataset: Dataset, delimiter: str, is_complete: bool) -> set[int]:
    """Return the numbers of fields of the first records, without one that the sample may cut."""
    found = records_of(text, delimiter, dataset.dialect.quote)
    records = list(itertools.islice(found, _SAMPLE_RECORDS))
    is_cut = not is_complete and 1 < len(records) < _SAMPLE_RECORDS
    return {len(each) for each in (records[:-1] if is_cut else records)}


def _is_header(dataset: Dataset, record: Sequence[str]) -> bool:
    """Whether a record consists of names of columns."""
    columns = tuple(replace(each, headers=(*each.headers, each.name)) for each in dataset.columns)
    names = [cell.strip(WHITE_SPACE) for cell in record]
    is_as_wide = len(names) == len(columns)
    return is_as_wide and match_names(replace(dataset, columns=columns), names).fits


def _other_delimiters(dataset: Dataset) -> list[str]:
    dialect = dataset.dialect
    return [each for each in _DELIMITERS if each not in (dialect.delimiter, dialect.quote)]


def _delimiter_of_header(dataset: Dataset, match: Match, header: str) -> str | None:
    """Return the delimiter by which the header has more of the columns, if there is one."""
    quote, best, most = dataset.dialect.quote, None, match.found
    for each in _other_delimiters(dataset):
        found = match_names(dataset, names_of(header, each, quote)).found
        if found > most:
            best, most = each, found
    return best


def _other_delimiter(dataset: Dataset, delimiter: str) -> str:
    declared = dataset.dialect.delimiter
    return (
        f"the file seems to be separated by {_shown(delimiter)}, and dataset {dataset.name} declares"
        f" {_shown(declared)}; declare delimiter = {_toml(delimiter)}, or save the file with"
        f" {_shown(declared)}"
    )


def _shown(delimiter: str) -> str:
    return _DELIMITER_NAMES.get(delimiter, f"'{delimiter}'")


def _toml(delimiter: str) -> str:
    return '"\\t"' if delimiter == "\t" else f'"{delimiter}"'


def _differences(dataset: Dataset, match: Match) -> str:
    """Return all differences of a header, with the nearest name of each unknown one."""
    found = []
    if match.missing:
        found.append(f"the header lacks {', '.join(match.missing)}")
    if match.repeated:
        found.append(f"the header lists {', '.join(map(repr, match.repeated))} twice")
    if match.unknown:
        headers = [header for column in dataset.columns for header in column.headers]
        names = (_with_nearest(name, match.absent or headers) for name in match.unknown)
        found.append(f"dataset {dataset.name} has no column for {', '.join(names)}")
    return "; ".join(found)


def _with_nearest(name: str, headers: Sequence[str]) -> str:
    nearest = _nearest(name, headers)
    return f"{name} (nearest: {nearest})" if nearest else name


def _nearest(name: str, headers: Sequence[str]) -> str | None:
    keys = {header.casefold(): header for header in headers}
    found = difflib.get_close_matches(name.casefold(), keys, n=1, cutoff=_SIMILARITY)
    return keys[found[0]] if found else None


def _advice(dataset: Dataset, match: Match) -> str:
    if not match.found and not any(_nearest(name, match.absent) for name in match.unknown):
        expected = ", ".join(column.headers[0] for column in dataset.columns)
        return f"If the file has no header, add one ({expected}), or declare header = false"
    if match.repeated:
        return "Name each column once"
    if match.unknown:
        return "Rename these columns in the header, or declare them"
    return "Add the missing columns to the file, or declare that they are not required"
