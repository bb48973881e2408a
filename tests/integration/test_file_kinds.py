"""Compressed and converted files: known by their bytes, one stream, with the rows of the plain file."""

from __future__ import annotations

import gzip
import io
import time
import zipfile
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from backports import zstd
from flow import HEADER, Flow, Killed, lines

from sluice.errors import SplitInProgressError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluice.ports import StoredObject

CONTENT = HEADER + lines(1, 30) + b"x,broken,a\n"
COMPRESSED = {"gz": gzip.compress(CONTENT), "zst": zstd.compress(CONTENT)}


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


@pytest.mark.parametrize("name", ["a.CSV", "a.tsv", "a.txt", "a.csv.gz", "a.csv.zst", "b/c.Txt.GZ"])
@pytest.mark.parametrize("kind", ["plain", "gz", "zst"])
def test_the_bytes_decide_whether_a_file_is_compressed(flow: Flow, name: str, kind: str) -> None:
    ingestion = flow.run(COMPRESSED.get(kind, CONTENT), f"things/{name}")
    flow.deliver()
    assert (flow.state(ingestion), flow.account(ingestion)) == ("done", (31, 30, 1))


@pytest.mark.parametrize("name", ["things/a.csv", "things/a.csv.gz"])
def test_one_layer_of_gzip_is_enough_whatever_the_metadata_say(flow: Flow, name: str) -> None:
    stored = replace(flow.bucket.put(name, COMPRESSED["gz"]), content_encoding="gzip")
    ingestion = flow.split(stored)
    flow.deliver()
    assert flow.account(ingestion) == (31, 30, 1)


def test_an_empty_compressed_file_is_empty(flow: Flow) -> None:
    ingestion = flow.run(gzip.compress(b""), "things/a.csv.gz")
    assert flow.ingestion(ingestion).problem["code"] == "CSV101"


def _archive(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "text")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(gzip.compress(COMPRESSED["gz"]), "compressed twice", id="twice"),
        pytest.param(_archive("a.csv"), "a ZIP archive: unpack it", id="zip"),
        pytest.param(
            gzip.compress(_archive("xl/workbook.xml")), "an Excel workbook", id="xlsx-in-gzip"
        ),
        pytest.param(b"%PDF-1.7\n%", "a PDF document", id="pdf"),
        pytest.param(b'[{"id": 1, "name": "a"}]', "is JSON", id="json"),
        pytest.param(b"<!doctype html><html>", "an HTML page", id="html"),
    ],
)
def test_another_kind_of_file_is_refused_by_name(flow: Flow, data: bytes, words: str) -> None:
    ingestion = flow.run(data)
    problem = flow.ingestion(ingestion).problem
    assert problem["code"] == "CSV102"
    assert words in problem["detail"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_utf_16_is_converted_and_split(
    flow: Flow, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    text = CONTENT.decode() + "31,żółć,ü\r\n"
    ingestion = flow.run(compress(text.encode(encoding)))
    flow.deliver()
    assert (flow.state(ingestion), flow.account(ingestion)) == ("done", (32, 31, 1))
    assert flow.one("SELECT name, kind FROM things WHERE id = 31") == ("żółć", "ü")
    assert [each.line for each in flow.rejects(ingestion)] == [32]


def test_utf_16_is_converted_where_another_encoding_is_declared(flow: Flow) -> None:
    flow.declare(encoding="cp1252")
    ingestion = flow.run("id,name,kind\n1,żółć,a\n".encode("utf-16"))
    flow.deliver()
    assert flow.account(ingestion) == (1, 1, 0)
    assert flow.one("SELECT name FROM things") == ("żółć",)


def test_invalid_utf_16_fails_the_file(flow: Flow) -> None:
    ingestion = flow.run("id,name,kind\n1,a,a\n".encode("utf-16") + b"\0")
    flow.deliver()
    assert flow.ingestion(ingestion).problem["code"] == "CSV108"
    assert flow.ids() == []
