"""The images of the Dockerfile, built and started without a container engine: `make images`.

Buildah builds them with chroot instead of namespaces, on a base made of Debian's packages and tagged as the
one that the Dockerfile names. It needs root, buildah and debootstrap, and takes some minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from sqlalchemy import make_url
from test_containers import load_a_file

from sluice.local.postgres import SUPERUSER
from sluice.local.state import Ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CHECKOUT = Path(__file__).parents[2]
DOCKERFILE = (CHECKOUT / "Dockerfile").read_text("utf-8")
(BASE,) = set(re.findall(r"^FROM (\S+:\S+)", DOCKERFILE, re.MULTILINE))
PACKAGES = ("ca-certificates", "python3", "python3-venv")
FUNCTIONS = ("split", "load", "finish", "query", "intake", "status", "backup")
MAX_BYTES = 500_000_000
WAIT_S = 60
#: What pip on this machine reads, given to the containers.
PIP_FILES = ("/etc/ssl/certs", "/etc/pip.conf", "/etc/xdg/pip")

pytestmark = [
    pytest.mark.images,
    pytest.mark.skipif(
        os.geteuid() != 0 or not (shutil.which("buildah") and shutil.which("debootstrap")),
        reason="needs root, buildah and debootstrap",
    ),
]


def buildah(*words: str) -> str:
    done = subprocess.run(
        ["buildah", "--storage-driver", "vfs", *words],
        capture_output=True, text=True, cwd=CHECKOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def has_image(name: str) -> bool:
    return any(
        name in (each.get("names") or []) for each in json.loads(buildah("images", "--json"))
    )


def make_base(folder: Path) -> None:
    """Make the base image of Debian's packages of the same version."""
    suite = BASE.rpartition("-")[2]
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", suite, folder],
        stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    (folder / "usr" / "bin" / "python").symlink_to("python3")
    for each in ("var/cache/apt/archives", "usr/share/doc", "usr/share/locale"):
        shutil.rmtree(folder / each, ignore_errors=True)
    container = buildah("from", "scratch").strip()
    buildah("copy", "--quiet", container, str(folder), "/")
    buildah("commit", "--quiet", "--rm", container, f"docker.io/library/{BASE}")


@pytest.fixture(scope="module", params=["sluice", "sluice-local"])
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image, built from the checkout."""
    if not has_image(f"docker.io/library/{BASE}"):
        make_base(tmp_path_factory.mktemp("base") / "root")
    target = ["--target", "local"] if request.param == "sluice-local" else []
    links = [each for each in os.environ.get("PIP_FIND_LINKS", "").split() if Path(each).exists()]
    given = [each for each in (*PIP_FILES, *links) if Path(each).exists()]
    given += [str(each) for each in Path("/opt").glob("pypi*")]
    volumes = [word for each in given for word in ("--volume", f"{each}:{each}:ro")]
    buildah(
        "build", "--isolation", "chroot", "--network", "host", "--pull-never", *volumes, *target,
        "--tag", request.param, ".",
    )  # fmt: skip
    return str(request.param)


@contextlib.contextmanager
def running(
    image: str, environ: Mapping[str, str], *words: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A container that runs as its user."""
    container = buildah("from", "--pull-never", f"localhost/{image}").strip()
    described = json.loads(buildah("inspect", container))["OCIv1"]["config"]
    given = [word for name, value in environ.items() for word in ("--env", f"{name}={value}")]
    process = subprocess.Popen(
        ["buildah", "--storage-driver", "vfs", "run", "--isolation", "chroot", "--network", "host", *given,
         container, *described["Entrypoint"], *words],
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the processes inside outlive Buildah's own
        process.wait(30)
        buildah("rm", container)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> httpx.Response:
    give_up_at = time.monotonic() + WAIT_S
    while time.monotonic() < give_up_at:
        assert process.poll() is None
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(url, timeout=10)
        time.sleep(0.2)
    raise AssertionError(f"{url} does not answer")


def size_of(image: str) -> int:
    """Return the bytes of an image's files."""
    container = buildah("from", "--pull-never", f"localhost/{image}").strip()
    folder = Path(buildah("mount", container).strip())
    seen: set[int] = set()
    total = 0
    for each in folder.rglob("*"):
        found = each.lstat()
        if found.st_ino not in seen:
            seen.add(found.st_ino)
            total += found.st_size
    buildah("rm", container)
    return total


def test_an_image_is_small(image: str) -> None:
    assert size_of(image) < MAX_BYTES


def test_an_image_does_not_run_as_root(image: str) -> None:
    described: Any = json.loads(buildah("inspect", "--type", "image", image))
    assert described["OCIv1"]["config"]["User"] == "10001"


def test_each_function_answers_its_health_check_and_a_request(image: str, database: str) -> None:
    if image != "sluice":
        pytest.skip("the other image has the functions")
    for function in FUNCTIONS:
        port = Ports.free().gateway
        environ = {
            "PORT": str(port),
            "SLUICE_AUTHENTICATION": "none",
            "SLUICE_DATABASE_URL": database,
            "SLUICE_PROJECT": "local",
            "SLUICE_INBOX": "inbox",
            "SLUICE_OUTBOX": "outbox",
        }
        with running(image, environ, function) as process:
            url = f"http://127.0.0.1:{port}"
            assert wait_for(f"{url}/health", process).status_code == 204
            if function == "query":
                assert httpx.get(f"{url}/v1/datasets", timeout=30).status_code == 200


def test_the_local_image_loads_a_file(
    image: str, database: str, pubsub, storage, tmp_path: Path
) -> None:
    if image != "sluice-local":
        pytest.skip("the other image is that of the functions")
    port = Ports.free().gateway
    environ = {
        "SLUICE_AUTHENTICATION": "none",
        "SLUICE_DATABASE_URL": str(make_url(database).set(username=SUPERUSER)),
        "PUBSUB_EMULATOR_HOST": pubsub.address,
        "STORAGE_EMULATOR_HOST": storage.url,
    }
    words = ("--host", "127.0.0.1", "--port", str(port), "--loaders", "1")
    log = tmp_path / "log"
    log.touch()
    with running(image, environ, *words) as process:
        wait_for(f"http://127.0.0.1:{port}/health", process)
        account = load_a_file(storage.url, pubsub.address, port, process, log)
        assert account == {"read": 5, "loaded": 5, "rejected": 0, "duplicates": 0}
