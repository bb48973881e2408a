"""PostgreSQL's pg_upgrade takes a database with the roles of Sluice, as upgrades of Cloud SQL do."""

from __future__ import annotations

import shutil
import subprocess
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from flow import HEADER, THINGS, Flow, lines

from sluice.local import parts, postgres, processes, provision
from sluice.local.state import Ports, State
from sluice.postgres.roles import OWNER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


USER = "declares"


@pytest.fixture
def states(tmp_path: Path) -> Iterator[list[State]]:
    """The state directories of two servers, stopped afterwards."""
    made = [State(tmp_path / name) for name in ("old", "new")]
    yield made
    for each in made:
        parts.stop(each, "postgres")


def started(state: State) -> postgres.Server:
    server = postgres.Server(state.data / "postgres", Ports.free().postgres)
    with state.lock():
        parts.start(state, postgres.part(server, postgres.TEST_FLAGS))
    return server


def test_an_upgraded_server_has_the_roles_and_loads_files(states: list[State]) -> None:
    old_state, new_state = states
    old = started(old_state)
    old.create_database()
    provision.prepare_database(old.url())
    old.psql(f"CREATE ROLE {USER} LOGIN")
    old.psql(f"GRANT {OWNER} TO {USER}; ALTER ROLE {USER} SET role = '{OWNER}'")
    flow = Flow(old.url(user=USER))
    flow.declare(THINGS)
    assert flow.state(flow.run(HEADER + lines(1, 9))) == "done"
    flow.close()
    new = started(new_state)
    for each in states:
        parts.stop(each, "postgres")
    upgrade(old, new)
    new = started(new_state)
    flow = Flow(new.url(user=USER))
    assert flow.ids() == list(range(1, 10))
    assert flow.state(flow.run(HEADER + lines(10, 12), "things/b.csv")) == "done"
    assert flow.ids() == list(range(1, 13))
    flow.close()


def upgrade(old: postgres.Server, new: postgres.Server) -> None:
    programs = str(postgres.binaries())
    with TemporaryDirectory(prefix="pg") as sockets:  # their paths have at most 107 bytes
        if new.user:
            shutil.chown(sockets, new.user)
        done = subprocess.run(
            [
                postgres.binaries() / "pg_upgrade", "--username", postgres.SUPERUSER,
                "--old-bindir", programs, "--new-bindir", programs,
                "--old-datadir", old.data, "--new-datadir", new.data, "--socketdir", sockets,
                "--old-port", str(old.port), "--new-port", str(new.port),
            ],
            cwd=new.folder, capture_output=True, text=True, check=False,
            **processes.running_as(new.user),
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
