"""Counts the records of a file, independently of the scanner that cuts it and of the readers that load it.

A plain automaton over the lines of the stream: it shares no code with `sluice.csv.scanning`, which computes
the parity of quotes with numpy, nor with the readers, so an error of one of them is a difference. It keeps
its state and at most one line. Runs of regular records are counted by one
regular expression. A quote opens a field only as its first byte; a line end outside quotes ends a
record; a blank line and a comment are none.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluice.csv.dialects import Dialect

#: A longer line is processed in pieces.
_MAX_HELD_BYTES = 1024 * 1024
#: Without a quote in so many bytes, their lines are counted without the regular expression.
_FAR_BYTES = 16 * 1024
#: An open field of this size is a quote that was not closed: the splitter ends its record with that line.
MAX_OPEN_BYTES = 32 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_LINE = re.compile(rb"[^\r\n]*+(?:\r\n|\r|\n)?")


class _State(Enum):
    """Where in a field the automaton is."""

    START = "before the first byte of a field"
    PLAIN = "in an unquoted field, or after the junk that follows a closing quote"
    QUOTED = "between quotes"
    CLOSED = "after a quote that closes the field, or is the first of two"
    PADDED = "after white space that follows a closing quote"


class RecordCounter:
    """Counts the records of a stream that begins with a record.

    Attributes:
        records: how many have ended.
        is_certain: whether no quote was open so long that the splitter gave up on it.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.records = 0
        self.is_certain = True
        self._quote, self._escape = dialect.quote_byte, dialect.escape_byte
        self._delimiter = dialect.delimiter_byte
        self._comment = dialect.comment_bytes if dialect.comment else b""
        self._has_padding = dialect.spaces_around_quotes
        self._tokens = self._pattern()
        self._regular, self._quoted = self._regular_records()
        self._held = b""
        self._state = _State.START
        self._has_content = self._is_in_comment = False
        self._open_bytes = 0

    def _pattern(self) -> re.Pattern[bytes]:
        parts = [rb"(?P<end>\r\n|\r|\n)", rb"(?P<delimiter>%b)" % re.escape(self._delimiter)]
        if self._quote:
            parts.insert(0, rb"(?P<quote>%b)" % re.escape(self._quote))
        if self._escape:
            parts.insert(0, rb"(?P<escaped>%b(?:\r\n|.))" % re.escape(self._escape))
        return re.compile(rb"|".join(parts), re.DOTALL)

    def _regular_records(self) -> tuple[re.Pattern[bytes] | None, re.Pattern[bytes]]:
        """Return the pattern of a run of records without any irregularity, and that of a quoted field."""
        marks = {b"d": re.escape(self._delimiter), b"q": re.escape(self._quote)}
        marks |= {b"e": re.escape(self._escape), b"c": re.escape(self._comment)}
        marks[b"escaped"] = rb"|%(e)b(?:\r\n|[\s\S])" % marks if self._escape else b""
        # A quote or line end that is escaped outside quotes would be counted as one that is not.
        marks[b"literal"] = rb"|%(e)b[^%(q)b\r\n]" % marks if self._escape else b""
        quoted = rb"%(q)b(?:[^%(q)b%(e)b]++|%(q)b%(q)b%(escaped)b)*+%(q)b" % marks
        quoted = quoted if self._quote else b"(?!)"
        if self._has_padding and self._delimiter.strip() != self._delimiter:
            return None, re.compile(quoted)
        pad = rb"[ \t]*+" if self._has_padding else b""
        marks[b"other"] = rb"(?!%(d)b)[^%(q)b%(e)b\r\n]" % marks
        if len(self._delimiter) == 1:
            marks[b"other"] = rb"[^%(d)b%(q)b%(e)b\r\n]++" % marks
        text = rb"(?:%(other)b%(literal)b)*+" % marks
        field = rb"(?:%b%b%b|%b)" % (pad, quoted, pad, text)
        record = rb"%b(?:%b%b)*+(?:\r\n|\r|\n)" % (field, marks[b"d"], field)
        if self._comment:
            record = rb"(?!(?:%b)*+%b)%b" % (_BOM, marks[b"c"], record)
        return re.compile(rb"(?:%b)*+" % record), re.compile(quoted)

    def feed(self, block: bytes) -> None:
        """Process the next bytes."""
        data = self._held + block if self._held else block
        end = self._known(data)
        self._held = data[end:]
        self._lines(data[:end])

    def finish(self) -> None:
        """Process the end of the stream, which ends a record."""
        held, self._held = self._held, b""
        self._lines(held)
        self._end_record()

    def _known(self, data: bytes) -> int:
        """Return up to where the bytes do not depend on those that follow: the end of the last line."""
        end = max(data.rfind(b"\n"), data.rfind(b"\r", 0, max(0, len(data) - 1))) + 1
        if len(data) - end <= _MAX_HELD_BYTES:
            return end
        return len(data) - 2 * len(self._delimiter) - 2

    def _lines(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            end = self._run_end(data, at)
            if end > at:
                run = data[at:end]
                plain = self._quoted.sub(b"q", run) if self._quote and self._quote in run else run
                self.records += len([*filter(None, plain.splitlines())])
            else:
                end = _LINE.match(data, at).end()  # type: ignore[union-attr]  # it matches anything
                self._line(data[at:end])
            at = end

    def _run_end(self, data: bytes, at: int) -> int:
        """Return where a run of regular records ends, if one may begin here."""
        if self._regular is None or self._state is not _State.START or self._has_content:
            return at
        quote = data.find(self._quote, at) if self._quote else -1
        end = len(data) if quote < 0 else quote
        if (quote < 0 or quote - at > _FAR_BYTES) and not self._has_marks(data, at, end):
            return max(data.rfind(b"\n", at, end), data.rfind(b"\r", at, end), at - 1) + 1
        found = self._regular.match(data, at)
        return found.end() if found else at

    def _has_marks(self, data: bytes, start: int, end: int) -> bool:
        """Whether an escape or a comment may be in a range, in which lines are not records."""
        marks = (self._escape, self._comment)
        return any(each and data.find(each, start, end) >= 0 for each in marks)

    def _line(self, line: bytes) -> None:
        is_first = self._state is _State.START and not self._has_content
        has_marks = (self._quote and self._quote in line) or (self._escape and self._escape in line)
        is_ended = line.endswith((b"\n", b"\r"))
        if is_first and (self._is_in_comment or self._is_comment(line)):
            self._is_in_comment = not is_ended
        elif is_first and is_ended and not has_marks:
            self.records += line not in (b"\n", b"\r\n", b"\r")
        elif self._state is _State.QUOTED and not has_marks:
            self._count_open(line)
        else:
            self._walk(line)

    def _is_comment(self, line: bytes) -> bool:
        return bool(self._comment) and line.lstrip(_BOM).startswith(self._comment)

    def _count_open(self, data: bytes) -> None:
        self._open_bytes += len(data)
        self.is_certain &= self._open_bytes <= MAX_OPEN_BYTES

    def _walk(self, line: bytes) -> None:
        at = 0
        for token in self._tokens.finditer(line):
            if token.start() > at:
                self._text(line[at : token.start()])
            self._token(token.lastgroup or "")
            at = token.end()
        if at < len(line):
            self._text(line[at:])
        if self._state is _State.QUOTED:
            self._count_open(line)

    def _text(self, text: bytes) -> None:
        """Process bytes that are no marks."""
        self._has_content = True
        if self._state is _State.QUOTED:
            return
        if self._has_padding and not text.strip(b" \t"):
            if self._state is _State.CLOSED:
                self._state = _State.PADDED
            return
        self._state = _State.PLAIN

    def _token(self, kind: str) -> None:
        """Process a mark."""
        state = self._state
        if kind == "end" and state is not _State.QUOTED:
            self._end_record()
        elif kind == "delimiter" and state is not _State.QUOTED:
            self._state, self._has_content = _State.START, True
        elif kind == "quote":
            self._has_content = True
            self._state = _AFTER_QUOTE[state]
            self._open_bytes = 0
        elif kind == "escaped" and state is not _State.QUOTED:
            self._state, self._has_content = _State.PLAIN, True

    def _end_record(self) -> None:
        self.records += self._has_content
        self._state, self._has_content = _State.START, False


_AFTER_QUOTE = {
    _State.START: _State.QUOTED,
    _State.PLAIN: _State.PLAIN,
    _State.QUOTED: _State.CLOSED,
    _State.CLOSED: _State.QUOTED,
    _State.PADDED: _State.PLAIN,
}
