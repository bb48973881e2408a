"""The physical lines at the start and at the end of a file that are no records; knows no quotes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from sluice.csv.dialects import dialect_option
from sluice.errors import HeaderMismatchError

if TYPE_CHECKING:
    from sluice.csv.dialects import Dialect

#: What is read of a file before its first line is examined.
FIRST_LINE_BYTES = 64
_LINE_END = re.compile(rb"\r\n|\r|\n")
#: Excel's line that names the delimiter.
_SEPARATOR = re.compile(
    rb"[ \t]*(\"?)sep=([^\"\r\n0-9a-z]{1,8})\1[ \t]*(?:\r\n|\r|\n|\Z)", re.IGNORECASE
)
_TAIL_BYTES = 4096


class Skipped(NamedTuple):
    """What of a file is no record and no header: sizes in bytes, with line ends."""

    preamble_bytes: int = 0
    comment_bytes: int = 0
    footer_bytes: int = 0


class Preamble:
    """The lines before the header or the first record: a number of them, or Excel's `sep=;`.

    Attributes:
        size_bytes: what was skipped so far.
        lines: how many lines that is.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.size_bytes = 0
        self.lines = 0
        self._dialect = dialect
        self._is_at_start = True

    @property
    def is_open(self) -> bool:
        """Whether the next byte may be part of the preamble."""
        return self._is_at_start or self.lines < self._dialect.skip_lines

    def skip(self, data: bytes) -> int:
        """Return how many of the next bytes of the file are part of the preamble.

        Raises:
            HeaderMismatchError: the first line names another delimiter.
        """
        size = 0
        if self._is_at_start:
            self._is_at_start = False
            size = 0 if self._dialect.skip_lines else separator_line_bytes(data, self._dialect)
            self.lines += size > 0
        while self.lines < self._dialect.skip_lines:
            found = _LINE_END.search(data, size)
            if found is None:
                size = len(data)
                break
            size = found.end()
            self.lines += 1
        self.size_bytes += size
        return size


def separator_line_bytes(data: bytes, dialect: Dialect) -> int:
    """Return the size of a first line such as `sep=;`, 0 where there is none.

    Raises:
        HeaderMismatchError: it names another delimiter.
    """
    found = _SEPARATOR.match(data)
    named = found[2].decode(dialect.encoding, "replace") if found else ""
    if not found:
        return 0
    if named != dialect.delimiter:
        raise HeaderMismatchError(
            f"line 1 names the delimiter {named!r} for Excel, and the dataset declares"
            f" {dialect.delimiter!r}: load the file with {dialect_option('delimiter', named)}, or declare"
            f" delimiter = {named!r}, or remove the line if it is wrong"
        )
    return found.end()


def before_last_lines(data: bytes, lines: int) -> int:
    """Return the offset of the last complete lines of some data, 0 where there are not more of them."""
    size = _TAIL_BYTES
    while True:
        tail = data[max(len(data) - size, 0) :]
        ends = [found.end() for found in _LINE_END.finditer(tail)]
        if len(ends) > lines + 1:  # the first may be half a CRLF
            return len(data) - len(tail) + ends[-lines - 1]
        if len(tail) == len(data):
            return ends[-lines - 1] if len(ends) > lines else 0
        size *= 4


def whole_lines(data: bytes) -> int:
    """Return the offset after the last line end that is certainly one: a CR at the end may be half a CRLF."""
    last_lf = data.rfind(b"\n")
    return max(last_lf, data.rfind(b"\r", max(last_lf, 0), max(len(data) - 1, 0))) + 1
