"""Hostile files and questions that come together, by the thousand, leave each function within its memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest
from hostile_cloud import Processes, upload, wait_for_end
from hostile_compressed import gz
from hostile_file import MIB

import workbooks

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from sluice.local.cloud import Cloud

pytestmark = pytest.mark.hostile

#: As many as `split` takes at a time.
_FILES = 16
_WITHIN_S = 240.0
_LONG = "/v1/datasets/served/queries/long?size={}"
_SHORT = "/v1/datasets/served/rows?id=eq.{}"
_MAX_GROWTH_BYTES = 32 * MIB


def _long_line(number: int) -> tuple[str, bytes]:
    return f"numbers/line_{number}.csv.gz", gz(b"n\n%d" % number + b"1" * 60 * MIB)


def _long_texts(number: int) -> tuple[str, bytes]:
    texts = "".join(f"<si><t>{number}{'x' * 2 * MIB}</t></si>" for _ in range(47))
    rows = '<row><c t="s"><v>0</v></c></row>'
    return f"numbers/texts_{number}.xlsx", workbooks.raw(rows, shared=texts)


@pytest.mark.parametrize(
    ("make", "end"),
    [(_long_line, "CSV112"), (_long_texts, "CSV104")],
    ids=["long_lines", "long_texts"],
)
def test_many_hostile_files_at_once_end_within_the_memory_of_each_function(
    hostile_cloud: Cloud,
    database_engine: Engine,
    declared: Callable[[str], None],
    processes: Processes,
    make: Callable[[int], tuple[str, bytes]],
    end: str,
    record_property: Callable[[str, str], None],
) -> None:
    declared("numbers")
    files = dict(map(make, range(_FILES)))
    with ThreadPoolExecutor(_FILES) as pool:
        list(pool.map(lambda name: upload(hostile_cloud, name, files[name]), files))
    ends = {wait_for_end(database_engine, name, _WITHIN_S).end for name in files}
    record_property("end", ", ".join(sorted(ends)))
    assert ends == {end}
    assert not processes.beyond_limit()


@pytest.mark.parametrize(
    ("target", "first", "more"),
    [
        (_LONG, range(200_000, 200_400), range(200_400, 201_000)),
        (_SHORT, range(3_000), range(3_000, 6_000)),
    ],
    ids=["long_answers", "short_answers"],
)
def test_thousands_of_distinct_questions_leave_the_memory_of_query_flat(
    served: int, processes: Processes, target: str, first: range, more: range
) -> None:
    address = f"http://127.0.0.1:{processes.port('query')}"
    with httpx.Client(base_url=address, timeout=60) as client:
        _ask(client, target, first)
        before = processes.peaks()["query"]
        _ask(client, target, more)
    assert processes.peaks()["query"] < before + _MAX_GROWTH_BYTES
    assert not processes.beyond_limit()


def _ask(client: httpx.Client, target: str, numbers: range) -> None:
    for number in numbers:
        client.get(target.format(number)).raise_for_status()
