"""Fixtures for all tests: the real components, each started when a test first requests it.

database         URL of a fresh, migrated PostgreSQL database, as the owner of its tables; one server
                 serves the test run
empty_database   URL of one without the engine's tables, as superuser
bare_server      another PostgreSQL server, without roles and databases
clone_database   makes such a database, or a clone of one, for fixtures of a module
pubsub           the embedded Pub/Sub, empty, in this process; PUBSUB_EMULATOR_HOST points to it
storage          the real fake-gcs-server; STORAGE_EMULATOR_HOST points to it
local_cloud      the whole local cloud on free ports; one serves the test run
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from hypothesis import HealthCheck, settings

from sluice.local import parts, postgres, processes, provision
from sluice.local import storage as storage_part
from sluice.local.cloud import Cloud
from sluice.local.pubsub import PubsubServer
from sluice.local.state import Ports, State
from sluice.postgres.roles import OWNER

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from contextlib import AbstractContextManager

RUN_VARIABLE = "SLUICE_TEST_RUN"
RUN_PREFIX = "sluice-tests-"
TEMPLATE = "template_sluice"
#: The memory's file system.
MEMORY = Path("/dev/shm")
#: More than a run writes.
RUN_BYTES = 8 * 1024**3
#: Has the rights of the owner of all tables, as intake has.
TESTS_USER = "tests"


def pytest_configure(config: pytest.Config) -> None:
    """Name the run's folder once; xdist's workers inherit the variable."""
    # The same examples each time; their duration depends on the machine and decides nothing.
    settings.register_profile(
        "sluice",
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("sluice")
    # A shell ignores it in what it starts in the background, and the processes of tests would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(config, "workerinput"):
        return
    _end_runs_that_were_killed()
    folder = tempfile.mkdtemp(prefix=f"{RUN_PREFIX}{os.getpid()}-", dir=_parent_folder())
    os.environ[RUN_VARIABLE] = folder
    # A concurrent run of root's tests would lock PostgreSQL's user out of the usual folder.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what the run started."""
    if not hasattr(config, "workerinput"):
        _end_run(_run_folder())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape halves of surrogate pairs in logs, which xdist cannot send."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs an absent Cloud SDK."""
    without_sdk = pytest.mark.skip(reason="Google's Cloud SDK is not installed")
    for item in items:
        if item.get_closest_marker("cloud_sdk") and not shutil.which("gcloud"):
            item.add_marker(without_sdk)


@pytest.fixture(scope="session")
def database_server() -> postgres.Server:
    """The PostgreSQL server of the test run, with the template of `database` in it."""
    server, state = _server("postgres")
    with state.lock():
        _ensure(state, postgres.part(server, postgres.TEST_FLAGS))
        _create_template(server)
    return server


@pytest.fixture(scope="session")
def bare_server() -> postgres.Server:
    """Another PostgreSQL server, with a superuser only: roles belong to a whole server."""
    server, state = _server(f"postgres-{os.getpid()}")
    with state.lock():
        _ensure(state, postgres.part(server, postgres.TEST_FLAGS))
    return server


@pytest.fixture
def database(database_server: postgres.Server) -> Iterator[str]:
    """The SQLAlchemy URL of a new database, migrated and empty, as the owner of its tables."""
    with _database(database_server) as url:
        yield url


@pytest.fixture
def empty_database(database_server: postgres.Server) -> Iterator[str]:
    """The SQLAlchemy URL of a new database without tables, as superuser."""
    with _new_database(database_server, "template0") as name:
        yield database_server.url(name)


@pytest.fixture(scope="session")
def clone_database(
    database_server: postgres.Server,
) -> Callable[..., AbstractContextManager[str]]:
    """Clones the database `database`, or one that a module loaded: takes and yields a URL."""
    return lambda url=TEMPLATE: _database(database_server, template=url.rpartition("/")[2])


@pytest.fixture
def pubsub(monkeypatch: pytest.MonkeyPatch) -> Iterator[PubsubServer]:
    """A new embedded Pub/Sub; the Google clients of this process use it."""
    with PubsubServer(port=0) as server:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.address)
        yield server


@pytest.fixture(scope="session")
def storage_server() -> Iterator[storage_part.Server]:
    """A fake-gcs-server without notifications, which only the whole local cloud publishes."""
    state = State(_run_folder() / f"storage-{os.getpid()}")
    ports = Ports.free()
    server = storage_part.Server(state.data, ports.storage, ports.storage_https)
    with state.lock():
        _ensure(state, storage_part.part(server, None))
    yield server
    parts.stop(state, "storage")


@pytest.fixture
def storage(
    storage_server: storage_part.Server, monkeypatch: pytest.MonkeyPatch
) -> storage_part.Server:
    """The fake-gcs-server with the buckets `inbox` and `outbox`; this process's clients find it.

    Buckets outlive a test: use unique object names, or a new bucket from `create_bucket`.
    """
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_server.url)
    storage_server.create_bucket(storage_part.INBOX)
    storage_server.create_bucket(storage_part.OUTBOX)
    return storage_server


@pytest.fixture(scope="session")
def local_cloud() -> Cloud:
    """The whole local cloud with the functions of this checkout, as `sluice up` starts it.

    All workers share it, so use unique datasets, regions or object names, and do not stop
    or kill a part of it: `toy_cloud_in` of `test_local_cloud.py` shows how to have one for that.
    """
    state = State(_run_folder() / "cloud")
    cloud = Cloud(
        state, _ports_of(state), loaders=2, flags=postgres.TEST_FLAGS, revision="under test"
    )
    cloud.up()
    return cloud


def _server(name: str) -> tuple[postgres.Server, State]:
    state = State(_run_folder() / name)
    return postgres.Server(state.data / "postgres", _ports_of(state).postgres), state


def _ensure(state: State, part: parts.Part) -> None:
    if parts.make_room(state, part):
        parts.start(state, part)


def _ports_of(state: State) -> Ports:
    """Return the ports that a server of the test run has, free ones for the first worker."""
    with state.lock():
        ports = state.read_ports() if state.read("ports") else Ports.free()
        state.write_ports(ports)
        return ports


def _create_template(server: postgres.Server) -> None:
    if server.psql(f"SELECT 1 FROM pg_database WHERE datname = '{TEMPLATE}'"):
        return
    partial = f"{TEMPLATE}_partial"
    server.psql(f"DROP DATABASE IF EXISTS {partial}")
    server.psql(f"DROP ROLE IF EXISTS {TESTS_USER}")
    server.create_database(partial)
    provision.prepare_database(server.url(partial))
    server.psql(f"CREATE ROLE {TESTS_USER} LOGIN")
    server.psql(f"GRANT {OWNER} TO {TESTS_USER}; ALTER ROLE {TESTS_USER} SET role = '{OWNER}'")
    server.psql(f"ALTER DATABASE {partial} RENAME TO {TEMPLATE}")


@contextmanager
def _database(server: postgres.Server, template: str = TEMPLATE) -> Iterator[str]:
    with _new_database(server, template) as name:
        # A clone has none of the rights on its template.
        server.psql((provision.MIGRATION / "roles.sql").read_text("utf-8"), name)
        yield server.url(name, TESTS_USER)


@contextmanager
def _new_database(server: postgres.Server, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    # Copying files needs half of the CPU time of the default, which writes all pages to the WAL.
    server.psql(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    try:
        yield name
    finally:
        server.psql(f"DROP DATABASE {name} WITH (FORCE)")


def _parent_folder() -> Path:
    """Return where runs have their folders: in memory if it has room, which clones databases at once."""
    has_room = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > RUN_BYTES
    is_free = psutil.virtual_memory().available > 2 * RUN_BYTES
    return MEMORY if has_room and is_free else Path(tempfile.gettempdir())


def _run_folder() -> Path:
    return Path(os.environ[RUN_VARIABLE])


def _end_run(folder: Path) -> None:
    found = [each for each in psutil.process_iter() if _is_below(each, folder)]
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda each: processes.end(each, timeout_s=5), found))
    shutil.rmtree(folder, ignore_errors=True)


def _is_below(process: psutil.Process, folder: Path) -> bool:
    """Whether a process is a part of a local cloud whose state directory is in a folder."""
    try:
        return process.environ().get(processes.MARK, "").startswith(f"{folder}/")
    except (psutil.Error, OSError):
        return False


def _end_runs_that_were_killed() -> None:
    parents = (MEMORY, Path(tempfile.gettempdir()))
    for folder in (each for parent in parents for each in parent.glob(f"{RUN_PREFIX}*")):
        pid = int(folder.name.removeprefix(RUN_PREFIX).split("-")[0])
        if not psutil.pid_exists(pid):
            _end_run(folder)
