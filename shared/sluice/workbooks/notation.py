"""Writes the number of a cell as its column declares numbers, dates and times.

A cell of a workbook has a value and no notation; a column may have one, as `1.234,5` or `31/12/2024`. Where
the notation would lose a part of the value, it is written as it is, so that its row is rejected.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from functools import partial

from sluice.datasets.model import Column
from sluice.datasets.types import ColumnType
from sluice.workbooks.number_formats import Kind
from sluice.workbooks.values import (
    Moment,
    Number,
    duration_text,
    is_leap_day,
    moment_of,
    number_text,
    plain,
)

#: Significant digits that Excel shows; the next ones are the noise of binary fractions.
_EXCEL_DIGITS = ".15g"
_MIDNIGHT = time()

Notation = Callable[[Number], str]


def notation_of(column: Column | None, is_1904: bool) -> Notation:
    """Return how the numbers of a column are written; None stands for no declared column."""
    return partial(_written, column, is_1904)


def _written(column: Column | None, is_1904: bool, number: Number) -> str:
    kind, text = number
    if kind is Kind.NUMBER:
        return number_text(text) if column is None else _number(column, text)
    if kind is Kind.DURATION:
        return duration_text(text)
    moment = moment_of(kind, text, is_1904)
    if moment is None:
        return "1900-02-29" if is_leap_day(text, is_1904) else number_text(text)
    return moment.text if column is None else _moment(column, moment)


def _number(column: Column, written: str) -> str:
    text = number_text(written)
    if not column.definition.is_number or (column.scale is None and not column.is_localized):
        return text
    try:
        value = _in_scale(Decimal(text), column.scale)
    except InvalidOperation:
        return text
    if column.percent:
        value = value.scaleb(2)
        return plain(value).replace(".", column.decimal_separator) + "%"
    return plain(value).replace(".", column.decimal_separator)


def _in_scale(value: Decimal, scale: int | None) -> Decimal:
    """Return a number without the noise of binary fractions, where a column has no place for it."""
    if scale is None or _decimals(value) <= scale:
        return value
    shown = Decimal(format(float(value), _EXCEL_DIGITS))
    return shown if _decimals(shown) <= scale else value


def _decimals(value: Decimal) -> int:
    return -min(0, int(value.normalize().as_tuple().exponent))


def _moment(column: Column, moment: Moment) -> str:
    value = moment.value
    if column.type is ColumnType.DATE and isinstance(value, datetime) and value.time() == _MIDNIGHT:
        moment = Moment(value.date(), value.date().isoformat())
    if not column.formats:
        return moment.text
    found = (_formatted(moment.value, each) for each in column.formats)
    return next((each for each in found if each is not None), moment.text)


def _formatted(value: date | time | datetime, written: str) -> str | None:
    """Return a date or time in a format from which it can be read back, and None elsewhere."""
    if "%y" in written:  # the century would be guessed
        return None
    text = value.strftime(written)
    try:
        read = datetime.strptime(text, written)  # noqa: DTZ007  # cells have no time zone
    except ValueError:
        return None
    if isinstance(value, datetime):
        return text if read == value else None
    if isinstance(value, date):
        return text if read.date() == value else None
    return text if read.time() == value else None
