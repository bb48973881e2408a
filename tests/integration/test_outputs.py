"""The output of a file: made of it alone, exactly once, reported with `done`; its download and ranges."""

from __future__ import annotations

import gc
import hashlib
import itertools
from itertools import pairwise
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from faults import Fault, before_named, injected
from flow import Flow, Killed
from problems import assert_problem
from requests import RequestException, Session

from real_files import DATA, EXPECTED, ROOT, needs_real_files
from sluice.datasets.declarations import folder_document
from sluice.errors import (
    DeclarationError,
    OutputInProgressError,
    PublicationUnfinishedError,
    RowsRefusedError,
    StorageUnavailableError,
)
from sluice.gcloud.storage import CloudStorage, storage_client
from sluice.ingestion import finish
from sluice.postgres.declare import declare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from serving import Serve
    from werkzeug.test import Client

    from sluice.local.storage import Server
    from sluice.ports import Sink

THINGS: dict[str, Any] = {
    "name": "things",
    "description": "Things.",
    "columns": [
        {"name": "kind", "type": "text", "required": True},
        {"name": "price", "type": "integer"},
    ],
    "queries": {
        "prices": "-- The price of all things of a kind in one file.\n"
        "-- param ingestion integer!: The ingestion of the file.\n"
        "-- param unit text = 100%: What is 'shown'.\n"
        'SELECT kind AS "Kind", sum(price) AS "Price", :unit AS unit FROM things'
        " WHERE ingestion = :ingestion GROUP BY kind ORDER BY kind"
    },
    "output": "prices",
}
BLOCK_BYTES = 64 * 1024
FILE = b'kind,price\nb,1\na,2\nb,3\n"c, ""d""",\n'
OUTPUT = b'Kind,Price,unit\na,2,100%\nb,4,100%\n"c, ""d""",,100%\n'

pytestmark = pytest.mark.flow(declared=THINGS)


@pytest.fixture
def twin(flow: Flow) -> Flow:
    """A second process, which splits files into many chunks."""
    return flow.twin(chunk_bytes=20_000)


def written(flow: Flow, ingestion: int) -> bytes:
    output = flow.ingestion(ingestion).output
    return flow.bucket.read("outbox", output["object"], int(output["generation"]), 0, 10**6)


def test_the_output_is_made_of_one_file_and_reported_with_done(flow: Flow) -> None:
    flow.run(b"kind,price\nz,9\n", "things/other.csv")
    ingestion = flow.run(FILE)
    assert written(flow, ingestion) == OUTPUT
    assert flow.ingestion(ingestion).output["object"] == f"outputs/things/{ingestion}.csv"
    done = flow.events(ingestion)[-1]
    assert done["data"]["output"] == {"size_bytes": len(OUTPUT)}


def test_readers_do_not_see_the_rows_while_the_output_is_written(flow: Flow) -> None:
    seen = []
    flow.bucket.before_write = lambda _name: seen.append(
        flow.all("SELECT count(*) AS n FROM things")[0].n
    )
    flow.run(FILE)
    assert seen == [0]
    assert flow.one("SELECT count(*) AS n FROM things").n == 4


def test_a_handler_killed_after_the_output_publishes_nothing_and_the_next_one_finishes(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = flow.bucket.put

    def kill(name: str, data: bytes) -> Any:
        put(name, data)
        if name.startswith("outputs/"):
            raise Killed
        return put(name, data)

    with monkeypatch.context() as patch:
        patch.setattr(flow.bucket, "put", kill)
        stored = put("things/a.csv", FILE)
        ingestion = flow.split(stored)
        with pytest.raises(Killed):
            flow.deliver()
    assert flow.state(ingestion) == "publishing"
    flow.finish(ingestion)
    assert flow.state(ingestion) == "done"
    assert written(flow, ingestion) == OUTPUT
    assert flow.event_names(ingestion).count("done") == 1


def test_an_output_that_is_written_is_not_written_again(flow: Flow) -> None:
    names: list[str] = []
    flow.bucket.before_write = names.append
    ingestion = flow.split(flow.put(FILE))
    with flow.before("publish", kill_at(2)), pytest.raises(Killed):
        flow.deliver()
    assert flow.state(ingestion) == "publishing"
    assert flow.ingestion(ingestion).output is None
    flow.finish(ingestion)
    assert names == [f"outputs/things/{ingestion}.csv"]
    assert written(flow, ingestion) == OUTPUT
    assert flow.all("SELECT * FROM sluice.written_outputs") == []


def test_an_output_is_left_to_the_next_handler_where_there_is_not_enough_time(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingestion = flow.split(flow.put(FILE))
    with monkeypatch.context() as patch:
        patch.setattr(finish, "BEGINS_WITHIN_S", 0.0)
        with pytest.raises(PublicationUnfinishedError):
            flow.deliver()
    assert flow.state(ingestion) == "publishing"
    flow.finish(ingestion)
    assert written(flow, ingestion) == OUTPUT


def test_the_output_of_a_file_that_is_retried_is_written_again(flow: Flow) -> None:
    names: list[str] = []
    flow.bucket.before_write = names.append
    refuse = Fault(RowsRefusedError("refused"))
    ingestion = flow.split(flow.put(FILE))
    with injected(flow, before_named("touch_freshness"), refuse):
        flow.deliver()
    assert flow.state(ingestion) == "failed"
    flow.retry(ingestion)
    flow.deliver()
    assert flow.state(ingestion) == "done"
    assert names == [f"outputs/things/{ingestion}.csv"] * 2
    assert written(flow, ingestion) == OUTPUT


def kill_at(nth: int) -> Callable[[], None]:
    """Kill at the nth time; the output is made by publishing its ingestion for a moment."""
    times = itertools.count(1)

    def count() -> None:
        if next(times) == nth:
            raise Killed

    return count


def test_a_second_delivery_is_repeated_while_the_output_is_written(flow: Flow, twin: Flow) -> None:
    refused: list[BaseException] = []

    def deliver_again(_name: str) -> None:
        def again() -> None:
            try:
                twin.finish(ingestion)
            except OutputInProgressError as error:
                refused.append(error)

        ingestion = flow.one("SELECT max(id) AS id FROM sluice.ingestions").id
        thread = Thread(target=again)
        thread.start()
        thread.join()

    flow.bucket.before_write = deliver_again
    ingestion = flow.run(FILE)
    assert len(refused) == 1
    assert flow.event_names(ingestion).count("done") == 1


def test_an_outage_of_storage_is_retried(flow: Flow) -> None:
    def fail(_name: str) -> None:
        raise StorageUnavailableError("away")

    flow.bucket.before_write = fail
    stored = flow.put(FILE)
    ingestion = flow.split(stored)
    with pytest.raises(StorageUnavailableError):
        flow.deliver()
    assert flow.state(ingestion) == "publishing"
    flow.bucket.before_write = lambda _name: None
    flow.finish(ingestion)
    assert flow.state(ingestion) == "done"


def test_a_failing_query_fails_the_file_with_its_message(flow: Flow) -> None:
    broken = THINGS["queries"]["prices"].replace("sum(price)", "sum(price) / 0")
    declare(flow.engine, {**THINGS, "queries": {"prices": broken}}, origin="api")
    ingestion = flow.run(FILE)
    assert flow.state(ingestion) == "failed"
    problem = flow.ingestion(ingestion).problem
    assert problem["code"] == "CSV120"
    assert "division by zero" in problem["detail"]
    assert flow.one("SELECT count(*) AS n FROM things").n == 0


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"output": "totals"}, "'totals' is not a query of this dataset; known: prices"),
        ({"queries": {"prices": "-- All.\nSELECT 1"}}, "must need one parameter"),
        (
            {"key": ["kind"]},
            "a dataset with a key or references merges its files; it has no output",
        ),
    ],
)
def test_an_impossible_output_is_refused_when_it_is_declared(
    flow: Flow, change: dict[str, Any], detail: str
) -> None:
    with pytest.raises(DeclarationError, match=detail):
        flow.declare({**THINGS, **change})


@needs_real_files
@pytest.mark.parametrize("name", ["spec_example", "spotify_us_2days", "spotify_charts"])
def test_outputs_of_real_files_are_equal_byte_for_byte(flow: Flow, twin: Flow, name: str) -> None:
    flow.declare(folder_document(ROOT / "sql" / "datasets" / "plays"))
    expected = next((EXPECTED / "plays").glob(f"{name}*_totals_seed_order.csv"))
    ingestion = twin.split(flow.put((DATA / "plays" / f"{name}.csv").read_bytes(), "plays/a.csv"))
    flow.deliver()
    assert written(flow, ingestion) == expected.read_bytes()


# Downloads from the function `status`, with the real storage server


@pytest.fixture
def objects(storage: Server) -> Iterator[CloudStorage]:
    """The real storage server; its connections are closed after the test."""
    yield CloudStorage("local")
    storage_client("local").close()


@pytest.fixture
def stored(
    flow: Flow, objects: CloudStorage, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> tuple[Client, int]:
    """A finished file whose output has many blocks, and a client to download it."""
    monkeypatch.setattr("sluice.api.downloads.BLOCK_BYTES", BLOCK_BYTES)
    many = (
        THINGS["queries"]["prices"]
        .replace(" GROUP BY kind", " GROUP BY kind, n")
        .replace("FROM things", "FROM things, generate_series(1, 9000) AS n")
    )
    declare(flow.engine, {**THINGS, "queries": {"prices": many}}, origin="api")
    flow.storages = {"finish": objects}
    ingestion = flow.run(FILE, "things/my \u201cfile\u201d.csv")
    assert flow.state(ingestion) == "done", flow.ingestion(ingestion).problem
    return serve("status"), ingestion


def test_an_output_is_downloaded_in_full_or_in_ranges(stored: tuple[Client, int]) -> None:
    client, ingestion = stored
    path = f"/v1/ingestions/{ingestion}/output"
    full = client.get(path)
    size = len(full.data)
    assert (full.status_code, full.content_type) == (200, "text/csv; charset=utf-8")
    assert size > 4 * BLOCK_BYTES
    assert full.headers["Content-Length"] == str(size)
    assert full.headers["Content-Disposition"] == (
        'attachment; filename="my _file__output.csv";'
        " filename*=UTF-8''my%20%E2%80%9Cfile%E2%80%9D_output.csv"
    )
    assert full.data.startswith(b"Kind,Price,unit\na,2,100%\n")
    assert client.get(f"/v1/ingestions/{ingestion}").json["output"] == {
        "url": path,
        "size_bytes": size,
    }
    cuts = [0, 1, 1000, size // 2, size - 1, size]
    parts = [
        client.get(path, headers={"Range": f"bytes={a}-{b - 1}", "If-Range": full.headers["ETag"]})
        for a, b in pairwise(cuts)
    ]
    assert {each.status_code for each in parts} == {206}
    assert parts[1].headers["Content-Range"] == f"bytes 1-999/{size}"
    joined = b"".join(each.data for each in parts)
    assert hashlib.sha256(joined).digest() == hashlib.sha256(full.data).digest()


@pytest.mark.parametrize(
    ("headers", "status", "answer"),
    [
        ({"Range": "bytes=-5"}, 206, lambda full: full[-5:]),
        ({"Range": "bytes=7-"}, 206, lambda full: full[7:]),
        ({"Range": "bytes=7-99999999999"}, 206, lambda full: full[7:]),
        ({"Range": "bytes=0-1,4-5"}, 200, lambda full: full),
        ({"Range": "rows=0-1"}, 200, lambda full: full),
        ({"Range": "bytes=0-1", "If-Range": '"another"'}, 200, lambda full: full),
        (
            {"Range": "bytes=0-1", "If-Range": "Sat, 21 Nov 2026 10:00:00 GMT"},
            200,
            lambda full: full,
        ),
    ],
    ids=lambda each: None if callable(each) else str(each),
)
def test_ranges_follow_rfc_9110(
    stored: tuple[Client, int],
    headers: dict[str, str],
    status: int,
    answer: Callable[[bytes], bytes],
) -> None:
    client, ingestion = stored
    path = f"/v1/ingestions/{ingestion}/output"
    found = client.get(path, headers=headers)
    assert found.status_code == status
    assert found.data == answer(client.get(path).data)


def test_head_conditions_and_ranges_after_the_end(stored: tuple[Client, int]) -> None:
    client, ingestion = stored
    path = f"/v1/ingestions/{ingestion}/output"
    head = client.head(path)
    size = int(head.headers["Content-Length"])
    assert (head.status_code, head.data, head.headers["Accept-Ranges"]) == (200, b"", "bytes")
    assert client.get(path, headers={"If-None-Match": head.headers["ETag"]}).status_code == 304
    beyond = client.get(path, headers={"Range": f"bytes={size}-"})
    assert_problem(beyond, "API318", 416)
    assert beyond.headers["Content-Range"] == f"bytes */{size}"


def test_a_long_output_has_no_content_length_as_cloud_run_requires(
    stored: tuple[Client, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, ingestion = stored
    monkeypatch.setattr("sluice.api.downloads.MAX_LENGTH_BYTES", 1000)
    path = f"/v1/ingestions/{ingestion}/output"
    assert "Content-Length" not in client.get(path, buffered=False).headers
    assert client.get(path, headers={"Range": "bytes=0-999"}).headers["Content-Length"] == "1000"


def test_the_answer_says_why_there_is_no_output(flow: Flow, twin: Flow, serve: Serve) -> None:
    client = serve("status")
    assert_problem(client.get("/v1/ingestions/99/output"), "API305", 404)
    waiting = flow.split(flow.put(FILE))
    problem = assert_problem(client.get(f"/v1/ingestions/{waiting}/output"), "API308", 409)
    assert "its output exists when it is done" in problem["detail"]
    flow.deliver()
    declare(flow.engine, {k: v for k, v in THINGS.items() if k != "output"}, origin="api")
    none = twin.run(FILE + b"e,1\n", "things/b.csv")
    assert_problem(client.get(f"/v1/ingestions/{none}/output"), "API305", 404)


def test_a_skipped_file_has_the_output_of_the_file_with_its_content(
    stored: tuple[Client, int], flow: Flow
) -> None:
    client, ingestion = stored
    twice = flow.run(FILE, "things/again.csv")
    assert flow.state(twice) == "skipped"
    found = client.get(f"/v1/ingestions/{twice}/output")
    assert found.data == client.get(f"/v1/ingestions/{ingestion}/output").data


def test_an_interrupted_write_leaves_no_object(objects: CloudStorage) -> None:
    def break_off(sink: Sink) -> None:
        sink.write(b"x" * 20_000_000)
        raise Killed

    with pytest.raises(Killed):
        objects.write_stream("outbox", "outputs/broken.csv", break_off)
    bucket = objects._bucket("outbox")
    assert bucket.get_blob("outputs/broken.csv") is None


def test_an_upload_that_failed_is_not_finished_later(
    objects: CloudStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: object, **_options: object) -> None:
        raise RequestException("the network was lost")

    with monkeypatch.context() as fault:
        fault.setattr(Session, "request", lose)
        with pytest.raises(StorageUnavailableError, match="the network was lost"):
            objects.write_blocks("outbox", "outputs/failed.csv", [b"x"])
    gc.collect()
    assert objects._bucket("outbox").get_blob("outputs/failed.csv") is None
