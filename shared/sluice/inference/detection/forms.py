"""Chooses delimiter, quote and escape: reads the sample in each form it may have, and compares."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sluice.inference.detection.candidates import (
    MARKS,
    candidate_forms,
    has_doubled_backslashes,
    is_allowed,
)
from sluice.inference.detection.header import are_names
from sluice.inference.detection.reading import DELIMITER, LF, QUOTED, Form, read
from sluice.inference.detection.sampling import Sample
from sluice.inference.detection.scoring import Score, is_commented, score

#: Characters with which all forms are compared; the best of them with the whole sample.
_FIRST_CHARS = 16 * 1024
_MAX_FINALISTS, _FINALIST_SHARE = 5, 0.6
#: From which share of the best score on another delimiter is reported as possible.
_AMBIGUOUS_SHARE = 0.92
#: Delimiters that divide the names of a header whatever is below it.
_COMMON = (",", ";", "\t", "|")
_DECIMAL = re.compile(r" *[+-]?\d+,\d+ *")
#: Lines and fields in which pairs of quotes show a delimiter that does not divide all lines equally.
_FEW_LINES, _FEW_FIELDS = 4, 3
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+\Z")
#: Doubled delimiters that, once in each record, are more likely an empty column.
EMPTY_COLUMNS = (",,", ";;", "\t\t")
#: Delimiters of a file of one column, in which none of them occurs.
_UNUSED = (",", ";", "\t", "|", "\x1f")


@dataclass(frozen=True)
class Choice:
    """The form of a file.

    Attributes:
        score: the sample in that form.
        others: the best scores of other delimiters, best first.
        delimiter: the delimiter; for a file of one column, one that does not occur.
        has_pairs_of_backslashes: whether all backslashes could be escaped, and nothing else is.
    """

    score: Score
    others: tuple[Score, ...]
    delimiter: str
    has_pairs_of_backslashes: bool

    @property
    def rival(self) -> Score | None:
        """The best score of another delimiter, if it is about as good."""
        best = self.others[0] if self.others else None
        if not best or best.total < self.score.total * _AMBIGUOUS_SHARE:
            return None
        mark, other = self.score.reading.form.delimiter, best.reading.form.delimiter
        return None if mark and other and (mark in other or other in mark) else best


def choose_form(sample: Sample, known: Mapping[str, object]) -> Choice:
    """Choose the form in which a sample reads best."""
    text = _without_lines(sample.text, int(str(known.get("skip_lines", 0))))
    scores = _compare(text, known, is_whole=sample.is_whole)
    best = scores[0]
    if "delimiter" not in known:
        best = _by_header(best, text, is_whole=sample.is_whole) or best
        best = _by_quotes(best, scores) or best
        best = _refined(best, text, known, is_whole=sample.is_whole)
    if sample.late:
        best = _with_late_quotes(best, text, sample.late, known)
    others = tuple(
        each for each in scores if each.reading.form.delimiter != best.reading.form.delimiter
    )
    return Choice(
        best,
        others,
        best.reading.form.delimiter or _unused(best.reading.form, text, known),
        "escape" not in known and _has_pairs_only(text),
    )


def _has_pairs_only(text: str) -> bool:
    """Whether all backslashes are in pairs."""
    return has_doubled_backslashes(text, at_least=1)


def _without_lines(text: str, count: int) -> str:
    """Empty the first lines, so that later ones keep their numbers."""
    if not count:
        return text
    lines = _LINE.findall(text)
    return "\n" * min(count, len(lines)) + "".join(lines[count:])


def _compare(text: str, known: Mapping[str, object], *, is_whole: bool) -> list[Score]:
    """Return the scores of the possible forms, best first."""
    forms = candidate_forms(text, known)
    start = text[: text.rfind("\n", 0, _FIRST_CHARS) + 1] or text[:_FIRST_CHARS]
    is_all = len(text) <= _FIRST_CHARS
    if is_all:
        return _sorted([_score(text, form, is_whole=is_whole) for form in forms])
    scores = _sorted([score(read(start, form)) for form in forms])
    finalists = [each for each in scores if each.total >= scores[0].total * _FINALIST_SHARE]
    return _sorted(
        [_score(text, each.reading.form, is_whole=is_whole) for each in finalists[:_MAX_FINALISTS]]
    )


def _score(text: str, form: Form, *, is_whole: bool) -> Score:
    """Return the score of a form; quotes that enclose many lines may be unclosed ones instead."""
    found = score(read(text, form, is_whole=is_whole))
    if not found.reading.has_long_junk:
        return found
    other = score(read(text, form, is_whole=is_whole, ends_lines=True))
    return max(found, other, key=lambda each: each.total)


def _sorted(scores: list[Score]) -> list[Score]:
    return sorted(scores, key=lambda each: -each.total)


def _by_header(best: Score, text: str, *, is_whole: bool) -> Score | None:
    """Return the score with the delimiter that divides the first line into names, if the best does not."""
    reading = best.reading
    first = reading.contents[0] if reading.contents else None
    if first is None or first.lines > 1 or first.width > 1:
        return None
    found = [
        _score(text, replace(reading.form, delimiter=each, spaces=False), is_whole=is_whole)
        for each in _COMMON
        if are_names(first.text.split(each))
    ]
    is_common = reading.form.delimiter in _COMMON
    if len(found) != 1 or (is_common and not _has_commas_in_numbers(found[0])):
        return None
    return found[0]


def _by_quotes(best: Score, scores: Sequence[Score]) -> Score | None:
    """Return the score with the delimiter between which quotes pair in each line, if the best has none."""
    if best.reading.form.delimiter:
        return None
    found = (
        each
        for each in scores
        if each.reading.quoted >= len(each.reading.contents) > _FEW_LINES
        and each.width > _FEW_FIELDS
        and each.fitting * 3 >= len(each.reading.contents)
        and not (each.reading.junk or each.reading.is_open or each.reading.unclosed)
    )
    return next(found, None)


def _has_commas_in_numbers(found: Score) -> bool:
    """Whether commas are only in numbers such as 1,5."""
    cells = (cell for each in found.reading.contents for cell in found.reading.cells(each))
    return all("," not in cell or _DECIMAL.fullmatch(cell) for cell in cells)


def _refined(best: Score, text: str, known: Mapping[str, object], *, is_whole: bool) -> Score:
    """Return the score with a longer delimiter, if all delimiters are part of it."""
    delimiter = best.reading.form.delimiter
    if len(delimiter) != 1 or best.width == 1:
        return best
    for longer in _longer(best):
        form = replace(best.reading.form, delimiter=longer, spaces=False)
        if not is_allowed(form, known):
            continue
        found = score(read(text, form, is_whole=is_whole))
        if found.width <= 2 and longer in EMPTY_COLUMNS:
            continue
        if found.width > 1 and found.consistency >= best.consistency - 0.01:
            return found
    return best


def _longer(best: Score) -> Iterator[str]:
    """Yield the doubled delimiter, and the one with a space, if each delimiter of the file is so."""
    delimiter = best.reading.form.delimiter
    texts = [
        each.text
        for each in best.reading.contents
        if each.width == best.width and not is_commented(each)
    ]
    if not any(text.strip(delimiter) for text in texts):
        return
    mark = re.escape(delimiter)
    runs = [len(run) for text in texts for run in re.findall(f"{mark}+", text)]
    if len(texts) > 1 and runs and all(run % 2 == 0 for run in runs):
        yield delimiter * 2
    wider = {run for text in texts for run in re.findall(f"[{MARKS}]*{mark}[{MARKS}]*", text)}
    if len(texts) > 1 and wider:
        shortest = min(wider, key=len)
        is_empty_cells = len(shortest) > len(delimiter) * 2 and not shortest.strip(delimiter)
        is_longer = len(shortest) > 1 and not is_empty_cells
        if is_longer and all(not run.replace(shortest, "") for run in wider):
            yield shortest
    if delimiter.isspace() or len(texts) < 3:
        return
    count = sum(text.count(delimiter) for text in texts)
    quote = re.escape(best.reading.form.quote or QUOTED)
    single = sum(
        len(re.findall(rf"(?<![^{mark}] ){mark} (?=[^ {quote}{QUOTED}]|$)", text)) for text in texts
    )
    space = " ?" if best.reading.form.spaces else " "
    quoted = sum(
        len(re.findall(rf"(?<![^{mark}] ){mark}{space}(?=[{quote}{QUOTED}])", text))
        for text in texts
    )
    if single and count == single + quoted:
        yield f"{delimiter} "
    if count == sum(len(re.findall(rf"(?<=[^ ]) {mark} (?=[^ ]|$)", text)) for text in texts):
        yield f" {delimiter} "


def _with_late_quotes(best: Score, text: str, late: str, known: Mapping[str, object]) -> Score:
    """Return the score with the quotes that first occur in a later part of the file."""
    delimiter = best.reading.form.delimiter
    if not delimiter:
        return best
    found = _compare(late, {**known, "delimiter": delimiter}, is_whole=False)[0]
    return score(read(text, found.reading.form)) if found.total > 0 else best


def _unused(form: Form, text: str, known: Mapping[str, object]) -> str:
    """Return a delimiter that does not occur outside quotes."""
    for delimiter in _UNUSED:
        other = replace(form, delimiter=delimiter)
        reading = read(text, other)
        if is_allowed(other, known) and all(each.width == 1 for each in reading.records):
            return delimiter
    return _UNUSED[-1]


def widths_of(found: Score) -> str:
    """Describe the numbers of fields of the records."""
    widths: Sequence[int] = [each.width for each in found.reading.contents] or [1]
    low, high = min(widths), max(widths)
    return f"{low}" if low == high else f"{low} to {high}"


def encloses_marks(found: Score) -> bool:
    """Whether any quotes enclose a delimiter or line end."""
    return any(DELIMITER in each.text or LF in each.text for each in found.reading.contents)
