"""Multipart uploads by the protocol of dropzone.js: parts in any order, repeated, concurrent; one object."""

from __future__ import annotations

import io
import random
import threading
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from problems import assert_problem
from sqlalchemy import text
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from sluice.documents.ingestions import State
from sluice.gcloud.storage import CloudStorage, storage_client
from sluice.ingestion.ingestions import move
from sluice.postgres.connection import transaction
from sluice.postgres.declare import declare

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from serving import Serve
    from sqlalchemy import Engine
    from werkzeug.test import Client, TestResponse

    from sluice.local.pubsub import PubsubServer
    from sluice.local.storage import Server

SONGS: Mapping[str, Any] = {
    "name": "songs",
    "description": "Songs.",
    "columns": [{"name": "song", "type": "text", "header": "Song"}],
    "aliases": {
        "POST /songs/upload_file": {"kind": "chunked_upload"},
        "GET /songs/file_status/{job_id}": {"kind": "job_status"},
        "GET /songs/download_file/{job_id}": {"kind": "job_output"},
    },
}
PART = 1000
DATA = b"Song\n" + random.Random(4).randbytes(40 * PART).hex().encode() + b"\n"
ROUTE = "/songs/upload_file"


@pytest.fixture
def intake(serve: Serve, engine: Engine, topics: PubsubServer, storage: Server) -> Client:
    declare(engine, SONGS, origin="api")
    return serve("intake")


def send(
    client: Client,
    upload: str,
    first: int,
    data: bytes = DATA,
    size: int = PART,
    **changes: object,
) -> TestResponse:
    """Send a part as dropzone.js does: the fields first, then the file."""
    body: dict[str, object] = {
        "dzuuid": upload,
        "dzchunkindex": first // size,
        "dztotalfilesize": len(data),
        "dzchunksize": size,
        "dztotalchunkcount": -(-len(data) // size),
        "dzchunkbyteoffset": first,
        "dzfilename": "songs.csv",
        **changes,
    }
    name = str(body["dzfilename"])
    body["file"] = (io.BytesIO(data[first : first + size]), name)
    return post(client, body)


def post(client: Client, body: Mapping[str, object]) -> TestResponse:
    """Send a form; encoded here, because a client that encodes a long one leaves a file open."""
    members = {k: FileStorage(*v) if isinstance(v, tuple) else v for k, v in body.items()}
    boundary, data = encode_multipart(members)
    return client.post(ROUTE, data=data, content_type=f"multipart/form-data; boundary={boundary}")


def offsets(data: bytes = DATA, size: int = PART) -> list[int]:
    return list(range(0, len(data), size))


def send_all(client: Client, upload: str, order: list[int], data: bytes = DATA) -> str:
    """Send parts in an order; return the job of the last answer."""
    answers = [send(client, upload, first, data) for first in order]
    assert {each.status_code for each in answers} == {200}, [each.text for each in answers]
    assert {each.json["message"] for each in answers[:-1]} <= {"Chunk file uploaded successfully"}
    assert answers[-1].json["message"] == "File uploaded successfully"
    return str(answers[-1].json["job_id"])


def inbox(upload: str) -> list[bytes]:
    """Return the objects of an upload in the inbox."""
    found = storage_client("local").list_blobs("inbox", prefix=f"songs/{upload}/")
    return [each.download_as_bytes() for each in found]


def outbox(upload: str) -> list[str]:
    found = storage_client("local").list_blobs("outbox", prefix=f"parts/{upload}/")
    return [each.name for each in found]


@pytest.fixture
def upload() -> Iterator[str]:
    return str(uuid.uuid4())


@pytest.mark.parametrize("order", ["forward", "backward", "shuffled", "last first"])
def test_parts_in_any_order_become_one_object(intake: Client, upload: str, order: str) -> None:
    places = offsets()
    if order == "backward":
        places.reverse()
    elif order == "shuffled":
        random.Random(1).shuffle(places)
    elif order == "last first":
        places.insert(0, places.pop())
    send_all(intake, upload, places)
    assert inbox(upload) == [DATA]
    assert outbox(upload) == []


def test_the_last_part_alone_does_not_complete_a_file(intake: Client, upload: str) -> None:
    for first in (0, offsets()[-1]):
        answer = send(intake, upload, first)
        assert answer.json == {"message": "Chunk file uploaded successfully"}
    assert inbox(upload) == []


def test_a_part_can_be_repeated_before_and_after_completion(intake: Client, upload: str) -> None:
    job = send_all(intake, upload, [0, 0, *offsets()[1:-1], PART, offsets()[-1]])
    again = send(intake, upload, 3 * PART)
    assert again.json == {"message": "File uploaded successfully", "job_id": job}
    assert inbox(upload) == [DATA]


def test_concurrent_parts_of_two_files_become_two_objects(serve: Serve, intake: Client) -> None:
    clients = [intake, serve("intake")]
    files = {str(uuid.uuid4()): DATA, str(uuid.uuid4()): DATA[::-1]}
    work = [(name, first) for name in files for first in offsets() * 2]
    random.Random(2).shuffle(work)
    answers: list[tuple[str, int, Any]] = []

    def run(number: int) -> None:
        while work:
            try:
                name, first = work.pop()
            except IndexError:
                return
            answer = send(clients[number % 2], name, first, files[name])
            answers.append((name, answer.status_code, answer.json))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert {status for _, status, _ in answers} == {200}
    for name, data in files.items():
        jobs = {body["job_id"] for each, _, body in answers if each == name and "job_id" in body}
        assert len(jobs) == 1
        assert inbox(name) == [data]


@pytest.mark.parametrize("die_at", ["write", "compose", "copy", "delete"])
def test_repeating_a_part_continues_after_a_kill_at_any_point(
    intake: Client, serve: Serve, upload: str, die_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for first in offsets()[:-1]:
        send(intake, upload, first)

    def die(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as death:
        death.setattr(CloudStorage, die_at, die)
        assert send(intake, upload, offsets()[-1]).status_code == 500
    reborn = serve("intake")
    assert send(reborn, upload, offsets()[-1]).json["message"] == "File uploaded successfully"
    assert inbox(upload) == [DATA]


def test_a_kill_after_the_copy_does_not_make_a_second_object(
    intake: Client, upload: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for first in offsets()[:-1]:
        send(intake, upload, first)
    copy = CloudStorage.copy

    def die(*given: Any) -> None:
        copy(*given)
        raise RuntimeError("killed")

    with monkeypatch.context() as death:
        death.setattr(CloudStorage, "copy", die)
        assert send(intake, upload, offsets()[-1]).status_code == 500
    (before,) = storage_client("local").list_blobs("inbox", prefix=f"songs/{upload}/")
    job = int(send(intake, upload, offsets()[-1]).json["job_id"])
    (after,) = storage_client("local").list_blobs("inbox", prefix=f"songs/{upload}/")
    assert before.generation == after.generation
    with transaction(engine) as connection:
        row = connection.execute(text("SELECT * FROM sluice.ingestions")).one()
    assert (row.id, row.generation, row.size_bytes) == (job, after.generation, len(DATA))


def test_more_parts_than_one_call_composes(intake: Client, upload: str) -> None:
    data = DATA[: 70 * 100 + 50]
    answers = [send(intake, upload, first, data, 100) for first in offsets(data, 100)]
    assert "job_id" in answers[-1].json
    assert inbox(upload) == [data]


def test_a_file_in_one_part_and_a_file_without_fields(intake: Client, upload: str) -> None:
    assert "job_id" in send(intake, upload, 0, size=len(DATA)).json
    assert inbox(upload) == [DATA]
    answer = post(intake, {"file": (io.BytesIO(DATA), "songs.csv")})
    assert answer.json["message"] == "File uploaded successfully"


def test_the_fields_can_follow_the_file(intake: Client, upload: str) -> None:
    fields = {"dzuuid": upload, "dzchunkbyteoffset": 0, "dztotalfilesize": len(DATA)}
    answer = post(intake, {"file": (io.BytesIO(DATA), "songs.csv"), **fields})
    assert "job_id" in answer.json
    assert inbox(upload) == [DATA]


def test_a_large_file_without_fields_is_streamed(intake: Client) -> None:
    data = b"Song\n" + b"la la la\n" * 2_000_000
    answer = post(intake, {"file": (io.BytesIO(data), "songs.csv")})
    assert "job_id" in answer.json, answer.text
    found = storage_client("local").list_blobs("inbox", prefix="songs/")
    assert len(data) in [each.size for each in found]


@pytest.mark.parametrize("size", [10, 2_000_000], ids=["small", "streamed"])
def test_the_total_size_is_checked_of_a_file_in_one_request_too(intake: Client, size: int) -> None:
    data = b"Song,Date,Number of Plays\n" + b"la la la,2020-01-01,3\n" * size
    before = len(list(storage_client("local").list_blobs("inbox", prefix="songs/")))
    body = {"dztotalfilesize": len(data) + 1, "file": (io.BytesIO(data), "songs.csv")}
    problem = assert_problem(post(intake, body), "API303", 400)
    assert f"has {len(data)} bytes, and dztotalfilesize says {len(data) + 1}" in problem["detail"]
    assert len(list(storage_client("local").list_blobs("inbox", prefix="songs/"))) == before
    body = {"dztotalfilesize": len(data), "file": (io.BytesIO(data), "songs.csv")}
    assert "job_id" in post(intake, body).json


@pytest.mark.parametrize("name", ["x.csv.exe", "songs.xls", "csv", "songs.csv/x"])
def test_a_file_that_is_not_csv_is_refused(intake: Client, upload: str, name: str) -> None:
    answer = send(intake, upload, 0, dzfilename=name)
    assert answer.status_code == 400
    assert answer.json == {"status": "error", "message": "File must be a csv file"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"dzuuid": "../../x"}, "dzuuid: "),
        ({"dzchunkbyteoffset": "x"}, "dzchunkbyteoffset: "),
        ({"dzchunkbyteoffset": -1}, "dzchunkbyteoffset: "),
        ({"dztotalfilesize": ""}, "dztotalfilesize: "),
        ({"dztotalfilesize": 10}, "beyond the file's 10 bytes"),
        ({"dzchunksize": 10}, "more than dzchunksize declares"),
    ],
)
def test_wrong_fields_are_named(
    intake: Client, upload: str, changes: Mapping[str, Any], expected: str
) -> None:
    problem = assert_problem(send(intake, upload, 0, **changes), "API303", 400)
    assert expected in problem["detail"]


def test_a_part_that_does_not_fit_the_others_is_refused(intake: Client, upload: str) -> None:
    send(intake, upload, 0)
    assert_problem(send(intake, upload, 0, DATA[::-1]), "API316", 409)
    assert_problem(send(intake, upload, 500), "API316", 409)
    assert_problem(send(intake, upload, PART, dzfilename="other.csv"), "API316", 409)
    assert_problem(send(intake, upload, PART, dztotalfilesize=10**6), "API316", 409)
    assert send(intake, upload, PART).status_code == 200


def test_a_part_that_is_too_long_is_refused(intake: Client, upload: str) -> None:
    data = bytes(17 * 1024 * 1024)
    assert_problem(send(intake, upload, 0, data, len(data)), "API310", 413)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "multipart/form-data; boundary=x"),
        (b"--x\r\nContent-Disposition: form-data; na", "multipart/form-data; boundary=x"),
        (b"--x\r\nContent-Type: text/csv\r\n\r\na\r\n--x--", "multipart/form-data; boundary=x"),
        (b"--x--\r\n", "multipart/form-data; boundary=x"),
        (b"{}", "application/json"),
        (b"a", "multipart/form-data"),
    ],
)
def test_a_body_that_is_not_multipart_is_refused(intake: Client, body: bytes, kind: str) -> None:
    assert_problem(intake.post(ROUTE, data=body, content_type=kind), "API303", 400)


def test_a_truncated_file_is_not_stored(intake: Client) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="broken.csv"\r\n\r\n'
    body = head + b"Song\n" + b"la\n" * 7_000_000
    answer = intake.post(ROUTE, data=body, content_type="multipart/form-data; boundary=x")
    assert_problem(answer, "API303", 400)
    found = storage_client("local").list_blobs("inbox", prefix="songs/")
    assert [each.name for each in found if each.name.endswith("broken.csv")] == []


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((), "PENDING"),
        ((State.SPLITTING,), "STARTED"),
        ((State.SPLITTING, State.LOADING, State.PUBLISHING), "STARTED"),
        ((State.SPLITTING, State.LOADING, State.PUBLISHING, State.DONE), "SUCCESS"),
        ((State.FAILED,), "FAILURE"),
        ((State.CANCELLED,), "FAILURE"),
        ((State.FAILED, State.RECEIVED), "RETRY"),
    ],
)
def test_a_job_has_the_status_of_its_ingestion(
    intake: Client, upload: str, engine: Engine, states: tuple[State, ...], expected: str
) -> None:
    job = send_all(intake, upload, offsets())
    for each in states:
        with transaction(engine) as connection:
            move(connection, int(job), each, "local")
    answer = intake.get(f"/songs/file_status/{job}")
    assert answer.json == {"job_status": expected, "job_id": job, "jod_id": job}
    download = intake.get(f"/songs/download_file/{job}")
    if expected == "FAILURE":
        assert (download.status_code, download.json["job_status"]) == (400, "FAILURE")
    elif expected != "SUCCESS":
        assert download.status_code == 400
        assert download.json["message"] == "This job is not completed yet."


@pytest.mark.parametrize("job", ["99", "x", "-1", "99999999999"])
def test_an_unknown_job_is_not_found(intake: Client, job: str) -> None:
    assert intake.get(f"/songs/file_status/{job}").status_code == 404
    assert intake.get(f"/songs/download_file/{job}").status_code == 404
