"""Keys in a local cloud that asks for them, by the command line; each function has its role in PostgreSQL."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from sluice.cli.main import sluice
from sluice.local import postgres
from sluice.local.cloud import Cloud
from sluice.local.environment import for_tools
from sluice.local.state import Ports, State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    made = Cloud(
        State(tmp_path_factory.mktemp("cloud")),
        Ports.free(),
        loaders=1,
        authentication="required",
        flags=postgres.TEST_FLAGS,
    )
    made.up()
    yield made
    made.down()


def run(cloud: Cloud, token: str, *arguments: object) -> Result:
    environ = {"SLUICE_TOKEN": token}
    return CliRunner().invoke(sluice, ["--url", cloud.url, *map(str, arguments)], env=environ)


def make(cloud: Cloud, *arguments: object) -> str:
    made = run(cloud, cloud.token, "keys", "create", *arguments, "--json")
    assert made.exit_code == 0, made.output
    key: str = json.loads(made.stdout)["key"]
    return key


def test_a_partner_loads_and_an_analyst_reads(cloud: Cloud, tmp_path: Path) -> None:
    file = tmp_path / "visitors.csv"
    file.write_text("name,age\nAda,36\nBob,27\n")
    partner = make(cloud, "partner", "--role", "loader", "--dataset", "visitors", "--expires", "1d")
    analyst = make(cloud, "analyst", "--dataset", "visitors")
    other = make(cloud, "other", "--dataset", "trips")

    loaded = run(cloud, partner, "load", file, "--dataset", "visitors")
    assert loaded.exit_code == 0, loaded.output
    refused = run(cloud, partner, "load", file, "--dataset", "trips")
    assert refused.exit_code != 0
    assert "there is no dataset trips" in refused.output

    read = run(cloud, analyst, "rows", "visitors", "--json")
    assert read.exit_code == 0, read.output
    assert "Ada" in read.stdout
    refused = run(cloud, analyst, "load", file, "--dataset", "visitors")
    assert refused.exit_code != 0
    assert "needs the role loader" in refused.output
    assert run(cloud, analyst, "keys", "list").exit_code == 4
    assert run(cloud, analyst, "ingestions").exit_code == 0
    assert run(cloud, other, "rows", "visitors").exit_code == 2
    assert run(cloud, "", "datasets").exit_code == 4

    log = json.loads(run(cloud, cloud.token, "audit", "--json", "--action", "file.load").stdout)
    assert [each["actor"] for each in log["entries"]] == [f"key:{partner.split('_')[1]}"]


def test_keys_are_listed_rotated_and_revoked(cloud: Cloud) -> None:
    printed = run(cloud, cloud.token, "keys", "create", "shown once")
    key = printed.stdout.strip()
    number = key.split("_")[1]
    assert f"key {number} with the role reader" in printed.stderr
    rotated = run(cloud, cloud.token, "keys", "rotate", number, "--grace", "15m")
    assert rotated.exit_code == 0
    assert rotated.stdout.strip() != key
    assert run(cloud, key, "datasets").exit_code == 0
    assert run(cloud, rotated.stdout.strip(), "datasets").exit_code == 0
    assert run(cloud, cloud.token, "keys", "revoke", number).exit_code == 0
    listed = run(cloud, cloud.token, "keys", "list")
    (line,) = (each for each in listed.stdout.splitlines() if number in each)
    assert "revoked" in line
    assert key.split("_")[2] not in listed.stdout


def test_only_its_user_reads_the_administrators_key(cloud: Cloud) -> None:
    path = cloud.state.root / "token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert for_tools(cloud)["SLUICE_TOKEN"] == path.read_text() == cloud.token
    assert Cloud.last_started(cloud.state).authentication == "required"


@pytest.mark.parametrize("expires", ["soon", "1", "90x", "-1d"])
def test_a_duration_has_a_unit(cloud: Cloud, expires: str) -> None:
    done = run(cloud, cloud.token, "keys", "create", "a", "--expires", expires)
    assert done.exit_code == 2
