"""The rejects of a file as files that can be fixed: the lines as they came, and the reason of each."""

from __future__ import annotations

import csv
import gzip
import io
from typing import TYPE_CHECKING, Any

import pytest
from flow import THINGS, Flow, Killed
from problems import assert_problem

from sluice.ingestion.insert_rows import insert_rows
from sluice.ingestion.row_groups import RowGroup
from sluice.postgres.catalog import cached_dataset

if TYPE_CHECKING:
    from serving import Serve

    from sluice.ports import StoredObject

#: Two rejects: a quoted field with a newline, and the last line, which has no line end.
HEADER = b"id,name,kind\r\n"
GOOD = b"1,one,a\r\n"
BAD = b'x,"t\r\nwo",a\r\n'
LAST = b"y,three,a"
FILE = HEADER + GOOD + BAD + b"4,four,a\n" + LAST


def objects(flow: Flow, ingestion: int) -> dict[str, bytes]:
    """The objects of the outbox about an ingestion's rejects, by the last part of their names."""
    folder = f"rejects/things/{ingestion}/"
    found = {}
    for name in flow.bucket.names():
        if name.startswith(folder) and (stored := flow.bucket.find("outbox", name)):
            data = flow.bucket.read("outbox", name, stored.generation, 0, stored.size_bytes)
            found[name.removeprefix(folder)] = data
    return found


def reasons(data: bytes) -> list[tuple[str, ...]]:
    rows = csv.reader(io.StringIO(data.decode(), newline=""))
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("is_small", [True, False], ids=["group commit", "chunks"])
def test_rejected_lines_are_written_as_they_came_under_their_header(
    flow: Flow, is_small: bool
) -> None:
    flow.settings = type(flow.settings)(chunk_bytes=1024 if is_small else 16)
    ingestion = flow.run(FILE)
    assert (flow.state(ingestion), flow.account(ingestion)) == ("done", (4, 2, 2))
    found = objects(flow, ingestion)
    assert found["rejects.csv"] == HEADER + BAD + LAST
    header, first, second = reasons(found["reasons.csv"])
    assert header == ("line", "record", "column", "rule", "value", "reason")
    assert first[:5] == ("3", "2", "id", "type", "x")
    assert second[:2] == ("6", "4")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\xef\xbb\xbf" + FILE, b"\xef\xbb\xbf" + HEADER + BAD + LAST),
        (gzip.compress(FILE), HEADER + BAD + LAST),
        (FILE.decode().encode("utf-16"), (HEADER + BAD + LAST).decode().encode("utf-16")),
        (FILE.decode().encode("utf-16-be"), (HEADER + BAD + LAST).decode().encode("utf-16-be")),
        (HEADER + b"1,a,a\r\nx,\xe9\xe8,a\r\n", HEADER + b"x,\xe9\xe8,a\r\n"),
        (b"id,name,kind\r1,a,a\rx,b,a\r", b"id,name,kind\rx,b,a\r"),
        (b"\n\n" + HEADER + b"1,a,a\nx,b\n", b"\n\n" + HEADER + b"x,b\n"),
    ],
    ids=["mark", "gzip", "utf-16", "utf-16-be", "windows-1252", "cr", "blank lines"],
)
def test_rejected_lines_keep_the_bytes_of_the_file(
    flow: Flow, content: bytes, expected: bytes
) -> None:
    ingestion = flow.run(content)
    assert flow.state(ingestion) == "done", flow.ingestion(ingestion).problem
    assert objects(flow, ingestion)["rejects.csv"] == expected


@pytest.mark.parametrize("is_small", [True, False], ids=["group commit", "chunks"])
def test_rejected_lines_keep_what_is_before_and_after_the_table(flow: Flow, is_small: bool) -> None:
    flow.settings = type(flow.settings)(chunk_bytes=1024 if is_small else 16)
    flow.declare(skip_lines=1, footer_lines=1, comment="#")
    ingestion = flow.run(b"A title\nid,name,kind\n1,a,a\n# no row\nx,b,a\nTotal: 2\n")
    assert flow.account(ingestion) == (2, 1, 1)
    found = objects(flow, ingestion)
    assert found["rejects.csv"] == b"A title\nid,name,kind\nx,b,a\nTotal: 2\n"
    fixing = flow.run(found["rejects.csv"].replace(b"x", b"2"), f"things/_fixes/{ingestion}/f.csv")
    assert flow.state(fixing) == "done"
    assert flow.account(ingestion) == (2, 2, 0)


def test_rejects_found_at_publish_are_written_too(flow: Flow) -> None:
    flow.declare(key=["id"], duplicates="error", rollups={})
    ingestion = flow.run(b"id,name,kind\n1,a,a\r\n1,b,a\r\n2,c,a\n2,d,a")
    assert flow.account(ingestion) == (4, 2, 2)
    assert objects(flow, ingestion)["rejects.csv"] == b"id,name,kind\n1,b,a\r\n2,d,a"


def test_a_file_that_fails_by_its_rejects_has_them_as_files(flow: Flow) -> None:
    flow.declare(max_rejects=1)
    ingestion = flow.run(FILE)
    assert flow.state(ingestion) == "failed"
    assert objects(flow, ingestion)["rejects.csv"].startswith(HEADER + BAD)


def test_a_file_without_rejects_has_no_such_files(flow: Flow) -> None:
    ingestion = flow.run(HEADER + GOOD)
    assert objects(flow, ingestion) == {}
    assert "rejects" not in flow.events(ingestion)[-1]["data"]


def test_the_files_are_there_before_the_event_that_links_to_them(flow: Flow) -> None:
    seen: list[bool] = []

    def look(_topic: str) -> None:
        events = flow.events(ingestion) if (ingestion := _newest(flow)) else []
        if events and events[-1]["type"].endswith(".done"):
            seen.append(events[-1]["data"]["rejects"]["object"] in flow.bucket.names())

    flow.topics.after_publish = look
    ingestion = flow.run(FILE)
    assert seen
    assert all(seen)
    links = flow.events(ingestion)[-1]["data"]["rejects"]
    assert links == {
        "url": f"/v1/ingestions/{ingestion}/rejects?format=csv",
        "reasons_url": f"/v1/ingestions/{ingestion}/rejects?format=reasons",
        "object": f"rejects/things/{ingestion}/rejects.csv",
        "reasons_object": f"rejects/things/{ingestion}/reasons.csv",
    }


def _newest(flow: Flow) -> int:
    return int(flow.one("SELECT coalesce(max(id), 0) AS id FROM sluice.ingestions").id)


@pytest.mark.parametrize("is_small", [True, False], ids=["group commit", "chunks"])
def test_a_handler_killed_before_the_files_leaves_them_to_the_next_delivery(
    flow: Flow, is_small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow.settings = type(flow.settings)(chunk_bytes=1024 if is_small else 16)

    def kill(*_: object) -> Any:
        raise Killed

    file = flow.put(FILE)
    with monkeypatch.context() as patch:
        patch.setattr(flow.bucket, "write_blocks", kill)
        with pytest.raises(Killed):
            _run(flow, file)
    ingestion = _newest(flow)
    assert flow.state(ingestion) == "done"
    assert "done" not in flow.event_names(ingestion)
    flow.split(file)
    if not is_small:
        flow.finish(ingestion)
    assert objects(flow, ingestion)["rejects.csv"] == HEADER + BAD + LAST
    assert flow.event_names(ingestion)[-1] == "done"


def _run(flow: Flow, file: StoredObject) -> None:
    flow.split(file)
    flow.deliver()


@pytest.mark.flow(chunk_bytes=64 * 1024)
def test_many_rejects_are_read_page_by_page(flow: Flow) -> None:
    lines = b"".join(b"x%d,%s,a\n" % (n, b"n" * (n % 50)) for n in range(5000))
    ingestion = flow.run(b"id,name,kind\n1,a,a\n" + lines)
    found = objects(flow, ingestion)
    assert found["rejects.csv"] == b"id,name,kind\n" + lines
    assert len(reasons(found["reasons.csv"])) == 5001


def test_the_api_serves_lines_and_reasons(flow: Flow, serve: Serve) -> None:
    ingestion = flow.run(b"id,name,kind\n1,a,a\nx,\xe9,a\n")
    status = serve("status")
    path = f"/v1/ingestions/{ingestion}/rejects"
    lines = status.get(f"{path}?format=csv")
    assert lines.data == b"id,name,kind\nx,\xe9,a\n"
    assert lines.content_type == "text/csv; charset=cp1252"
    assert status.get(path, headers={"Accept": "text/csv"}).data == lines.data
    assert status.get(f"{path}?format=reasons").text.splitlines()[0] == (
        "line,record,column,rule,value,reason"
    )
    shown = status.get(f"/v1/ingestions/{ingestion}").json["rejects"]
    assert status.get(shown["url"]).data == lines.data


def test_rows_of_a_request_have_no_lines(flow: Flow, serve: Serve) -> None:
    dataset = cached_dataset(flow.engine, THINGS["name"])
    assert dataset is not None
    rows = [{"id": "1"}, {"id": "x"}]
    (group,) = insert_rows(flow.env("intake"), [RowGroup(dataset, rows)]).groups
    status = serve("status")
    path = f"/v1/ingestions/{group.ingestion}/rejects"
    assert_problem(status.get(f"{path}?format=csv"), "API305", 404)
    assert len(status.get(path).json["rejects"]) == 1
    assert status.get(f"/v1/ingestions/{group.ingestion}").json["rejects"] is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_a_long_rejected_record_is_written_in_pieces(flow: Flow, encoding: str) -> None:
    flow.settings = type(flow.settings)(chunk_bytes=64 * 1024 * 1024)
    mark = "\ufeff".encode(encoding)
    long = "x," + "é" * 5_000_000 + ",a\n"
    lines = "id,name,kind\n" + long + "y,short,a\n"
    ingestion = flow.run(mark + lines.encode(encoding) + "1,one,a\n".encode(encoding))
    assert flow.account(ingestion) == (3, 1, 2)
    written = objects(flow, ingestion)["rejects.csv"].decode(encoding)
    assert written.removeprefix("\ufeff") == lines
