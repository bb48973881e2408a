"""Detects the dialect of a CSV file from its first and last bytes.

Decides in this order, and gives a reason for each decision: a `sep=` line; delimiter, quote and escape
together, by comparing how the file reads in each possible form; comments; the first line of the table;
trailing delimiters; the header; the footer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sluice.csv.dialects import Dialect
from sluice.errors import EmptyFileError
from sluice.inference.detection.candidates import is_allowed
from sluice.inference.detection.file_parts import FileParts
from sluice.inference.detection.forms import choose_form
from sluice.inference.detection.reading import Form
from sluice.inference.detection.reasons import Evidence, explain_form, explain_parts, find_doubts
from sluice.inference.detection.sampling import Sample, take_sample

__all__ = ["Detection", "Evidence", "detect_dialect"]

_SEPARATOR_LINE = re.compile(
    r'"?sep=([^\w\r\n"\']{1,4}?|\\t)"?[ \t]*(?:\r\n|\n|\r|\Z)', re.IGNORECASE
)


_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r|\Z)")


@dataclass(frozen=True)
class Detection:
    """The dialect of a file.

    Attributes:
        dialect: how the file is read.
        header: the names of the columns, as in the file; empty without header.
        width: number of columns.
        evidence: the reasons, one for each key that was detected.
        warnings: what is ambiguous, and what of the file will be rejected; sentences.
    """

    dialect: Dialect
    header: tuple[str, ...]
    width: int
    evidence: tuple[Evidence, ...]
    warnings: tuple[str, ...]


def detect_dialect(
    head: bytes,
    tail: bytes = b"",
    *,
    is_complete: bool,
    given: Mapping[str, str | int | bool] = {},
) -> Detection:
    """Detect the dialect of a CSV file.

    Args:
        head: the first bytes of the file, decompressed, in a superset of ASCII.
        tail: its last bytes; may overlap the head, and be empty if the head is complete.
        is_complete: whether the head is the whole file.
        given: keys of the dialect that are declared, and not to be detected; a declared header that does not
            fit the rows is skipped all the same.

    Raises:
        EmptyFileError: the file has no text.
        EncodingMismatchError: it is in an encoding that cannot be detected.
    """
    known = dict(given)
    encoding = known.get("encoding")
    sample = take_sample(
        head, tail, is_complete=is_complete, encoding=str(encoding) if encoding else None
    )
    if not sample.text.strip():
        raise EmptyFileError(
            "the file has no text, only white space" if head else "the file has no bytes"
        )
    separator = _separator_line(sample.text, known)
    if separator:
        sample = _without_first_line(sample)
        is_used = separator in sample.text
        separator = separator if is_used and is_allowed(Form(separator), known) else ""
    if separator:
        known = {"delimiter": separator, **known}
    choice = choose_form(sample, known)
    parts = FileParts.of(sample, choice, known)
    evidence = (*explain_form(sample, choice, separator), *explain_parts(parts))
    names = parts.names()
    if parts.skips_header:
        given = {**given, "header": False}
    return Detection(
        dialect=_dialect(evidence, given),
        header=names,
        width=len(names) or parts.width,
        evidence=tuple(each for each in evidence if each.key not in given),
        warnings=(*find_doubts(choice, parts, names, sample.line_again(head, parts.header_line)),),
    )


def _separator_line(text: str, known: Mapping[str, object]) -> str:
    """Return the delimiter that the first line names, as spreadsheets write it."""
    found = _SEPARATOR_LINE.match(text)
    if not found or "delimiter" in known or "skip_lines" in known:
        return ""
    return "\t" if found[1] == "\\t" else found[1]


def _without_first_line(sample: Sample) -> Sample:
    """Empty the first line, so that later ones keep their numbers."""
    text = "\n" + _LINE.sub("", sample.text, count=1)
    return replace(sample, text=text, tail=text if sample.tail_is_text else sample.tail)


def _dialect(evidence: Iterable[Evidence], given: Mapping[str, object]) -> Dialect:
    values = {each.key: each.value for each in evidence} | dict(given)
    if not values["header"]:
        values.pop("header_lines", None)
    return Dialect.from_json(values)
