"""Makes the headers of a file the names of stored columns; knows no cell and no type."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sluice.datasets.grammars import WHITE_SPACE
from sluice.datasets.identifiers import NAME
from sluice.datasets.model import RESERVED_COLUMNS, SYSTEM_COLUMNS

#: Most characters of a name of a column, see `sluice.datasets.identifiers.NAME`.
_MAX_LENGTH = 48
#: Characters that Unicode does not decompose into ASCII letters, and signs that have a meaning.
_ASCII = str.maketrans(
    {
        "ß": "ss", "ẞ": "ss", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O",
        "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ł": "l", "Ł": "L",
        "\u0131": "i", "ħ": "h", "ŋ": "n", "%": " percent ", "&": " and ", "'": "", "\u2019": "",
    }
)  # fmt: skip
#: Where a new word begins inside letters: `tripDuration`, `HTTPStatus`.
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True)
class ColumnName:
    """The stored name of a column, and its header without white space around it; None if there is none."""

    name: str
    header: str | None = None


def name_columns(headers: Iterable[str]) -> tuple[ColumnName, ...]:
    """Return a valid and unique name for each header, in order.

    A name is the header in lower case, its words joined by `_`. A header without Latin letters or digits
    is named by its position, the repetition of a name gets a number, a reserved name the suffix `_`.
    """
    taken: set[str] = set()
    named = []
    for position, header in enumerate(headers, 1):
        name = _unique(_identifier(header) or f"column_{position}", taken)
        taken.add(name)
        named.append(ColumnName(name, header.strip(WHITE_SPACE)))
    return tuple(named)


def number_columns(width: int) -> tuple[ColumnName, ...]:
    """Return the names of the columns of a file without header: `column_1` and so on."""
    return tuple(ColumnName(f"column_{position}") for position in range(1, width + 1))


def dataset_name(text: str) -> str:
    """Return a text, such as the name of a folder or file, as a valid name of a dataset."""
    return _identifier(text, "data_") or "data"


def _identifier(header: str, prefix: str = "column_") -> str:
    """Return a header as a name, empty if nothing of it can be part of one."""
    spaced = _HUMP.sub(" ", header)
    plain = unicodedata.normalize("NFKD", spaced.translate(_ASCII))
    plain = "".join(each for each in plain if not unicodedata.combining(each))
    words = re.findall(r"[a-z0-9]+", plain.lower())
    name = "_".join(words)
    if name and not name[0].isalpha():
        name = prefix + name
    name = name[:_MAX_LENGTH].rstrip("_")
    if name in RESERVED_COLUMNS or name in SYSTEM_COLUMNS:
        name += "_"
    return name if NAME.fullmatch(name) else ""


def _unique(name: str, taken: Sequence[str] | set[str]) -> str:
    number, found = 1, name
    while found in taken:
        number += 1
        suffix = f"_{number}"
        found = name[: _MAX_LENGTH - len(suffix)] + suffix
    return found
