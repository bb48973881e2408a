"""The state directory `.sluice/` of a local cloud: its layout, lock and records."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Self

import sluice

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROJECT = "local"
CHECKOUT = Path(sluice.__file__).resolve().parents[2]


def default_root() -> Path:
    """Return the state directory of the checkout, or the one that SLUICE_STATE names."""
    return Path(os.environ.get("SLUICE_STATE") or CHECKOUT / ".sluice").resolve()


@dataclass(frozen=True)
class Ports:
    """The ports of one local cloud, all on the loopback interface."""

    gateway: int = 8080
    storage: int = 8081
    storage_https: int = 8082
    postgres: int = 8083
    pubsub: int = 8085

    @classmethod
    def free(cls) -> Self:
        """Return ports that are free now, for several clouds on one machine."""
        names = [each.name for each in fields(cls)]
        with ExitStack() as held:
            sockets = [held.enter_context(socket.socket()) for _ in names]
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            numbers = [each.getsockname()[1] for each in sockets]
        return cls(**dict(zip(names, numbers, strict=True)))


@dataclass(frozen=True)
class State:
    """The layout of a state directory."""

    root: Path

    @property
    def data(self) -> Path:
        """What survives a restart: database, objects, messages."""
        return self.root / "data"

    @property
    def run(self) -> Path:
        """Records of the running processes."""
        return self.root / "run"

    def log(self, name: str) -> Path:
        """Return the log file of a part or of an instance of a function."""
        return self.root / "log" / f"{name}.log"

    def create(self) -> None:
        """Create the folders that are missing."""
        for folder in (self.data, self.run, self.root / "log"):
            folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the exclusive lock for starting and stopping parts; it ends with its process."""
        self.create()
        with (self.root / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def read(self, name: str) -> dict[str, object] | None:
        """Return a record, or None if it does not exist or is incomplete."""
        try:
            found = json.loads((self.run / f"{name}.json").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def write(self, name: str, record: Mapping[str, object]) -> None:
        """Write a record atomically."""
        partial = self.run / f"{name}.json.{os.getpid()}"
        partial.write_text(json.dumps(record))
        partial.replace(self.run / f"{name}.json")

    def forget(self, name: str) -> None:
        """Remove a record."""
        (self.run / f"{name}.json").unlink(missing_ok=True)

    def secret(self, name: str) -> str:
        """Return a secret of this local cloud, made at the first call, in a file that only its user reads."""
        path = self.root / name
        if not path.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name}.{os.getpid()}")
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(32))
            with suppress(FileExistsError):
                os.link(partial, path)  # unless another process was faster
            partial.unlink()
        return path.read_text()

    def read_ports(self) -> Ports:
        """Return the ports of the last start, or the default ones."""
        return Ports(**(self.read("ports") or {}))  # type: ignore[arg-type]  # written below

    def write_ports(self, ports: Ports) -> None:
        """Store the ports for the next start and for the other commands."""
        self.write("ports", asdict(ports))
