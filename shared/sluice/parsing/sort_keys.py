"""Sorts the rows of a chunk by the keys of `cluster`, where these are whole numbers that fit one word.

Sorting one array of numbers takes a fifth of the time of sorting rows. Other keys are left to DuckDB.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Words of an ORDER BY that no expression of a SELECT ends with.
_DIRECTION = re.compile(r"\b(asc|desc|nulls)\b", re.IGNORECASE)
#: Doubles hold each whole number up to here.
_LARGEST_WHOLE = 2.0**53
_WORD = 2**63


def key_expressions(cluster: Sequence[str]) -> tuple[str, ...]:
    """Return the keys as expressions of a select list; none where one has a direction."""
    return () if any(map(_DIRECTION.search, cluster)) else tuple(cluster)


def order_of(keys: Sequence[Any]) -> NDArray[np.int64] | None:  # columns of Arrow
    """Return the positions of rows in the order of their keys, nulls last; None if the keys do not fit."""
    packed, room = np.zeros(len(keys[0]) if keys else 0, np.int64), 1
    for key in keys:
        numbers = _whole_numbers(np.asarray(key))
        if numbers is None:
            return None
        span = int(numbers.max(initial=0)) + 1
        room *= span
        if room >= _WORD:
            return None
        packed = packed * span + numbers
    return np.argsort(packed) if keys else None


def _whole_numbers(values: NDArray[Any]) -> NDArray[np.int64] | None:
    """Return values counted from the least; null, which is NaN, becomes one more than the largest."""
    if values.dtype.kind not in "iuf":
        return None
    with np.errstate(
        invalid="ignore"
    ):  # null and infinity become some number, which they do not equal
        numbers = values.astype(np.int64)
    is_null = numbers != values
    if is_null.any():
        if not np.isnan(values[is_null]).all():
            return None
        numbers[is_null] = numbers[~is_null].max(initial=-1) + 1
    least, largest = numbers.min(initial=0), numbers.max(initial=0)
    if max(-least, largest) >= _LARGEST_WHOLE:
        return None
    counted: NDArray[np.int64] = numbers - least
    return counted
