"""Finds the forms of cells: the shapes of a column, and the digits that decide what a shape leaves open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sluice.datasets.grammars import WHITE_SPACE
from sluice.datasets.json_grammar import json_problem
from sluice.inference.detection.ends import Ends
from sluice.inference.typing.cell_forms import (
    BLANK,
    JSON,
    NULL_MARK,
    TEXT,
    TEXT_READING,
    Probe,
    Reading,
    is_on_earth,
    read_shape,
)
from sluice.inference.typing.shapes import Cells, Digits, Shapes, shapes_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sluice.inference.typing.shapes import Flags, Rows

#: Cells that are looked at first: a text among them saves the rest.
_FIRST = 256
#: Combinations of shapes and variants that are counted in an array.
_MAX_CODES = 4_000_000
#: A probe that no cell fails.
_ANY = Probe(0, 0, 255)
_UUID_SHAPE = "99999999-9999-9999-9999-999999999999"


@dataclass(frozen=True)
class Scan:
    """What cells are.

    Attributes:
        forms: their forms, each with the row of the first cell that has it.
        ends: the numbers at both ends of dates with a year of two digits.
    """

    forms: dict[str, int]
    ends: Ends = field(default_factory=Ends)


def scan(cells: Cells) -> Scan:
    """Return what cells are; of cells with a text among them, only the first text and what means null."""
    if len(cells) > _FIRST:
        first = _scan_all(cells.head(_FIRST)).forms
        if TEXT in first:
            return _of_text(first, cells)
        if "uuid" in first:
            return _scan_uuids(cells)
    found = _scan_all(cells)
    return _of_text(found.forms, cells) if TEXT in found.forms else found


def _scan_all(cells: Cells) -> Scan:
    """Return what cells are: objects and arrays are read one by one, others by their shapes."""
    rows = _in_brackets(cells)
    if not len(rows):
        return _scan_shapes(cells)
    texts = [cells.text(row).strip(WHITE_SPACE) for row in rows.tolist()]
    wrong = next(
        (row for row, text in zip(rows.tolist(), texts, strict=True) if json_problem(text)), None
    )
    if wrong is not None:
        return Scan({TEXT: wrong})
    rest = np.setdiff1d(np.arange(len(cells)), rows, assume_unique=True)
    others = _scan_shapes(cells.take(rest))
    forms = {form: int(rest[row]) for form, row in others.forms.items()}
    return Scan({**forms, JSON: int(rows[0])}, others.ends)


def _in_brackets(cells: Cells) -> Rows:
    """Return the cells that begin as an object or array does, after any white space."""
    present = np.flatnonzero(cells.lengths)
    first = cells.codes[cells.places[:-1][present]]
    is_bracket = (first == ord("{")) | (first == ord("["))
    for at in np.flatnonzero((first <= ord(" ")) | (first > ord("~"))).tolist():
        is_bracket[at] = cells.text(int(present[at])).strip(WHITE_SPACE)[:1] in ("{", "[")
    found: Rows = present[is_bracket]
    return found


def _of_text(forms: dict[str, int], cells: Cells) -> Scan:
    return Scan({TEXT: forms[TEXT], **null_marks(cells)})


def null_marks(cells: Cells) -> dict[str, int]:
    """Return the first cell that means null also among texts, by its form."""
    starts = cells.places[:-1]
    rows = np.flatnonzero(cells.lengths == len(NULL_MARK))
    for place, code in enumerate(NULL_MARK.encode()):
        rows = rows[cells.codes[starts[rows] + place] == code]
    return {f"word {NULL_MARK}": int(rows[0])} if len(rows) else {}


def _scan_uuids(cells: Cells) -> Scan:
    """Return what cells are of which most are UUIDs, whose shapes differ by their letters."""
    shapes = shapes_of(cells, is_hexadecimal=True)
    is_uuid = np.array([each == _UUID_SHAPE for each in shapes.texts])[shapes.index]
    rows = np.flatnonzero(~is_uuid)
    others = _scan_shapes(cells.take(rows))
    forms = {form: int(rows[row]) for form, row in others.forms.items()}
    if TEXT in forms:
        return _of_text(forms, cells)
    return Scan({**forms, "uuid": int(is_uuid.argmax())}, others.ends)


def _scan_shapes(cells: Cells) -> Scan:
    if not len(cells):
        return Scan({})
    shapes = shapes_of(cells)
    readings = _read_shapes(shapes.texts)
    variants, ends = _variants(cells, shapes, readings)
    width = 1 if variants is None else int(variants.max()) + 1
    codes = shapes.index if variants is None else shapes.index.astype(np.int64) * width + variants
    found: dict[str, int] = {}
    for code, row in _first_rows(codes, len(readings) * width):
        form = readings[code // width].forms[code % width]
        found[form] = min(row, found.get(form, row))
    found.pop(BLANK, None)
    return Scan(found, ends)


def _read_shapes(texts: Sequence[str]) -> list[Reading]:
    """Return the readings of shapes in the order of their first cells; after the first text all are texts."""
    readings: list[Reading] = []
    for each in texts:
        readings.append(read_shape(each))
        if readings[-1] is TEXT_READING:
            break
    return readings + [TEXT_READING] * (len(texts) - len(readings))


def _first_rows(codes: NDArray[np.integer], count: int) -> list[tuple[int, int]]:
    """Return each code that occurs, with its first row."""
    if count > _MAX_CODES:
        present, first = np.unique(codes, return_index=True)
    else:
        rows = np.full(count, -1, np.int64)
        rows[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
        present = np.flatnonzero(rows >= 0)
        first = rows[present]
    return list(zip(present.tolist(), first.tolist(), strict=True))


def _variants(
    cells: Cells, shapes: Shapes, readings: Sequence[Reading]
) -> tuple[NDArray[np.uint8] | None, Ends]:
    """Return the variant of each cell, None if all are 0; and the ends of dates."""
    flagged, ends = _flagged(cells, shapes, readings), Ends()
    variants = None if flagged is None else flagged.astype(np.uint8)
    for number, reading in enumerate(readings):
        if reading.values is not None:
            variants = np.zeros(len(cells), np.uint8) if variants is None else variants
            rows = shapes.rows(number)
            digits = Digits(cells, rows, len(shapes.texts[number].encode()))
            variants[rows] = found = reading.values.variants(digits)
            ends = ends.merge(reading.values.ends(digits, found))
    return variants, ends


def _flagged(cells: Cells, shapes: Shapes, readings: Sequence[Reading]) -> Flags | None:
    """Return which cells have a digit outside of a probe's range; None for none."""
    turns = max((len(each.probes) for each in readings), default=0)
    flagged: Flags = np.zeros(len(cells) if turns else 0, bool)
    for turn in range(turns):
        probes = [each.probes[turn] if turn < len(each.probes) else _ANY for each in readings]
        at = np.array([each.at for each in probes], np.int32)[shapes.index]
        low = np.array([each.low for each in probes], np.uint8)[shapes.index]
        high = np.array([each.high for each in probes], np.uint8)[shapes.index]
        found = cells.codes[np.minimum(cells.places[:-1] + at, len(cells.codes) - 1)]
        flagged |= (found < low) | (found > high)
    if not flagged.any():
        return None
    return _with_exact_points(cells, shapes, readings, flagged)


def _with_exact_points(
    cells: Cells, shapes: Shapes, readings: Sequence[Reading], flagged: Flags
) -> Flags:
    """Keep the flag of a point only if it is outside of the Earth's degrees."""
    is_point = np.array([each.is_point for each in readings])[shapes.index]
    rows: Rows = np.flatnonzero(flagged & is_point)
    for row in rows.tolist():
        flagged[row] = not is_on_earth(cells.text(row))
    return flagged
