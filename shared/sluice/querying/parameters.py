"""Reads the parameters of a named query from a request, and checks them against its declaration."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

from sluice.datasets.model import Parameter, Query
from sluice.errors import ParameterError
from sluice.querying.filters import parse_value

#: Python does not read a number of thousands of digits.
_MAX_DIGITS = 18


def read_count(text: str) -> int | None:
    """Return the whole number that a text is, or None; one of more than 18 digits is 10**18."""
    if not (text.isascii() and text.isdigit()):
        return None
    return int(text) if len(text) <= _MAX_DIGITS else 10**_MAX_DIGITS


def read_parameters(query: Query, arguments: Iterable[tuple[str, str]]) -> dict[str, object]:
    """Return a value for every parameter of a query; None for one not given without a default.

    Raises:
        ParameterError: names the parameter and what it takes.
    """
    given = _given(query, arguments)
    _check_needs(query, given)
    values = {each.name: _value(each, given.get(each.name)) for each in query.parameters}
    _check_ascending(query, values)
    return values


def _given(query: Query, arguments: Iterable[tuple[str, str]]) -> dict[str, str]:
    known = [each.name for each in query.parameters]
    given: dict[str, str] = {}
    for name, text in arguments:
        if name not in known:
            raise ParameterError(
                f"{name}: no such parameter; {query.name} takes {', '.join(known) or 'none'}",
                parameter=name,
                known=known,
            )
        if name in given:
            raise ParameterError(f"{name}: given more than once", parameter=name)
        given[name] = text
    return given


def _check_needs(query: Query, given: Mapping[str, str]) -> None:
    """Check that at least one alternative is given in full, and none in part."""
    _missing(query, [p.name for p in query.parameters if p.required and p.name not in given])
    for names in query.needs:
        missing = [name for name in names if name not in given]
        if missing and len(missing) < len(names):
            _missing(query, missing)
    if query.needs and not any(all(name in given for name in names) for names in query.needs):
        alternatives = [", ".join(names) for names in query.needs]
        raise ParameterError(
            f"{query.name} needs {', or '.join(alternatives)}",
            missing=[list(names) for names in query.needs],
        )


def _check_ascending(query: Query, values: Mapping[str, Any]) -> None:
    """Check that no range is inverted; what is not given is no bound."""
    for names in query.ascending:
        given = [name for name in names if values[name] is not None]
        for low, high in itertools.pairwise(given):
            if values[low] > values[high]:
                raise ParameterError(
                    f"{low}: {values[low]} is more than {high}, {values[high]}; exchange the two",
                    parameter=low,
                )


def _missing(query: Query, names: list[str]) -> None:
    if names:
        verb = "is" if len(names) == 1 else "are"
        raise ParameterError(f"{query.name}: {', '.join(names)} {verb} missing", missing=names)


def _value(parameter: Parameter, text: str | None) -> object:
    if text is None:
        text = parameter.default
    if text is None:
        return None
    try:
        value = parse_value(parameter.stored, text)
        _check_range(parameter, value)
    except ValueError as error:
        raise ParameterError(f"{parameter.name}: {error}", parameter=parameter.name) from None
    return value


def _check_range(parameter: Parameter, value: object) -> None:
    if parameter.one_of and str(value) not in parameter.one_of:
        raise ValueError(f'"{value}" is not one of {", ".join(parameter.one_of)}')
    if isinstance(value, int | float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a finite number")
        if parameter.minimum is not None and value < parameter.minimum:
            raise ValueError(f"{value} is less than {parameter.minimum:g}")
        if parameter.maximum is not None and value > parameter.maximum:
            raise ValueError(f"{value} is more than {parameter.maximum:g}")
