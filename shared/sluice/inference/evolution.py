"""How a declaration changes with a further file: new columns, and wider types; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sluice.datasets.model import RESCUED, Dataset, NewColumns, Unfitting
from sluice.inference.names import name_columns
from sluice.inference.typing.columns import decide
from sluice.inference.typing.widening import document_of, widen
from sluice.parsing.mismatches import match_names

if TYPE_CHECKING:
    from sluice.inference.typing.observations import Observations


def evolved(
    document: Mapping[str, Any],
    dataset: Dataset,
    names: Sequence[str] | None,
    observations: Observations,
) -> dict[str, Any] | None:
    """Return the declaration that takes a file too, by the dataset's policies; None if the current one does.

    Args:
        document: the current declaration.
        dataset: the same, parsed.
        names: the file's header; None where it has none.
        observations: of the file's columns.
    """
    columns = [dict(each) for each in document["columns"]]
    is_changed = False
    if dataset.unfitting is Unfitting.WIDEN:
        is_changed = _widen(columns, dataset, _places(dataset, names), observations)
    if dataset.new_columns is NewColumns.ADD and names is not None:
        added = _new_columns(dataset, names, observations)
        columns += added
        is_changed |= bool(added)
    return {**document, "columns": columns} if is_changed else None


def _places(dataset: Dataset, names: Sequence[str] | None) -> Sequence[object]:
    if names is None:
        return range(len(dataset.columns))
    return match_names(dataset, names).order


def _widen(
    columns: list[dict[str, Any]],
    dataset: Dataset,
    places: Sequence[object],
    observations: Observations,
) -> bool:
    """Replace each column that does not take the cells of its place; return whether there was one."""
    is_changed = False
    for number, (column, place) in enumerate(zip(dataset.columns, places, strict=True)):
        if not isinstance(place, int) or place >= len(observations.columns):
            continue
        if column.name == RESCUED:
            continue
        wider = dict(widen(column, observations.columns[place]).document)
        if wider != document_of(column):
            columns[number] = wider
            is_changed = True
    return is_changed


def _new_columns(
    dataset: Dataset, names: Sequence[str], observations: Observations
) -> list[dict[str, Any]]:
    """Return the columns of names that the dataset does not have."""
    unknown = set(match_names(dataset, names).unknown)
    taken = {each.name for each in dataset.fields}
    found = []
    for name, column in zip(names, decide(observations, name_columns(names)), strict=True):
        if name in unknown:
            document = dict(column.document)
            document["name"] = _free(document["name"], taken)
            document.setdefault("header", name)
            taken.add(document["name"])
            found.append(document)
    return found


def _free(name: str, taken: set[str]) -> str:
    """Return a name that is not taken."""
    number = 2
    free = name
    while free in taken:
        free = f"{name[:44]}_{number}"
        number += 1
    return free
