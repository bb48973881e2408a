"""Decides the columns of a file from what all its cells admit: the only place that does."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sluice.datasets.types import TYPES, ColumnType
from sluice.inference.names import ColumnName
from sluice.inference.toml import toml_line
from sluice.inference.typing.column_types import decide_type
from sluice.inference.typing.decisions import Decision, Habits, text_because
from sluice.inference.typing.observations import ColumnObservation, Observations

#: Texts that repeat had better be stored once if there are so many cells, and so many for each text. Only
#: proposed: a later file may have more texts than a dictionary holds.
_DICTIONARY_CELLS, _DICTIONARY_REPEATS = 10_000, 100
#: Texts are proposed as the only allowed ones if they are so few, and each is so frequent on average.
_MAX_CHOICES, _CHOICE_REPEATS = 12, 20
_LATITUDE = re.compile("(?:.*_)?lat(?:itude)?(?:_.*)?")
_LONGITUDE = re.compile("(?:.*_)?(?:lon|lng|long|longitude)(?:_.*)?")
_NUMBERS = (ColumnType.NUMERIC, ColumnType.FLOAT)


@dataclass(frozen=True)
class InferredColumn:
    """A column of a file as it would be declared.

    Attributes:
        document: the keys of a `[[columns]]` table.
        evidence: why, as sentences without a point.
        proposals: keys that the file suggests and that a person decides, as lines of TOML.
        is_unique: whether the values are proven to be unique and complete.
    """

    document: Mapping[str, Any]
    evidence: tuple[str, ...] = ()
    proposals: tuple[str, ...] = ()
    is_unique: bool = False


def decide(observations: Observations, names: Sequence[ColumnName]) -> tuple[InferredColumn, ...]:
    """Return the columns of a file.

    Args:
        observations: what all cells of the file admit.
        names: the names of the columns, see `sluice.inference.names`.
    """
    columns = observations.padded(len(names))
    decisions = _decisions(columns)
    decisions = _with_coordinates(decisions, [each.name for each in names])
    taken = {each.name for each in names}
    return tuple(
        _column(name, column, _storable(decision, name, taken))
        for name, column, decision in zip(names, columns, decisions, strict=False)
    )


def _decisions(columns: Sequence[ColumnObservation]) -> list[Decision]:
    """Decide each column, and what it leaves open by the habits that all others share."""
    alone = [decide_type(each.forms, each.ends) for each in columns]
    orders = {each.proven.order for each in alone} - {""}
    separators = {each.proven.decimal for each in alone} - {""}
    habits = Habits(
        order=orders.pop() if len(orders) == 1 else "",
        decimal=separators.pop() if len(separators) == 1 else "",
    )
    return [
        decide_type(column.forms, column.ends, habits) if decision.is_open else decision
        for column, decision in zip(columns, alone, strict=True)
    ]


def _with_coordinates(decisions: list[Decision], names: Sequence[str]) -> list[Decision]:
    """Make pairs of latitude and longitude floats, which keep all digits of a position."""
    found = dict(zip(names, decisions, strict=False))
    for lat, lon in _pairs(names):
        pair = (lat, lon)
        if all(found[each].type in _NUMBERS and found[each].fits_double for each in pair):
            for each, other in (pair, pair[::-1]):
                reason = f"a position together with {other}"
                decision = found[each]
                found[each] = replace(
                    decision, type=ColumnType.FLOAT, reasons=(reason, *decision.reasons)
                )
    return [found[name] for name in names]


def _pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the names of latitudes, each with that of its longitude."""
    longitudes = {_stem(name): name for name in names if _LONGITUDE.fullmatch(name)}
    return [
        (name, longitudes[_stem(name)])
        for name in names
        if _LATITUDE.fullmatch(name) and _stem(name) in longitudes
    ]


def _stem(name: str) -> str:
    return re.sub("(?:^|(?<=_))(?:lat(?:itude)?|lon(?:g(?:itude)?)?|lng)(?=_|$)", "*", name)


def _storable(decision: Decision, name: ColumnName, taken: Collection[str]) -> Decision:
    """Return text instead of a type whose stored columns have the names of others."""
    stored = {name.name + suffix for suffix in TYPES[decision.type].suffixes} - {name.name}
    if clash := stored & set(taken):
        return text_because(f"a {decision.type} would be stored as {min(clash)}, which is a column")
    return decision


def _column(name: ColumnName, column: ColumnObservation, decision: Decision) -> InferredColumn:
    document: dict[str, Any] = {"name": name.name, "type": str(decision.type)}
    if name.header is not None and name.header != name.name:
        document["header"] = name.header
    document |= decision.keys
    if decision.type is ColumnType.TEXT and column.spaced:
        document["trim"] = False
    evidence = (*_cells(column), *_reasons(decision), *_notes(column, decision))
    return InferredColumn(document, evidence, _proposals(column, decision), _is_unique(column))


def _reasons(decision: Decision) -> tuple[str, ...]:
    """Return the reasons of a type, the first after its name."""
    first, others = decision.reasons[:1], decision.reasons[1:]
    return (*(f"{decision.type}: {reason}" for reason in first), *others)


def _cells(column: ColumnObservation) -> tuple[str, ...]:
    if column.nulls == column.cells:
        return ()
    counted = f"{column.cells:,} cell{'s' if column.cells > 1 else ''}"
    return (f"{counted}, {column.nulls:,} of them empty" if column.nulls else counted,)


def _notes(column: ColumnObservation, decision: Decision) -> tuple[str, ...]:
    """Return what a reader may want to know about a decision."""
    notes = []
    if decision.type is ColumnType.TEXT and column.spaced:
        notes.append("white space around values is kept")
    if decision.type is ColumnType.INTEGER and column.shortest == column.longest == 8:
        notes.append('for dates such as 20180528, declare type = "date" and formats = ["%Y%m%d"]')
    return tuple(notes)


def _proposals(column: ColumnObservation, decision: Decision) -> tuple[str, ...]:
    if any("%y" in each for each in decision.keys.get("formats", ())):
        return (toml_line("two_digit_years", "past"),)
    values = sorted(column.distinct or ())
    if decision.type is not ColumnType.TEXT or not values:
        return ()
    is_choice = 1 < len(values) <= _MAX_CHOICES and column.cells >= len(values) * _CHOICE_REPEATS
    is_repeated = column.cells >= max(_DICTIONARY_CELLS, len(values) * _DICTIONARY_REPEATS)
    proposed = {"one_of": values if is_choice else None, "dictionary": is_repeated or None}
    return tuple(toml_line(key, value) for key, value in proposed.items() if value)


def _is_unique(column: ColumnObservation) -> bool:
    """Whether the values are proven to be unique, by their order or because all are known."""
    if column.nulls or not column.cells:
        return False
    is_known = column.distinct is not None and len(column.distinct) == column.cells
    return bool(column.runs) or is_known
