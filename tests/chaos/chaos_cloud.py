"""A local cloud whose functions reach everything through proxies, with a small disk and a clock of their own.

The disk of the database is a file system in memory that can be full, if this process may mount one; the clock
of the functions is skewed by libfaketime, if the package has a build for this machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import grpc
import httpx
import psutil
from chaos_datasets import DECLARED
from chaos_proxies import HOST, Proxies
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1 import RetryPolicy, SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from sqlalchemy import Engine, create_engine, text

from sluice.local import parts, postgres
from sluice.local.cloud import Cloud
from sluice.local.pubsub.control import ControlClient
from sluice.local.pubsub.faults import NO_FAULTS, Faults
from sluice.local.state import Ports, State

#: As small as the rounds are short: files of some kilobytes have many chunks, a stalled one is soon resumed.
SETTINGS = {
    "SLUICE_CHUNK_BYTES": "6000",
    "SLUICE_RECOVERY_IDLE_S": "4",
    "SLUICE_PUBLISH_STEP_ROWS": "20",
    "SLUICE_REQUESTS_PER_MINUTE": "0",
    "SLUICE_COPY_BLOCK_BYTES": "2000",
}
#: Of the file system in memory; only what is used takes memory.
DISK_BYTES = 4 * 1024**3
_FLAGS = {**postgres.TEST_FLAGS, "max_wal_size": "256MB", "min_wal_size": "64MB"}
_SUBSCRIPTIONS = ("uploads-split", "chunks-load", "status-finish")
_ACK_DEADLINE_S = 10  # the shortest that Pub/Sub allows
_BACKOFF = RetryPolicy(
    minimum_backoff=Duration(nanos=200_000_000), maximum_backoff=Duration(seconds=1)
)
_WAIT_S = 60.0


class ChaosCloud:
    """The cloud of a run; a context that starts and removes it.

    Attributes:
        cloud: the local cloud.
        proxies: between the functions and the rest.
        engine: of the database, as superuser and past the proxies.
        has_disk, has_clock: whether these faults can be injected here.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="sluice-chaos-"))
        self._clock = self._folder / "clock"
        state = State(self._folder / "cloud")
        ports = Ports.free()
        self.proxies = Proxies(ports.postgres, ports.storage, ports.pubsub)
        self.proxies.start()
        self.has_clock = bool(_faketime())
        self.cloud = Cloud(
            state,
            ports,
            loaders=2,
            settings={**SETTINGS, **self._addresses(), **self._skewable()},
            flags=_FLAGS,
            revision="1",
        )
        self._disk = self.cloud.database.folder
        self.has_disk = False
        self.engine: Engine = create_engine(
            self.cloud.database.url(), pool_size=4, max_overflow=4, pool_pre_ping=True
        )
        self.control = ControlClient(self.cloud.pubsub_address)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.dispose()
        self.control.close()
        self.cloud.down()
        self.proxies.stop()
        if self.has_disk:
            subprocess.run(["umount", "--lazy", self._disk], check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        self.set_clock(0)
        self.has_disk = self._mount()
        self.cloud.up()
        self._tune()
        for each in DECLARED:
            url = f"{self.cloud.url}/v1/datasets/{each.name}"
            answer = httpx.put(url, json=each.document, timeout=60)
            assert answer.is_success, answer.text

    def _addresses(self) -> Mapping[str, str]:
        url = f"postgresql+pg8000://postgres@{HOST}:{self.proxies.database.port}/sluice"
        return {
            "SLUICE_DATABASE_URL": url,
            "STORAGE_EMULATOR_HOST": f"http://{HOST}:{self.proxies.storage.port}",
            "PUBSUB_EMULATOR_HOST": f"{HOST}:{self.proxies.pubsub.port}",
        }

    def _skewable(self) -> Mapping[str, str]:
        if not self.has_clock:
            return {}
        return {
            "LD_PRELOAD": _faketime(),
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_CACHE_DURATION": "0",  # for the rest of a second; without, each call reads the file
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set_clock(self, skew_s: int) -> None:
        """Let the clock of all functions differ from that of the database and of the storage."""
        partial = self._clock.with_suffix(".partial")
        partial.write_text(f"{skew_s:+d}\n")
        partial.replace(self._clock)

    def _mount(self) -> bool:
        self._disk.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(self._disk)]
        with suppress(FileNotFoundError):
            return subprocess.run(command, check=False, capture_output=True).returncode == 0
        return False

    @contextmanager
    def full_disk(self, free_bytes: int) -> Iterator[None]:
        """Leave so much of the disk of the database free, and no more."""
        for _ in range(20):
            used = os.statvfs(self._disk)
            size = (used.f_blocks - used.f_bfree) * used.f_frsize + free_bytes
            if self._resize(size):
                break
            free_bytes += 256 * 1024  # it was used meanwhile
        else:
            raise AssertionError("the disk cannot be made smaller")
        try:
            yield
        finally:
            assert self._resize(DISK_BYTES)

    def _resize(self, size_bytes: int) -> bool:
        size = size_bytes // 4096 * 4096
        command = ["mount", "-o", f"remount,size={size}", str(self._disk)]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    # Pub/Sub

    def _tune(self) -> None:
        """Deliver again soon, so that a round does not wait for the times of the cloud."""
        with grpc.insecure_channel(self.cloud.pubsub_address) as channel:
            client = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
            mask = FieldMask(paths=["ack_deadline_seconds", "retry_policy"])
            for name in _SUBSCRIPTIONS:
                path = f"projects/local/subscriptions/{name}"
                found = client.get_subscription(subscription=path)
                found.ack_deadline_seconds = _ACK_DEADLINE_S
                found.retry_policy = _BACKOFF
                client.update_subscription(subscription=found, update_mask=mask)

    def inject(self, faults: Faults) -> None:
        """Let Pub/Sub misbehave."""
        self.control.inject(faults)

    def calm(self) -> None:
        """End every fault, and run what was stopped."""
        self.inject(NO_FAULTS)
        for each in (self.proxies.database, self.proxies.storage, self.proxies.pubsub):
            each.fault = None
        self.set_clock(0)
        self.start_database()

    # Functions

    def instances(self, functions: Sequence[str]) -> list[tuple[str, int]]:
        """Return name and process of each running instance of some functions."""
        return [
            (str(each["name"]), int(str(each["pid"])))
            for each in self.cloud.instances()
            if str(each["name"]).rpartition("-")[0] in functions and each["pid"]
        ]

    def deploy(self, revision: str) -> None:
        """Deploy all functions again, as `sluice up` does after their code changed."""
        replace(self.cloud, revision=revision).up()
        self._tune()

    # The database

    def stop_database(self, number: signal.Signals) -> None:
        """Signal the server: SIGINT and SIGQUIT stop it, SIGKILL kills it. Wait until it has ended."""
        found = parts.recorded(self.cloud.state, "postgres")
        process = found.find() if found else None
        if process is None:
            return
        process.send_signal(number)
        with suppress(psutil.TimeoutExpired, ChildProcessError):
            process.wait(timeout=20)

    def start_database(self) -> None:
        """Start the server, unless it runs."""
        part = postgres.part(self.cloud.database, self.cloud.flags)
        with self.cloud.state.lock():
            if parts.make_room(self.cloud.state, part):
                parts.start(self.cloud.state, part)

    def select(self, sql: str, **values: Any) -> list[Any]:
        """Return the rows of a query, as superuser."""
        with self.engine.connect() as connection:
            return list(connection.execute(text(sql), values))

    # The storage

    def put(self, name: str, data: bytes) -> int:
        """Upload an object to the inbox; return its generation."""
        answer = httpx.post(
            f"{self.cloud.storage.url}/upload/storage/v1/b/inbox/o",
            params={"uploadType": "media", "name": name},
            content=data,
            timeout=60,
        )
        return int(answer.raise_for_status().json()["generation"])

    def delete(self, name: str) -> None:
        """Delete an object of the inbox."""
        path = name.replace("/", "%2F")
        httpx.delete(f"{self.cloud.storage.url}/storage/v1/b/inbox/o/{path}", timeout=60)

    def outbox(self, prefix: str) -> list[str]:
        """Return the names of objects of the outbox."""
        names: list[str] = []
        parameters = {"prefix": prefix}
        while True:
            answer = httpx.get(
                f"{self.cloud.storage.url}/storage/v1/b/outbox/o", params=parameters, timeout=60
            ).json()
            names += [each["name"] for each in answer.get("items", ())]
            if not answer.get("nextPageToken"):
                return names
            parameters["pageToken"] = answer["nextPageToken"]

    def fetch(self, name: str) -> bytes:
        """Return an object of the outbox."""
        path = name.replace("/", "%2F")
        url = f"{self.cloud.storage.url}/storage/v1/b/outbox/o/{path}"
        return httpx.get(url, params={"alt": "media"}, timeout=60).raise_for_status().content


def wait_until(is_so: Callable[[], object], within_s: float = _WAIT_S) -> bool:
    """Wait until something is so; return whether it was in time."""
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _faketime() -> str:
    """Return the library that skews a clock; empty if there is none for this machine."""
    spec = find_spec("libfaketime")
    if spec is None or spec.origin is None:
        return ""
    path = Path(spec.origin).parent / "vendor/libfaketime/src/libfaketime.so.1"
    answer = subprocess.run(
        ["date", "+%s"],
        env={"LD_PRELOAD": str(path), "FAKETIME": "+86400", "PATH": os.defpath},
        capture_output=True,
        check=False,
    )
    is_skewed = answer.stdout.isdigit() or answer.stdout.strip().isdigit()
    return str(path) if is_skewed and int(answer.stdout) > time.time() + 80_000 else ""
