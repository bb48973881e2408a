"""A re-upload under the same name replaces or appends atomically: readers never see both, nor neither."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from flow import HEADER, lines

if TYPE_CHECKING:
    from flow import Flow

ROWS = 20
REUPLOADS = 6

pytestmark = pytest.mark.flow(chunk_bytes=100)


def content(kind: str, generation: int) -> bytes:
    first = 1 if kind != "append" else 1 + generation * ROWS
    return HEADER + lines(first, first + ROWS - 1, f"g{generation}")


@pytest.mark.parametrize(
    ("kind", "policies"),
    [
        ("replace", {"reupload": "replace"}),
        (
            "replace a key",
            {"reupload": "replace", "key": ["id"], "duplicates": "update", "rollups": {}},
        ),
        ("append", {}),
    ],
    ids=lambda each: each if isinstance(each, str) else None,
)
def test_readers_see_one_version_while_others_are_published(
    flow: Flow, kind: str, policies: dict[str, Any]
) -> None:
    flow.declare(**policies)
    flow.run(content(kind, 0))
    reader, stop = flow.twin(), threading.Event()
    seen: list[Counter[str]] = []

    def read() -> None:
        while not stop.is_set():
            found = reader.all("SELECT kind FROM things")
            seen.append(Counter(row.kind for row in found))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for generation in range(1, REUPLOADS):
            ingestion = flow.run(content(kind, generation))
            assert flow.state(ingestion) == "done"
    finally:
        stop.set()
        thread.join()
    allowed = [
        {f"g{each}": ROWS for each in range(0 if kind == "append" else generation, generation + 1)}
        for generation in range(REUPLOADS)
    ]
    assert [each for each in seen if each not in allowed] == []
    assert len({len(each) if kind == "append" else next(iter(each)) for each in seen}) > 1


def test_a_version_that_fails_leaves_the_one_before(flow: Flow) -> None:
    flow.declare(reupload="replace", load="all_or_nothing")
    flow.run(content("replace", 0))
    failed = flow.run(HEADER + b"x,bad,a\n" + lines(1, 30))
    assert flow.state(failed) == "failed"
    assert flow.ids() == list(range(1, ROWS + 1))
    assert flow.kinds() == {"g0": ROWS}
