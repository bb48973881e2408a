"""How numbers may be written: the conventions, and which of them a shape is a number in.

The form of a number is `number <sizes> <marks>`. Sizes are pairs of a convention and what the cell is in it:
`i` a whole number of 32 bits, `l` of 64 bits, `w` a larger one; `d` a decimal of at most 17 digits, `D` of
more; `x` and `X` the same with an exponent. What may as well be a code is `y` or `Y`, such as `12E3`, or `z`,
such as `777 123 456`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from sluice.datasets.grammars import cell_grammar
from sluice.datasets.model import Column
from sluice.datasets.types import ColumnType
from sluice.inference.detection.ends import Ends

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sluice.inference.typing.shapes import Digits

#: For each convention its decimal separator, its thousands separator and the grouping of digits.
CONVENTIONS = {
    "p": (".", "", "western"),
    "c": (",", "", "western"),
    "e": (".", ",", "western"),
    "d": (",", ".", "western"),
    "s": (".", " ", "western"),
    "f": (",", " ", "western"),
    "h": (".", "'", "western"),
    "a": (".", "\u2019", "western"),
    "n": (".", ",", "indian"),
}
#: Signs and codes of currencies; other units are text.
_CURRENCIES = tuple(
    """
    US$ A$ C$ R$ NZ$ HK$ $ € £ ¥ ₹ ₽ ₩ ₪ ₫ ₴ ₺ ₿ ¢ ฿ ₱ ₦ Kč kr zł Ft lei Fr. CHF EUR USD GBP JPY CNY CZK
    PLN SEK NOK DKK HUF RON BGN INR BRL AUD CAD NZD MXN ZAR TRY RUB KRW SGD HKD ILS THB UAH
    """.split()  # noqa: SIM905  # a table
)
_SYMBOL = re.compile("|".join(map(re.escape, sorted(_CURRENCIES, key=len, reverse=True))))
#: A text is looked at as a number only if it consists of these characters, besides a symbol.
_CHARACTERS = re.compile("[9 \u00a0\u202f.,'\u2019+()%eE\u2212-]+")
_NEGATIVES = {"parentheses": "()", "trailing_minus": "5-", "minus_sign": "\u2212"}
#: Whole numbers of so many digits may need the next larger type.
_BOUNDARIES = {10: 2**31, 19: 2**63}
#: Spaces that separate thousands.
_SPACE = "[ \u00a0\u202f]"
#: Digits of any double, written in full.
_DOUBLE_DIGITS = 17
#: More digits than this after a plus are a telephone number.
_MAX_SIGNED = 6


@dataclass(frozen=True)
class NumberShape:
    """A shape of numbers.

    Attributes:
        forms: by variant: 1 has a leading zero, 2 exceeds the smaller type, 3 both.
        digits: number of its digits, if the variant depends on all of them; otherwise 0.
    """

    forms: tuple[str, ...]
    digits: int = 0

    def measure(self, at: int) -> Measure:
        """Return what decides the variants of cells whose digits begin at a position."""
        return Measure(at, self.digits)


@dataclass(frozen=True)
class Measure:
    """Compares whole numbers with the largest of a type."""

    at: int
    digits: int

    def variants(self, digits: Digits) -> NDArray[np.uint8]:
        """Return the variant of each cell: see `NumberShape`."""
        number = digits.number(self.at, self.digits)
        first = digits.number(self.at, 1)
        is_large = (number > _BOUNDARIES[self.digits] - 1) | (number < 0)  # 19 digits may overflow
        found: NDArray[np.uint8] = ((first == 0) + 2 * is_large).astype(np.uint8)
        return found

    def ends(self, digits: Digits, variants: NDArray[np.uint8]) -> Ends:  # noqa: ARG002  # a number
        """Return nothing: a number is no date."""
        return Ends()


@dataclass(frozen=True)
class _Text:
    """A text that may be a number: as written, without its symbol, and its marks."""

    written: str
    bare: str
    marks: tuple[str, ...]

    def padded(self) -> _Text:
        """The same with a leading zero."""
        written, bare = (each.replace("9", "0", 1) for each in (self.written, self.bare))
        return _Text(written, bare, self.marks)


def read_number(text: str) -> NumberShape | None:
    """Return the forms of a shape without white space around it; None if it is no number."""
    if "9" not in text:
        return None
    symbol = _SYMBOL.search(text)
    bare = text[: symbol.start()] + text[symbol.end() :] if symbol else text
    if not _CHARACTERS.fullmatch(bare):
        return None
    number = _Text(text, bare, _marks(bare, symbol[0] if symbol else ""))
    digits = text.count("9")
    is_measured = digits in _BOUNDARIES and re.fullmatch("[+-]?9+", text)
    forms = tuple(
        _form(each, is_large=is_large)
        for is_large in ((False, True) if is_measured else (True,))
        for each in (number, number.padded())
    )
    return NumberShape(forms, digits if is_measured else 0) if set(forms) != {"text"} else None


def _marks(bare: str, symbol: str) -> tuple[str, ...]:
    marks = {
        f"${symbol}": symbol,
        "%": "%" in bare,
        "()": "(" in bare,
        "\u2212": "\u2212" in bare,
        "5-": re.search(r"[9%][ \u00a0\u202f]*-[ \u00a0\u202f]*\Z", bare),
    }
    return tuple(mark for mark, is_used in marks.items() if is_used)


def _form(text: _Text, *, is_large: bool) -> str:
    found = {name: _size(name, text, is_large=is_large) for name in CONVENTIONS}
    sizes = [name + size for name, size in found.items() if size]
    same = set(found.values())
    if len(same) == 1 and sizes:
        sizes = ["*" + same.pop()]
    return " ".join(("number", ",".join(sizes), *text.marks)) if sizes else "text"


def sizes_of(form: str) -> dict[str, str]:
    """Return what a number is in each convention that accepts it."""
    pairs = form.split(" ")[1].split(",")
    return {
        name: pair[1] for pair in pairs for name in (CONVENTIONS if pair[0] == "*" else pair[0])
    }


def marks_of(form: str) -> tuple[str, ...]:
    """Return the marks of a number: symbol, percent sign and other forms of negative numbers."""
    return tuple(form.split(" ")[2:])


def _size(convention: str, text: _Text, *, is_large: bool) -> str:
    """Return what a text is in a convention; empty if it is no number in it."""
    if not _grammar(convention, text.marks).fullmatch(text.written):
        return ""
    point, mark, _ = CONVENTIONS[convention]
    significand, _, exponent = text.bare.lower().partition("e")
    before, has_point, after = significand.partition(point)
    groups = re.split(_SPACE if mark == " " else re.escape(mark), before) if mark else [before]
    whole, decimals = (re.sub("[^09]", "", each) for each in ("".join(groups), after))
    is_padded = whole.startswith("0") and len(whole) > 1
    is_telephone = "+" in significand and len(whole) > _MAX_SIGNED and not has_point
    if is_padded or is_telephone:
        return ""
    digits = len(whole + decimals)
    if exponent:
        return _exponent_size(digits, exponent, is_code=not has_point)
    if has_point:
        return "d" if digits <= _DOUBLE_DIGITS else "D"
    if mark in (".", " ") and not text.marks and digits < 19 and _is_code(groups):
        return "z"
    return _whole_size(digits, is_large=is_large)


def _exponent_size(digits: int, exponent: str, *, is_code: bool) -> str:
    size = "y" if is_code and exponent[0] not in "+-" else "x"
    is_kept = digits <= _DOUBLE_DIGITS and len(exponent.lstrip("+-")) < 3
    return size if is_kept else size.upper()


def _is_code(groups: list[str]) -> bool:
    """Whether groups of digits may be a telephone number, or the address of a computer."""
    return len(groups) == len("IPv4") or (len(groups) > 1 and len(groups[0]) == 3)


def _whole_size(digits: int, *, is_large: bool) -> str:
    if digits < 10 or (digits == 10 and not is_large):
        return "i"
    return "l" if digits < 19 or (digits == 19 and not is_large) else "w"


@lru_cache(maxsize=1024)
def _grammar(convention: str, marks: tuple[str, ...]) -> re.Pattern[str]:
    """Return the grammar of a column that declares a convention and the marks of one cell."""
    return re.compile(cell_grammar(number_column(convention, marks)))


def number_column(convention: str, marks: tuple[str, ...]) -> Column:
    """Return the column of numbers in a convention, with all marks given."""
    keys = number_keys(convention, marks).items()
    given: dict[str, Any] = {
        key: tuple(each) if isinstance(each, list) else each for key, each in keys
    }
    return Column(name="number", type=ColumnType.NUMERIC, headers=(), **given)


def number_keys(convention: str, marks: tuple[str, ...]) -> dict[str, object]:
    """Return the keys that a column declares for a convention and the marks of its cells."""
    point, mark, grouping = CONVENTIONS[convention]
    negatives = [name for name, sign in _NEGATIVES.items() if sign in marks]
    keys = {
        "decimal_separator": point if point != "." else "",
        "thousands_separator": mark,
        "grouping": grouping if grouping != "western" else "",
        "symbols": sorted({each[1:] for each in marks if each.startswith("$")}),
        "negatives": negatives,
        "percent": "%" in marks,
    }
    return {key: value for key, value in keys.items() if value}
