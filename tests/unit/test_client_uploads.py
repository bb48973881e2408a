"""Resumable uploads: one request, retries, and files that change."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from replay import GENERATION, SESSION

from sluice.client import FileChangedError, UploadRefusedError
from sluice.client.transport import Transport
from sluice.client.uploads import BLOCK_BYTES, MAX_STALLS, ResumableUpload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from replay import Replay

    from sluice.client import Upload

#: As much as Cloud Storage keeps of a request that is cut.
KEPT_BYTES = 256 * 1024
CONTENT = bytes(range(256)) * 1024 * 3 + b"the end"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "trips.csv"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def transport(api: Replay) -> Iterator[Transport]:
    opened = Transport(api.url)
    yield opened
    opened.close()


@pytest.fixture
def upload(api: Replay, transport: Transport) -> Callable[..., Upload]:
    def run(path: Path, progress: Callable[[int], None] = lambda _: None) -> Upload:
        session = api.url + SESSION
        return ResumableUpload(transport, session, path, progress, 0.001).run()

    return run


def test_a_file_is_sent_in_one_request_and_becomes_an_object(
    api: Replay, file: Path, upload: Callable[..., Upload]
) -> None:
    made = upload(file)
    assert bytes(api.inbox.content) == CONTENT
    assert made.key == ("inbox", "trips/trips.csv", str(GENERATION))
    assert api.inbox.ranges == [f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_an_upload_resumes_after_a_failed_request(
    api: Replay, file: Path, upload: Callable[..., Upload], status: int
) -> None:
    api.inbox.faults = {0: (status, KEPT_BYTES)}
    upload(file)
    assert bytes(api.inbox.content) == CONTENT
    assert api.inbox.ranges[1:] == [
        f"bytes */{len(CONTENT)}",
        f"bytes {KEPT_BYTES}-{len(CONTENT) - 1}/{len(CONTENT)}",
    ]


def test_a_failed_status_request_is_retried(
    api: Replay, file: Path, upload: Callable[..., Upload]
) -> None:
    api.inbox.faults = {0: (503, KEPT_BYTES), 1: (503, 0), 2: (503, 0)}
    upload(file)
    assert bytes(api.inbox.content) == CONTENT


def test_progress_ends_at_the_size_and_drops_when_bytes_were_lost(
    api: Replay, file: Path, upload: Callable[..., Upload]
) -> None:
    api.inbox.faults = {0: (503, KEPT_BYTES)}
    reported: list[int] = []
    upload(file, reported.append)
    assert reported[-1] == len(CONTENT)
    assert any(after < before for before, after in pairwise(reported))


def test_an_empty_file_becomes_an_empty_object(
    api: Replay, tmp_path: Path, upload: Callable[..., Upload]
) -> None:
    empty = tmp_path / "empty.csv"
    empty.touch()
    assert upload(empty).size_bytes == 0
    assert api.inbox.ranges == ["bytes */0"]


def test_a_service_that_does_not_recover_fails_the_upload(
    api: Replay, file: Path, transport: Transport
) -> None:
    api.inbox.faults = {0: (503, KEPT_BYTES), **dict.fromkeys(range(2, 100), (503, 0))}
    upload = ResumableUpload(transport, api.url + SESSION, file, lambda _: None, first_pause_s=1e-6)
    with pytest.raises(UploadRefusedError, match=f"stopped at byte {KEPT_BYTES}"):
        upload.run()
    sent, answered = 2, 1
    assert len(api.inbox.ranges) == sent + answered + MAX_STALLS + 1


@pytest.mark.parametrize(
    ("status", "reason"), [(403, "answered 403"), (410, "session expired")], ids=str
)
def test_a_refusal_fails_the_upload_without_a_retry(
    api: Replay, file: Path, upload: Callable[..., Upload], status: int, reason: str
) -> None:
    api.inbox.faults = {0: (status, 0)}
    with pytest.raises(UploadRefusedError, match=reason):
        upload(file)
    assert len(api.inbox.ranges) == 1


def test_a_file_that_was_truncated_is_not_loaded(
    api: Replay, file: Path, upload: Callable[..., Upload]
) -> None:
    def shorten(sent: int) -> None:
        if sent == BLOCK_BYTES:
            file.write_bytes(CONTENT[: BLOCK_BYTES + 5])

    with pytest.raises(FileChangedError, match=r"trips\.csv: became shorter"):
        upload(file, shorten)
