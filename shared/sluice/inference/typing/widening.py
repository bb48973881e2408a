"""Widens a declared column, so that it also admits the cells of another file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sluice.datasets.model import Column
from sluice.datasets.types import TYPES, ColumnType
from sluice.inference.typing.cell_forms import JSON, TEXT
from sluice.inference.typing.column_types import decide_type, kind_of, word_of
from sluice.inference.typing.columns import InferredColumn
from sluice.inference.typing.decisions import Decision
from sluice.inference.typing.moments import ISO
from sluice.inference.typing.numbers import CONVENTIONS
from sluice.inference.typing.observations import ColumnObservation, Witness

#: The position of what is declared: before every record.
_DECLARED = -1
_SIZES = {
    ColumnType.INTEGER: "i",
    ColumnType.BIGINT: "l",
    ColumnType.NUMERIC: "D",
    ColumnType.FLOAT: "x",
}
_PLAIN_FORMATS = {
    ColumnType.DATE: "%Y-%m-%d",
    ColumnType.TIMESTAMP: "%Y-%m-%d %H:%M:%S",
    ColumnType.INSTANT: "%Y-%m-%d %H:%M:%S%z",
    ColumnType.TIME: "%H:%M:%S",
}
#: Forms whose cells all are JSON; of numbers, some are.
_JSON_FORMS = {JSON, "word true", "word false", "word null"}
_MARKS = {"parentheses": "()", "trailing_minus": "5-", "minus_sign": "\u2212"}
#: Keys that only some types have, or that are decided anew.
_TYPED_KEYS = frozenset(
    (
        "type", "formats", "two_digit_years", "decimal_separator", "thousands_separator", "symbols",
        "grouping", "negatives", "percent", "precision", "scale", "time_zone", "minimum", "maximum", "nulls",
    )
)  # fmt: skip


def widen(column: Column, observation: ColumnObservation) -> InferredColumn:
    """Return the narrowest column that admits both what is declared and the cells of a file.

    The document is unchanged where the declaration admits the cells.
    """
    observed = _not_null(column, observation.forms)
    if column.type is ColumnType.TEXT:
        keeps_space = column.trim and observation.spaced is not None
        return InferredColumn({**document_of(column), **({"trim": False} if keeps_space else {})})
    if _is_admitted(column, observed):
        return InferredColumn(document_of(column))
    declared = {form: Witness(_DECLARED, "as declared") for form in _forms_of(column)}
    decision = decide_type({**observed, **declared})
    if decision.type is column.type and _adds_nothing(column, decision):
        return InferredColumn(document_of(column))
    return InferredColumn(_widened(column, decision, observation), decision.reasons)


def document_of(column: Column) -> dict[str, Any]:
    """Return the keys of a `[[columns]]` table that declares a column."""
    given = {
        each.name: getattr(column, each.name) for each in fields(Column) if each.name != "headers"
    }
    defaults = {each.name: each.default for each in fields(Column)}
    keys = {key: _plain(value) for key, value in given.items() if value != defaults[key]}
    headers = list(column.headers)
    if headers != [column.name]:
        keys["header"] = headers[0] if len(headers) == 1 else headers
    if column.checks:
        keys["checks"] = [{"sql": each.sql, "message": each.message} for each in column.checks]
    return keys


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, str) else value


def _not_null(column: Column, forms: Mapping[str, Witness]) -> dict[str, Witness]:
    nulls = {f"word {each}" for each in column.nulls}
    return {form: each for form, each in forms.items() if form not in nulls}


def _is_admitted(column: Column, observed: Mapping[str, Witness]) -> bool:
    """Whether a column admits forms, whatever their combination."""
    kinds = {kind_of(form) for form in observed}
    if column.type is ColumnType.BOOLEAN:
        return kinds <= {"boolean"}
    if column.type is ColumnType.JSON:
        return set(observed) <= _JSON_FORMS
    if column.type is ColumnType.FLOAT and not column.is_localized:
        has_all = all(
            "p" in form.split(" ")[1] or "*" in form
            for form in observed
            if kind_of(form) == "number"
        )
        words = {word_of(form).lower() for form in observed if kind_of(form) == "null"}
        return kinds <= {"number", "not_finite", "null"} and has_all and words <= {"nan"}
    return not observed


def _forms_of(column: Column) -> list[str]:
    """Return forms that stand for what a column is declared to admit."""
    if column.type in _SIZES:
        return _number_forms(column)
    if column.definition.is_time:
        formats = column.formats or (ISO + _PLAIN_FORMATS[column.type],)
        return [f"time {each}" for each in formats]
    if column.type is ColumnType.BOOLEAN:
        return ["word true", "word false"]
    return [str(column.type)]


def _number_forms(column: Column) -> list[str]:
    written = (column.decimal_separator, column.thousands_separator, column.grouping)
    name = next((name for name, each in CONVENTIONS.items() if each == written), "")
    if not name:
        return [TEXT]
    size = _SIZES[column.type]
    sizes = f"*{size}" if name == "p" and size in "il" else ",".join(_sizes(name, size))
    percent = " %" if column.percent else ""
    marks = [f" ${each}" for each in column.symbols] + [
        f" {_MARKS[each]}" for each in column.negatives
    ]
    return [f"number {sizes}{percent}", *(f"number {sizes}{percent}{mark}" for mark in marks)]


def _sizes(name: str, size: str) -> list[str]:
    """Return the size in a convention, and in those that also accept its numbers."""
    point, mark, _ = CONVENTIONS[name]
    is_wider = (
        not mark and size != _SIZES[ColumnType.FLOAT]
    )  # no exponent among thousands separators
    wider = [each for each, (other, _, _) in CONVENTIONS.items() if other == point]
    return [each + size for each in (wider if is_wider else [name])]


def _adds_nothing(column: Column, decision: Decision) -> bool:
    """Whether a decision of the same type needs no key that is not declared."""
    return all(_has(getattr(column, key), value) for key, value in decision.keys.items())


def _has(declared: object, needed: object) -> bool:
    if isinstance(declared, tuple) and isinstance(needed, list):
        return set(needed) <= set(declared)
    return declared == needed


def _widened(column: Column, decision: Decision, observation: ColumnObservation) -> dict[str, Any]:
    kept = {key: each for key, each in document_of(column).items() if key not in _TYPED_KEYS}
    document = {"name": column.name, "type": str(decision.type), **kept, **decision.keys}
    nulls = (*column.nulls, *decision.keys.get("nulls", ()))
    if nulls:
        document["nulls"] = list(dict.fromkeys(nulls))
    if decision.type is ColumnType.TEXT and observation.spaced:
        document["trim"] = False
    if TYPES[decision.type].is_number:
        bounds = {"minimum": column.minimum, "maximum": column.maximum}
        document |= {key: each for key, each in bounds.items() if each is not None}
    return document
