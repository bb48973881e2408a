"""Compressed files: one stream, split while it is decompressed, with the same rows."""

from __future__ import annotations

import gzip
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import zstandard
from flow import HEADER, Flow, Killed, lines

from sluice.errors import SplitInProgressError

if TYPE_CHECKING:
    from sluice.ports import StoredObject

CONTENT = HEADER + lines(1, 30) + b"x,broken,a\n"
COMPRESSED = {"gz": gzip.compress(CONTENT), "zst": zstandard.compress(CONTENT)}


def split_again(flow: Flow, stored: StoredObject) -> int:
    """Split once PostgreSQL has noticed that the killed process is gone."""
    for _ in range(100):
        with suppress(SplitInProgressError):
            return flow.split(stored)
        time.sleep(0.02)
    raise AssertionError("the right to split is never given back")


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_compressed_file_is_loaded_in_chunks(flow: Flow, suffix: str) -> None:
    ingestion = flow.run(COMPRESSED[suffix], f"things/a.csv.{suffix}")
    assert len(flow.chunks(ingestion)) > 5
    flow.deliver()
    assert flow.state(ingestion) == "done"
    assert flow.ids() == list(range(1, 31))
    assert [(each.line, each.original) for each in flow.rejects(ingestion)] == [(32, b"x,broken,a")]


def test_a_split_of_a_compressed_file_killed_midway_is_resumed(flow: Flow) -> None:
    stored = flow.bucket.put("things/a.csv.gz", COMPRESSED["gz"])

    def die(topic: str) -> None:
        if topic == "chunks" and len(flow.topics.of("chunks")) > 1:
            raise Killed

    flow.topics.before_publish = die
    with pytest.raises(Killed):
        flow.split(stored)
    flow.topics.before_publish = lambda _topic: None
    ingestion = split_again(flow, stored)
    flow.deliver()
    assert flow.state(ingestion) == "done"
    assert flow.ids() == list(range(1, 31))


def test_a_damaged_file_fails_and_publishes_nothing(flow: Flow) -> None:
    ingestion = flow.run(COMPRESSED["gz"][:-9], "things/a.csv.gz")
    flow.deliver()
    assert flow.state(ingestion) == "failed"
    assert flow.ingestion(ingestion).problem["code"] == "CSV109"
    assert flow.ids() == []
