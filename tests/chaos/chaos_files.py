"""The files of a round: made from a seed, and read independently of the product, with Python's `csv`."""

from __future__ import annotations

import csv
import gzip
import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos_datasets import (
    ENTRIES,
    EXTRACTS,
    LISTS,
    MEMBERS,
    READINGS,
    STOCK,
    STRICT,
    Dataset,
    Row,
    undeclared,
)

_KINDS = ("air", "soil", "water", "")
_NOTES = ("plain", 'a "quoted" word', "two\nlines", "comma, comma", "Łódź ✓", "", "tab\tinside")
_KEYS = 120


@dataclass(frozen=True)
class File:
    """A file to upload.

    Attributes:
        kind: how it was made; the tally counts by it.
        name: of the object.
        codes: with which problems it may fail; none if it must not.
        may_skip: whether it may be skipped, as another file of the round has its content.
        may_vanish: whether a fault overwrites or deletes it, after which it may fail for that reason.
        after: number of the file of the round whose object it overwrites; None for an object of its own.
    """

    kind: str
    dataset: Dataset
    name: str
    data: bytes = field(repr=False)
    codes: Sequence[str] = ()
    may_skip: bool = False
    may_vanish: bool = False


@dataclass(frozen=True)
class Contents:
    """What a file has, as Python's `csv` reads it.

    Attributes:
        rows: the good rows with the number of their record, from 0.
        rejects: numbers of the other records.
    """

    rows: Sequence[tuple[int, Row]]
    rejects: Sequence[int]

    @property
    def records(self) -> int:
        """Number of records, without the header."""
        return len(self.rows) + len(self.rejects)


def read(file: File) -> Contents:
    """Read a file."""
    data = gzip.decompress(file.data) if file.name.endswith(".gz") else file.data
    records = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))[1:]
    found = [(number, file.dataset.row(each)) for number, each in enumerate(records)]
    return Contents(
        [(number, row) for number, row in found if row is not None],
        [number for number, row in found if row is None],
    )


def make_files(prefix: str, count: int, chance: random.Random) -> list[File]:
    """Return files of random kinds; a kind may make several.

    Args:
        prefix: makes names, keys and contents unique to the round.
        count: about how many.
        chance: decides.
    """
    made: list[File] = []
    kinds = list(_MAKERS)
    weights = [_MAKERS[each][0] for each in kinds]
    while len(made) < count:
        (kind,) = chance.choices(kinds, weights)
        made += _MAKERS[kind][1](kind, f"{prefix}_{len(made)}", prefix, chance)
    return made


def newer(file: File, chance: random.Random) -> File:
    """Return another content for the same object."""
    mark = file.name.rpartition("/")[2].partition(".")[0]
    count = chance.randint(5, 200)
    if file.dataset.document is None:
        records = _undeclared_records(f"{mark}_newer", count, chance)
    else:
        records = _records(f"{mark}_newer", count, chance, share=0.02)
    data = _written(file.dataset, records, chance)
    if file.name.endswith(".gz"):
        data = gzip.compress(data, mtime=0)
    return File(f"{file.kind}_newer", file.dataset, file.name, data)


def _records(mark: str, count: int, chance: random.Random, share: float) -> list[list[str]]:
    """Return records of a dataset without a key, of which a share are rejects, but not the first."""
    found = []
    for number in range(count):
        is_bad = number > 0 and chance.random() < share
        n = f"x{number}" if is_bad else str(chance.randrange(10_000))
        amount = f"{chance.randrange(100_000) / 100:.2f}"
        found.append([mark, n, amount, chance.choice(_NOTES), chance.choice(_KINDS)])
    return found


def _undeclared_records(mark: str, count: int, chance: random.Random) -> list[list[str]]:
    return [[str(n), f"{chance.randrange(10_000) / 100:.2f}", f"{mark} {n}"] for n in range(count)]


def _keyed_records(prefix: str, mark: str, count: int, chance: random.Random) -> list[list[str]]:
    found = []
    for number in range(count):
        n = "many" if number > 0 and chance.random() < 0.02 else str(number)
        found.append([f"{prefix}-{chance.randrange(_KEYS):03}", n, f"{mark} {number}"])
    return found


def _written(dataset: Dataset, records: Sequence[Sequence[str]], chance: random.Random) -> bytes:
    text = io.StringIO(newline="")
    quoting = chance.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    writer = csv.writer(text, lineterminator=chance.choice(("\n", "\r\n")), quoting=quoting)
    writer.writerow(dataset.columns)
    writer.writerows(records)
    mark = chance.choice(("", "", "\ufeff"))
    return (mark + text.getvalue()).encode()


def _plain(
    dataset: Dataset, fewest: int, most: int, ending: str = "csv", share: float = 0.02
) -> Callable[..., list[File]]:
    def make(kind: str, mark: str, prefix: str, chance: random.Random) -> list[File]:
        records = _records(mark, chance.randint(fewest, most), chance, share)
        data = _written(dataset, records, chance)
        if ending.endswith(".gz"):
            data = gzip.compress(data, mtime=0)
        return [File(kind, dataset, f"{dataset.name}/{mark}.{ending}", data)]

    return make


def _keyed(dataset: Dataset) -> Callable[..., list[File]]:
    def make(kind: str, mark: str, prefix: str, chance: random.Random) -> list[File]:
        return [
            File(
                kind,
                dataset,
                f"{dataset.name}/{mark}_{number}.csv",
                _written(
                    dataset,
                    _keyed_records(prefix, f"{mark}_{number}", chance.randint(10, 300), chance),
                    chance,
                ),
            )
            for number in range(chance.randint(1, 2))
        ]

    return make


def _undeclared(kind: str, mark: str, prefix: str, chance: random.Random) -> list[File]:
    dataset = undeclared(f"box_{mark}")
    records = _undeclared_records(mark, chance.randint(20, 700), chance)
    return [File(kind, dataset, f"{dataset.name}/{mark}.csv", _written(dataset, records, chance))]


def _strict(kind: str, mark: str, prefix: str, chance: random.Random) -> list[File]:
    count = chance.randint(20, 400)
    records = _records(mark, count, chance, share=0)
    is_bad = chance.random() < 0.5
    if is_bad:
        records[chance.randrange(count)][1] = "none"
    data = _written(STRICT, records, chance)
    return [File(kind, STRICT, f"strict/{mark}.csv", data, ("CSV106",) if is_bad else ())]


def _twins(kind: str, mark: str, prefix: str, chance: random.Random) -> list[File]:
    """Two files of the same content, of which one is skipped."""
    data = _written(READINGS, _records(mark, chance.randint(5, 400), chance, 0.02), chance)
    return [
        File(kind, READINGS, f"readings/{mark}_{number}.csv", data, may_skip=True)
        for number in range(2)
    ]


def _wrong_header(kind: str, mark: str, prefix: str, chance: random.Random) -> list[File]:
    data = f"file,number\n{mark},1\n".encode() * chance.randint(1, 50)
    return [File(kind, READINGS, f"readings/{mark}.csv", data, ("CSV104",))]


def _all_rejected(kind: str, mark: str, prefix: str, chance: random.Random) -> list[File]:
    records = [[mark, f"x{n}", "1", "", ""] for n in range(chance.randint(1, 100))]
    data = _written(READINGS, records, chance)
    return [File(kind, READINGS, f"readings/{mark}.csv", data, ("CSV201",))]


def _cut_gzip(kind: str, mark: str, prefix: str, chance: random.Random) -> list[File]:
    (whole,) = _plain(READINGS, 200, 600, "csv.gz")(kind, mark, prefix, chance)
    data = whole.data[: len(whole.data) * chance.randint(30, 90) // 100]
    return [File(kind, READINGS, whole.name, data, ("CSV109",))]


#: Each kind with its weight and its maker.
_MAKERS: dict[str, tuple[float, Callable[..., list[Any]]]] = {
    "small": (4, _plain(READINGS, 1, 80)),
    "chunked": (5, _plain(READINGS, 300, 1500)),
    "gzip": (2, _plain(READINGS, 100, 900, "csv.gz")),
    "output": (1.5, _plain(EXTRACTS, 20, 600)),
    "replaced": (1.5, _plain(LISTS, 20, 500)),
    "update": (2, _keyed(STOCK)),
    "ignore": (2, _keyed(MEMBERS)),
    "error": (1, _keyed(ENTRIES)),
    "undeclared": (1, _undeclared),
    "strict": (1, _strict),
    "twins": (1, _twins),
    "wrong_header": (0.5, _wrong_header),
    "all_rejected": (0.3, _all_rejected),
    "cut_gzip": (0.5, _cut_gzip),
}
