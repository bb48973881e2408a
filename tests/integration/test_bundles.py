"""The archive of a function starts alone, has only what it needs, and is reproducible."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
START_S = 30.0
#: The interpreter without site's .pth files, so that this checkout's own `sluice` is out of reach.
PLAIN = "import sys; sys.path.append({site!r})\n"
SERVE = """
import importlib.util, runpy
assert importlib.util.find_spec("sluice") is None, "sluice would not come from the bundle"
sys.argv = ["functions-framework", *{arguments!r}]
runpy.run_module("functions_framework", run_name="__main__")
"""
INSPECT = """
import json
from importlib import metadata
sys.path.append({folder!r})
import main, sluice
from sluice.postgres.named_sql import sql_folder, statement
statement("receive_ingestion")
owners = metadata.packages_distributions()
regular = {{name for name, module in sys.modules.items() if getattr(module, "__file__", None)}}
tops = ({{name.partition(".")[0] for name in sys.modules}} & regular & set(owners)) - {{"sluice"}}
brought = sorted({{each.lower().replace("_", "-") for top in tops for each in owners[top]}})
print(json.dumps({{"sluice": sluice.__file__, "sql": str(sql_folder()), "packages": brought}}))
"""


def _load_bundling() -> Any:
    spec = importlib.util.spec_from_file_location("bundle", CHECKOUT / "functions" / "bundle.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bundle"] = module
    spec.loader.exec_module(module)
    return module


bundling = _load_bundling()
BUNDLES = {each.name: each for each in bundling.bundles()}
FUNCTIONS = sorted(set(BUNDLES) - {"migrate"})
#: A path that no method but GET has.
NO_ROUTE = "/openapi.json"
PUSHED = ("split", "load", "finish")


@pytest.fixture
def unpacked(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch) -> Path:
    """A folder with the unpacked bundle of the test's parameter."""
    monkeypatch.setattr(bundling, "BUILD", tmp_path / "build")
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(BUNDLES[request.param].write()) as archive:
        archive.extractall(folder)
    return folder


def _python(code: str, **values: object) -> list[str]:
    site = sysconfig.get_path("purelib")
    return [sys.executable, "-S", "-c", (PLAIN + code).format(site=site, **values)]


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    settings = {"PROJECT": "local", "INBOX": "inbox", "OUTBOX": "outbox", "AUTHENTICATION": "none"}
    return {**kept, **{f"SLUICE_{name}": value for name, value in settings.items()}}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("unpacked", FUNCTIONS, indirect=True)
def test_a_bundle_starts_alone_and_answers(unpacked: Path, request) -> None:
    name = request.node.callspec.params["unpacked"]
    port = _free_port()
    command = _python(SERVE, arguments=_arguments(unpacked, name, port))
    _check_that_it_answers(command, unpacked, name, port)


def _arguments(unpacked: Path, name: str, port: int) -> list[str]:
    return [
        "--source", str(unpacked / "main.py"), "--target", name, "--host", "127.0.0.1",
        "--port", str(port),
    ]  # fmt: skip


def _check_that_it_answers(command: list[str], unpacked: Path, name: str, port: int) -> None:
    log = unpacked.parent / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=unpacked.parent, env=_environment(), stdout=output, stderr=output
        )
    try:
        status, body = _ask(port, process, is_pushed=name in PUSHED)
    finally:
        process.terminate()
        process.wait(10)
    if name in PUSHED:
        assert (status, body) == (204, b""), log.read_text()
    else:
        assert status in (404, 405), log.read_text()
        assert json.loads(body)["code"].startswith("API")


@pytest.fixture
def alone(unpacked: Path) -> Path:
    """The `bin` of an environment with nothing in it but what the bundle's requirements.txt pins."""
    environment = unpacked.parent / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    install = ["install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    # Every package comes as a wheel: no code of a package runs while it is installed.
    install += ["--only-binary", ":all:", "--requirement", str(unpacked / "requirements.txt")]
    subprocess.run([environment / "bin" / "python", "-m", "pip", *install], check=True)
    return environment / "bin"


@pytest.mark.alone
@pytest.mark.parametrize("unpacked", FUNCTIONS, indirect=True)
def test_a_bundle_answers_with_nothing_installed_but_its_requirements(
    unpacked: Path, alone: Path, request
) -> None:
    name = request.node.callspec.params["unpacked"]
    port = _free_port()
    command = [str(alone / "functions-framework"), *_arguments(unpacked, name, port)]
    _check_that_it_answers(command, unpacked, name, port)


@pytest.mark.alone
@pytest.mark.parametrize("unpacked", ["migrate"], indirect=True)
def test_the_migration_job_starts_with_nothing_installed_but_its_requirements(
    unpacked: Path, alone: Path
) -> None:
    done = subprocess.run(
        [alone / "python", "main.py"], cwd=unpacked, env=_environment(), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert "SLUICE_DATABASE_USER" in done.stderr.splitlines()[-1]


def _ask(port: int, process: subprocess.Popen[bytes], *, is_pushed: bool) -> tuple[int, bytes]:
    """Post an invalid message, which is acknowledged; or request a route that does not exist."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{NO_ROUTE}",
        method="POST" if is_pushed else "DELETE",
        data=b"{}" if is_pushed else None,
        headers={"Content-Type": "application/json"},
    )
    give_up_at = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < give_up_at:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"no answer; the process ended with {process.poll()}")


@pytest.mark.parametrize("unpacked", sorted(BUNDLES), indirect=True)
def test_a_bundle_imports_its_own_package_and_no_more_than_its_requirements(
    unpacked: Path,
) -> None:
    command = _python(INSPECT, folder=str(unpacked))
    done = subprocess.run(
        command, cwd="/", env=_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert Path(found["sluice"]).parent == unpacked / "sluice"
    assert Path(found["sql"]) == unpacked / "sql"
    pinned = {
        line.partition("==")[0].lower()
        for line in (unpacked / "requirements.txt").read_text().splitlines()
        if "==" in line
    }
    assert set(found["packages"]) <= pinned


@pytest.mark.parametrize("name", sorted(BUNDLES))
def test_requirements_are_those_of_the_lock(name: str) -> None:
    pins = bundling.read_lock(bundling.LOCK.read_text("utf-8"))
    written = (BUNDLES[name].folder / "requirements.txt").read_text("utf-8")
    assert written == bundling.requirements(BUNDLES[name], pins), "run `make lock`"
    pinned = [line for line in written.splitlines() if "==" in line]
    assert len(pinned) > 20
    assert all(line.endswith("\\") for line in pinned), "each pin goes on with its hashes"


def test_the_same_sources_give_the_same_bytes(tmp_path: Path, monkeypatch) -> None:
    archives = []
    for attempt in ("first", "second"):
        monkeypatch.setattr(bundling, "BUILD", tmp_path / attempt)
        archives.append(BUNDLES["load"].write().read_bytes())
    assert archives[0] == archives[1]
    with zipfile.ZipFile(tmp_path / "first" / "load.zip") as archive:
        assert {each.date_time for each in archive.infolist()} == {bundling.EPOCH}
        assert archive.namelist() == sorted(archive.namelist())


@pytest.mark.parametrize("name", sorted(BUNDLES))
def test_a_bundle_holds_only_what_ships(name: str) -> None:
    files = set(BUNDLES[name].files())
    assert {"main.py", "requirements.txt", "sluice/__init__.py"} <= files
    assert "sql/migrations/0001_schema.sql" in files
    strange = {
        each
        for each in files
        if each.startswith(("sluice/cli/", "sluice/local/", "sluice/client/"))
        or each.endswith((".pyc", ".zip"))
    }
    assert not strange


def test_an_import_without_a_known_package_is_refused() -> None:
    with pytest.raises(SystemExit, match="mystery: name the package"):
        bundling.distributions({"mystery", "json", "google.cloud.storage"})


def test_imports_for_type_checkers_do_not_ship(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import mypy\n"
        "def f():\n    import duckdb\n"
    )
    assert "duckdb" in bundling.imported_modules(tmp_path / "main.py")
    assert "mypy" not in bundling.imported_modules(tmp_path / "main.py")
