"""Mutation-based fuzzing: inputs are changed copies of a corpus; each target says what must hold for them.

`make test` runs some hundred inputs of each target, always the same; `make fuzz MINUTES=1` runs each for so
long, with inputs of its own. An input that fails is written to `build/fuzz/`; once its fault is fixed, it
belongs into the corpus.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Check = Callable[[bytes], object]

CORPUS = Path(__file__).parent / "corpus"
FAILED = Path(__file__).parents[2] / "build" / "fuzz"
#: Of each target; 0 is the short form.
MINUTES = float(os.environ.get("SLUICE_FUZZ_MINUTES", "0"))
_SHORT_INPUTS = 300
_MAX_BYTES = 4096
_MOST_CHANGES = 4


def fuzz(target: str, check: Check, tokens: Sequence[bytes]) -> int:
    """Check the corpus of a target, then changed copies of it; return their number.

    Args:
        target: name of its folder in the corpus.
        check: raises for an input for which something does not hold that must.
        tokens: what has a meaning in these inputs.
    """
    corpus = [each.read_bytes() for each in sorted((CORPUS / target).iterdir())]
    started = time.monotonic()
    seed = time.time_ns() if MINUTES else 1
    inputs = _inputs(corpus, tokens, random.Random(seed))
    count = 0
    for data in inputs:
        if count >= len(corpus) and _is_over(count - len(corpus), started):
            break
        count += 1
        try:
            check(data)
        except BaseException:
            _keep(target, data)
            raise
    took_s = time.monotonic() - started
    sys.stdout.write(f"{target}: {count:,} inputs in {took_s / 60:.1f} minutes, seed {seed}\n")
    return count


def _is_over(count: int, started: float) -> bool:
    if MINUTES:
        return time.monotonic() - started >= MINUTES * 60
    return count >= _SHORT_INPUTS


def _inputs(
    corpus: Sequence[bytes], tokens: Sequence[bytes], source: random.Random
) -> Iterator[bytes]:
    yield from corpus
    while True:
        data = source.choice(corpus)
        for _ in range(source.randint(1, _MOST_CHANGES)):
            data = source.choice(_CHANGES)(data, corpus, tokens, source)
        yield data[:_MAX_BYTES]


def _keep(target: str, data: bytes) -> None:
    FAILED.mkdir(parents=True, exist_ok=True)
    path = FAILED / f"{target}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    sys.stdout.write(f"{target}: this input fails, kept in {path}: {data!r}\n")


def _span(data: bytes, source: random.Random) -> tuple[int, int]:
    first, last = sorted(source.choices(range(len(data) + 1), k=2))
    return first, last


def _delete(data: bytes, _: Sequence[bytes], __: Sequence[bytes], source: random.Random) -> bytes:
    first, last = _span(data, source)
    return data[:first] + data[last:]


def _repeat(data: bytes, _: Sequence[bytes], __: Sequence[bytes], source: random.Random) -> bytes:
    first, last = _span(data, source)
    return data[:last] + data[first:last] * source.choice((1, 2, 8)) + data[last:]


def _insert(
    data: bytes, _: Sequence[bytes], tokens: Sequence[bytes], source: random.Random
) -> bytes:
    at, _end = _span(data, source)
    return data[:at] + source.choice(tokens) + data[at:]


def _replace(
    data: bytes, _: Sequence[bytes], tokens: Sequence[bytes], source: random.Random
) -> bytes:
    old, new = source.choice(tokens), source.choice(tokens)
    return data.replace(old, new, source.choice((1, 1, -1)))


def _set_byte(data: bytes, _: Sequence[bytes], __: Sequence[bytes], source: random.Random) -> bytes:
    if not data:
        return source.randbytes(1)
    at = source.randrange(len(data))
    return data[:at] + source.randbytes(1) + data[at + 1 :]


def _splice(
    data: bytes, corpus: Sequence[bytes], _: Sequence[bytes], source: random.Random
) -> bytes:
    other = source.choice(corpus)
    return data[: _span(data, source)[0]] + other[_span(other, source)[0] :]


#: Values that take the place of another one in JSON.
_VALUES = (
    None,
    True,
    0,
    -1,
    1.5,
    2**31,
    2**63,
    10**20,
    "",
    "1",
    "x",
    "\0",
    "\ud800",
    [],
    {},
    [[]],
    {"": 1},
    ["a"],
    "a" * 300,
)


def _change_json(
    data: bytes, _: Sequence[bytes], __: Sequence[bytes], source: random.Random
) -> bytes:
    """Replace or remove a value of the JSON object that the input ends with, if it does."""
    at = max(data.find(b"{"), 0)
    try:
        found = json.loads(data[at:])
    except (ValueError, RecursionError):
        return data
    if not isinstance(found, dict) or not found:
        return data
    place: Any = found
    while True:
        key = source.choice(list(place) if isinstance(place, dict) else range(len(place)))
        inner = place[key]
        if not (isinstance(inner, (dict, list)) and inner) or source.random() < 0.25:
            break
        place = inner
    if source.random() < 0.2:
        del place[key]
    else:
        place[key] = source.choice(_VALUES)
    return data[:at] + json.dumps(found).encode()


_CHANGES = (
    _change_json,
    _change_json,
    _change_json,
    _delete,
    _repeat,
    _insert,
    _insert,
    _replace,
    _set_byte,
    _splice,
)
