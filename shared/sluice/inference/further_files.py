"""What a declared dataset knows about a further file: its header, and whether its columns are observed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sluice.datasets.model import Dataset, NewColumns, Unfitting
from sluice.inference.detection.dialects import Detection, detect_dialect
from sluice.inference.names import number_columns
from sluice.parsing.mismatches import match_names


def detect_file(
    dataset: Dataset | None,
    head: bytes,
    tail: bytes,
    *,
    is_complete: bool,
    given: Mapping[str, str | int | bool],
) -> Detection:
    """Detect the dialect of a file; whether it has a header, its dataset shows, if there is one.

    Args:
        dataset: None where nothing is declared.
        head: the first bytes.
        tail: the last bytes, or none.
        is_complete: whether the first bytes are the complete file.
        given: keys of the dialect that are not to be detected.
    """
    found = detect_dialect(head, tail, is_complete=is_complete, given=given)
    if dataset is None:
        return found
    if "header" in given:
        return _with_header(found, is_present=bool(given["header"]))
    again = {**given, "header": not found.dialect.header}
    other = detect_dialect(head, tail, is_complete=is_complete, given=again)
    return _as_declared(dataset, found, _with_header(other, is_present=not found.dialect.header))


def _with_header(found: Detection, *, is_present: bool) -> Detection:
    """Return the detection with or without header: without one, columns would be taken by their places."""
    return replace(found, dialect=replace(found.dialect, header=is_present))


def must_observe(dataset: Dataset, names: Sequence[str] | None) -> bool:
    """Whether the file may have columns or values that change the declaration."""
    if dataset.unfitting is Unfitting.WIDEN:
        return True
    is_new = names is not None and bool(match_names(dataset, names).unknown)
    return dataset.new_columns is NewColumns.ADD and is_new


def _as_declared(dataset: Dataset, found: Detection, other: Detection) -> Detection:
    """Return the detection whose header fits a dataset: with a header of its names, or without any."""
    with_header = found if found.dialect.header else other
    is_header = match_names(dataset, with_header.header).found > 0
    return with_header if is_header or not _is_numbered(dataset) else _without(found, other)


def _without(found: Detection, other: Detection) -> Detection:
    return other if found.dialect.header else found


def _is_numbered(dataset: Dataset) -> bool:
    """Whether the columns have the names of those of a file without header."""
    names = [each.name for each in number_columns(len(dataset.columns))]
    return [each.headers for each in dataset.columns] == [(name,) for name in names]
