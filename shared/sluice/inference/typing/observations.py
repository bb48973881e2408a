"""What the cells of a file admit so far: `observe` makes them, `columns` decides.

An observation is a set of forms, see `cell_forms`, each with the first cell that has it. Merging unites them,
so that the order and number of batches make no difference. Once a column has a cell that only a text admits,
its other forms do not matter, and are neither looked for nor kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import reduce
from typing import Any

from sluice.inference.detection.ends import Ends
from sluice.inference.typing.cell_forms import NULL_MARK, TEXT
from sluice.inference.typing.runs import Run, join_runs

#: Most distinct values that are kept of a column and of all columns, and their longest; columns with more
#: have `many`. So the report of a chunk has at most a few megabytes.
MAX_DISTINCT, MAX_DISTINCT_IN_ALL, MAX_DISTINCT_LENGTH = 256, 128 * 256, 64


def max_distinct(width: int) -> int:
    """Return how many distinct values are kept of each column of a file, however it is split."""
    return min(MAX_DISTINCT, MAX_DISTINCT_IN_ALL // max(1, width))


def _storable(text: str) -> str:
    """Return a text without NUL, which PostgreSQL does not store in JSON."""
    return text.replace("\0", "\ufffd")


@dataclass(frozen=True, order=True)
class Witness:
    """A cell that shows something: the position of its record in the file, from 0, and its text."""

    record: int
    value: str

    def to_json(self) -> list[int | str]:
        """Return it as JSON."""
        return [self.record, _storable(self.value)]


@dataclass(frozen=True)
class ColumnObservation:
    """What the cells of one column admit.

    Attributes:
        cells, nulls: how many cells there are, and how many of them are empty.
        shortest, longest: bytes of the shortest and longest cell that is not empty; 0 if there is none.
        forms: the forms of the cells, each with the first cell that has it.
        spaced: the first cell with white space around it.
        distinct: the different cells; None if there are many, or long ones.
        runs: ranges of records in which the column ascends; None if it does not.
        ends: the numbers at both ends of dates with a year of two digits; empty among texts.
    """

    cells: int = 0
    nulls: int = 0
    shortest: int = 0
    longest: int = 0
    forms: Mapping[str, Witness] = field(default_factory=dict)
    spaced: Witness | None = None
    distinct: frozenset[str] | None = frozenset()
    runs: tuple[Run, ...] | None = ()
    ends: Ends = field(default_factory=Ends)

    @property
    def is_text(self) -> bool:
        """Whether no type but text admits all cells."""
        return TEXT in self.forms

    def merge(self, other: ColumnObservation, max_values: int = MAX_DISTINCT) -> ColumnObservation:
        """Return what both admit together, with a most number of distinct values."""
        forms = _merge_forms(self.forms, other.forms)
        return ColumnObservation(
            cells=self.cells + other.cells,
            nulls=self.nulls + other.nulls,
            shortest=min(filter(None, (self.shortest, other.shortest)), default=0),
            longest=max(self.longest, other.longest),
            forms=forms,
            spaced=min(filter(None, (self.spaced, other.spaced)), default=None),
            distinct=_merge_distinct(self.distinct, other.distinct, max_values),
            runs=join_runs(self.runs, other.runs),
            ends=Ends() if TEXT in forms else self.ends.merge(other.ends),
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        document = asdict(self)
        document["forms"] = {form: each.to_json() for form, each in self.forms.items()}
        document["ends"] = self.ends.to_json()
        document["spaced"] = self.spaced.to_json() if self.spaced else None
        document["distinct"] = (
            None if self.distinct is None else sorted(map(_storable, self.distinct))
        )
        document["runs"] = None if self.runs is None else [list(each) for each in self.runs]
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ColumnObservation:
        """Read it from JSON."""
        given = dict(document)
        spaced, distinct, runs = (given.pop(key) for key in ("spaced", "distinct", "runs"))
        ends = Ends.from_json(given.pop("ends"))
        forms = {form: Witness(*each) for form, each in given.pop("forms").items()}
        return cls(
            **given,
            forms=forms,
            spaced=Witness(*spaced) if spaced else None,
            distinct=None if distinct is None else frozenset(distinct),
            runs=None if runs is None else tuple(Run(*each) for each in runs),
            ends=ends,
        )


@dataclass(frozen=True)
class Observations:
    """What the cells of a file admit, by column."""

    columns: tuple[ColumnObservation, ...] = ()

    def merge(self, other: Observations) -> Observations:
        """Return what both admit together; of different numbers of columns, the larger."""
        width = max(len(self.columns), len(other.columns))
        pairs = zip(self.padded(width), other.padded(width), strict=True)
        kept = max_distinct(width)
        return Observations(tuple(left.merge(right, kept) for left, right in pairs))

    def padded(self, width: int) -> tuple[ColumnObservation, ...]:
        """Return the columns, and empty ones up to a number."""
        return self.columns + (ColumnObservation(),) * (width - len(self.columns))

    def to_json(self) -> str:
        """Return it as a compact JSON text."""
        columns = [each.to_json() for each in self.columns]
        return json.dumps(columns, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Observations:
        """Read it from a JSON text."""
        return cls(tuple(ColumnObservation.from_json(each) for each in json.loads(text)))


def merge_all(observations: Iterable[Observations]) -> Observations:
    """Return what all observations admit together."""
    return reduce(Observations.merge, observations, Observations())


def _merge_forms(
    left: Mapping[str, Witness], right: Mapping[str, Witness]
) -> Mapping[str, Witness]:
    merged = dict(left)
    for form, witness in right.items():
        merged[form] = min(witness, merged.get(form, witness))
    return _without_others(merged)


def _without_others(forms: Mapping[str, Witness]) -> Mapping[str, Witness]:
    """Return only what matters of the forms of a column with texts."""
    if TEXT not in forms:
        return forms
    return {form: each for form, each in forms.items() if form in (TEXT, f"word {NULL_MARK}")}


def _merge_distinct(
    left: frozenset[str] | None, right: frozenset[str] | None, max_values: int
) -> frozenset[str] | None:
    if left is None or right is None:
        return None
    merged = left | right
    return merged if len(merged) <= max_values else None
