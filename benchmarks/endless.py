"""Splits a file of any size that is generated as it is read, and records the memory that this takes.

Run `python benchmarks/endless.py [--gigabytes 50] [--kills 2]`. The processes that split the file are killed
with SIGKILL after a part of it each; the last one completes it. Prints for each process what it read and its
peak of memory, and checks that the chunks tile the file, each recorded and sent; exits with 1 if not.

Nothing is loaded: loaders read one chunk each, whatever the size of the file.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import ingest
import psycopg2

from sluice.ingestion.chunks import CHUNKS_TOPIC
from sluice.ingestion.split import split_file
from sluice.local.postgres import SUPERUSER
from sluice.ports import Environment, StoredObject
from sluice.postgres.connection import new_engine
from sluice.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from multiprocessing.sharedctypes import Synchronized

GB = 10**9
MIB = 1024 * 1024
HEADER = b"region,origin_coord,destination_coord,datetime,datasource\n"
#: All rows have the same length, so that the bytes of a range are found without those before it.
ROW = (
    "region {:012},POINT (14.4973794438195 50.00136875782),"
    "POINT (14.4310948353332 50.04052930943),2018-05-28 09:03:40,app\n"
)
ROW_BYTES = len(ROW.format(0))
CHUNK_BYTES = 31 * MIB
BATCH_ROWS = 16 * 1024


class Endless:
    """A storage with one object, whose bytes are generated when they are read."""

    def __init__(self, kill_at: int, seen: Synchronized[int]) -> None:
        self._kill_at = kill_at
        self._seen = seen
        self._batch = "".join(ROW.format(number) for number in range(BATCH_ROWS)).encode()

    def read(
        self,
        bucket: str,  # noqa: ARG002
        name: str,  # noqa: ARG002
        generation: int,  # noqa: ARG002
        first_byte: int,
        end_byte: int,
    ) -> bytes:
        """See `sluice.ports.Storage`."""
        if first_byte >= self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self._seen.value += end_byte - first_byte
        data = bytearray(HEADER[first_byte:end_byte])
        position = max(first_byte, len(HEADER)) - len(HEADER)
        while len(data) < end_byte - first_byte:
            offset = position % len(self._batch)
            part = self._batch[offset : offset + end_byte - first_byte - len(data)]
            data += part
            position += len(part)
        return bytes(data)


class Counting:
    """A Pub/Sub that counts the messages of chunks."""

    def __init__(self, sent: Synchronized[int]) -> None:
        self._sent = sent

    def publish(
        self,
        topic: str,
        messages: Sequence[tuple[bytes, Mapping[str, str]]],
        *,
        ordering_key: str = "",  # noqa: ARG002
    ) -> None:
        """See `sluice.ports.Publisher`."""
        if topic == CHUNKS_TOPIC:
            self._sent.value += len(messages)


@dataclass(frozen=True)
class Run:
    """What one process did: bytes that it read, chunks that it sent, and its peak of memory."""

    read_bytes: int
    sent: int
    seconds: float
    peak_mib: float


def main() -> None:
    """Split and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=50.0)
    parser.add_argument("--kills", type=int, default=2)
    options = parser.parse_args()
    rows = int(options.gigabytes * GB) // ROW_BYTES
    file = StoredObject(
        "inbox",
        "trips/endless.csv",
        1,
        len(HEADER) + rows * ROW_BYTES,
        uploaded_at=datetime.now(UTC),
    )
    with (
        tempfile.TemporaryDirectory(prefix="sluice-endless-") as folder,
        ingest.cloud_in(Path(folder), 1) as cloud,
    ):
        url = cloud.database.url()
        for number in range(options.kills + 1):
            kill_at = file.size_bytes * (number + 1) // (options.kills + 1)
            is_last = number == options.kills
            run = split_in_process(url, file, sys.maxsize if is_last else kill_at)
            print(
                f"{'completed' if is_last else 'killed'} after {run.seconds:.0f} s:"
                f" read {run.read_bytes / GB:.2f} GB ({run.read_bytes / MIB / run.seconds:.0f} MiB/s),"
                f" sent {run.sent} chunks, peak resident memory {run.peak_mib:.0f} MiB",
                flush=True,
            )
        sys.exit(0 if is_tiled(ingest.libpq(cloud), file, rows) else 1)


def split_in_process(url: str, file: StoredObject, kill_at: int) -> Run:
    """Split a file in a process of its own, which kills itself at a byte."""
    context = multiprocessing.get_context("spawn")
    read, sent = context.Value("q", 0), context.Value("q", 0)
    began = time.perf_counter()
    process = context.Process(target=split, args=(url, file, kill_at, read, sent))
    process.start()
    process.join()
    seconds = time.perf_counter() - began
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return Run(read.value, sent.value, seconds, peak_mib)


def split(
    url: str,
    file: StoredObject,
    kill_at: int,
    read: Synchronized[int],
    sent: Synchronized[int],
) -> None:
    """Split a file as the function does; a lock of a killed process ends within seconds."""
    settings = Settings(database_url=url, chunk_bytes=CHUNK_BYTES)
    storage, publisher = Endless(kill_at, read), Counting(sent)
    env = Environment(settings, new_engine(settings), storage, publisher)  # type: ignore[arg-type]
    split_file(env, file)


def is_tiled(url: str, file: StoredObject, rows: int) -> bool:
    """Print and return whether the chunks cover the file, each byte once."""
    with psycopg2.connect(url, user=SUPERUSER) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), sum(records), min(first_byte), max(end_byte), bool_and(is_next)"
            " FROM (SELECT records, first_byte, end_byte,"
            "  first_byte = lag(end_byte, 1, first_byte) OVER (ORDER BY number) AS is_next"
            "  FROM sluice.chunks) AS chunk"
        )
        found = cursor.fetchone() or ()
        cursor.execute("SELECT CAST(state AS text) FROM sluice.ingestions")
        states = cursor.fetchall()
    chunks, records, first, end, is_gapless = found
    is_good = (records, first, end, is_gapless) == (rows, len(HEADER), file.size_bytes, True)
    print(f"{chunks} chunks, {records:,} of {rows:,} records, tiled: {is_good}, states {states}")
    return is_good and states == [("loading",)]


if __name__ == "__main__":
    main()
