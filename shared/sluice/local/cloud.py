"""The local cloud: its parts, and the order in which they start and stop."""

from __future__ import annotations

import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

import grpc
import httpx

from sluice.local import (
    guard,
    lost_notifications,
    messaging,
    parts,
    postgres,
    processes,
    provision,
    storage,
)
from sluice.local.errors import PartFailedError
from sluice.local.functions import PART as FUNCTION_PART
from sluice.local.functions import deployed
from sluice.local.messaging import Provider
from sluice.local.parts import Part, PartStatus
from sluice.local.pubsub.control import ControlClient
from sluice.local.state import CHECKOUT, PROJECT, Ports, State
from sluice.settings import NO_AUTHENTICATION, PREFIX, REQUIRED, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

CRASHES_IN_A_ROW = 3
SOURCES = ("functions/**/*.py", "shared/sluice/**/*.py", "sql/**/*")


def revision() -> str:
    """Return a digest of the functions' code; when it changes, `up` deploys the functions again."""
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
        provider: of Pub/Sub.
        loaders: number of processes that run `load`.
        authentication: of requests to the API, as the setting has it.
        settings: additional environment variables of the functions.
        functions: the folder that contains a folder for each function.
        flags: of PostgreSQL.
        revision: of the functions' code.
    """

    state: State
    ports: Ports = field(default_factory=Ports)
    provider: Provider = Provider.EMBEDDED
    loaders: int = field(default_factory=lambda: os.cpu_count() or 1)
    authentication: str = NO_AUTHENTICATION
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
            str(known.get("authentication", NO_AUTHENTICATION)),
        )

    def with_free_ports(self) -> Self:
        """Return this cloud on free ports; it keeps those of its last start that are still free."""
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
        """Start the parts that are not running and wait until all answer.

        Args:
            report: receives a line for each step.

        Raises:
            LocalCloudError: a port is in use, or a part or a function failed.
        """
        with self.state.lock(), ThreadPoolExecutor() as threads:
            self.state.write_ports(self.ports)
            self.state.write("cloud", self._remembered())
            # All ports are checked before anything starts.
            missing = {part.name for part in self.parts() if parts.make_room(self.state, part)}

            def start(part: Part) -> None:
                if part.name in missing:
                    parts.start(self.state, part)
                done = "started" if part.name in missing else "is running"
                report(f"{part.name} {done} at {part.address}")

            functions = threads.submit(start, self._gateway())
            start(self._postgres())
            self._provision_database(report)
            # Pub/Sub pushes remaining messages as soon as it runs: the database must run by then.
            # The gateway queues requests to functions that are not ready.
            start(self._pubsub())
            provision.create_topology(self.pubsub_address, self.push_endpoint)
            start(self._storage())
            self._provision_storage()
            self._publish_lost_notifications(report)
            functions.result()

    def _remembered(self) -> dict[str, object]:
        return {
            "provider": self.provider,
            "loaders": self.loaders,
            "authentication": self.authentication,
        }

    @property
    def token(self) -> str:
        """The key of the administrator; empty if the API is open."""
        if self.authentication != REQUIRED:
            return ""
        return os.environ.get(f"{PREFIX}TOKEN") or self.state.secret("token")

    def down(self, report: Callable[[str], None] = lambda _line: None) -> None:
        """Stop all parts; their data stays."""
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
        """Return the gateway's status of each instance; nothing if it does not answer."""
        with suppress(httpx.TransportError, ValueError):
            answer = httpx.get(f"{self._local_url}/-/status", timeout=5)
            return list(answer.json())
        return []

    def backlogs(self) -> dict[str, dict[str, int]]:
        """Return the backlog of each subscription; nothing if Pub/Sub does not report it."""
        if self.provider is not Provider.EMBEDDED:
            return {}
        with suppress(grpc.RpcError), ControlClient(self.pubsub_address) as client:
            return {name: asdict(counts) for name, counts in client.backlogs().items()}
        return {}

    def client_environment(self) -> dict[str, str]:
        """Return the environment variables of the Google client libraries."""
        return {
            "STORAGE_EMULATOR_HOST": self.storage.url,
            "PUBSUB_EMULATOR_HOST": self.pubsub_address,
            "PUBSUB_PROJECT_ID": PROJECT,
            "GOOGLE_CLOUD_PROJECT": PROJECT,
        }

    def push_endpoint(self, function: str) -> str:
        """Return the address to which Pub/Sub pushes the messages for a function."""
        secret = self.state.secret(guard.PUSH_SECRET)
        return guard.push_endpoint(self._local_url, function, secret)

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
        for name in lost_notifications.publish_lost_notifications(*places):
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
            env=self._function_environment(),
            is_supervisor=True,
            ready_within_s=120,
        )  # fmt: skip

    def _function_environment(self) -> dict[str, str]:
        """Return the variables of the functions; settings of the starter's environment are passed on."""
        names = [f"{PREFIX}{each.name.upper()}" for each in fields(Settings)]
        return {
            **self.client_environment(),
            **{name: os.environ[name] for name in names if name in os.environ},
            "SLUICE_AUTHENTICATION": self.authentication,
            "SLUICE_TOKEN": self.token,
            "SLUICE_PROJECT": PROJECT,
            "SLUICE_INBOX": storage.INBOX,
            "SLUICE_OUTBOX": storage.OUTBOX,
            "SLUICE_DATABASE_URL": self.database.url(),
            "SLUICE_PUBLIC_URL": self.url,
            "PYTHONPATH": str(CHECKOUT / "shared"),
            **self.settings,
        }

    def _functions_are_ready(self) -> bool:
        instances = self.instances()
        for each in instances:
            if not each["ready"] and int(str(each["starts"])) > CRASHES_IN_A_ROW:
                name = str(each["name"])
                raise PartFailedError(name, "crashes repeatedly", self.state.log(name))
        expected = sum(each.instances for each in deployed(self.functions, self.loaders))
        answers = bool(instances) or (expected == 0 and parts.is_listening(self.ports.gateway))
        return answers and all(each["ready"] for each in instances)


def _instance_status(entry: Mapping[str, object]) -> PartStatus:
    pid = int(str(entry["pid"])) if entry["pid"] else None
    load = f"busy {entry['busy']}, waiting {entry['waiting']}"
    state = "running" if entry["ready"] else "starting"
    resident = processes.resident_of_pid(pid) if pid else 0
    return PartStatus(str(entry["name"]), state, load, pid, resident)
