"""The local cloud as a whole: which parts there are, in what order they start and end."""

from __future__ import annotations

import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

import grpc
import httpx

from sluice.local import messaging, parts, postgres, processes, provision, recovery, storage
from sluice.local.environment import for_functions
from sluice.local.errors import PartFailedError
from sluice.local.functions import PART as FUNCTION_PART
from sluice.local.functions import deployed
from sluice.local.messaging import Provider
from sluice.local.parts import Part, PartStatus
from sluice.local.pubsub.control import ControlClient
from sluice.local.state import CHECKOUT, Ports, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

CRASHES_IN_A_ROW = 3
SOURCES = ("functions/**/*.py", "shared/sluice/**/*.py", "sql/**/*")


def revision() -> str:
    """Return a digest that changes with the functions' code: `up` then deploys it anew."""
    found = hashlib.sha256()
    for path in sorted(path for pattern in SOURCES for path in CHECKOUT.glob(pattern)):
        found.update(f"{path}{path.stat().st_mtime_ns}".encode())
    return found.hexdigest()[:12]


@dataclass(frozen=True)
class Cloud:
    """One local cloud.

    Attributes:
        state: its directory.
        ports: where its parts listen.
        provider: whose Pub/Sub it has.
        loaders: processes that run `load`.
        settings: variables for the functions beside the usual ones.
        functions: the folder with a folder for each function.
        flags: of PostgreSQL.
        revision: of the code that the functions run.
    """

    state: State
    ports: Ports = field(default_factory=Ports)
    provider: Provider = Provider.EMBEDDED
    loaders: int = field(default_factory=lambda: os.cpu_count() or 1)
    settings: Mapping[str, str] = field(default_factory=dict)
    functions: Path = CHECKOUT / "functions"
    flags: Mapping[str, str] = field(default_factory=lambda: postgres.FLAGS)
    revision: str = field(default_factory=revision)

    @classmethod
    def last_started(cls, state: State) -> Self:
        """Return the local cloud that was started last in this directory."""
        known = state.read("cloud") or {}
        return cls(
            state,
            state.read_ports(),
            Provider(str(known.get("provider", Provider.EMBEDDED))),
            int(str(known.get("loaders", os.cpu_count() or 1))),
        )

    def with_free_ports(self) -> Self:
        """Return this cloud on ports that are free, those of its last start where it can have them."""
        if self.state.read("ports") is None:
            return replace(self, ports=type(self.ports).free())
        ours = {
            each for part in self.parts() if parts.is_alive(self.state, part.name)
            for each in part.ports.values()
        }  # fmt: skip
        free = asdict(type(self.ports).free())
        kept = {
            name: port if port in ours or parts.is_free(port) else free[name]
            for name, port in asdict(self.ports).items()
        }
        return replace(self, ports=type(self.ports)(**kept))

    @property
    def url(self) -> str:
        """The address of the gateway."""
        return f"http://localhost:{self.ports.gateway}"

    @property
    def pubsub_address(self) -> str:
        """The value of PUBSUB_EMULATOR_HOST."""
        return f"localhost:{self.ports.pubsub}"

    @cached_property
    def database(self) -> postgres.Server:
        """The PostgreSQL server."""
        return postgres.Server(self.state.data / "postgres", self.ports.postgres)

    @cached_property
    def storage(self) -> storage.Server:
        """The Cloud Storage server."""
        folder = self.state.data / "storage"
        return storage.Server(folder, self.ports.storage, self.ports.storage_https)

    def parts(self) -> list[Part]:
        """Return all parts, in the order of `sluice status`."""
        return [self._postgres(), self._storage(), self._pubsub(), self._gateway()]

    def up(self, report: Callable[[str], None] = lambda _line: None) -> None:
        """Start what does not run and wait until everything answers.

        Args:
            report: takes a line for each thing done.

        Raises:
            LocalCloudError: a port is busy, a part or a function failed.
        """
        with self.state.lock(), ThreadPoolExecutor() as together:
            self.state.write_ports(self.ports)
            self.state.write("cloud", {"provider": self.provider, "loaders": self.loaders})
            # All ports are checked before anything starts.
            missing = {part.name for part in self.parts() if parts.make_room(self.state, part)}

            def start(part: Part) -> None:
                if part.name in missing:
                    parts.start(self.state, part)
                done = "started" if part.name in missing else "runs"
                report(f"{part.name} {done} at {part.address}")

            functions = together.submit(start, self._gateway())
            start(self._postgres())
            self._provision_database(report)
            # Messages left from before are pushed as soon as Pub/Sub runs: the database must by
            # then; for functions that are not ready yet the gateway makes them wait.
            start(self._pubsub())
            provision.create_topology(self.pubsub_address, self.push_endpoint)
            start(self._storage())
            self._provision_storage()
            self._publish_lost_notifications(report)
            functions.result()

    def down(self, report: Callable[[str], None] = lambda _line: None) -> None:
        """Stop everything that runs; what it holds stays."""
        with self.state.lock():
            for part in reversed(self.parts()):
                if parts.stop(self.state, part.name, part.stop_signal):
                    report(f"{part.name} stopped")
            processes.end_marked(self.state.root, FUNCTION_PART)

    def status(self) -> list[PartStatus]:
        """Return the state of every part and of every instance of a function."""
        found = [parts.status(self.state, part) for part in self.parts()]
        return [*found, *(_instance_status(entry) for entry in self.instances())]

    def instances(self) -> list[dict[str, object]]:
        """Return what the gateway knows of the functions; nothing when it does not answer."""
        with suppress(httpx.TransportError, ValueError):
            answer = httpx.get(f"{self._local_url}/-/status", timeout=5)
            return list(answer.json())
        return []

    def backlogs(self) -> dict[str, dict[str, int]]:
        """Return what waits in each subscription; nothing where Pub/Sub does not tell."""
        if self.provider is not Provider.EMBEDDED:
            return {}
        with suppress(grpc.RpcError), ControlClient(self.pubsub_address) as client:
            return {name: asdict(counts) for name, counts in client.backlogs().items()}
        return {}

    def push_endpoint(self, function: str) -> str:
        """Return the address to which Pub/Sub pushes the messages for a function."""
        return f"{self._local_url}/functions/{function}"

    @property
    def _local_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.gateway}"

    def _provision_database(self, report: Callable[[str], None]) -> None:
        self.database.create_database()
        for done in provision.prepare_database(self.database.url()):
            report(f"{done} applied")

    def _provision_storage(self) -> None:
        for bucket in (storage.INBOX, storage.OUTBOX):
            self.storage.create_bucket(bucket)

    def _publish_lost_notifications(self, report: Callable[[str], None]) -> None:
        places = (self.storage.url, storage.INBOX, self.database.url(), self.pubsub_address)
        for name in recovery.publish_lost_notifications(*places):
            report(f"{name} notified again")

    def _postgres(self) -> Part:
        return postgres.part(self.database, self.flags)

    def _storage(self) -> Part:
        return storage.part(self.storage, self.pubsub_address)

    def _pubsub(self) -> Part:
        return messaging.part(self.provider, self.state.data / "pubsub", self.ports.pubsub)

    def _gateway(self) -> Part:
        return Part(
            name="gateway",
            command=[
                sys.executable, "-m", "sluice.local.gateway",
                "--state", str(self.state.root), "--functions", str(self.functions),
                "--port", str(self.ports.gateway),
                "--loaders", str(self.loaders),
                "--revision", self.revision,
            ],
            ports={"--port": self.ports.gateway},
            address=self.url,
            is_ready=self._functions_are_ready,
            env=for_functions(self),
            is_supervisor=True,
            ready_within_s=120,
        )  # fmt: skip

    def _functions_are_ready(self) -> bool:
        instances = self.instances()
        for each in instances:
            if not each["ready"] and int(str(each["starts"])) > CRASHES_IN_A_ROW:
                name = str(each["name"])
                raise PartFailedError(name, "ends again and again", self.state.log(name))
        expected = sum(each.instances for each in deployed(self.functions, self.loaders))
        answers = bool(instances) or (expected == 0 and parts.is_listening(self.ports.gateway))
        return answers and all(each["ready"] for each in instances)


def _instance_status(entry: Mapping[str, object]) -> PartStatus:
    pid = int(str(entry["pid"])) if entry["pid"] else None
    load = f"busy {entry['busy']}, waiting {entry['waiting']}"
    state = "running" if entry["ready"] else "starting"
    resident = processes.resident_of_pid(pid) if pid else 0
    return PartStatus(str(entry["name"]), state, load, pid, resident)
