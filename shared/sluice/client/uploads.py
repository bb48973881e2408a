"""A resumable upload to Cloud Storage: one request for all that is left, again after each failure.

The protocol: https://cloud.google.com/storage/docs/performing-resumable-uploads. It asks how much has
arrived after a failure only. Memory holds one block, whatever the size of the file.
"""

from __future__ import annotations

import os
import random
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluice.client.errors import ConnectionLostError, FileChangedError, UploadRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from sluice.client.transport import Receipt, Transport

    Progress = Callable[[int], None]

BLOCK_BYTES = 256 * 1024
FIRST_PAUSE_S = 0.25
MAX_PAUSE_S = 8.0
MAX_STALLS = 12

RESUME_INCOMPLETE = 308
COMPLETE = frozenset((200, 201))
RETRIED = frozenset((408, 429, 500, 502, 503, 504))


@dataclass(frozen=True)
class Upload:
    """An object that an upload made: this generation of it is one file."""

    bucket: str
    object: str
    generation: int
    size_bytes: int

    @property
    def key(self) -> tuple[str, str, str]:
        """What identifies the ingestion of the object."""
        return self.bucket, self.object, str(self.generation)


@dataclass(frozen=True)
class ResumableUpload:
    """The upload of one file through one session.

    Attributes:
        session: URL of the session; it contains its credentials.
        progress: called with the number of bytes sent, which falls if some are sent again.
        first_pause_s: pause after the first failure; doubles with each one after it.
    """

    transport: Transport
    session: str
    path: Path
    progress: Progress
    first_pause_s: float = FIRST_PAUSE_S

    def run(self) -> Upload:
        """Send the file and return the object that it became.

        Raises:
            UploadRefusedError: Cloud Storage refused it, or failed too often.
            FileChangedError: the file became shorter meanwhile.
        """
        with self.path.open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            offset, stalls = 0, 0
            receipt = self._send(file, offset, size_bytes)
            while receipt is None or receipt.status == RESUME_INCOMPLETE:
                if receipt is None:
                    time.sleep(self._pause_s(stalls))
                    reached, receipt = offset, self._ask(offset, size_bytes)
                else:
                    reached = _confirmed(receipt)
                    self.progress(reached)
                    receipt = self._send(file, reached, size_bytes)
                stalls = 0 if reached > offset else stalls + 1
                offset = reached
                if stalls > MAX_STALLS:
                    raise UploadRefusedError(str(self.path), offset, "it failed repeatedly")
        return _upload(receipt, size_bytes)

    def _send(self, file: BinaryIO, offset: int, size_bytes: int) -> Receipt | None:
        return self._put(self._blocks(file, offset, size_bytes), offset, size_bytes, size_bytes)

    def _ask(self, offset: int, size_bytes: int) -> Receipt | None:
        """Ask how many bytes have arrived."""
        return self._put((), offset, offset, size_bytes)

    def _put(
        self, content: Iterator[bytes] | tuple[()], offset: int, end: int, size_bytes: int
    ) -> Receipt | None:
        """Send a range; None is a transient failure."""
        which = f"{offset}-{end - 1}" if end > offset else "*"
        headers = {
            "Content-Length": str(end - offset),
            "Content-Range": f"bytes {which}/{size_bytes}",
        }
        try:
            receipt = self.transport.put(self.session, headers, content)
        except ConnectionLostError:
            return None
        if receipt.status in RETRIED:
            return None
        if receipt.status not in COMPLETE and receipt.status != RESUME_INCOMPLETE:
            raise UploadRefusedError(str(self.path), offset, _reason(receipt))
        return receipt

    def _blocks(self, file: BinaryIO, offset: int, end: int) -> Iterator[bytes]:
        file.seek(offset)
        while offset < end:
            block = file.read(min(BLOCK_BYTES, end - offset))
            if not block:
                raise FileChangedError(str(self.path))
            yield block
            offset += len(block)
            self.progress(offset)

    def _pause_s(self, stalls: int) -> float:
        longest = min(self.first_pause_s * 2.0**stalls, MAX_PAUSE_S)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, not a secret


def _confirmed(receipt: Receipt) -> int:
    """Return how many bytes have arrived: `Range: bytes=0-N` means N + 1."""
    match = re.fullmatch(r"bytes=0-(\d+)", receipt.range)
    return int(match[1]) + 1 if match else 0


def _upload(receipt: Receipt, size_bytes: int) -> Upload:
    made = receipt.json()
    return Upload(
        bucket=str(made.get("bucket") or ""),
        object=str(made.get("name") or ""),
        generation=int(made.get("generation") or 0),
        size_bytes=int(made.get("size") or size_bytes),
    )


def _reason(receipt: Receipt) -> str:
    if receipt.status in (404, 410):
        return "its session expired"
    error = receipt.json().get("error")
    message = error.get("message") if isinstance(error, dict) else None
    return f"Cloud Storage answered {receipt.status}" + (f": {message}" if message else "")
