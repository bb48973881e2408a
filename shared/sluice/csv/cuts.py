"""The place of a chunk in its file; needs no library, so that functions can import it that split nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cut:
    """A chunk: the bytes `first_byte <= offset < end_byte` of a file, which are complete records.

    Attributes:
        number: 0-based number of the chunk in its file.
        first_byte: offset in the file of its first byte.
        end_byte: offset after its last byte, the first byte of the next chunk.
        first_line: 1-based physical line on which it starts; LF, CR and CRLF end a line.
        first_record: 0-based index of its first record, without the header and blank lines.
        records: number of records; 0 if it has only blank lines.
        lines: number of physical lines, including blank lines and those inside quotes.
    """

    number: int
    first_byte: int
    end_byte: int
    first_line: int
    first_record: int
    records: int
    lines: int
