"""Decides how the numbers of a column are written, and the narrowest type that keeps them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from sluice.datasets.types import ColumnType
from sluice.inference.typing.decisions import (
    Decision,
    Forms,
    Habits,
    contrast,
    first_of,
    show,
    text_because,
)
from sluice.inference.typing.numbers import CONVENTIONS, marks_of, number_keys, sizes_of

#: The convention of numbers as most programs write them.
_PLAIN = "p"
_WHOLE = (
    ("w", ColumnType.NUMERIC),
    ("l", ColumnType.BIGINT),
    ("z", ColumnType.BIGINT),
    ("i", ColumnType.INTEGER),
)
_DECIMALS = frozenset("dDxXyY")
#: What may be a code, unless other numbers of the column are written in the same convention.
_CODES = frozenset("yYz")
#: What a double keeps: whole numbers of 32 bits, and at most 17 digits with or without exponent.
_KEPT_BY_DOUBLE = frozenset("idxy")


def decide_number(forms: Forms, not_finite: Forms, habits: Habits) -> Decision:
    """Return the type of numbers.

    Args:
        forms: of finite numbers.
        not_finite: of NaN and infinities, which only a float has.
        habits: those of the file, which decide what the column leaves open.
    """
    marks = {form: marks_of(form) for form in forms}
    found = {mark for each in marks.values() for mark in each}
    if problem := _problem_of_marks(forms, marks, found):
        return problem
    common = frozenset.intersection(*(frozenset(sizes_of(form)) for form in forms))
    if not common:
        return _clash(forms)
    convention, is_open = _convention(forms, common, habits)
    if not convention:
        return replace(_unclear(forms), is_open=True)
    sizes = {sizes_of(form)[convention] for form in forms}
    if (
        all("*" in form or sizes_of(form)[convention] in _CODES for form in forms)
        and sizes & _CODES
    ):
        return _code(forms, convention)
    keys = number_keys(convention, tuple(sorted(found)))
    if not_finite:
        return _with_not_finite(forms, not_finite, sizes, keys)
    reasons = (*_reasons_of_convention(convention, forms, habits), *_reasons_of_marks(found))
    separators = {CONVENTIONS[each][0] for each in common}
    return Decision(
        ColumnType.NUMERIC if "%" in found else _type_of(sizes),
        keys,
        reasons,
        fits_double=sizes <= _KEPT_BY_DOUBLE,
        proven=Habits(decimal=separators.pop() if len(separators) == 1 else ""),
        is_open=is_open,
    )


def _convention(forms: Forms, common: Collection[str], habits: Habits) -> tuple[str, bool]:
    """Return the convention of numbers, empty if it is not certain; and whether a habit may decide it."""
    usable = [each for each in CONVENTIONS if each in common]
    if len({_meaning(forms, each) for each in usable}) == 1:
        return usable[0], False
    usual = [each for each in usable if CONVENTIONS[each][0] == habits.decimal]
    return next(iter(usual), _PLAIN if _PLAIN in common else ""), True


def _meaning(forms: Forms, convention: str) -> tuple[bool, ...]:
    """Return which numbers are whole in a convention: the value of `1,234` depends on nothing else."""
    return tuple(sizes_of(form)[convention] in _DECIMALS for form in forms)


def _type_of(sizes: Collection[str]) -> ColumnType:
    if {"x", "y"} & set(sizes) and set(sizes) <= _KEPT_BY_DOUBLE:
        return ColumnType.FLOAT
    if _DECIMALS & set(sizes):
        return ColumnType.NUMERIC
    return next(kind for size, kind in _WHOLE if size in sizes)


def _code(forms: Forms, convention: str) -> Decision:
    codes = {form: each for form, each in forms.items() if sizes_of(form)[convention] in _CODES}
    return text_because(f"{show(first_of(codes))}, which may be a code, not a number")


def _with_not_finite(
    forms: Forms, not_finite: Forms, sizes: Collection[str], keys: Mapping[str, object]
) -> Decision:
    example = first_of(not_finite)
    if not set(sizes) <= _KEPT_BY_DOUBLE:
        return contrast(
            "only a float has the one, and it would round the other", example, first_of(forms)
        )
    if keys:
        return contrast("no type has both", example, first_of(forms))
    return Decision(ColumnType.FLOAT, {}, (show(example),), fits_double=True)


def _problem_of_marks(
    forms: Forms, marks: Mapping[str, tuple[str, ...]], found: Collection[str]
) -> Decision | None:
    """Return the decision for text if marks contradict each other."""
    symbols = sorted(each for each in found if each.startswith("$"))
    if len(symbols) > 1:
        first = [first_of({f: forms[f] for f in forms if each in marks[f]}) for each in symbols]
        return contrast("a number would not keep the currency", *first)
    for sign, why in (("%", "some are percentages and some are not"),):
        without = {form: forms[form] for form in forms if sign not in marks[form]}
        if sign in found and without:
            others = {form: forms[form] for form in forms if form not in without}
            return contrast(why, first_of(without), first_of(others))
    if all("()" in each for each in marks.values()):
        return text_because(
            f"{show(first_of(forms))}: all are in parentheses, which need not mean minus"
        )
    return None


def _clash(forms: Forms) -> Decision:
    """Return the decision for numbers that are not written in one way."""
    ordered = sorted(forms, key=lambda form: forms[form])
    common = frozenset(CONVENTIONS)
    for form in ordered:
        if not common & frozenset(sizes_of(form)):
            other = next(
                (e for e in ordered if not frozenset(sizes_of(e)) & frozenset(sizes_of(form))),
                ordered[0],
            )
            return contrast("they are not written in the same way", forms[other], forms[form])
        common &= frozenset(sizes_of(form))
    return text_because(show(first_of(forms)))


def _unclear(forms: Forms) -> Decision:
    """Return the decision for a comma that may separate decimals or thousands."""
    unclear = {form: each for form, each in forms.items() if _is_unclear(form)}
    return text_because(
        f"{show(first_of(unclear))}: the comma may separate decimals or thousands, and no other"
        " cell shows which"
    )


def _reasons_of_convention(convention: str, forms: Forms, habits: Habits) -> tuple[str, ...]:
    """Return the cell that decides a convention, or the one that leaves it open."""
    unclear = {form: each for form, each in forms.items() if _is_unclear(form)}
    clear = {form: each for form, each in forms.items() if _is_clear(form)}
    if clear:
        return (show(first_of(clear)),) if convention != _PLAIN else ()
    if not unclear:
        return ()
    example = show(first_of(unclear))
    if habits.decimal:
        return (f'{example}, and the decimal separator of other columns is "{habits.decimal}"',)
    return (f"{example}, read with a decimal point; if it separates thousands, declare it",)


def _is_clear(form: str) -> bool:
    """Whether a number is one with only one of the decimal separators."""
    return len({CONVENTIONS[each][0] for each in sizes_of(form)}) == 1


def _is_unclear(form: str) -> bool:
    """Whether a number is whole with one of the decimal separators, and not with the other."""
    return len({size in _DECIMALS for size in sizes_of(form).values()}) > 1


def _reasons_of_marks(found: Collection[str]) -> tuple[str, ...]:
    symbols = [each[1:] for each in found if each.startswith("$")]
    reasons = [f"the symbol {each} is not stored" for each in symbols]
    reasons += ["12% is stored as 0.12"] if "%" in found else []
    return tuple(reasons)
