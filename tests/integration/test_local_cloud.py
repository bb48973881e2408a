"""The local cloud with toy functions: it starts, survives kills, and does not touch other processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from google.cloud import storage as cloud_storage
from toy_cloud import TOYS

from sluice.local import parts, postgres, processes
from sluice.local.cloud import Cloud
from sluice.local.errors import PortBusyError
from sluice.local.state import Ports, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PARTS = ("postgres", "storage", "pubsub", "gateway")


def toy_cloud_in(root: Path) -> Cloud:
    return Cloud(State(root), Ports.free(), loaders=2, functions=TOYS, flags=postgres.TEST_FLAGS)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    cloud = toy_cloud_in(tmp_path_factory.mktemp("cloud"))
    cloud.up()
    yield cloud
    cloud.down()


def up_elsewhere(cloud: Cloud) -> subprocess.Popen[bytes]:
    """Start the same cloud from another process."""
    cloud.state.create()
    cloud.state.write_ports(cloud.ports)
    program = (
        "import sys; from dataclasses import replace; from pathlib import Path\n"
        "from sluice.local.cloud import Cloud; from sluice.local.state import State\n"
        "cloud = Cloud.last_started(State(Path(sys.argv[1])))\n"
        "replace(cloud, loaders=2, functions=Path(sys.argv[2])).up()"
    )
    return subprocess.Popen([sys.executable, "-c", program, str(cloud.state.root), str(TOYS)])


def upload(cloud: Cloud, name: str, content: bytes = b"a,b\n1,2\n") -> None:
    url = f"{cloud.storage.url}/upload/storage/v1/b/inbox/o"
    parameters = {"uploadType": "media", "name": name}
    httpx.post(url, params=parameters, content=content).raise_for_status()


def pushes(cloud: Cloud, name: str) -> list[dict[str, dict[str, str]]]:
    log = cloud.state.log("split-1").read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith('{"attributes"')]
    return [each for each in lines if each["attributes"]["objectId"] == name]


def wait_for(what: Callable[[], Any], timeout_s: float = 60) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


def kill(cloud: Cloud, part: str) -> None:
    process = parts.recorded(cloud.state, part)
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: not processes.is_alive(process))


def states(cloud: Cloud) -> set[str]:
    return {each.state for each in cloud.status()}


def pids(cloud: Cloud) -> dict[str, int | None]:
    return {each.name: each.pid for each in cloud.status()}


def test_every_part_and_every_instance_runs(cloud: Cloud) -> None:
    found = {each.name: each for each in cloud.status()}
    assert set(found) == {*PARTS, "split-1", "load-1", "load-2", "query-1"}
    assert {each.state for each in found.values()} == {"running"}
    assert all(each.pid and each.resident_bytes for each in found.values())


def test_a_second_up_starts_nothing(cloud: Cloud) -> None:
    before, reported = pids(cloud), []
    cloud.up(reported.append)
    assert pids(cloud) == before
    assert all("started" not in line for line in reported)


def test_an_upload_reaches_its_function_as_a_genuine_notification(cloud: Cloud) -> None:
    upload(cloud, "trips/notified.csv")
    (push,) = wait_for(lambda: pushes(cloud, "trips/notified.csv"))
    assert push["attributes"]["eventType"] == "OBJECT_FINALIZE"
    assert push["attributes"]["bucketId"] == "inbox"
    assert push["attributes"]["objectGeneration"] == push["object"]["generation"]
    assert push["object"]["size"] == "8"


def test_the_outbox_publishes_no_notifications(cloud: Cloud) -> None:
    url = f"{cloud.storage.url}/upload/storage/v1/b/outbox/o?uploadType=media&name=out.csv"
    httpx.post(url, content=b"x").raise_for_status()
    upload(cloud, "trips/after.csv")
    wait_for(lambda: pushes(cloud, "trips/after.csv"))
    assert not pushes(cloud, "out.csv")


@pytest.mark.parametrize("part", PARTS)
def test_up_restarts_a_killed_part(cloud: Cloud, part: str) -> None:
    kill(cloud, part)
    assert {each.name: each.state for each in cloud.status()}[part] == "killed"
    cloud.up()
    assert states(cloud) == {"running"}
    upload(cloud, f"trips/after-{part}.csv")
    wait_for(lambda: pushes(cloud, f"trips/after-{part}.csv"))


def test_up_restarts_everything_after_a_power_cut_and_keeps_the_data(cloud: Cloud) -> None:
    upload(cloud, "trips/before.csv", b"kept")
    cloud.database.psql("CREATE TABLE kept AS SELECT 7 AS number", postgres.DATABASE)
    for each in psutil.process_iter():
        if str(cloud.state.root) in " ".join(_command_line(each)):
            each.kill()
    cloud.up()
    assert states(cloud) == {"running"}
    assert cloud.database.psql("TABLE kept", postgres.DATABASE) == "7"
    kept = f"{cloud.storage.url}/storage/v1/b/inbox/o/trips%2Fbefore.csv?alt=media"
    assert httpx.get(kept).content == b"kept"


def test_up_publishes_lost_notifications(cloud: Cloud) -> None:
    kill(cloud, "pubsub")
    upload(cloud, "trips/lost.csv")
    upload(cloud, "trips/folder/", b"")
    kill(cloud, "storage")
    cloud.up()
    wait_for(lambda: pushes(cloud, "trips/lost.csv"))
    assert not pushes(cloud, "trips/folder/")


def test_up_replaces_the_instances_of_a_killed_gateway(cloud: Cloud) -> None:
    before = pids(cloud)
    kill(cloud, "gateway")
    cloud.up()
    assert not psutil.pid_exists(before["query-1"] or 0) or _is_zombie(before["query-1"])
    assert pids(cloud)["query-1"] != before["query-1"]


@pytest.mark.parametrize("after_s", [0.7, 1.1, 1.6])
def test_a_killed_up_is_completed_by_the_next(tmp_path: Path, after_s: float) -> None:
    cloud = toy_cloud_in(tmp_path)
    starter = up_elsewhere(cloud)
    time.sleep(after_s)
    starter.kill()
    starter.wait()
    try:
        cloud.up()
        assert states(cloud) == {"running"}
        assert len(processes.marked(tmp_path, "storage")) == 1
        assert len(processes.marked(tmp_path, "pubsub")) == 1
    finally:
        cloud.down()


def test_a_function_that_ends_is_started_again(cloud: Cloud) -> None:
    before = pids(cloud)["query-1"]
    answer = httpx.get(f"{cloud.url}/v1/datasets?do=die", timeout=30)
    assert answer.status_code == 502
    assert answer.json()["code"] == "SYS915"
    wait_for(lambda: states(cloud) == {"running"})
    assert pids(cloud)["query-1"] != before


def test_down_ends_every_process_and_keeps_the_ports(tmp_path: Path) -> None:
    cloud = toy_cloud_in(tmp_path)
    cloud.up()
    upload(cloud, "trips/kept.csv")
    wait_for(lambda: pushes(cloud, "trips/kept.csv"))
    cloud.down()
    assert {each.state for each in cloud.status()} == {"stopped"}
    assert not [each for each in psutil.process_iter() if _belongs_to(each, tmp_path)]
    again = Cloud.last_started(State(tmp_path))
    assert again.ports == cloud.ports


def test_a_recycled_pid_is_left_alone(tmp_path: Path) -> None:
    cloud = toy_cloud_in(tmp_path)
    cloud.state.create()
    other = subprocess.Popen(["sleep", "60"])
    try:
        cloud.state.write("storage", {"pid": other.pid, "started_at": 1.0, "identity": ""})
        cloud.down()
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize(
    ("port", "option"),
    [
        ("gateway", "--port"),
        ("storage", "--storage-port"),
        ("storage_https", "--storage-https-port"),
        ("postgres", "--postgres-port"),
        ("pubsub", "--pubsub-port"),
    ],
)
def test_a_busy_port_is_named_with_its_option(tmp_path: Path, port: str, option: str) -> None:
    cloud = toy_cloud_in(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        number = other.getsockname()[1]
        blocked = replace(cloud, ports=replace(cloud.ports, **{port: number}))
        try:
            with pytest.raises(PortBusyError, match=rf"port {number} .* {option}$"):
                blocked.up()
        finally:
            blocked.down()


def test_free_ports_are_chosen_once_and_kept(cloud: Cloud, tmp_path: Path) -> None:
    assert cloud.with_free_ports().ports == cloud.ports
    other = Cloud(State(tmp_path), functions=TOYS)
    chosen = other.with_free_ports()
    assert not set(asdict(chosen.ports).values()) & set(asdict(Ports()).values())
    chosen.state.create()
    chosen.state.write_ports(chosen.ports)
    assert chosen.with_free_ports().ports == chosen.ports
    with socket.create_server(("127.0.0.1", chosen.ports.postgres)):
        moved = chosen.with_free_ports().ports
    assert moved.postgres != chosen.ports.postgres
    assert replace(moved, postgres=chosen.ports.postgres) == chosen.ports


def test_two_clouds_run_side_by_side(cloud: Cloud, tmp_path: Path) -> None:
    other = toy_cloud_in(tmp_path)
    other.up()
    try:
        upload(other, "trips/other.csv")
        wait_for(lambda: pushes(other, "trips/other.csv"))
        assert not pushes(cloud, "trips/other.csv")
    finally:
        other.down()
    assert states(cloud) == {"running"}


def test_two_concurrent_ups_start_one_cloud(tmp_path: Path) -> None:
    cloud = toy_cloud_in(tmp_path)
    both = [up_elsewhere(cloud) for _ in range(2)]
    try:
        assert [each.wait(timeout=120) for each in both] == [0, 0]
        assert len(processes.marked(tmp_path, "storage")) == 1
    finally:
        cloud.down()


def test_the_python_client_uploads_in_parts(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", cloud.storage.url)
    content = os.urandom(9 * 1024 * 1024)
    (tmp_path / "big.csv").write_bytes(content)
    client = cloud_storage.Client(project="local")
    blob = client.bucket("inbox").blob("trips/python.csv", chunk_size=4 * 1024 * 1024)
    blob.upload_from_filename(str(tmp_path / "big.csv"))
    assert blob.download_as_bytes(start=5_000_000, end=5_000_099) == content[5_000_000:5_000_100]
    client.close()


@pytest.mark.cloud_sdk
@pytest.mark.parametrize("tool", [["gcloud", "storage", "cp"], ["gsutil", "cp"]])
def test_the_tools_of_google_upload_with_what_env_prints(
    cloud: Cloud, tmp_path: Path, tool: list[str]
) -> None:
    content = os.urandom(9 * 1024 * 1024)
    (tmp_path / "big.csv").write_bytes(content)
    name = f"trips/{tool[0]}.csv"
    script = 'eval "$("$0" -m sluice.cli.main env)" && "$@"'
    command = ["sh", "-c", script, sys.executable, *tool, str(tmp_path / "big.csv")]
    environment = {**os.environ, "SLUICE_STATE": str(cloud.state.root)}
    done = subprocess.run(
        [*command, f"gs://inbox/{name}"],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    (push,) = wait_for(lambda: pushes(cloud, name))
    assert push["object"]["size"] == str(len(content))


@pytest.mark.cloud_sdk
def test_googles_emulator_takes_the_place_of_the_embedded_pubsub(tmp_path: Path) -> None:
    cloud = replace(toy_cloud_in(tmp_path), provider="google")
    cloud.up()
    try:
        upload(cloud, "trips/google.csv")
        wait_for(lambda: pushes(cloud, "trips/google.csv"))
        assert Cloud.last_started(cloud.state).provider == "google"
    finally:
        cloud.down()


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _belongs_to(process: psutil.Process, root: Path) -> bool:
    return any(str(root) in word for word in _command_line(process))


def _is_zombie(pid: int | None) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
