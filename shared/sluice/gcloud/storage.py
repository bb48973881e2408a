"""Cloud Storage: objects read by generation, written and composed. The only importer of its client."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from sluice.errors import ObjectExistsError, ObjectGoneError, StorageUnavailableError
from sluice.logs import mask_secrets
from sluice.ports import Sink, StoredObject

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket, Client
    from google.cloud.storage.fileio import BlobWriter

_TIMEOUT_S = 60.0
_STREAM_BYTES = 8 * 1024 * 1024  # a multiple of 256 KiB, as resumable uploads require
_BUFFER_BYTES = 256 * 1024


class CloudStorage:
    """See `sluice.ports.Storage` and `sluice.ports.Archive`.

    It reads and writes raw bytes: nothing is decompressed on the way, so byte ranges are exact.
    """

    def __init__(self, project: str) -> None:
        self._project = project

    def _bucket(self, name: str) -> Bucket:
        return storage_client(self._project).bucket(name)

    def read(
        self, bucket: str, name: str, generation: int, first_byte: int, end_byte: int
    ) -> bytes:
        """See `sluice.ports.Storage`."""
        with _translated(bucket, name, generation):
            blob = self._bucket(bucket).blob(name, generation=generation or None)
            blocks = _Blocks()
            blob.download_to_file(
                blocks,
                start=first_byte,
                end=end_byte - 1,
                raw_download=True,
                checksum=None,
                single_shot_download=True,  # else it is read in blocks of 8 KiB
                timeout=_TIMEOUT_S,
            )
        data = blocks.joined()
        if len(data) != end_byte - first_byte:
            raise StorageUnavailableError(
                f"gs://{bucket}/{name}: received {len(data)} of {end_byte - first_byte} bytes"
            )
        return data

    def write(self, bucket: str, name: str, data: bytes) -> None:
        """See `sluice.ports.Storage`."""
        with _translated(bucket, name, 0):
            blob = self._bucket(bucket).blob(name)
            blob.upload_from_string(data, content_type="text/csv", timeout=_TIMEOUT_S)

    def delete(self, bucket: str, name: str) -> None:
        """See `sluice.ports.Storage`."""
        with suppress(ObjectGoneError), _translated(bucket, name, 0):
            self._bucket(bucket).blob(name).delete(timeout=_TIMEOUT_S)

    def write_stream(self, bucket: str, name: str, fill: Callable[[Sink], object]) -> StoredObject:
        """See `sluice.ports.Storage`."""
        with _translated(bucket, name, 0):
            known = self._bucket(bucket).get_blob(name, timeout=_TIMEOUT_S)
            blob = self._bucket(bucket).blob(name)
            # A handler whose message was delivered again must not replace what the next one wrote.
            generation = known.generation if known else 0
            kind = "text/csv; charset=utf-8"
            with _uploading(blob, content_type=kind, if_generation_match=generation) as file:
                rows = _Buffered(file)
                fill(rows)
                rows.flush()
            blob.reload(timeout=_TIMEOUT_S)
            return _stored(blob)

    def fetch(self, bucket: str, name: str, max_bytes: int) -> bytes | None:
        """See `sluice.ports.Archive`."""
        try:
            with _translated(bucket, name, 0):
                blob = self._bucket(bucket).blob(name)
                data: bytes = blob.download_as_bytes(
                    start=0,
                    end=max_bytes,
                    raw_download=True,
                    single_shot_download=True,
                    timeout=_TIMEOUT_S,
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

    def write_blocks(self, bucket: str, name: str, blocks: Iterable[bytes]) -> StoredObject:
        """See `sluice.ports.Storage`."""
        with _translated(bucket, name, 0):
            blob = self._bucket(bucket).blob(name)
            with _uploading(blob, content_type="text/csv") as file:
                for block in blocks:
                    file.write(block)
            blob.reload(timeout=_TIMEOUT_S)
            return _stored(blob)

    def compose(self, bucket: str, sources: Sequence[str], name: str) -> str:
        """See `sluice.ports.Storage`."""
        with _translated(bucket, name, 0):
            target = self._bucket(bucket)
            blob = target.blob(name)
            blob.content_type = "text/csv"
            blob.compose([target.blob(each) for each in sources], timeout=_TIMEOUT_S)
        return name

    def copy(self, bucket: str, name: str, to_bucket: str, to_name: str) -> StoredObject:
        """See `sluice.ports.Storage`."""
        with _translated(bucket, name, 0):
            source = self._bucket(bucket).blob(name)
            blob = self._bucket(to_bucket).blob(to_name)
            token, _, _ = blob.rewrite(source, if_generation_match=0, timeout=_TIMEOUT_S)
            while token:  # a large object takes several calls if location or storage class differ
                token, _, _ = blob.rewrite(
                    source, token=token, if_generation_match=0, timeout=_TIMEOUT_S
                )
            return _stored(blob)

    def find(self, bucket: str, name: str) -> StoredObject | None:
        """See `sluice.ports.Storage`."""
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
        uploaded_at=blob.time_created,
    )


class _Blocks:
    """Collects what a download writes; a single block, the usual case, is not copied."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []

    def write(self, data: bytes) -> None:
        self._blocks.append(data)

    def joined(self) -> bytes:
        return b"".join(self._blocks)


@contextmanager
def _uploading(blob: Blob, **options: str | int) -> Iterator[BlobWriter]:
    """Open an object to be written; after an error it is abandoned, whatever the error is.

    The client's own writer would finish an upload that failed when its memory is freed.
    """
    writer = blob.open("wb", chunk_size=_STREAM_BYTES, timeout=_TIMEOUT_S, **options)
    try:
        yield writer
        writer.close()
    except BaseException:
        with suppress(Exception):  # the session ends by itself within a week
            writer.terminate()
        writer._buffer.close()  # noqa: SLF001  # no method closes it without sending it
        raise


class _Buffered:
    """Buffers rows for an upload, because each write to it has a cost."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._blocks: list[bytes] = []
        self._size_bytes = 0

    def write(self, data: bytes) -> None:
        self._blocks.append(bytes(data))
        self._size_bytes += len(data)
        if self._size_bytes >= _BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        self._sink.write(b"".join(self._blocks))
        self._blocks, self._size_bytes = [], 0


def _message(bucket: str, name: str, generation: int, error: object) -> str:
    # An error of a resumable upload repeats the address of its session, which is its credential.
    return mask_secrets(f"gs://{bucket}/{name}#{generation}: {error}")


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
        detail = "this generation no longer exists; upload the file again"
        message = f"{_message(bucket, name, generation, detail)}; upload the file again"
        raise ObjectGoneError(message) from None
    except (
        GoogleAPICallError,
        InvalidResponse,
        RequestException,
        RetryError,
        TransportError,
    ) as error:
        raise StorageUnavailableError(_message(bucket, name, generation, error)) from error


def storage_client(project: str) -> Client:
    """Return this process's client of a project; anonymous if `STORAGE_EMULATOR_HOST` is set."""
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


def open_session(
    project: str,
    bucket: str,
    name: str,
    *,
    content_type: str,
    size_bytes: int | None = None,
    create_only: bool = False,
    metadata: Mapping[str, str] | None = None,
    origin: str | None = None,
) -> str:
    """Open a resumable upload session for an object; return its URL, valid for a week.

    The client uploads directly to Cloud Storage, so no upload passes through a function.

    Args:
        project: pays for the request.
        bucket: of the object.
        name: of the object.
        content_type: of the object.
        size_bytes: of the file, if known: Cloud Storage then refuses another size.
        create_only: refuse to replace an object.
        metadata: custom metadata of the object.
        origin: of the web page that will upload: Cloud Storage answers a browser if the session was opened
            for its origin, and the bucket allows it.

    Raises:
        ObjectExistsError: `create_only`, and the object exists.
        StorageUnavailableError: try again later.
    """
    from google.api_core.exceptions import GoogleAPICallError, PreconditionFailed  # noqa: PLC0415
    from requests.exceptions import RequestException  # noqa: PLC0415  # 0.3 s with the above

    blob = storage_client(project).bucket(bucket).blob(name)
    if metadata:
        blob.metadata = dict(metadata)
    try:
        url: str = blob.create_resumable_upload_session(
            content_type=content_type,
            size=size_bytes,
            if_generation_match=0 if create_only else None,
            origin=origin,
        )
    except PreconditionFailed as error:
        raise ObjectExistsError(
            f"gs://{bucket}/{name}: the object exists already; choose another name"
        ) from error
    except (GoogleAPICallError, RequestException) as error:
        raise StorageUnavailableError(_message(bucket, name, 0, error)) from error
    return url
