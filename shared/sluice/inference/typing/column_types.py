"""Decides the type of a column from the forms of its cells; knows no name and no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sluice.datasets.types import ColumnType
from sluice.inference.detection.ends import Ends
from sluice.inference.typing.cell_forms import BOOLEANS, JSON, NULL_MARK, NULL_WORDS, TEXT
from sluice.inference.typing.decisions import (
    Decision,
    Forms,
    Habits,
    contrast,
    first_of,
    show,
    text_because,
)
from sluice.inference.typing.number_types import decide_number
from sluice.inference.typing.observations import Witness
from sluice.inference.typing.time_types import decide_time

#: Words that are a boolean alone, and words that are one together with the other of their pair.
_ALONE = {"true", "false"}
_PAIRS = ({"true", "false"}, {"t", "f"}, {"yes", "no"}, {"y", "n"})


def kind_of(form: str) -> str:
    """Return what kind of form it is: the first word, of words `null`, `boolean` or `not_finite`."""
    kind, _, rest = form.partition(" ")
    if kind != "word":
        return kind
    if rest in NULL_WORDS:
        return "null"
    return "boolean" if rest.lower() in BOOLEANS else "not_finite"


def word_of(form: str) -> str:
    """Return the word of a form."""
    return form.partition(" ")[2]


def decide_type(forms: Forms, ends: Ends | None = None, habits: Habits | None = None) -> Decision:
    """Return the narrowest type that admits all forms without changing the value of a cell.

    Args:
        forms: the forms of all cells.
        ends: the numbers at both ends of dates with a year of two digits.
        habits: how other columns of the file are written.
    """
    kinds: dict[str, dict[str, Witness]] = {}
    for form in sorted(forms):
        kinds.setdefault(kind_of(form), {})[form] = forms[form]
    nulls = kinds.pop("null", {})
    if "number" in kinds:
        kinds.setdefault("not_finite", {}).update(
            {form: nulls.pop(form) for form in list(nulls) if word_of(form).lower() == "nan"}
        )
    present = {kind: each for kind, each in kinds.items() if each}
    found = _decide_kinds(present, nulls, ends or Ends(), habits or Habits())
    words = tuple(word_of(form) for form in nulls)
    if found.type is ColumnType.TEXT:
        words = tuple(each for each in words if each == NULL_MARK)
    return replace(found, keys={**found.keys, "nulls": list(words)}) if words else found


def _decide_kinds(kinds: Mapping[str, Forms], nulls: Forms, ends: Ends, habits: Habits) -> Decision:
    """Return the type of the forms that do not mean null, by kind."""
    if TEXT in kinds:
        return text_because(show(first_of(kinds[TEXT])))
    if not kinds:
        return text_because(f"only {_listed(nulls)}" if nulls else "every cell is empty")
    if set(kinds) <= {"number", "not_finite"} and "number" in kinds:
        return decide_number(kinds["number"], kinds.get("not_finite", {}), habits)
    if len(kinds) > 1:
        return contrast("no other type has all of these", *map(first_of, kinds.values()))
    if "time" in kinds:
        return decide_time(kinds["time"], ends, habits)
    return _decide_kind(*next(iter(kinds.items())))


def _decide_kind(kind: str, forms: Forms) -> Decision:
    if kind == "boolean":
        return _decide_boolean(forms)
    if kind == "not_finite":
        return text_because(f"no number, only {_listed(forms)}")
    if kind == JSON:
        return Decision(ColumnType.JSON, {}, ("every value is an object or array",))
    return Decision(ColumnType(kind))


def _listed(forms: Forms) -> str:
    return ", ".join(f'"{word_of(form)}"' for form in forms)


def _decide_boolean(forms: Forms) -> Decision:
    words = {word_of(form).lower() for form in forms}
    if words in _PAIRS or words <= _ALONE:
        return Decision(ColumnType.BOOLEAN, {}, (f"every value is {_listed(forms)}",))
    if any(words < pair for pair in _PAIRS):
        return text_because(f"every value is {_listed(forms)}, which alone need not be a boolean")
    return text_because(f"values are {_listed(forms)}, which are no pair of a boolean")
