"""Uploads of the client against a real server of the Cloud Storage protocol."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from sluice.client import UploadRefusedError
from sluice.client.transport import Transport
from sluice.client.uploads import ResumableUpload
from sluice.gcloud.storage import CloudStorage, open_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sluice.local.storage import Server

PIECE_BYTES = 256 * 1024


@pytest.fixture
def transport() -> Iterator[Transport]:
    opened = Transport("http://localhost")
    yield opened
    opened.close()


@pytest.mark.parametrize("size_bytes", [1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES + 77])
def test_a_file_of_any_size_arrives_complete(
    storage: Server, transport: Transport, tmp_path: Path, size_bytes: int
) -> None:
    content = (bytes(range(251)) * (size_bytes // 251 + 1))[:size_bytes]
    path = tmp_path / "trips.csv"
    path.write_bytes(content)
    name = f"trips/{uuid.uuid4()}.csv"
    session = open_session("local", "inbox", name, content_type="text/csv", size_bytes=size_bytes)
    made = ResumableUpload(transport, session, path, lambda _: None, PIECE_BYTES).run()
    assert (made.bucket, made.object, made.size_bytes) == ("inbox", name, size_bytes)
    read = CloudStorage("local").read("inbox", name, made.generation, 0, size_bytes)
    assert read == content


def test_an_empty_file_becomes_an_empty_object(
    storage: Server, transport: Transport, tmp_path: Path
) -> None:
    path = tmp_path / "empty.csv"
    path.touch()
    session = open_session("local", "inbox", f"trips/{uuid.uuid4()}.csv", content_type="text/csv")
    made = ResumableUpload(transport, session, path, lambda _: None).run()
    assert made.size_bytes == 0
    assert made.generation > 0


def test_an_unknown_session_is_an_error(
    storage: Server, transport: Transport, tmp_path: Path
) -> None:
    path = tmp_path / "trips.csv"
    path.write_bytes(b"region\n")
    session = f"{storage.url}/upload/resumable/no-such-session"
    with pytest.raises(UploadRefusedError, match=r"trips\.csv: the upload stopped at byte 0"):
        ResumableUpload(transport, session, path, lambda _: None, first_pause_s=0.001).run()


def test_an_overwritten_object_has_a_later_upload_time(storage: Server) -> None:
    cloud, name = CloudStorage("local"), f"trips/{uuid.uuid4()}.csv"
    times = []
    for data in (b"old", b"new"):
        cloud.write("inbox", name, data)
        found = cloud.find("inbox", name)
        assert found is not None
        assert found.uploaded_at is not None
        times.append((found.uploaded_at, found.generation))
    assert times[0][0] < times[1][0]
    assert times[0][1] < times[1][1]
