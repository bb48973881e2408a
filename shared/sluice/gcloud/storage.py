"""Reading objects of Cloud Storage, the generation pinned; the only importer of its client library."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from sluice.errors import ObjectGoneError, StorageUnavailableError
from sluice.ports import Sink, StoredObject

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket, Client

_TIMEOUT_S = 60.0
_STREAM_BYTES = 8 * 1024 * 1024  # a multiple of 256 KiB, as resumable uploads want
_COLLECTED_BYTES = 256 * 1024


class StorageObjects:
    """Reads and writes raw bytes: nothing is decompressed on the way, so ranges hold."""

    def __init__(self, project: str) -> None:
        self._project = project

    def _bucket(self, name: str) -> Bucket:
        return storage_client(self._project).bucket(name)

    def read(
        self, bucket: str, name: str, generation: int, first_byte: int, end_byte: int
    ) -> bytes:
        """See `sluice.ports.Objects`."""
        with _translated(bucket, name, generation):
            blob = self._bucket(bucket).blob(name, generation=generation or None)
            pieces = _Pieces()
            blob.download_to_file(
                pieces,
                start=first_byte,
                end=end_byte - 1,
                raw_download=True,
                checksum=None,
                single_shot_download=True,  # else it comes in pieces of 8 KiB
                timeout=_TIMEOUT_S,
            )
        data = pieces.joined()
        if len(data) != end_byte - first_byte:
            raise StorageUnavailableError(
                f"gs://{bucket}/{name}: {len(data)} of {end_byte - first_byte} bytes came"
            )
        return data

    def write(self, bucket: str, name: str, data: bytes) -> None:
        """See `sluice.ports.Objects`."""
        with _translated(bucket, name, 0):
            blob = self._bucket(bucket).blob(name)
            blob.upload_from_string(data, content_type="text/csv", timeout=_TIMEOUT_S)

    def delete(self, bucket: str, name: str) -> None:
        """See `sluice.ports.Objects`."""
        with suppress(ObjectGoneError), _translated(bucket, name, 0):
            self._bucket(bucket).blob(name).delete(timeout=_TIMEOUT_S)

    def write_stream(self, bucket: str, name: str, fill: Callable[[Sink], object]) -> StoredObject:
        """See `sluice.ports.Objects`."""
        with _translated(bucket, name, 0):
            known = self._bucket(bucket).get_blob(name, timeout=_TIMEOUT_S)
            blob = self._bucket(bucket).blob(name)
            # A handler that was given up for dead must not replace what its successor wrote.
            with blob.open(
                "wb",
                chunk_size=_STREAM_BYTES,
                content_type="text/csv; charset=utf-8",
                if_generation_match=known.generation if known else 0,
                timeout=_TIMEOUT_S,
            ) as upload:
                rows = _Collected(upload)
                fill(rows)
                rows.flush()
            blob.reload(timeout=_TIMEOUT_S)
            return _stored(blob)


class StorageArchive(StorageObjects):
    """Objects that are written once, read whole and listed; see `sluice.ports.Archive`."""

    def fetch(self, bucket: str, name: str) -> bytes | None:
        """See `sluice.ports.Archive`."""
        try:
            with _translated(bucket, name, 0):
                blob = self._bucket(bucket).blob(name)
                data: bytes = blob.download_as_bytes(
                    raw_download=True, single_shot_download=True, timeout=_TIMEOUT_S
                )
                return data
        except ObjectGoneError:
            return None

    def keep(self, bucket: str, name: str, data: bytes, content_type: str) -> None:
        """See `sluice.ports.Archive`."""
        with _translated(bucket, name, 0):
            blob = self._bucket(bucket).blob(name)
            blob.upload_from_string(data, content_type=content_type, timeout=_TIMEOUT_S)

    def folders(self, bucket: str, prefix: str) -> list[str]:
        """See `sluice.ports.Archive`."""
        with _translated(bucket, prefix, 0):
            client = storage_client(self._project)
            listing = client.list_blobs(bucket, prefix=prefix, delimiter="/", timeout=_TIMEOUT_S)
            found = {each for page in listing.pages for each in page.prefixes}
        return sorted(each.removeprefix(prefix).rstrip("/") for each in found)


class StorageDepot(StorageObjects):
    """Puts objects together; see `sluice.ports.Depot`."""

    def stream(self, bucket: str, name: str, blocks: Iterable[bytes]) -> StoredObject:
        """See `sluice.ports.Depot`."""
        with _translated(bucket, name, 0):
            blob = self._bucket(bucket).blob(name)
            options = {"content_type": "text/csv", "timeout": _TIMEOUT_S}
            with blob.open("wb", chunk_size=_STREAM_BYTES, **options) as file:
                for block in blocks:
                    file.write(block)
            blob.reload(timeout=_TIMEOUT_S)
            return _stored(blob)

    def compose(self, bucket: str, sources: Sequence[str], name: str) -> str:
        """See `sluice.ports.Depot`."""
        with _translated(bucket, name, 0):
            target = self._bucket(bucket)
            blob = target.blob(name)
            blob.content_type = "text/csv"
            blob.compose([target.blob(each) for each in sources], timeout=_TIMEOUT_S)
        return name

    def copy(self, bucket: str, name: str, to_bucket: str, to_name: str) -> StoredObject:
        """See `sluice.ports.Depot`."""
        with _translated(bucket, name, 0):
            source = self._bucket(bucket).blob(name)
            blob = self._bucket(to_bucket).blob(to_name)
            token, _, _ = blob.rewrite(source, if_generation_match=0, timeout=_TIMEOUT_S)
            while token:  # a large object between places or classes takes several calls
                token, _, _ = blob.rewrite(
                    source, token=token, if_generation_match=0, timeout=_TIMEOUT_S
                )
            return _stored(blob)

    def find(self, bucket: str, name: str) -> StoredObject | None:
        """See `sluice.ports.Depot`."""
        with _translated(bucket, name, 0):
            blob = self._bucket(bucket).get_blob(name, timeout=_TIMEOUT_S)
            return None if blob is None else _stored(blob)


def _stored(blob: Blob) -> StoredObject:
    return StoredObject(
        bucket=blob.bucket.name,
        name=blob.name,
        generation=int(blob.generation),
        size_bytes=int(blob.size),
        crc32c=blob.crc32c,
    )


class _Pieces:
    """Keeps what a download writes; what comes in one piece, as it does but for a retry, is not copied."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        self._pieces.append(data)

    def joined(self) -> bytes:
        return b"".join(self._pieces)


class _Collected:
    """Hands bytes on in large pieces: rows come one by one, and each piece costs the upload a little."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._pieces: list[bytes] = []
        self._size_bytes = 0

    def write(self, data: bytes) -> None:
        self._pieces.append(bytes(data))
        self._size_bytes += len(data)
        if self._size_bytes >= _COLLECTED_BYTES:
            self.flush()

    def flush(self) -> None:
        self._sink.write(b"".join(self._pieces))
        self._pieces, self._size_bytes = [], 0


def _message(bucket: str, name: str, generation: int, error: object) -> str:
    return f"gs://{bucket}/{name}#{generation}: {error}"


@contextmanager
def _translated(bucket: str, name: str, generation: int) -> Iterator[None]:
    from google.api_core.exceptions import (  # noqa: PLC0415
        GoogleAPICallError,
        NotFound,
        RequestRangeNotSatisfiable,
        RetryError,
    )
    from google.auth.exceptions import TransportError  # noqa: PLC0415
    from google.cloud.storage.exceptions import InvalidResponse  # noqa: PLC0415
    from requests import RequestException  # noqa: PLC0415

    try:
        yield
    except (NotFound, RequestRangeNotSatisfiable):
        detail = "this generation is no longer there; upload the file again"
        raise ObjectGoneError(_message(bucket, name, generation, detail)) from None
    except (
        GoogleAPICallError,
        InvalidResponse,
        RequestException,
        RetryError,
        TransportError,
    ) as error:
        raise StorageUnavailableError(_message(bucket, name, generation, error)) from error


def storage_client(project: str) -> Client:
    """Return this process's client of a project; anonymous where an emulator is named."""
    return _client(project, os.environ.get("STORAGE_EMULATOR_HOST", ""))


@functools.cache
def _client(project: str, emulator: str) -> Client:
    from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415
    from google.cloud import storage  # noqa: PLC0415  # 0.3 s, paid where first used

    if not emulator:
        return storage.Client(project=project)
    anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
    return storage.Client(
        project=project, credentials=anonymous, client_options={"api_endpoint": emulator}
    )
